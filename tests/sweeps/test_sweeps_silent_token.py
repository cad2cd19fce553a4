"""A listed token that answers nothing any more, or burns gas, costs the house nothing else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from eth_utils.crypto import keccak

from chain.errors import ChainError, NodeRejected, NodeTimeout, NodeUnavailable, TooMuchGas
from chain.observe import TRANSFER_TOPIC
from tests.faults_receive.conftest import code_that_calls
from tests.sweeps.test_sweeps_wallet import Kind, Open, opened, person_with, sweep
from wallet.sweeps.offenders import flushable_with
from wallet.sweeps.repository import Candidate

__all__ = ["opened"]
REVERTS = "0x60006000fd"


@pytest.mark.parametrize("kind", ["prefund", "create2"])
async def test_coins_leave_though_a_token_reverts_whatever_it_is_asked(
    opened: Open, kind: Kind
) -> None:
    seam = await opened(kind)
    await person_with(seam, usdc="1000")
    _, with_coins = await person_with(seam, eth="5")
    await seam.node("anvil_setCode", seam.network.tokens[0].contract, REVERTS)
    await sweep(seam)
    assert await seam.on_chain(with_coins, "ETH") < 10**16
    rows = await seam.rows("SELECT address, minor FROM deposit_moves WHERE asset = 'ETH'")
    assert [row.address for row in rows] == [with_coins]
    swept = await seam.rows("SELECT address FROM sweep_accounts")
    assert [row.address for row in swept] == [with_coins]  # for nobody else's is gas paid


async def test_a_token_that_burns_gas_is_not_swept_for_less_than_that(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its transfer takes is its author's word: some 10,000,000 gas for a few dollars."""
    seam = await opened("prefund")
    await person_with(seam, usdc="20")
    honest = seam.chain.estimate_gas

    async def estimate(from_: str, to: str, value: int, data: bytes) -> int:
        gas = await honest(from_, to, value, data)
        return 10_000_000 if to == seam.network.tokens[0].contract else gas

    monkeypatch.setattr(seam.chain, "estimate_gas", estimate)
    await sweep(seam)
    assert await seam.rows("SELECT 1 FROM sweeps") == []
    monkeypatch.undo()
    await sweep(seam)
    assert [row.kind for row in await seam.rows("SELECT kind FROM sweeps")] == ["top_up"]


async def test_a_token_that_sweeps_others_inside_our_sweep_moves_them_in_the_books(
    opened: Open,
) -> None:
    """Its code is its author's, runs in a transaction of ours, and may call whom it likes."""
    seam = await opened("eip7702")
    _, victim = await person_with(seam, usdc="500")
    await sweep(seam)  # delegated now
    coins = {"from": seam.faucet, "to": victim, "value": hex(10**13), "gas": hex(60_000)}
    await seam.node("eth_sendTransaction", coins)
    await seam.finish()
    await person_with(seam, usdc="500")
    call = code_that_calls([(victim, keccak(text="sweepNative()")[:4])])
    call = call.replace("5af150", "6188b8f150")  # 35,000 gas: who is asked for balances may not
    answer_one = "600160005260206000f3"
    await seam.node("anvil_setCode", seam.network.tokens[0].contract, call + answer_one)
    await sweep(seam)
    assert await seam.on_chain(victim, "ETH") == 0
    assert [one for one in await seam.differences() if ":ETH:" in one] == []
    moves = await seam.rows("SELECT from_address, status FROM deposits WHERE is_move")
    assert [tuple(row) for row in moves] == [(victim, "credited")]


def _sweeping(victim: str, treasury: str) -> str:
    """A token that says it moved 1 from `victim` to `treasury`, and moves its coins instead."""
    call = code_that_calls([(victim, keccak(text="sweepNative()")[:4])])
    end = len(call) // 2 + 120
    code = call[2:].replace("5af150", f"61fffff11561{end:04x}57") + "6001600052"
    for topic in (treasury[2:].rjust(64, "0"), victim[2:].rjust(64, "0"), TRANSFER_TOPIC[2:]):
        code += "7f" + topic
    code += "60206000a3" + "60206000f3"
    return "0x" + code.ljust(2 * end, "0") + "5b60006000fd"  # where that fails it reverts


async def test_what_it_sweeps_of_the_address_that_pays_for_itself_is_in_the_books_too(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address that was delegated once sends by itself where delegations are refused for now."""
    seam = await opened("eip7702")
    _, address = await person_with(seam, usdc="500")
    await sweep(seam)  # delegated now
    coins = {"from": seam.faucet, "to": address, "value": hex(10**16), "gas": hex(60_000)}
    await seam.node("eth_sendTransaction", coins)
    await seam.pay_in(address, "500", "USDC")
    await seam.arrive()
    [treasury] = await seam.signer.hot_addresses()
    await seam.node("anvil_setCode", seam.network.tokens[0].contract, _sweeping(address, treasury))
    monkeypatch.setattr(seam.sweeper._delegations, "may_ask", lambda: False)
    await sweep(seam)
    assert [row.kind for row in await seam.rows("SELECT kind FROM sweeps ORDER BY id")][1:] == [
        "token"
    ]
    assert await seam.on_chain(address, "ETH") < 10**16 // 2
    assert [one for one in await seam.differences() if ":ETH:" in one] == []


@pytest.mark.parametrize(
    "error",
    [
        NodeTimeout("no answer"), NodeUnavailable("HTTP 503"), TooMuchGas("30,000,000"),
        NodeRejected(-32000, "execution aborted (timeout = 5s)"),
    ],
    ids=["slow", "gateway", "gas", "aborted"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["prefund", "create2"])
async def test_coins_leave_though_a_node_breaks_at_a_token(
    opened: Open, kind: Kind, error: ChainError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pass ended there, each time, for every token behind it and the coins."""
    seam = await opened(kind)
    await person_with(seam, usdc="1000")
    _, with_coins = await person_with(seam, eth="5")
    contract = seam.network.tokens[0].contract
    real = seam.chain.estimate_gas

    async def estimate(from_: str, to: str, value: int, data: bytes, *more: Any) -> int:
        if to == contract or bytes.fromhex(contract[2:]) in data:
            raise error
        return await real(from_, to, value, data, *more)

    monkeypatch.setattr(seam.chain, "estimate_gas", estimate)
    await sweep(seam)
    assert await seam.on_chain(with_coins, "ETH") < 10**16
    rows = await seam.rows("SELECT address, minor FROM deposit_moves WHERE asset = 'ETH'")
    assert [row.address for row in rows] == [with_coins]
    swept = await seam.rows("SELECT address FROM sweep_accounts")
    assert [row.address for row in swept] == [with_coins]  # for nobody else's is gas paid


async def test_however_many_wait_of_a_token_that_breaks_another_is_flushed() -> None:
    """They would take all places of each call, and pay for nothing."""
    bad, good = (f"0x{number:040x}" for number in (0xBAD, 0x600D))

    async def estimate(_from: str, _to: str, _value: int, data: bytes) -> int:
        if bytes.fromhex(bad[2:]) in data:
            raise NodeRejected(3, "execution reverted")
        return 100_000

    async def head() -> None: ...

    chain: Any = SimpleNamespace(
        network=SimpleNamespace(name="local"), estimate_gas=estimate, head=head
    )
    many = [Candidate(f"0x{n:040x}", n, 10**9, 700.0, False, False) for n in range(1, 61)]
    other = Candidate(f"0x{99:040x}", 99, 10**6, 700.0, False, False)
    worth = {"": [], bad: many, good: [other]}
    found = await flushable_with(
        chain, worth, "0x" + "1" * 40, "0x" + "2" * 40, most=50, ready=lambda some: bool(some)
    )
    assert found == ([other], [good])
