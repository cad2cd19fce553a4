"""The entries of top-ups: what gateway or bank has is credited once, and taken back once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases, ledger, receivables
from wallet.ledger import accounts
from wallet.ledger.errors import AccountClosed
from wallet.money import Money
from wallet.topups import repository
from wallet.topups.service import notice

CLOSED = "The account was closed by then; the money is kept aside."
log = structlog.get_logger(__name__)


def movement(
    ours: ledger.AccountSpec, account: ledger.AccountSpec, money: Money
) -> list[ledger.Line]:
    """`money` onto what is ours (a debit), credited to `account`; negative is the way out."""
    return [ledger.Line(ours, Money(-money.minor, money.asset)), ledger.Line(account, money)]


async def post(session: AsyncSession, command: ledger.Command) -> str:
    """Post an entry; its id."""
    entry_id = await ledger.post(session, command)
    if entry_id is None:
        raise AssertionError("a top-up is never zero")
    return entry_id


async def credit(
    session: AsyncSession,
    row: RowMapping,
    money: Money,
    *,
    gateway: str,
    at: datetime,
    agreed: Mapping[str, Any] | None = None,
) -> str:
    """The gateway has the money: the customer's, or kept aside where their account is closed.

    `row` is locked and without a credit so far. `agreed`: who agreed, where the gateway's answer
    is not the reason. The entry's id.
    """
    ours = accounts.gateway(gateway, money.asset.code)
    theirs = accounts.customer(row["principal_id"], money.asset.code)
    told = notice(row["principal_id"], row["id"], money, row["method"], "succeeded")
    meta = {"gateway": gateway, "card_id": row["card_id"], **(agreed or {})}
    try:
        entry_id = await post(
            session,
            ledger.Command(
                kind="topup", ref=row["id"], event_at=at, meta=meta,
                lines=movement(ours, theirs, money), notices=[told],
            ),
        )  # fmt: skip
    except AccountClosed:
        return await _keep_aside(session, row, money, gateway=gateway, at=at, meta=meta)
    await repository.end(session, row, "succeeded", entry_id=entry_id)
    return entry_id


async def _keep_aside(
    session: AsyncSession,
    row: RowMapping,
    money: Money,
    *,
    gateway: str,
    at: datetime,
    meta: Mapping[str, Any],
) -> str:
    nobody = accounts.unattributed(gateway, money.asset.code)
    entry_id = await post(
        session,
        ledger.Command(
            kind="gateway.unattributed", ref=row["id"], event_at=at, meta=meta,
            lines=movement(accounts.gateway(gateway, money.asset.code), nobody, money),
        ),
    )  # fmt: skip
    await repository.keep_aside(session, row, entry_id=entry_id, reason=CLOSED)
    await cases.open_case(
        session,
        kind="topup_kept_aside",
        subject=row["id"],
        asset=money.asset.code,
        what=f"A card payment of {money} arrived for an account that is closed.",
        evidence={"amount_minor": str(money.minor), "principal": row["principal_id"]},
    )
    return entry_id


async def charge_back(
    session: AsyncSession,
    row: RowMapping,
    money: Money,
    *,
    gateway: str,
    at: datetime,
    agreed: Mapping[str, Any] | None = None,
) -> str:
    """The gateway took it back: what is there is taken, the rest is owed. `row` has its credit,
    `agreed` as in `credit`. The entry's id."""
    ours = accounts.gateway(gateway, money.asset.code)
    meta = {"gateway": gateway, "card_id": row["card_id"], **(agreed or {})}
    if row["kept_aside"]:
        nobody = accounts.unattributed(gateway, money.asset.code)
        entry_id = await post(
            session,
            ledger.Command(
                kind="topup_charged_back", ref=row["id"], event_at=at, meta=meta,
                lines=movement(ours, nobody, Money(-money.minor, money.asset)),
            ),
        )  # fmt: skip
        await repository.book_aside_back(session, row["id"], entry_id=entry_id)
        await look_below_zero(session, row["id"], nobody, money)
        return entry_id
    charged = await receivables.charge(
        session,
        principal_id=row["principal_id"],
        money=money,
        against=ours,
        kind="topup_charged_back",
        ref=row["id"],
        meta=meta,
        event_at=at,
        notices=[notice(row["principal_id"], row["id"], money, row["method"], "charged_back")],
    )
    await repository.end(session, row, "charged_back", charge_back_entry_id=charged.entry_id)
    log.warning("topup.charged_back", topup=row["id"], owed_minor=charged.owed_minor)
    return charged.entry_id


async def look_below_zero(
    session: AsyncSession, topup_id: str, nobody: ledger.AccountSpec, money: Money
) -> None:
    """A case where `money`, taken back from what was kept aside, is there no more: somebody was
    given it meanwhile, and keeps it."""
    left = await ledger.balance_of(session, nobody)
    if left < 0:
        await cases.open_case(
            session,
            kind="topup_in_doubt",
            subject=topup_id,
            asset=money.asset.code,
            what=f"A card payment of {money} was kept aside, given to somebody, and is taken"
            f" back: {nobody.path} is below zero.",
            evidence={"amount_minor": str(money.minor), "balance_minor": str(left)},
        )
