"""Whether what arrived is more than one node's word.

A block's hash stands for all that is in it, but nobody here computes it: a node that knows the
right hash may tell of other transactions. So before it is money the block of an arrival is read
anew, from the serving node and from each other one that is well, by the checks of the first time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from chain.answerable import blame
from chain.client import ChainClient
from chain.errors import ChainError, NodeGarbage, NodeTimeout, NodeUnavailable
from chain.observe import ObservedDeposit, Watched
from chain.rpc import Rpc
from chain.traces import InnerPayments

_What = tuple[str, int, str, str, str, int]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a node shows of a block. `inner` None: it says nothing of payments inside."""

    outer: frozenset[_What]
    inner: frozenset[_What] | None

    def has(self, one: ObservedDeposit) -> bool | None:
        if not one.trace_path:
            return _what(one) in self.outer
        return None if self.inner is None else _what(one) in self.inner


def _what(one: ObservedDeposit) -> _What:
    """Not from whom: mined again after a reorganisation it may be paid by somebody else."""
    return one.tx_hash, one.log_index, one.trace_path, one.asset, one.to_address, one.amount


def has_witnesses(chain: ChainClient) -> bool:
    """Whether several nodes stand behind it."""
    return getattr(chain.rpc, "each", None) is not None


async def arrived(
    chain: ChainClient, number: int, block_hash: str, claims: Sequence[ObservedDeposit]
) -> list[bool | None]:
    """Of each whether it arrived in that block, which is final for all nodes. None: they differ
    about it, or the serving one cannot show that block now. Of what is paid inside a transaction
    only nodes that trace say anything; where none can, what was told before stands.

    Raises NodeUnavailable and NodeTimeout of the serving node.
    """
    watched = Watched(one.to_address.lower() for one in claims)

    async def read(rpc: Rpc) -> _Shown | None:
        return await _read(ChainClient(chain.network, rpc), number, block_hash, watched)

    try:
        ours = await _read(chain, number, block_hash, watched)
    except (NodeUnavailable, NodeTimeout):
        raise
    except ChainError as error:
        log.warning("%s: block %d: %s", chain.network.name, number, error)
        if isinstance(error, NodeGarbage):
            blame(error)
        ours = None
    if ours is None:
        return [None] * len(claims)
    each, agrees = getattr(chain.rpc, "each", None), getattr(chain.rpc, "arrived", None)
    others = [] if each is None else await each(read)
    verdicts: list[bool | None] = []
    for one in claims:
        mine = ours.has(one) is not False
        said = [(name, shown.has(one)) for name, shown in others if shown is not None]
        told = [(name, has) for name, has in said if has is not None]
        stands = agrees is None or agrees(one.tx_hash, mine, told)
        verdicts.append(mine if stands else None)
    return verdicts


async def _read(
    chain: ChainClient, number: int, block_hash: str, watched: Watched
) -> _Shown | None:
    """None: it has another block there, or none."""
    block = await chain.full_block(number)
    if block is None or block.hash != block_hash:
        return None
    outer = await chain.deposits(block, watched=watched)
    inner: frozenset[_What] | None = None
    if "traces" in chain.network.supports:
        with suppress(ChainError):
            inner = frozenset(map(_what, await InnerPayments(chain).told(block, watched=watched)))
    return _Shown(frozenset(map(_what, outer)), inner)
