"""Browser wallets of people: a nonce, a signed message, an address that belongs to one person."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.address import checked
from chain.errors import InvalidAddress
from chain.personal import recover_personal
from wallet.errors import NotFound, WalletError
from wallet.identity.errors import InvalidCredentials
from wallet.identity.siwe import InvalidSiwe, SiweMessage, demand, parse
from wallet.identity.users import User, get_user

Purpose = Literal["sign_in", "link"]
LIVES = timedelta(minutes=5)
STATEMENTS: dict[Purpose, str] = {
    "sign_in": "Sign in to Bifold. This moves no money.",
    "link": "Link this address to your Bifold account, to sign in with it. This moves no money.",
}
MAX_WALLETS = 10
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


class WalletTaken(WalletError):
    """The address is linked to somebody, or this person has too many."""

    code = "wallet_taken"


@dataclass(frozen=True, slots=True)
class Site:
    """This service as browsers know it: `https://host[:port]`, and the chains it serves."""

    base_url: str
    chain_ids: frozenset[int]

    @property
    def domain(self) -> str:
        """Host and, where it is not the usual one, port."""
        return urlsplit(self.base_url).netloc


@dataclass(frozen=True, slots=True)
class LinkedWallet:
    """An address (EIP-55) with which its owner signs in."""

    address: str
    linked_at: datetime


async def ask(
    session: AsyncSession, *, site: Site, address: str, purpose: Purpose,
    principal_id: str | None = None, chain_id: int | None = None,
) -> SiweMessage:  # fmt: skip
    """A message to be signed within five minutes. A `link` belongs to `principal_id` alone.

    Raises InvalidSiwe for an address or a chain that cannot be.
    """
    try:
        canonical = checked(address)
    except InvalidAddress as error:
        raise InvalidSiwe(str(error), field="/address") from None
    chain = chain_id if chain_id is not None else min(site.chain_ids, default=0)
    if chain not in site.chain_ids:
        raise InvalidSiwe("This chain is not served here.", field="/chain_id")
    now = datetime.now(UTC).replace(microsecond=0)
    message = SiweMessage(
        domain=site.domain, address=canonical, statement=STATEMENTS[purpose], uri=site.base_url,
        chain_id=chain, nonce=secrets.token_hex(16), issued_at=now, expires_at=now + LIVES,
    )  # fmt: skip
    await session.execute(
        text(
            "INSERT INTO siwe_nonces (nonce, purpose, principal_id, expires_at)"
            " VALUES (:nonce, :purpose, :principal, :expires)"
        ),
        {
            "nonce": message.nonce, "purpose": purpose, "principal": principal_id,
            "expires": message.expires_at,
        },
    )  # fmt: skip
    await session.execute(
        text("DELETE FROM siwe_nonces WHERE expires_at < clock_timestamp() - interval '1 day'")
    )
    return message


async def sign_in(session: AsyncSession, *, site: Site, message: str, signature: str) -> User:
    """The person whose wallet signed this message just now.

    Raises InvalidSiwe (the message), InvalidCredentials (signature, nonce used or unknown, or an
    address that is linked to nobody: told alike).
    """
    asked = _verified(message, signature, site, "sign_in")
    if not await _take_nonce(session, asked, "sign_in", None):
        raise _refused()
    owner = await session.scalar(
        text("SELECT principal_id FROM linked_wallets WHERE address = :address"),
        {"address": asked.address},
    )
    if owner is None:
        raise _refused()
    return await get_user(session, owner)


async def link(
    session: AsyncSession, *, principal_id: str, site: Site, message: str, signature: str
) -> LinkedWallet:
    """The address signs this person in from now on. Again changes nothing.

    Raises InvalidSiwe, InvalidCredentials, WalletTaken.
    """
    asked = _verified(message, signature, site, "link")
    if not await _take_nonce(session, asked, "link", principal_id):
        raise _refused()
    await session.execute(
        text("SELECT 1 FROM principals WHERE id = :id FOR UPDATE"), {"id": principal_id}
    )
    mine = await wallets(session, principal_id=principal_id)
    known = next((one for one in mine if one.address == asked.address), None)
    if known is not None:
        return known
    if len(mine) >= MAX_WALLETS:
        raise WalletTaken(f"You have {MAX_WALLETS} linked addresses; remove one first.")
    row = (
        await session.execute(
            text(
                "INSERT INTO linked_wallets (address, principal_id) VALUES (:address, :principal)"
                " ON CONFLICT (address) DO NOTHING RETURNING linked_at"
            ),
            {"address": asked.address, "principal": principal_id},
        )
    ).one_or_none()
    if row is None:
        raise WalletTaken("This address is linked to another account.")
    return LinkedWallet(asked.address, row.linked_at)


async def wallets(session: AsyncSession, *, principal_id: str) -> list[LinkedWallet]:
    """Newest first."""
    rows = await session.execute(
        text(
            "SELECT address, linked_at FROM linked_wallets WHERE principal_id = :principal"
            " ORDER BY linked_at DESC, address"
        ),
        {"principal": principal_id},
    )
    return [LinkedWallet(row.address, row.linked_at) for row in rows]


async def unlink(session: AsyncSession, *, principal_id: str, address: str) -> None:
    """It opens nothing any more. Raises NotFound."""
    if not _ADDRESS.fullmatch(address):
        raise NotFound("This address is not linked to your account.")
    gone = await session.execute(
        text(
            "DELETE FROM linked_wallets WHERE principal_id = :principal"
            " AND lower(address) = lower(:address) RETURNING 1"
        ),
        {"principal": principal_id, "address": address},
    )
    if gone.one_or_none() is None:
        raise NotFound("This address is not linked to your account.")


def _verified(message: str, signature: str, site: Site, purpose: Purpose) -> SiweMessage:
    """The message, if it is ours, of now, and signed by the address it names."""
    asked = parse(message)
    demand(
        asked, domain=site.domain, uri=site.base_url, statement=STATEMENTS[purpose],
        chain_ids=set(site.chain_ids), now=datetime.now(UTC),
    )  # fmt: skip
    if recover_personal(message, signature) != asked.address:
        raise _refused()
    return asked


async def _take_nonce(
    session: AsyncSession, asked: SiweMessage, purpose: Purpose, principal_id: str | None
) -> bool:
    """Use the nonce up. False when it is not ours, was used, is too old or somebody else's."""
    taken = await session.scalar(
        text(
            "UPDATE siwe_nonces SET used_at = clock_timestamp() WHERE nonce = :nonce"
            " AND purpose = :purpose AND principal_id IS NOT DISTINCT FROM :principal"
            " AND used_at IS NULL AND expires_at > clock_timestamp() RETURNING 1"
        ),
        {"nonce": asked.nonce, "purpose": purpose, "principal": principal_id},
    )
    return taken is not None


def _refused() -> InvalidCredentials:
    return InvalidCredentials("This signature opens nothing here.")
