"""The transfer flow: one `ledger_post` carries postings, the transfer row and its notices."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import clock, ledger
from wallet.crashpoints import hit
from wallet.errors import InvalidField, NotFound, WalletError
from wallet.identity.users import User, find_recipient, get_user
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.money import AssetBook, Money
from wallet.outbox import Notice

MAX_NOTE = 200
# Embeddings, overrides and isolates: with them a note shows other words, or amounts, than it has.
REORDERING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


class SelfTransfer(WalletError):
    """Payer and payee are one."""

    code = "self_transfer"


@dataclass(frozen=True, slots=True)
class Party:
    """A person as the other side sees them."""

    id: str
    handle: str
    display_name: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """A completed transfer."""

    id: str
    payer: Party
    payee: Party
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
    if payee.id == payer_id:
        raise SelfTransfer("You cannot send to yourself.", field="/to")
    payer = await get_user(session, payer_id)
    transfer_id = new_id("trf")
    created_at = await clock.now(session)
    words = clean_note(note)
    asset = money.asset.code
    about = {
        "transfer_id": transfer_id,
        "money": money.json(),
        "from": f"@{payer.handle}",
        "to": f"@{payee.handle}",
    }
    await ledger.post(
        session,
        ledger.Command(
            kind="transfer",
            ref=transfer_id,
            event_at=created_at,
            lines=[
                ledger.Line(accounts.customer(payer_id, asset), Money(-money.minor, money.asset)),
                ledger.Line(accounts.customer(payee.id, asset), money),
            ],
            transfer={
                "id": transfer_id,
                "payer_id": payer_id,
                "payee_id": payee.id,
                "asset": asset,
                "amount_minor": str(money.minor),
                "note": words,
                "created_at": created_at.isoformat(),
            },
            notices=[
                Notice(payer_id, "transfer.completed", transfer_id, {**about, "direction": "out"}),
                Notice(payee.id, "transfer.completed", transfer_id, {**about, "direction": "in"}),
            ],
        ),
    )
    hit("transfer.posted")
    return Transfer(transfer_id, _party(payer), _party(payee), money, words, created_at)


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


def clean_note(note: str | None) -> str | None:
    """One line of visible text, or None. Raises InvalidField."""
    if note is None:
        return None
    cleaned = " ".join(unicodedata.normalize("NFC", note).split())
    if len(cleaned) > MAX_NOTE or any(
        unicodedata.category(c) in {"Cc", "Cs"} or unicodedata.bidirectional(c) in REORDERING
        for c in cleaned
    ):
        raise InvalidField(f"A note of at most {MAX_NOTE} visible characters.", field="/note")
    return cleaned or None


def _party(user: User) -> Party:
    return Party(user.id, user.handle, user.display_name)


def _transfer(row: object, assets: AssetBook) -> Transfer:
    r = row._mapping  # type: ignore[attr-defined]
    return Transfer(
        id=r["id"],
        payer=Party(r["payer_id"], r["payer_handle"], r["payer_name"]),
        payee=Party(r["payee_id"], r["payee_handle"], r["payee_name"]),
        money=assets.money(r["asset"], int(r["amount_minor"])),
        note=r["note"],
        created_at=r["created_at"],
    )
