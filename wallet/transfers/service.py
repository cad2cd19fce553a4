"""The transfer flow: one `ledger_post` carries postings, the transfer row and its notices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import clock, ledger
from wallet.crashpoints import hit
from wallet.errors import NotFound, SelfTransfer, WalletError
from wallet.group_batch import Cursor, Prepared
from wallet.identity.lookup import People, Person, ask_people, people
from wallet.identity.users import User, find_recipient, get_user, nobody
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.money import AssetBook, Money
from wallet.notes import clean_note
from wallet.outbox import Notice


@dataclass(frozen=True, slots=True)
class Transfer:
    """A completed transfer."""

    id: str
    payer: Person
    payee: Person
    money: Money
    note: str | None
    created_at: datetime
    status: str = "completed"


async def create(
    session: AsyncSession, *, payer_id: str, to: str, money: Money, note: str | None
) -> Transfer:
    """Move `money` now.

    Raises RecipientNotFound, SelfTransfer, InsufficientFunds, AccountFrozen, AccountClosed,
    InvalidField.
    """
    payee = await find_recipient(session, to)
    payer = await get_user(session, payer_id)
    made = _made(_party(payer), _party(payee), money, note, await clock.now(session))
    await ledger.post(session, _command(made))
    hit("transfer.posted")
    return made


@dataclass(frozen=True, slots=True)
class Wanted:
    """A transfer as somebody asks for it."""

    payer_id: str
    to: str
    money: Money
    note: str | None


class Flow:
    """Transfers by group commit. Their refusals are those of `create`."""

    after = None  # the transfer's row is part of its command

    async def look(self, hot: ledger.Hot, asked: Sequence[Wanted]) -> Cursor:
        """See `wallet.group_commit`."""
        return await ask_people(
            hot, ids={one.payer_id for one in asked}, names={one.to for one in asked}
        )

    async def prepare(
        self, looked: Cursor, now: datetime, asked: Sequence[Wanted]
    ) -> list[Prepared[Transfer] | WalletError | None]:
        """See `wallet.group_commit`."""
        known = await people(looked)
        return [_prepared(known, one, now) for one in asked]


def _prepared(known: People, asked: Wanted, now: datetime) -> Prepared[Transfer] | WalletError:
    payer, payee = known.by_id(asked.payer_id), known.named(asked.to)
    if payee is None:
        return nobody()
    if payer is None:
        return NotFound("There is no such person.")
    try:
        made = _made(payer, payee, asked.money, asked.note, now)
    except WalletError as refusal:
        return refusal
    return Prepared(_command(made), made)


def _made(
    payer: Person, payee: Person, money: Money, note: str | None, created_at: datetime
) -> Transfer:
    if payee.id == payer.id:
        raise SelfTransfer("You cannot send to yourself.", field="/to")
    return Transfer(new_id("trf"), payer, payee, money, clean_note(note), created_at)


def _command(made: Transfer) -> ledger.Command:
    money, asset = made.money, made.money.asset.code
    about = {
        "transfer_id": made.id,
        "money": money.json(),
        "from": f"@{made.payer.handle}",
        "to": f"@{made.payee.handle}",
    }
    return ledger.Command(
        kind="transfer",
        ref=made.id,
        event_at=made.created_at,
        lines=[
            ledger.Line(accounts.customer(made.payer.id, asset), Money(-money.minor, money.asset)),
            ledger.Line(accounts.customer(made.payee.id, asset), money),
        ],
        transfer={
            "id": made.id,
            "payer_id": made.payer.id,
            "payee_id": made.payee.id,
            "asset": asset,
            "amount_minor": str(money.minor),
            "note": made.note,
            "created_at": made.created_at.isoformat(),
        },
        notices=[
            Notice(made.payer.id, "transfer.completed", made.id, {**about, "direction": "out"}),
            Notice(made.payee.id, "transfer.completed", made.id, {**about, "direction": "in"}),
        ],
    )


async def get(
    session: AsyncSession, *, principal_id: str, transfer_id: str, assets: AssetBook
) -> Transfer:
    """One transfer that this principal took part in. Raises NotFound."""
    row = (
        await session.execute(
            text(_SELECT + " WHERE t.id = :id AND :principal IN (t.payer_id, t.payee_id)"),
            {"id": transfer_id, "principal": principal_id},
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such transfer.")
    return _transfer(row, assets)


async def page(
    session: AsyncSession,
    *,
    principal_id: str,
    limit: int,
    cursor: tuple[datetime, str] | None,
    assets: AssetBook,
) -> list[Transfer]:
    """Newest first, `limit + 1` rows at most, so that the caller sees whether there are more."""
    rows = await session.execute(
        text(
            _SELECT + " WHERE (t.payer_id = :principal OR t.payee_id = :principal)"
            " AND (CAST(:at AS timestamptz) IS NULL OR (t.created_at, t.id) < (:at, :id))"
            " ORDER BY t.created_at DESC, t.id DESC LIMIT :limit"
        ),
        {
            "principal": principal_id,
            "limit": limit + 1,
            "at": cursor[0] if cursor else None,
            "id": cursor[1] if cursor else None,
        },
    )
    return [_transfer(row, assets) for row in rows]


_SELECT = (
    "SELECT t.*, a.handle AS payer_handle, a.display_name AS payer_name, b.handle AS payee_handle,"
    " b.display_name AS payee_name FROM transfers t"
    " JOIN users a ON a.id = t.payer_id JOIN users b ON b.id = t.payee_id"
)


def _party(user: User) -> Person:
    return Person(user.id, user.handle, user.display_name)


def _transfer(row: object, assets: AssetBook) -> Transfer:
    r = row._mapping  # type: ignore[attr-defined]
    return Transfer(
        id=r["id"],
        payer=Person(r["payer_id"], r["payer_handle"], r["payer_name"]),
        payee=Person(r["payee_id"], r["payee_handle"], r["payee_name"]),
        money=assets.money(r["asset"], int(r["amount_minor"])),
        note=r["note"],
        created_at=r["created_at"],
    )
