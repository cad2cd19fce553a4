"""Warm: two people sign for every payment out of it, and the books follow to the wei."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from chain.registry import dump_networks
from keys.policy import Limit
from tests.treasury.warm import (
    ADA,
    BOB,
    COLD,
    CY,
    OUTSIDE,
    STRANGER,
    approve,
    fill,
    intent,
    listed,
    propose,
    proposed,
    run,
    seam,
    services,
    settle,
    sign,
    warm_of,
)
from wallet import cases, cli_approvals, custody
from wallet.auditor.instance import Instance
from wallet.auditor.run import examine
from wallet.errors import FourEyesRequired, InvalidField, InvalidState
from wallet.onchain import signers
from wallet.postgres import SUPERUSER
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam
from wallet.treasury.hot import working
from wallet.treasury.watch import COMPROMISED

__all__ = ["seam"]


async def test_a_round_between_hot_and_warm_is_booked_to_the_wei(seam: Seam) -> None:
    by, warm = ("--by", "ops"), warm_of(seam)
    await approve(seam, await propose(seam, "to_warm", "10", "ETH", warm), "bob")
    await run(seam, "bounds", "--asset", "USDC", "--tier", "warm", "--low", "20000",
              "--high", "90000", *by)  # fmt: skip
    await seam.treasury.tick()
    assert await proposed(seam) == [("refill_warm", "55000.000000 USDC")]
    [sheet] = [one for one in await listed(seam) if one.kind == "refill_warm"]
    await run(seam, "dismiss", sheet.id, *by)
    await run(seam, "bounds", "--asset", "USDC", "--low", "10000", "--high", "50000", *by)
    for _ in range(2):  # hot holds 200,000: 170,000 too much, of which warm has room for 90,000
        await seam.treasury.tick()
    assert await proposed(seam) == [("to_warm", "90000.000000 USDC")]  # and no sheet from cold
    [to_warm] = [one for one in await listed(seam) if one.state == "proposed"]
    assert to_warm.to_address == warm
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
    [refill] = [one for one in await listed(seam) if one.kind == "refill"]
    with pytest.raises(InvalidState):
        await approve(seam, refill.id, "ada")  # a sheet brings it


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


@pytest.mark.parametrize("network", ["local", "another"])
async def test_nothing_goes_to_a_hot_key_given_up_meanwhile(seam: Seam, network: str) -> None:
    """On any network: it is the same key."""
    await fill(seam)
    hot = (await seam.signer.hot_addresses())[0]
    paid = await approve(seam, await propose(seam, "to_hot", "5", "USDC", hot), "bob")
    await sign(seam, paid, BOB, "bob")
    async with seam.db.transaction() as session:
        await signers.add_signer(session, network=network, address=hot, next_nonce=0)
        await signers.halt_signer(session, network=network, address=hot, reason=COMPROMISED)
    await sign(seam, paid, CY, "cy")
    await settle(seam)
    waits = await intent(seam, paid)
    assert (waits.state, waits.waiting_for, waits.nonce) == ("queued", "review", None)
    assert await seam.booked("USDC", "warm") == 60_000 * 10**6
    with pytest.raises(InvalidField, match="halted"):
        await propose(seam, "to_hot", "1", "USDC", hot)
    async with seam.db.transaction() as session:
        assert await working(session, "local") == (await seam.signer.hot_addresses())[1]


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
