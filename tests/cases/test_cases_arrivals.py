"""Deposits set aside, and value nobody sent, have their case in the same transaction."""

from __future__ import annotations

import json

import pytest

from tests.cases.conftest import Command, all_cases, kinds
from tests.faults_receive.conftest import Inbox, inbox
from wallet import crashpoints
from wallet.deposits.arrivals import approve, arrivals, propose
from wallet.errors import InvalidState, NotFound
from wallet.onchain import tokens
from wallet.testing.operators import as_operator
from wallet.testing.seam import Seam

__all__ = ["inbox"]
USDC = 10**6


class Cut(BaseException):
    """The process dies here."""


async def halted(seam: Seam) -> None:
    async with seam.db.transaction() as session:
        await tokens.halt_token(session, network="local", asset="USDC", reason="it lies")


async def test_a_quarantined_deposit_waits_for_a_person(inbox: Inbox, bifold: Command) -> None:
    seam = inbox.seam
    await halted(seam)
    await seam.pay_in(inbox.address, "3", "USDC")
    await seam.arrive()
    [row] = await seam.rows("SELECT id, tx_hash, status FROM deposits WHERE principal_id = :id",
                            id=inbox.ada)  # fmt: skip
    assert row.status == "quarantined"
    [_, one] = await all_cases(seam.db)
    assert (one.kind, one.subject, one.status) == ("deposit_quarantined", row.id, "open")
    assert (
        one.evidence["amount_minor"] == str(3 * USDC) and one.evidence["reason"] == "token_halted"
    )
    assert (one.evidence["tx_hash"], one.evidence["principal_id"]) == (row.tx_hash, inbox.ada)
    await bifold("chain", "resume-token", "local", "USDC", "--by", "bea")
    assert [status for _, _, status in await kinds(seam.db)] == ["closed", "open"]
    await bifold("cases", "close", one.id, "--by", "ada", "--note", "sent back by hand")
    assert [status for _, _, status in await kinds(seam.db)] == ["closed", "closed"]


async def test_a_person_halts_a_token_that_is_listed(
    seam: Seam, bifold: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    halt = ("chain", "halt-token", "local")
    for asset in ("ETH", "EURC"):
        with pytest.raises(NotFound):
            await bifold(*halt, asset, "--reason", "it lies", "--by", "ada")
    assert await bifold(*halt, "USDC", "--reason", "it lies", "--by", "ada") == 0
    assert "USDC on local is neither credited nor sent." in capsys.readouterr().out
    async with seam.db.transaction() as session:
        assert await tokens.halted(session, "local") == {"USDC": "it lies (ada)"}
    await bifold("chain", "resume-token", "local", "USDC", "--by", "ben")
    assert [status for _, _, status in await kinds(seam.db)] == ["closed"]


async def test_a_block_that_is_not_stored_leaves_no_case(inbox: Inbox) -> None:
    seam = inbox.seam
    await halted(seam)
    await seam.pay_in(inbox.address, "3", "USDC")
    await seam.observer.tick()

    def die(name: str) -> None:
        if name == "scanner.before_commit_block":
            raise Cut(name)

    crashpoints.install(die)
    try:
        for _ in range(2):
            with pytest.raises(Cut):
                await seam.scanner.tick()
    finally:
        crashpoints.install(None)
    assert [kind for kind, _, _ in await kinds(seam.db)] == ["token_halted"]
    await seam.scanner.tick()
    await seam.finish()
    assert [kind for kind, _, _ in await kinds(seam.db)] == ["token_halted", "deposit_quarantined"]


async def test_what_a_reorganisation_takes_away_needs_nobody(inbox: Inbox) -> None:
    seam = inbox.seam
    await halted(seam)
    await seam.pay_in(inbox.address, "3", "USDC")
    await seam.pass_once()
    assert [status for _, _, status in await kinds(seam.db)] == ["open", "open"]
    await seam.dev.reorg(1)
    await seam.dev.mine(1)
    await seam.pass_once()
    await seam.pass_once()
    [_, one] = await all_cases(seam.db)
    assert (one.status, one.closed_by) == ("closed", "bifold")


async def test_a_closed_account_is_a_case(inbox: Inbox) -> None:
    """The coins are in the books; whose they are is for a person."""
    seam = inbox.seam
    await seam.pay_in(inbox.address, "3", "USDC")
    await seam.arrive()
    await seam.rows(
        "SELECT ledger_set_status(id, 'closed') FROM accounts WHERE principal_id = :p", p=inbox.ada
    )
    assert await kinds(seam.db) == []
    await seam.pay_in(inbox.address, "2", "USDC")
    await seam.arrive()
    [one] = await all_cases(seam.db)
    assert (one.kind, one.status) == ("deposit_quarantined", "open")
    assert one.evidence["reason"] == "account_closed" and "account is closed" in one.what


async def test_coins_that_left_without_us_are_a_case(inbox: Inbox) -> None:
    """Found again and again while they are missing, it stays one."""
    seam = inbox.seam
    await seam.pay_in(inbox.address, "1", "ETH")
    await seam.arrive()
    await inbox.finder.tick()
    assert await kinds(seam.db) == []
    await seam.node("anvil_setBalance", inbox.address, hex(10**17))
    await seam.finish()
    for _ in range(3):
        await inbox.finder.tick()
    [one] = await all_cases(seam.db)
    assert (one.kind, one.severity) == ("deposit_shortfall", "critical")
    assert one.subject == f"local/{inbox.address}/ETH"
    assert one.evidence["missing_minor"] == str(9 * 10**17)


async def test_value_without_a_transfer_is_a_case_until_it_is_assigned(
    inbox: Inbox, bifold: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    seam = inbox.seam
    payer = await inbox.deploy("InnerPayments")
    done = await inbox.call(payer, "pay(address)", inbox.address, wei=777)
    await seam.finish()
    for _ in range(2):
        await inbox.finder.tick()
    async with seam.db.transaction() as session:
        [found] = await arrivals(session, seam.assets)
    assert await kinds(seam.db) == [("deposit_unattributed", found.id, "open")]
    capsys.readouterr()
    assert await bifold("cases", "list", "--json") == 1
    [document] = json.loads(capsys.readouterr().out)
    assert document["evidence"]["amount_minor"] == "777"
    with pytest.raises(InvalidState, match="bifold deposits approve"):
        await bifold("cases", "close", document["id"], "--by", "ada", "--note", "dust")
    async with as_operator(seam.db) as session:
        await propose(
            session, arrival_id=found.id, principal_id=inbox.ada, tx_hash=done.tx_hash,
            by="al", assets=seam.assets,
        )  # fmt: skip
    async with as_operator(seam.db) as session:
        await approve(
            session, arrival_id=found.id, principal_id=inbox.ada, by="bea", assets=seam.assets
        )
    [one] = await all_cases(seam.db)
    assert (one.status, one.closed_by) == ("closed", "bea") and inbox.ada in str(one.closing_note)
