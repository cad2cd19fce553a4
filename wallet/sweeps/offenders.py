"""Which key-less addresses can be flushed together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import structlog

from chain.client import ChainClient
from chain.errors import NodeGarbage, NodeRejected, NodeTimeout, NodeUnavailable
from chain.outcomes import code_fails
from contracts.create2 import salt_of
from wallet.sweeps import calls
from wallet.sweeps.repository import Candidate

log = structlog.get_logger(__name__)


def flush_call(network: str, chosen: Sequence[Candidate], contracts: Sequence[str]) -> bytes:
    """The factory's call for these addresses."""
    return calls.flush_call([salt_of(network, one.index) for one in chosen], contracts)


async def flushable_with(
    chain: ChainClient,
    worth: Mapping[str, Sequence[Candidate]],
    caller: str,
    factory: str,
    *,
    most: int,
    ready: Callable[[Sequence[Candidate]], bool],
) -> tuple[list[Candidate], list[str]]:
    """Addresses and tokens that go through together, of those that are worth it by a token's
    contract, or by their coins (""). Where none does, a token may say nothing, and revert every
    call, or the node break at it: then one token, or the coins alone, and nobody who has neither.
    Raises ChainError."""
    contracts = [one for one, found in worth.items() if one and found]
    alone = [[one] for one in contracts] if len(contracts) > 1 else []
    for some in (contracts, *alone, []):
        places = [one for place in ("", *some) for one in worth[place]]
        chosen = list({one.address: one for one in places}.values())[:most]
        if not ready(chosen):
            continue
        try:
            found = await flushable(chain, chosen, some, caller=caller, factory=factory)
        except (NodeRejected, NodeGarbage, NodeTimeout, NodeUnavailable) as error:
            await chain.head()  # where the node is not away, what is tried next goes on
            log.error("sweep.token_waits", network=chain.network.name, contracts=list(some),
                      error=error.code)  # fmt: skip
            continue
        if found:
            return found, some
    return [], []


async def flushable(
    chain: ChainClient,
    chosen: Sequence[Candidate],
    contracts: Sequence[str],
    *,
    caller: str,
    factory: str,
) -> list[Candidate]:
    """Those that go through together, found by halving what does not: one address that its token
    bars would revert the whole call, for ever. Raises ChainError."""
    data = flush_call(chain.network.name, chosen, contracts)
    try:
        await chain.estimate_gas(caller, factory, 0, data)
    except NodeRejected as error:
        if not code_fails(error.rpc_code, error.message):
            raise
        if len(chosen) == 1:
            log.error("sweep.refused", network=chain.network.name, address=chosen[0].address)
            return []
        middle = len(chosen) // 2
        found = []
        for half in (chosen[:middle], chosen[middle:]):
            found += await flushable(chain, half, contracts, caller=caller, factory=factory)
        return found
    return list(chosen)
