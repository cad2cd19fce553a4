"""Halts, reviews and late payments have their case in the same transaction, while they last."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chain.address import checked
from chain.errors import WrongChain
from tests.cases.conftest import Command, all_cases, kinds
from tests.onchain.test_onchain_strangers import OUTSIDE, _spend_from_hot
from wallet import clock, crashpoints, custody
from wallet.errors import InvalidState, NotFound
from wallet.onchain import Desk, tokens
from wallet.onchain.casework import LateWatch, finality_seconds
from wallet.testing.seam import Seam
from wallet.treasury import moves
from wallet.withdrawals import Withdrawal

MINUTE = 60
COLD = checked("0x00000000000000000000000000000000c01d0001")


class Cut(BaseException):
    """The process dies here."""


async def pass_time(seam: Seam, seconds: int) -> None:
    async with seam.db.transaction() as session:
        await clock.advance(session, seconds=seconds)


async def hot(seam: Seam) -> str:
    [address] = await seam.signer.hot_addresses()
    return address


async def intent_of(seam: Seam, made: Withdrawal) -> str:
    [row] = await seam.rows("SELECT intent_id FROM withdrawals WHERE id = :id", id=made.id)
    return str(row.intent_id)


async def stolen_nonce(seam: Seam) -> Withdrawal:
    """A payment whose nonce somebody else has used; the next passes find it final."""
    ada = await seam.funded_person()
    await seam.automine(False)
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.runner.tick()
    await seam.node("anvil_dropAllTransactions")
    await _spend_from_hot(seam, 0)
    await seam.dev.mine(1)
    await seam.automine(True)
    await seam.pass_once()
    return made


async def sent(seam: Seam) -> tuple[str, Withdrawal, str]:
    """A payment that waits in the pool, and its intent."""
    ada = await seam.funded_person()
    await seam.automine(False)
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.pass_once()
    await seam.pass_once()
    assert (await seam.withdrawal(ada, made.id)).status == "broadcast"
    return ada, made, await intent_of(seam, made)


async def test_a_foreign_transaction_is_two_cases_until_it_is_resolved(
    seam: Seam, bifold: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    made = await stolen_nonce(seam)
    await seam.finish()
    intent, signer = await intent_of(seam, made), f"local/{await hot(seam)}"
    assert sorted(await kinds(seam.db)) == [
        ("payment_in_review", intent, "open"), ("signer_halted", signer, "open")
    ]  # fmt: skip
    review, halt = sorted(await all_cases(seam.db), key=lambda one: one.kind)
    assert review.evidence["ref"] == made.id and review.evidence["nonce"] == 0
    assert review.evidence["amount_minor"] == "1000000" and review.evidence["tx_hashes"]
    assert "used nonce 0" in review.what and "foreign_transaction" in halt.what
    for one in (review, halt):
        with pytest.raises(InvalidState, match="still stands"):
            await bifold("cases", "close", one.id, "--by", "ada", "--note", "no wish to see it")
    await bifold("chain", "resolve-review", made.id, "--by", "bea")
    await bifold("chain", "resume-signer", "local", await hot(seam), "--by", "cid")
    capsys.readouterr()
    ended = {one.kind: one for one in await all_cases(seam.db)}
    assert {kind: (one.status, one.closed_by) for kind, one in ended.items()} == {
        "payment_in_review": ("closed", "bea"), "signer_halted": ("closed", "cid")
    }  # fmt: skip
    assert "nonce used by a foreign transaction" in str(ended["payment_in_review"].closing_note)


async def test_a_move_of_the_house_in_review_has_a_way_out_too(seam: Seam, bifold: Command) -> None:
    """No withdrawal is behind it: its case names the payment, and the payment is ended by that."""
    async with seam.operators.transaction() as session:
        await custody.register_house_address(session, network="local", address=COLD, place="cold")
        move = await moves.propose(
            session, network="local", money=seam.money("5", "USDC"), kind="to_cold",
            to_address=COLD, by="ada",
        )  # fmt: skip
        await moves.approve(
            session, move, by="ben", chain=seam.chain, sender=await hot(seam), assets=seam.assets
        )
    await seam.automine(False)
    await seam.pass_once()
    await seam.node("anvil_dropAllTransactions")
    await _spend_from_hot(seam, 0)
    await seam.dev.mine(1)
    await seam.automine(True)
    await seam.pass_once()
    await seam.finish()
    [payment] = await seam.rows("SELECT id, state FROM chain_intents")
    [made] = [one for one in await all_cases(seam.db) if one.kind == "payment_in_review"]
    assert (payment.state, made.subject, made.status) == ("in_review", payment.id, "open")
    with pytest.raises(NotFound):
        await bifold("chain", "resolve-review", "int_01ARZ3NDEKTSV4RRFFQ69G5FAV", "--by", "bea")
    await bifold("chain", "resolve-review", payment.id, "--by", "bea")
    [row] = await seam.rows("SELECT state, reason FROM treasury_moves")
    assert row.state == "failed" and "nonce used by a foreign transaction" in row.reason
    assert (await all_cases(seam.db))[0].closed_by == "bea"


async def test_nonces_that_no_row_knows_are_passed_by_a_persons_word(
    seam: Seam, bifold: Command
) -> None:
    """An older copy of the database: the address would halt again each time it resumed."""
    ada = await seam.funded_person()
    await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.finish()
    for used in (1, 2):
        await _spend_from_hot(seam, used)
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.pass_once()
    resume = ("chain", "resume-signer", "local", await hot(seam), "--by", "cid")
    with pytest.raises(InvalidState, match="not final"):
        await bifold(*resume, "--next-nonce", "3")
    await seam.finish()
    assert await kinds(seam.db) == [("signer_halted", f"local/{await hot(seam)}", "open")]
    await bifold(*resume)
    await seam.pass_once()
    assert [status for _, _, status in await kinds(seam.db)] == ["closed", "open"]
    for wrong in ("2", "4"):
        with pytest.raises(InvalidState, match="expects nonce 3"):
            await bifold(*resume, "--next-nonce", wrong)
    await bifold(*resume, "--next-nonce", "3")
    with pytest.raises(NotFound):
        await bifold(*resume, "--next-nonce", "3")
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    assert await seam.on_chain(OUTSIDE, "USDC") == 2_000_000


async def test_a_halt_that_is_rolled_back_leaves_no_case(seam: Seam) -> None:
    await stolen_nonce(seam)
    await seam.dev.mine(seam.network.confirmations)
    await seam.observer.tick()

    def die(name: str) -> None:
        if name == "db.before_commit" and reviews:
            raise Cut(name)

    reviews: list[str] = []
    inner = Desk.send_to_review

    async def watched(self: Desk, intent: Any, reason: str, *, halt: bool) -> None:
        reviews.append(reason)
        await inner(self, intent, reason, halt=halt)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Desk, "send_to_review", watched)
        crashpoints.install(die)
        try:
            with pytest.raises(Cut):
                await seam.runner.tick()
        finally:
            crashpoints.install(None)
    assert reviews == ["foreign_transaction"]
    assert await kinds(seam.db) == []
    assert await seam.rows("SELECT 1 FROM chain_signers WHERE halted_reason IS NOT NULL") == []
    await seam.runner.tick()
    assert len(await kinds(seam.db)) == 2


async def test_two_workers_open_one_case(seam: Seam) -> None:
    await stolen_nonce(seam)
    await seam.dev.mine(seam.network.confirmations)
    await seam.observer.tick()
    await asyncio.gather(seam.runner.tick(), seam.new_runner().tick())
    await asyncio.gather(seam.runner.tick(), seam.new_runner().tick())
    assert sorted(kind for kind, _, _ in await kinds(seam.db)) == [
        "payment_in_review", "signer_halted"
    ]  # fmt: skip


async def test_a_nonce_used_behind_our_back_is_a_case(seam: Seam) -> None:
    ada = await seam.funded_person()
    await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.finish()
    await _spend_from_hot(seam, 1)
    await seam.dev.mine(1)
    await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.finish()
    assert await kinds(seam.db) == [("signer_halted", f"local/{await hot(seam)}", "open")]


class TestLate:
    async def test_it_opens_at_fifteen_minutes_and_not_before(self, seam: Seam) -> None:
        _, made, intent = await sent(seam)
        watch = LateWatch(seam.db, seam.network)
        await watch.tick()
        await pass_time(seam, 14 * MINUTE)
        await watch.tick()
        assert await kinds(seam.db) == []
        await pass_time(seam, MINUTE)
        await watch.tick()
        assert await kinds(seam.db) == [("payment_late", intent, "open")]
        [one] = await all_cases(seam.db)
        assert one.evidence["ref"] == made.id and one.evidence["state"] == "sent"
        assert len(one.evidence["tx_hashes"]) == 1 and "no block has it" in one.what

    async def test_two_workers_open_one(self, seam: Seam) -> None:
        await sent(seam)
        await pass_time(seam, 16 * MINUTE)
        watches = [LateWatch(seam.db, seam.network) for _ in range(4)]
        await asyncio.gather(*(watch.tick() for watch in watches))
        await asyncio.gather(*(watch.tick() for watch in watches))
        assert [kind for kind, _, _ in await kinds(seam.db)] == ["payment_late"]

    async def test_time_counts_from_the_first_broadcast(self, seam: Seam) -> None:
        """Not from the promise: what the clock did before is not held against it."""
        ada = await seam.funded_person()
        await seam.automine(False)
        await seam.withdraw(ada, "1", "USDC", OUTSIDE)
        await pass_time(seam, 16 * MINUTE)
        watch = LateWatch(seam.db, seam.network)
        await seam.observer.tick()
        await seam.runner.tick()
        await watch.tick()
        assert await kinds(seam.db) == []
        await pass_time(seam, 10 * MINUTE)
        await seam.node("anvil_dropAllTransactions")
        await seam.runner.tick()
        [row] = await seam.rows("SELECT sends FROM chain_attempts")
        assert row.sends > 1  # the first time counts
        await pass_time(seam, 5 * MINUTE)
        await watch.tick()
        assert [kind for kind, _, _ in await kinds(seam.db)] == ["payment_late"]

    async def test_it_closes_when_the_payment_ends(self, seam: Seam, bifold: Command) -> None:
        ada, made, _ = await sent(seam)
        await pass_time(seam, 16 * MINUTE)
        watch = LateWatch(seam.db, seam.network)
        await watch.tick()
        [one] = await all_cases(seam.db)
        with pytest.raises(InvalidState, match="still stands"):
            await bifold("cases", "close", one.id, "--by", "ada", "--note", "later")
        await seam.automine(True)
        await seam.finish()
        assert (await seam.withdrawal(ada, made.id)).status == "settled"
        [one] = await all_cases(seam.db)
        assert (one.status, one.closed_by) == ("closed", "bifold")
        assert one.closing_note == "it ended: final_ok"
        await watch.tick()
        assert len(await all_cases(seam.db)) == 1

    async def test_a_mined_one_may_wait_for_finality(self, seam: Seam) -> None:
        _, _, intent = await sent(seam)
        await seam.automine(True)
        await seam.mine(1)
        [row] = await seam.rows("SELECT state FROM chain_intents WHERE id = :id", id=intent)
        assert row.state == "mined"
        assert finality_seconds(seam.network) == seam.network.confirmations
        watch = LateWatch(seam.db, seam.network)
        await pass_time(seam, 15 * MINUTE)
        await watch.tick()
        assert await kinds(seam.db) == []
        await pass_time(seam, seam.network.confirmations)
        await watch.tick()
        assert await kinds(seam.db) == [("payment_late", intent, "open")]

    async def test_a_review_takes_over(self, seam: Seam) -> None:
        made = await stolen_nonce(seam)
        await pass_time(seam, 16 * MINUTE)
        await LateWatch(seam.db, seam.network).tick()
        intent = await intent_of(seam, made)
        assert await kinds(seam.db) == [("payment_late", intent, "open")]
        await seam.finish()
        found = {one.kind: one for one in await all_cases(seam.db)}
        assert found["payment_late"].closing_note == "it is in review"
        assert found["payment_in_review"].status == "open"


class TestNetworks:
    async def test_another_chain_is_a_case_until_ours_is_back(self, seam: Seam) -> None:
        honest, answered = seam.chain.verify_identity, False

        async def wrong() -> Any:
            nonlocal answered
            answered = True
            raise WrongChain("chain id 1 instead of 31337")

        seam.chain.verify_identity = wrong  # type: ignore[method-assign]
        for _ in range(3):
            await seam.observer.tick()
        assert answered
        assert await kinds(seam.db) == [("wrong_chain", "local", "open")]
        seam.chain.verify_identity = honest  # type: ignore[method-assign]
        await seam.observer.tick()
        [one] = await all_cases(seam.db)
        assert (one.status, one.closed_by) == ("closed", "bifold")

    async def test_another_block_1_is_a_case(self, seam: Seam) -> None:
        await seam.rows("UPDATE network_state SET block1_hash = '0xother' RETURNING 1")
        await seam.observer.tick()
        await seam.observer.tick()
        [one] = await all_cases(seam.db)
        assert (one.kind, one.status) == ("wrong_chain", "open") and "Block 1" in one.what

    async def test_a_fork_below_finality_is_a_case(self, seam: Seam, bifold: Command) -> None:
        await seam.finish()
        await seam.dev.reorg(seam.network.confirmations + 4)
        await seam.dev.mine(6)
        await seam.pass_once()
        await seam.pass_once()
        [one] = await all_cases(seam.db)
        assert (one.kind, one.subject, one.severity) == ("network_halted", "local", "critical")
        assert one.evidence["common_block"] < one.evidence["final"]
        with pytest.raises(InvalidState, match="resume-network"):
            await bifold("cases", "close", one.id, "--by", "ada", "--note", "no")
        await bifold("chain", "resume-network", "local", "--by", "ada")
        [one] = await all_cases(seam.db)
        assert (one.status, one.closed_by) == ("closed", "ada")
        await seam.pass_once()  # its lineage is still not the node's: it halts anew
        assert [status for _, _, status in await kinds(seam.db)] == ["closed", "open"]

    async def test_a_halted_token_is_a_case(self, seam: Seam, bifold: Command) -> None:
        async with seam.db.transaction() as session:
            for reason in ("it lies", "it still lies"):
                await tokens.halt_token(session, network="local", asset="USDC", reason=reason)
        [one] = await all_cases(seam.db)
        assert (one.kind, one.subject) == ("token_halted", "local/USDC")
        assert one.what.endswith("it lies.")
        with pytest.raises(InvalidState, match="resume-token"):
            await bifold("cases", "close", one.id, "--by", "ada", "--note", "no")
        await bifold("chain", "resume-token", "local", "USDC", "--by", "ada")
        [one] = await all_cases(seam.db)
        assert (one.status, one.closed_by) == ("closed", "ada")
