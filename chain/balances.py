"""Whether balances moved as logs say: `balanceOf` at a block and at the one before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from chain import parse
from chain.abi import DECIMALS
from chain.address import checked, to_bytes20
from chain.errors import LIMIT_EXCEEDED, NodeGarbage, NodeRejected, NodeTimeout
from chain.lanes import in_lanes, split
from chain.registry import Network, Token
from chain.rpc import MAX_BATCH, Call, Rpc
from chain.window import Window

_SELECTOR = "0x70a08231"  # balanceOf(address)
GAS = hex(1_000_000)
"""For one `balanceOf`: honest tokens need a tenth, and one that burns all it gets burns no more."""
_WORD_HEX = 2 + 64
Pair = tuple[str, str]
"""Asset code and EIP-55 address."""
PAIRS_AT_ONCE = MAX_BATCH // 4
"""Four calls each: balance and probe, before and after."""


def balance_of(address: str) -> str:
    """Call data of `balanceOf(address)`."""
    return _SELECTOR + to_bytes20(address).rjust(32, b"\0").hex()


def balance_call(contract: str, address: str, at: str) -> Call:
    """`balanceOf(address)` at a block."""
    return "eth_call", ({"to": contract, "data": balance_of(address), "gas": GAS}, at)


async def balance_changes(
    rpc: Rpc, network: Network, wanted: Sequence[tuple[int, Pair]], window: Window
) -> list[int | None]:
    """What each (asset, address) gained in the block at a height, in the order asked, in batches;
    None where the node has no state of it.

    Only the node's own silence is trusted: when it can answer what the contract's coins were then,
    it has the state, and a contract that reverts, burns all gas or answers something else than one
    word has said nothing that moved a balance. Where several together are too much for one answer
    they are asked in halves: a token that answers without end keeps nobody else's from being read.
    A node that is silent is waited for once; `window` then asks for half as many the next time.
    """
    size = window.size

    async def some(part: Sequence[tuple[int, Pair]]) -> list[int | None]:
        calls = [call for height, pair in part for call in _before_and_after(network, height, pair)]
        try:
            answers = await rpc.batch_answers(calls)
        except NodeTimeout:
            window.shrink(size)
            raise
        except NodeGarbage:
            if len(part) == 1:
                raise
            half = len(part) // 2
            return [*await some(part[:half]), *await some(part[half:])]
        return [_change(*answers[place : place + 4]) for place in range(0, len(answers), 4)]

    found = await in_lanes(split(wanted, size), some)
    if len(wanted) >= window.size:
        window.grow()
    return [change for part in found for change in part]


def _before_and_after(network: Network, height: int, pair: Pair) -> Iterator[Call]:
    asset, address = pair
    token = network.token(asset)
    if token is None:
        raise ValueError(f"{asset} is not listed on {network.name}")
    for number in (height - 1, height):
        yield "eth_getBalance", (token.contract, hex(number))
        yield balance_call(token.contract, address, hex(number))


def _change(probe_before: object, before: object, probe_after: object, after: object) -> int | None:
    missing = any(isinstance(probe, NodeRejected) for probe in (probe_before, probe_after))
    return None if missing else _word(after) - _word(before)


async def said(rpc: Rpc, network: Network, address: str, asset: str, number: int) -> int | None:
    """What lies at an address at that block; None where the token's contract says nothing (it
    reverts, burns its gas, answers no number). Raises NodeRejected where it is the node that does
    not answer: it tells the contract's coins, or it has no state of the block."""
    token, at = network.token(asset), hex(number)
    probed = address if token is None else token.contract
    calls: list[Call] = [("eth_getBalance", (checked(probed), at))]
    if token is not None:
        calls.append(balance_call(token.contract, address, at))
    answers = await rpc.batch_answers(calls)
    for answer in answers:
        if isinstance(answer, NodeRejected) and (
            answer is answers[0] or answer.rpc_code == LIMIT_EXCEEDED
        ):
            raise answer
    coins = parse.quantity(answers[0], "eth_getBalance")
    return coins if token is None else _number(answers[1])


async def no_more(rpc: Rpc, network: Network, address: str, asset: str, minor: int) -> bool:
    """Whether no more than that lies there now: no single one of several nodes says so, nor, of
    three and more, that there is."""
    ask, weigh = getattr(rpc, "others", None), getattr(rpc, "least", None)
    if ask is None or weigh is None:
        return True
    token = network.token(asset)
    call: Call = ("eth_getBalance", (checked(address), "latest"))
    if token is not None:
        call = balance_call(token.contract, address, "latest")

    def read(answer: object) -> int:
        return parse.quantity(answer, call[0]) if token is None else _number(answer) or 0

    return bool(weigh(f"balance/{address}/{asset}", minor, await ask(*call, read)))


async def decimals_stand(rpc: Rpc, token: Token, told: int) -> bool:
    """Whether these `decimals()` of a contract, which are not those of the file, are no single
    node's word, where there are several."""
    ask, weigh = getattr(rpc, "others", None), getattr(rpc, "same", None)
    if ask is None or weigh is None:
        return True
    request = {"to": token.contract, "data": DECIMALS, "gas": GAS}
    answers = await ask("eth_call", (request, "latest"), _number)
    return bool(weigh(f"decimals/{token.code}", told, answers))


@dataclass(frozen=True, slots=True)
class Holding:
    """What an address held at one block: asset → smallest unit. A token whose contract answered no
    single word is absent. `nonce`: transactions mined from it up to that block."""

    nonce: int
    minor: Mapping[str, int]


async def holdings(
    rpc: Rpc, network: Network, addresses: Sequence[str], number: int
) -> list[Holding]:
    """What each address held at block `number`, in the order asked, in batches.

    Raises NodeRejected where the node has no state of the block; a token that reverts or answers
    something else says nothing and stops nothing.
    """
    at = hex(number)
    calls: list[Call] = []
    for address in map(checked, addresses):
        calls.append(("eth_getTransactionCount", (address, at)))
        calls.append(("eth_getBalance", (address, at)))
        for token in network.tokens:
            calls.append(balance_call(token.contract, address, at))
    answers = await rpc.batch_answers(calls)
    width = 2 + len(network.tokens)
    return [
        _holding(network, answers[start : start + width]) for start in range(0, len(answers), width)
    ]


def _holding(network: Network, answers: Sequence[object]) -> Holding:
    for answer in answers[:2]:
        if isinstance(answer, NodeRejected):
            raise answer
    minor = {network.native_asset: parse.quantity(answers[1], "eth_getBalance")}
    for token, answer in zip(network.tokens, answers[2:], strict=True):
        held = _number(answer)
        if held is not None:
            minor[token.code] = held
    return Holding(parse.quantity(answers[0], "eth_getTransactionCount"), minor)


def _number(answer: object) -> int | None:
    """The one word a contract answered; None for anything else."""
    if isinstance(answer, str) and len(answer) == _WORD_HEX:
        return int.from_bytes(parse.data(answer, "balanceOf"), "big")
    return None


def _word(answer: object) -> int:
    """The number a contract answered; 0 for anything that is no single word."""
    if isinstance(answer, NodeRejected):
        return 0
    if not isinstance(answer, str):
        raise NodeGarbage("eth_call is not hexadecimal data")
    raw = parse.data(answer, "balanceOf")
    return int.from_bytes(raw, "big") if len(answer) == _WORD_HEX else 0
