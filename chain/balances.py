"""Whether balances moved as logs say: `balanceOf` at a block and at the one before."""

from __future__ import annotations

from collections.abc import Sequence

from chain import parse
from chain.address import to_bytes20
from chain.blocks import Block
from chain.errors import NodeGarbage, NodeRejected
from chain.registry import Network
from chain.rpc import Call, Rpc

_SELECTOR = "0x70a08231"  # balanceOf(address)
_WORD_HEX = 2 + 64
Pair = tuple[str, str]
"""Asset code and EIP-55 address."""


def balance_of(address: str) -> str:
    """Call data of `balanceOf(address)`."""
    return _SELECTOR + to_bytes20(address).rjust(32, b"\0").hex()


async def balance_changes(
    rpc: Rpc, network: Network, block: Block, pairs: Sequence[Pair]
) -> dict[Pair, int | None]:
    """What each (asset, address) gained in this block; None where the node has no state of it.

    Only the node's own silence is trusted: when it can answer what the contract's coins were then,
    it has the state, and a contract that reverts, burns all gas or answers something else than one
    word has said nothing that moved a balance.
    """
    calls: list[Call] = []
    for asset, address in pairs:
        token = network.token(asset)
        if token is None:
            raise ValueError(f"{asset} is not listed on {network.name}")
        request = {"to": token.contract, "data": balance_of(address)}
        for number in (block.number - 1, block.number):
            calls.append(("eth_getBalance", (token.contract, hex(number))))
            calls.append(("eth_call", (request, hex(number))))
    answers = await rpc.batch_answers(calls)
    changes: dict[Pair, int | None] = {}
    for place, pair in enumerate(pairs):
        probe_before, before, probe_after, after = answers[4 * place : 4 * place + 4]
        missing = any(isinstance(probe, NodeRejected) for probe in (probe_before, probe_after))
        changes[pair] = None if missing else _word(after) - _word(before)
    return changes


def _word(answer: object) -> int:
    """The number a contract answered; 0 for anything that is no single word."""
    if isinstance(answer, NodeRejected):
        return 0
    if not isinstance(answer, str):
        raise NodeGarbage("eth_call is not hexadecimal data")
    raw = parse.data(answer, "balanceOf")
    return int.from_bytes(raw, "big") if len(answer) == _WORD_HEX else 0
