"""The day a key is lost: what lies warm goes to cold once two people have signed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from chain.errors import ChainError, NodeRejected, NodeTimeout, NodeUnavailable, TooMuchGas
from chain.testing import AnvilProcess
from tests.treasury.warm import (
    ADA,
    BOB,
    COLD,
    approve,
    fill,
    intent,
    listed,
    propose,
    run,
    seam,
    settle,
    sign,
    warm_of,
)
from wallet.db import Database
from wallet.onchain import signers
from wallet.testing.seam import Seam
from wallet.treasury.evacuate import GAS_OF_TOKEN
from wallet.treasury.watch import COMPROMISED, STANDBY

__all__ = ["seam"]


async def test_an_evacuation_takes_warm_along_when_two_have_signed(
    seam: Seam, capsys: pytest.CaptureFixture[str]
) -> None:
    await fill(seam)
    first, second = await seam.signer.hot_addresses()
    await run(seam, "standby", "--address", second, "--by", "ada")
    stale = await approve(seam, await propose(seam, "to_hot", "5", "USDC", first), "bob")
    coins, tokens = [await seam.on_chain(warm_of(seam), asset) for asset in ("ETH", "USDC")]
    assert await run(seam, "evacuate", "--to", COLD, "--by", "ada", "--wait", "0") == 1
    assert capsys.readouterr().out.count("out of warm waits") == 2
    assert (await intent(seam, stale)).state == "cancelled"
    assert await run(seam, "evacuate", "--to", COLD, "--by", "ada", "--wait", "0") == 1
    assert "out of warm" not in capsys.readouterr().out  # all of it is promised already
    for _ in range(12):
        await seam.treasury.tick()
        await seam.mine(seam.network.confirmations)
        assert await seam.differences() == []
    async with seam.db.transaction() as session:
        halted = {r.address: r.halted_reason for r in await signers.all_signers(session, "local")}
    assert halted[first] == COMPROMISED and halted[second] is None  # hot waits for nobody
    assert await seam.on_chain(warm_of(seam), "USDC") == tokens
    moving = [one for one in await listed(seam) if one.kind == "evacuate_warm"]
    assert len(moving) == 2
    for one in moving:
        [row] = await seam.rows("SELECT intent_id FROM treasury_moves WHERE id = :i", i=one.id)
        await sign(seam, row.intent_id, ADA, "ada")
        await sign(seam, row.intent_id, BOB, "bob")
    await settle(seam)
    assert await seam.on_chain(warm_of(seam), "USDC") == 0
    left = await seam.on_chain(warm_of(seam), "ETH")
    assert 0 < left < 10**16 < coins  # what the gas of both did not use
    assert await seam.booked("ETH", "warm") == left
    assert await seam.booked("USDC", "cold") == await seam.on_chain(COLD, "USDC")


async def test_a_token_that_refuses_keeps_the_coins_of_warm_from_nothing(
    db: Database, anvil: AnvilProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seam = await Seam.open(
        db, anvil.url, tmp_path / "signer", cold=COLD, contract_name="RegulatedToken",
        warm=[ADA.address, BOB.address],
    )  # fmt: skip
    await seam.fund_house()
    await fill(seam)
    [token] = seam.network.tokens
    await seam.node(
        "eth_sendTransaction", {"from": seam.faucet, "to": token.contract, "data": "0x8456cb59"}
    )
    await run(seam, "evacuate", "--to", COLD, "--by", "ada", "--wait", "0")
    [line] = [one for one in capsys.readouterr().out.splitlines() if "out of warm" in one]
    assert "ETH out of warm" in line
    assert [one.kind for one in await listed(seam)] == ["evacuate_warm"]
    await seam.close()


@pytest.mark.parametrize(
    ("asked", "error", "left"),
    [
        ("estimate_gas", NodeRejected(-32000, "invalid opcode: INVALID"), 0),
        ("estimate_gas", TooMuchGas("30,000,000"), 0),
        ("estimate_gas", NodeUnavailable("HTTP 503"), GAS_OF_TOKEN),
        ("said", NodeTimeout("no answer"), GAS_OF_TOKEN),
    ],
)  # fmt: skip
async def test_nor_does_one_that_breaks(
    seam: Seam, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, asked: str,
    error: ChainError, left: int,
) -> None:  # fmt: skip
    """What may be the node's may go when it is ordered again: coins stay for its gas."""
    await fill(seam)
    [token] = seam.network.tokens
    real = getattr(seam.chain, asked)

    async def breaks(*about: Any) -> Any:
        if token.contract in about or token.code in about:
            raise error
        return await real(*about)

    before = await seam.on_chain(warm_of(seam), "ETH")
    monkeypatch.setattr(seam.chain, asked, breaks)
    await run(seam, "evacuate", "--to", COLD, "--by", "ada", "--wait", "0")
    [line] = [one for one in capsys.readouterr().out.splitlines() if "out of warm" in one]
    assert "ETH out of warm" in line
    [coins] = await seam.rows(
        "SELECT amount_minor, gas_limit * fee_ceiling_wei AS fee, fee_ceiling_wei AS price"
        " FROM chain_intents WHERE purpose = 'treasury' AND pinned_address = :w", w=warm_of(seam),
    )  # fmt: skip
    assert before - coins.amount_minor - coins.fee == left * coins.price
    monkeypatch.undo()
    await run(seam, "evacuate", "--to", COLD, "--by", "ada", "--wait", "0")
    assert "USDC out of warm" in capsys.readouterr().out


async def test_without_a_node_hot_is_emptied_all_the_same(
    seam: Seam, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(seam)

    async def away() -> None:
        raise NodeUnavailable("nobody answers")

    monkeypatch.setattr(seam.chain, "head", away)
    assert await run(seam, "evacuate", "--to", COLD, "--by", "ada", "--wait", "0") == 1
    assert "could not be promised" in capsys.readouterr().out
    [freeze] = await seam.rows("SELECT evacuate_to FROM network_freezes")
    assert freeze.evacuate_to == COLD


async def test_what_lies_warm_and_could_not_be_promised_is_not_done(
    seam: Seam, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(seam)

    async def away(*_: object, **__: object) -> None:
        raise NodeUnavailable("nobody answers")

    monkeypatch.setattr("wallet.treasury.evacuate.warm_out", away)
    command = asyncio.create_task(
        run(seam, "evacuate", "--to", COLD, "--by", "ada", "--wait", "60")
    )
    for _ in range(12):
        await asyncio.sleep(0)
        await seam.treasury.tick()
        await seam.mine(seam.network.confirmations)
    assert await command == 1
    shown = capsys.readouterr().out
    assert "could not be promised" in shown and "Done in" in shown


async def test_with_only_a_hot_key_lost_warm_stays(
    seam: Seam, capsys: pytest.CaptureFixture[str]
) -> None:
    await fill(seam)
    order = ("evacuate", "--to", COLD, "--by", "ada", "--wait", "0", "--hot-only")
    assert await run(seam, *order) == 1
    assert "out of warm" not in capsys.readouterr().out
    assert [one.kind for one in await listed(seam)] == []
    rows = await seam.rows("SELECT address FROM chain_signers WHERE halted_reason = :s", s=STANDBY)
    assert rows == []
