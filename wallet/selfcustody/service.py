"""What a person does with own accounts: make or import one, look, pay out of it, take it out as a
key file, forget it.

Everything secret travels in boxes sealed by the browser for the signer. Here they are only kept for
the worker, and forgotten with its answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from chain.registry import Network
from wallet.errors import InvalidField, NotFound
from wallet.ids import new_id
from wallet.money import AssetBook, Money
from wallet.selfcustody.errors import SelfCustodyAway, SendOpen, TooManyAccounts

MAX_ACCOUNTS = 20
MAX_LABEL = 60
KEY_SECONDS = 15.0
"""The key is told anew every second; an older one is a signer that went away."""
Purpose = Literal["create", "import", "grant", "export"]


@dataclass(frozen=True, slots=True)
class Account:
    """An own account. `path` is where common wallets find it; None: it came as a key file."""

    id: str
    label: str
    address: str
    path: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AskDraft:
    """A question to the signer; `nonce` is bound into the box, with purpose and person."""

    purpose: Purpose
    nonce: str
    box: Mapping[str, str]
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """How a question stands. `reply` is sealed for the browser that asked."""

    id: str
    purpose: str
    state: str
    reason: str | None
    account_id: str | None
    reply: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class SendDraft:
    """A payment to be granted; `max_fee_wei` bounds gas × price."""

    account_id: str
    network: str
    money: Money
    to_address: str
    max_fee_wei: int
    nonce: str
    box: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Send:
    """A payment out of an own account."""

    id: str
    account_id: str
    network: str
    money: Money
    to_address: str
    max_fee_wei: int
    state: str
    reason: str | None
    tx_hash: str | None
    mined_block: int | None
    gas_fee_wei: int | None
    created_at: datetime


async def public_key(session: AsyncSession) -> str:
    """The signer's public key, 32 bytes in hex. Raises SelfCustodyAway."""
    found: str | None = await session.scalar(
        text(
            "SELECT public_key FROM selfcustody_key"
            " WHERE seen_at > clock_timestamp() - make_interval(secs => :age)"
        ),
        {"age": KEY_SECONDS},
    )
    if found is None:
        raise SelfCustodyAway("Own accounts cannot be used now; try again later.")
    return found


async def accounts(session: AsyncSession, *, principal_id: str) -> list[Account]:
    """Newest first."""
    rows = await session.execute(
        text(
            "SELECT id, label, address, nullif(sealed ->> 'path', '') AS path, created_at"
            " FROM selfcustody_accounts WHERE principal_id = :principal AND removed_at IS NULL"
            " ORDER BY created_at DESC, id DESC"
        ),
        {"principal": principal_id},
    )
    return [Account(r.id, r.label, r.address, r.path, r.created_at) for r in rows]


async def ask(session: AsyncSession, *, principal_id: str, draft: AskDraft) -> str:
    """Make or import an account: keep the question for the worker; its id. Raises SelfCustodyAway,
    TooManyAccounts, InvalidField (a nonce used before, a label too long)."""
    await public_key(session)
    held = await accounts(session, principal_id=principal_id)
    if len(held) >= MAX_ACCOUNTS:
        raise TooManyAccounts(f"At most {MAX_ACCOUNTS} own accounts.")
    if not draft.label or len(draft.label) > MAX_LABEL:
        raise InvalidField(f"1 to {MAX_LABEL} characters.", field="/label")
    return await _insert_request(session, principal_id, draft, account_id=None)


async def ask_export(
    session: AsyncSession,
    *,
    principal_id: str,
    account_id: str,
    nonce: str,
    box: Mapping[str, str],
) -> str:
    """Ask for an account as a key file; the id of the question. Raises NotFound, SelfCustodyAway,
    InvalidField."""
    await public_key(session)
    await _require_account(session, principal_id, account_id)
    return await _insert_request(
        session, principal_id, AskDraft("export", nonce, box), account_id=account_id
    )


async def get_request(session: AsyncSession, *, principal_id: str, request_id: str) -> Request:
    """Raises NotFound."""
    row = (
        await session.execute(
            text(
                "SELECT id, purpose, state, reason, account_id, reply FROM selfcustody_requests"
                " WHERE id = :id AND principal_id = :principal"
            ),
            {"id": request_id, "principal": principal_id},
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such request.")
    return Request(row.id, row.purpose, row.state, row.reason, row.account_id, row.reply)


async def remove(session: AsyncSession, *, principal_id: str, account_id: str) -> None:
    """Forget an account here; its owner's words keep it. Raises NotFound."""
    done = await session.scalar(
        text(
            "UPDATE selfcustody_accounts SET removed_at = clock_timestamp()"
            " WHERE id = :id AND principal_id = :principal AND removed_at IS NULL RETURNING 1"
        ),
        {"id": account_id, "principal": principal_id},
    )
    if done is None:
        raise NotFound("There is no such account.")


async def begin_send(
    session: AsyncSession,
    *,
    principal_id: str,
    draft: SendDraft,
    networks: Mapping[str, Network],
    assets: AssetBook,
) -> Send:
    """Promise a payment whose grant lies in the box; the worker does the rest.

    Raises NotFound, InvalidField, SelfCustodyAway, SendOpen.
    """
    await public_key(session)
    network = networks.get(draft.network)
    code = draft.money.asset.code
    if network is None or (code != network.native_asset and network.token(code) is None):
        raise InvalidField("That network does not carry this asset.", field="/network")
    await _require_account(session, principal_id, draft.account_id)
    request_id = await _insert_request(
        session,
        principal_id,
        AskDraft("grant", draft.nonce, draft.box),
        account_id=draft.account_id,
    )
    send_id = new_id("scs")
    try:
        async with session.begin_nested():
            await session.execute(
                text(
                    "INSERT INTO selfcustody_sends (id, principal_id, account_id, request_id,"
                    " network, asset, to_address, amount_minor, max_fee_wei) VALUES (:id,"
                    " :principal, :account, :request, :network, :asset, :to, :minor, :fee)"
                ),
                {
                    "id": send_id, "principal": principal_id, "account": draft.account_id,
                    "request": request_id, "network": draft.network, "asset": code,
                    "to": draft.to_address, "minor": draft.money.minor,
                    "fee": draft.max_fee_wei,
                },
            )  # fmt: skip
    except IntegrityError:
        raise SendOpen("An earlier payment of this account has not ended yet.") from None
    return await get_send(session, principal_id=principal_id, send_id=send_id, assets=assets)


async def get_send(
    session: AsyncSession, *, principal_id: str, send_id: str, assets: AssetBook
) -> Send:
    """Raises NotFound."""
    rows = await _sends(session, "id = :id AND", principal_id, assets, {"id": send_id})
    if not rows:
        raise NotFound("There is no such payment.")
    return rows[0]


async def sends(session: AsyncSession, *, principal_id: str, assets: AssetBook) -> list[Send]:
    """The newest fifty."""
    return await _sends(session, "", principal_id, assets, {})


async def _sends(
    session: AsyncSession,
    where: str,
    principal_id: str,
    assets: AssetBook,
    values: Mapping[str, str],
) -> list[Send]:
    rows = await session.execute(
        text(
            f"SELECT * FROM selfcustody_sends WHERE {where} principal_id = :principal"
            " ORDER BY created_at DESC, id DESC LIMIT 50"
        ),
        {**values, "principal": principal_id},
    )
    return [_send(row, assets) for row in rows]


async def _require_account(session: AsyncSession, principal_id: str, account_id: str) -> None:
    known = await session.scalar(
        text(
            "SELECT 1 FROM selfcustody_accounts"
            " WHERE id = :id AND principal_id = :principal AND removed_at IS NULL"
        ),
        {"id": account_id, "principal": principal_id},
    )
    if known is None:
        raise NotFound("There is no such account.")


async def _insert_request(
    session: AsyncSession, principal_id: str, draft: AskDraft, *, account_id: str | None
) -> str:
    request_id = new_id("scr")
    made = await session.scalar(
        text(
            "INSERT INTO selfcustody_requests (id, principal_id, nonce, purpose, label, account_id,"
            " box) VALUES (:id, :principal, :nonce, :purpose, :label, :account,"
            " CAST(:box AS jsonb)) ON CONFLICT (principal_id, nonce) DO NOTHING RETURNING id"
        ),
        {
            "id": request_id, "principal": principal_id, "nonce": draft.nonce,
            "purpose": draft.purpose, "label": draft.label, "account": account_id,
            "box": json.dumps(dict(draft.box)),
        },
    )  # fmt: skip
    if made is None:
        raise InvalidField("This nonce was used before.", field="/nonce")
    return request_id


def _send(row: Any, assets: AssetBook) -> Send:
    return Send(
        row.id,
        row.account_id,
        row.network,
        assets.money(row.asset, int(row.amount_minor)),
        row.to_address,
        int(row.max_fee_wei),
        row.state,
        row.reason,
        row.tx_hash,
        row.mined_block,
        None if row.gas_fee_wei is None else int(row.gas_fee_wei),
        row.created_at,
    )


__all__: Sequence[str] = (
    "MAX_ACCOUNTS", "Account", "AskDraft", "Request", "Send", "SendDraft", "accounts", "ask",
    "ask_export", "begin_send", "get_request", "get_send", "public_key", "remove", "sends",
)  # fmt: skip
