"""Warm: two people sign for every payment out of it, and the books follow to the wei."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psycopg
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount

from chain.address import checked
from chain.errors import NodeUnavailable
from chain.registry import dump_networks
from chain.testing import AnvilProcess
from keys.policy import Limit
from wallet import cases, cli, cli_approvals, cli_treasury_moves, custody
from wallet.auditor.instance import Instance
from wallet.auditor.run import examine
from wallet.bootstrap import Services
from wallet.cli_approvals import wording
from wallet.db import Database
from wallet.errors import FourEyesRequired, InvalidField, InvalidState
from wallet.onchain import repository, signers
from wallet.postgres import SUPERUSER
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam
from wallet.treasury import moves
from wallet.treasury.watch import COMPROMISED, STANDBY

COLD = checked("0x00000000000000000000000000000000c01d0001")
OUTSIDE = checked("0x000000000000000000000000000000000f00d002")
ADA, BOB, CY = (Account.from_key(bytes([number]) * 32) for number in (7, 8, 9))
STRANGER = Account.from_key(b"\x0a" * 32)


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(
        db, anvil.url, tmp_path / "signer", hot_keys=2, cold=COLD,
        warm=[ADA.address, BOB.address, CY.address],
    )  # fmt: skip
    await seam.fund_house()
    yield seam
    await seam.close()


def warm_of(seam: Seam) -> str:
    assert seam.desk.warm_address is not None
    return seam.desk.warm_address


async def services(seam: Seam) -> Services:
    found: Any = SimpleNamespace(
        db=seam.db,
        networks={"local": seam.network},
        chains={"local": seam.chain},
        assets=seam.assets,
        house=SimpleNamespace(hot=await seam.signer.hot_addresses(), warm=warm_of(seam)),
    )
    return cast(Services, found)


async def run(seam: Seam, *words: str) -> int:
    chosen: argparse.Namespace = cli._parser().parse_args(
        ["treasury", *words, "--network", "local"]
    )
    return await cli_treasury_moves.run(await services(seam), chosen)


async def sign(seam: Seam, intent_id: str, key: LocalAccount, by: str | None) -> int:
    """As an operator does: the text is signed elsewhere, the command carries the signature."""
    async with seam.db.transaction() as session:
        intent = await repository.get_intent(session, intent_id)
    words = wording(seam.network, intent, warm=True)
    signature = bytes(key.sign_message(encode_defunct(text=words)).signature).hex()
    line = ["chain", "approve-payment", intent_id, "--signature", f"0x{signature}"]
    chosen = cli._parser().parse_args([*line, *([] if by is None else ["--by", by])])
    return await cli_approvals.approve(await services(seam), chosen)


async def listed(seam: Seam, *, open_only: bool = True) -> list[moves.Move]:
    async with seam.db.transaction() as session:
        return await moves.moves(session, seam.assets, network="local", open_only=open_only)


async def proposed(seam: Seam) -> list[tuple[str, str]]:
    return [(one.kind, str(one.money)) for one in await listed(seam) if one.state == "proposed"]


async def propose(seam: Seam, kind: Any, amount: str, asset: str, to: str, by: str = "ada") -> str:
    async with seam.db.transaction() as session:
        return await moves.propose(
            session, network="local", money=seam.money(amount, asset), kind=kind, to_address=to,
            by=by,
        )  # fmt: skip


async def approve(seam: Seam, move_id: str, by: str) -> str:
    """Agree; the payment's intent."""
    sender = (await seam.signer.hot_addresses())[0]
    async with seam.db.transaction() as session:
        await moves.approve(
            session, move_id, by=by, chain=seam.chain, sender=sender, assets=seam.assets
        )
    [row] = await seam.rows("SELECT intent_id FROM treasury_moves WHERE id = :id", id=move_id)
    return str(row.intent_id)


async def intent(seam: Seam, intent_id: str) -> repository.Intent:
    async with seam.db.transaction() as session:
        return await repository.get_intent(session, intent_id)


async def settle(seam: Seam) -> None:
    for _ in range(seam.network.confirmations + 4):
        await seam.mine()
        assert await seam.differences() == []


async def fill(seam: Seam, *, eth: str = "20", usdc: str = "60000") -> None:
    """Something lies warm: out of hot, as always."""
    for asset, amount in (("ETH", eth), ("USDC", usdc)):
        await approve(seam, await propose(seam, "to_warm", amount, asset, warm_of(seam)), "bob")
    await settle(seam)


async def test_a_round_between_hot_and_warm_is_booked_to_the_wei(seam: Seam) -> None:
    by, warm = ("--by", "ops"), warm_of(seam)
    await approve(seam, await propose(seam, "to_warm", "10", "ETH", warm), "bob")
    await run(seam, "bounds", "--asset", "USDC", "--low", "10000", "--high", "50000", *by)
    await run(seam, "bounds", "--asset", "USDC", "--tier", "warm", "--low", "20000",
              "--high", "90000", *by)  # fmt: skip
    for _ in range(2):  # hot holds 200,000: 170,000 too much, of which warm has room for 90,000
        await seam.treasury.tick()
    assert await proposed(seam) == [
        ("to_warm", "90000.000000 USDC"), ("refill_warm", "55000.000000 USDC"),
    ]  # fmt: skip
    [to_warm, refill] = [one for one in await listed(seam) if one.state == "proposed"]
    assert to_warm.to_address == warm
    with pytest.raises(InvalidState):
        await approve(seam, refill.id, "ada")  # a sheet brings it
    await run(seam, "dismiss", refill.id, *by)
    await approve(seam, to_warm.id, "ada")
    await settle(seam)
    assert await seam.on_chain(warm, "USDC") == await seam.booked("USDC", "warm") == 90_000 * 10**6
    await seam.treasury.tick()  # warm is full: what is still too much goes to cold
    assert await proposed(seam) == [("to_cold", "80000.000000 USDC")]
    [to_cold] = await listed(seam)
    await run(seam, "dismiss", to_cold.id, *by)

    await run(seam, "bounds", "--asset", "USDC", "--low", "120000", "--high", "180000", *by)
    await seam.treasury.tick()
    [refill] = await listed(seam)
    assert (refill.kind, str(refill.money), refill.proposed_by) == (
        "to_hot", "40000.000000 USDC", "bifold",
    )  # fmt: skip
    assert refill.to_address in await seam.signer.hot_addresses()
    paid = await approve(seam, refill.id, "ada")
    await seam.mine()
    waits = await intent(seam, paid)
    assert (waits.state, waits.waiting_for, waits.nonce) == ("queued", "approval", None)
    await sign(seam, paid, ADA, "ada")
    await seam.mine()
    assert (await intent(seam, paid)).waiting_for == "approval"  # one of two
    await sign(seam, paid, BOB, "bob")
    gas_before = await seam.on_chain(warm, "ETH")
    await settle(seam)
    done = await intent(seam, paid)
    assert (done.state, done.from_address) == ("final_ok", warm)
    assert await seam.on_chain(warm, "USDC") == await seam.booked("USDC", "warm") == 50_000 * 10**6
    assert await seam.booked("USDC", "hot") == 150_000 * 10**6
    assert gas_before - await seam.on_chain(warm, "ETH") == done.gas_fee_wei
    assert await seam.booked("ETH", "warm") == await seam.on_chain(warm, "ETH")
    await seam.treasury.tick()
    assert await listed(seam) == []  # hot and warm lie within their bounds


async def test_below_its_bound_hot_is_filled_by_a_sheet_when_warm_holds_too_little(
    seam: Seam,
) -> None:
    await fill(seam, usdc="30000")
    by = ("--by", "ops")
    await run(seam, "bounds", "--asset", "USDC", "--low", "180000", "--high", "240000", *by)
    await run(seam, "bounds", "--asset", "USDC", "--tier", "warm", "--low", "1", "--high", "20000",
              *by)  # fmt: skip
    await seam.treasury.tick()
    assert await proposed(seam) == [
        ("refill", "40000.000000 USDC"), ("warm_to_cold", "19999.500000 USDC"),
    ]  # fmt: skip


async def test_who_signs_are_two_and_neither_proposed_it(seam: Seam) -> None:
    await fill(seam)
    hot = (await seam.signer.hot_addresses())[0]
    paid = await approve(seam, await propose(seam, "to_hot", "5", "USDC", hot, by="ada"), "bob")
    with pytest.raises(InvalidField, match="--by"):
        await sign(seam, paid, ADA, None)
    with pytest.raises(FourEyesRequired, match="proposed"):
        await sign(seam, paid, ADA, "ada")
    await sign(seam, paid, BOB, "bob")
    with pytest.raises(FourEyesRequired, match="already"):
        await sign(seam, paid, CY, "bob")
    with pytest.raises(InvalidField, match="already"):
        await sign(seam, paid, BOB, "cy")
    await sign(seam, paid, CY, "cy")
    await settle(seam)
    assert (await intent(seam, paid)).state == "final_ok"


async def test_a_strangers_signature_does_not_count_and_uses_no_nonce(
    seam: Seam, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who writes into the database can put one there; the signer tells whose count."""
    await fill(seam)
    hot = (await seam.signer.hot_addresses())[0]
    paid = await approve(seam, await propose(seam, "to_hot", "5", "USDC", hot), "bob")
    await sign(seam, paid, STRANGER, "mallory")
    await sign(seam, paid, BOB, "bob")
    await settle(seam)
    waits = await intent(seam, paid)
    assert (waits.state, waits.waiting_for, waits.nonce) == ("queued", "approval", None)
    capsys.readouterr()
    assert await cli_approvals.waiting(await services(seam)) == 1
    shown = capsys.readouterr().out
    assert f"signed by {BOB.address} (bob)" in shown and f"from: {warm_of(seam)}" in shown
    await run(seam, "status")
    assert "queued, approval, 2 signed" in capsys.readouterr().out
    await sign(seam, paid, CY, "cy")  # beside the stranger's they are two
    await settle(seam)
    assert (await intent(seam, paid)).state == "final_ok"


async def test_what_nobody_signs_for_can_be_taken_back(seam: Seam) -> None:
    await fill(seam)
    hot = (await seam.signer.hot_addresses())[0]
    move = await propose(seam, "to_hot", "5", "USDC", hot)
    paid = await approve(seam, move, "bob")
    await seam.mine()
    await run(seam, "dismiss", move, "--by", "bob")
    await sign_refused(seam, paid)
    await settle(seam)
    assert (await intent(seam, paid)).state == "cancelled"
    assert await listed(seam) == []


async def sign_refused(seam: Seam, paid: str) -> None:
    with pytest.raises(InvalidField, match="not waiting"):
        await sign(seam, paid, BOB, "bob")


async def test_above_its_limit_the_signer_refuses_and_the_next_one_goes(seam: Seam) -> None:
    await fill(seam)
    [(chain_id, chain)] = seam.desk.policy.chains.items()
    assert chain.warm is not None
    [contract] = chain.tokens
    tight = replace(chain.warm, tokens={contract: Limit(1_000_000, 10**12)})
    seam.desk.policy = replace(seam.desk.policy, chains={chain_id: replace(chain, warm=tight)})
    hot = (await seam.signer.hot_addresses())[0]
    for amount, state, left in (("2", "refused", 60_000), ("1", "done", 59_999)):
        move = await propose(seam, "to_hot", amount, "USDC", hot)
        paid = await approve(seam, move, "bob")
        await sign(seam, paid, BOB, "bob")
        await sign(seam, paid, CY, "cy")
        await settle(seam)
        ended = next(one for one in await listed(seam, open_only=False) if one.id == move)
        assert ended.state == state
        assert await seam.booked("USDC", "warm") == left * 10**6
        async with seam.db.transaction() as session:
            found = await cases.listed(session, kind="treasury_refused")
        told = [one.what for one in found]
        assert ["out of warm" in what for what in told] == ([True] if state == "refused" else [])
    assert await seam.booked("ETH", "warm") == await seam.on_chain(warm_of(seam), "ETH")


async def test_a_signer_that_lets_nothing_leave_is_not_asked(seam: Seam) -> None:
    await fill(seam)
    [(chain_id, chain)] = seam.desk.policy.chains.items()
    shut = replace(seam.desk.policy, chains={chain_id: replace(chain, warm=None)})
    seam.desk.policy, before = shut, seam.desk.policy
    hot = (await seam.signer.hot_addresses())[0]
    paid = await approve(seam, await propose(seam, "to_hot", "5", "USDC", hot), "bob")
    await sign(seam, paid, BOB, "bob")
    await sign(seam, paid, CY, "cy")
    await settle(seam)
    waits = await intent(seam, paid)
    assert (waits.state, waits.waiting_for, waits.nonce) == ("queued", "signer", None)
    seam.desk.policy = before
    await settle(seam)
    assert (await intent(seam, paid)).state == "final_ok"


async def test_warm_goes_to_hot_and_cold_addresses_of_the_house_only(seam: Seam) -> None:
    first, second = await seam.signer.hot_addresses()
    for kind, to in (("to_hot", OUTSIDE), ("to_hot", COLD), ("warm_to_cold", first),
                     ("to_warm", first), ("to_warm", OUTSIDE)):  # fmt: skip
        with pytest.raises(InvalidField, match="address of the house"):
            await propose(seam, kind, "1", "USDC", to)
    async with seam.db.transaction() as session:
        await signers.add_signer(session, network="local", address=second, next_nonce=0)
        await signers.halt_signer(session, network="local", address=second, reason=COMPROMISED)
    with pytest.raises(InvalidField, match="halted"):
        await propose(seam, "to_hot", "1", "USDC", second)


async def test_nothing_goes_to_a_hot_key_given_up_meanwhile(seam: Seam) -> None:
    await fill(seam)
    hot = (await seam.signer.hot_addresses())[0]
    paid = await approve(seam, await propose(seam, "to_hot", "5", "USDC", hot), "bob")
    await sign(seam, paid, BOB, "bob")
    async with seam.db.transaction() as session:
        await signers.halt_signer(session, network="local", address=hot, reason=COMPROMISED)
    await sign(seam, paid, CY, "cy")
    await settle(seam)
    waits = await intent(seam, paid)
    assert (waits.state, waits.waiting_for, waits.nonce) == ("queued", "review", None)
    assert await seam.booked("USDC", "warm") == 60_000 * 10**6


async def test_what_comes_to_warm_from_outside_is_seen_and_no_persons(seam: Seam) -> None:
    await seam.pay_in(warm_of(seam), "3", "USDC")
    [payer] = (await seam.dev.accounts())[1:2]
    await seam.node(
        "eth_sendTransaction", {"from": payer, "to": warm_of(seam), "value": hex(10**18)}
    )
    await settle(seam)
    assert await seam.booked("USDC", "warm") == 3_000_000
    assert await seam.booked("ETH", "warm") == 10**18
    person = await seam.person()
    assert await seam.address(person) != warm_of(seam)
    async with seam.db.transaction() as session:
        assert await custody.is_house_address(session, network="local", address=warm_of(seam))


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


async def test_the_auditor_sees_nothing_wrong_and_misses_a_signature(
    seam: Seam, database: ScratchDatabase, tmp_path: Path
) -> None:
    await fill(seam)
    hot = (await seam.signer.hot_addresses())[0]
    paid = await approve(seam, await propose(seam, "to_hot", "5", "USDC", hot), "bob")
    await sign(seam, paid, BOB, "bob")
    await sign(seam, paid, CY, "cy")
    await settle(seam)
    dump_networks(tmp_path / "networks.toml", {"local": seam.network})
    instance = Instance.read(tmp_path / "networks.toml", None)

    def codes(*planted: str) -> set[str]:
        with psycopg.connect(database.conninfo(SUPERUSER)) as connection:
            for statement in planted:
                connection.execute(statement)
            connection.execute("SET LOCAL ROLE bifold_audit")
            found = {one.code for one in examine(connection, instance).findings}
            connection.rollback()
            return found

    assert await asyncio.to_thread(codes) == set()
    off = await asyncio.to_thread(codes, "DELETE FROM chain_approvals WHERE by_whom = 'cy'")
    assert off == {"treasury_warm_signatures_off"}
    named = "UPDATE chain_approvals SET by_whom = 'ada' WHERE by_whom = 'cy'"
    assert await asyncio.to_thread(codes, named) == {"treasury_warm_signatures_off"}
    moved = "UPDATE house_addresses SET place = 'cold' WHERE place = 'warm'"
    assert {"treasury_tier_off", "chain_deficit"} <= await asyncio.to_thread(codes, moved)
