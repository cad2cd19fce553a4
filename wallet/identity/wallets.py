"""Browser wallets of people: a nonce, a signed message, an address that belongs to one person."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.address import checked
from chain.errors import InvalidAddress
from chain.rpc import Rpc
from keys.personal import recover_personal
from wallet.db import Database
from wallet.errors import NotFound, WalletError
from wallet.identity.contracts import MAX_SIGNATURE_BYTES, signed_by_contract
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
MAX_SIGNATURE_CHARS = 2 + 2 * MAX_SIGNATURE_BYTES
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


class WalletTaken(WalletError):
    """The address is linked to somebody, or this person has too many."""

    code = "wallet_taken"


@dataclass(frozen=True, slots=True)
class Site:
    """This service as browsers know it: `https://host[:port]`, and the chains it serves by id."""

    base_url: str
    rpcs: Mapping[int, Rpc]

    @property
    def chain_ids(self) -> frozenset[int]:
        """The chains a message may name."""
        return frozenset(self.rpcs)

    @property
    def domain(self) -> str:
        """Host and, where it is not the usual one, port."""
        return urlsplit(self.base_url).netloc


@dataclass(frozen=True, slots=True)
class LinkedWallet:
    """An address (EIP-55) with which its owner signs in.

    `chain_id`: it is a contract, on this chain alone; None: a key, whatever the chain.
    """

    address: str
    linked_at: datetime
    chain_id: int | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """A message of ours that its address signed just now; `chain_id` as in LinkedWallet.

    Made by `prove` alone. Its nonce is still to be used up, by `sign_in` or `link`.
    """

    message: SiweMessage
    purpose: Purpose
    chain_id: int | None


def browser_of(secret: str) -> bytes:
    """What a message is bound to: 32 bytes that tell nothing of the cookie they come from."""
    return hashlib.sha256(b"bifold siwe browser " + secret.encode()).digest()


async def ask(
    session: AsyncSession, *, site: Site, address: str, purpose: Purpose,
    principal_id: str | None = None, chain_id: int | None = None, browser: bytes | None = None,
) -> SiweMessage:  # fmt: skip
    """A message to be signed within five minutes. A `link` belongs to `principal_id` alone.

    With `browser` it comes back from that browser or opens nothing; without, over the API.

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
            "INSERT INTO siwe_nonces (nonce, purpose, principal_id, expires_at, browser)"
            " VALUES (:nonce, :purpose, :principal, :expires, :browser)"
        ),
        {
            "nonce": message.nonce, "purpose": purpose, "principal": principal_id,
            "expires": message.expires_at, "browser": browser,
        },
    )  # fmt: skip
    await session.execute(
        text("DELETE FROM siwe_nonces WHERE expires_at < clock_timestamp() - interval '1 day'")
    )
    return message


async def prove(
    db: Database, *, site: Site, message: str, signature: str, purpose: Purpose,
    principal_id: str | None = None, browser: bytes | None = None,
) -> Proof:  # fmt: skip
    """That the address in `message` signed it: by its key, else as a contract on the named chain.

    Outside any transaction: the second asks a node, and only for a message that is still open here.
    Raises InvalidSiwe (the message), InvalidCredentials, ContractSilent.
    """
    asked = parse(message)
    demand(
        asked, domain=site.domain, uri=site.base_url, statement=STATEMENTS[purpose],
        chain_ids=set(site.chain_ids), now=datetime.now(UTC),
    )  # fmt: skip
    if recover_personal(message, signature) == asked.address:
        return Proof(asked, purpose, None)
    async with db.snapshot() as session:
        known = await session.scalar(
            text("SELECT 1 FROM siwe_nonces WHERE" + _OPEN),
            _open(asked, purpose, principal_id, browser),
        )
    rpc = site.rpcs[asked.chain_id]
    if known is None or not await signed_by_contract(
        rpc, address=asked.address, message=message, signature=signature
    ):
        raise _refused()
    return Proof(asked, purpose, asked.chain_id)


async def sign_in(session: AsyncSession, *, proof: Proof, browser: bytes | None = None) -> User:
    """The person whose wallet signed this message just now.

    Raises InvalidCredentials: a nonce that is used, unknown or another browser's, or an address
    that is linked to nobody in this way; told alike.
    """
    if proof.purpose != "sign_in" or not await _take_nonce(session, proof, None, browser):
        raise _refused()
    linked = (
        await session.execute(
            text("SELECT principal_id, chain_id FROM linked_wallets WHERE address = :address"),
            {"address": proof.message.address},
        )
    ).one_or_none()
    if linked is None or linked.chain_id != proof.chain_id:
        raise _refused()
    return await get_user(session, linked.principal_id)


async def link(
    session: AsyncSession, *, principal_id: str, proof: Proof, browser: bytes | None = None
) -> LinkedWallet:
    """The address signs this person in from now on. Again changes nothing.

    Raises InvalidCredentials, WalletTaken.
    """
    if proof.purpose != "link" or not await _take_nonce(session, proof, principal_id, browser):
        raise _refused()
    asked = proof.message
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
                "INSERT INTO linked_wallets (address, principal_id, chain_id)"
                " VALUES (:address, :principal, :chain)"
                " ON CONFLICT (address) DO NOTHING RETURNING linked_at"
            ),
            {"address": asked.address, "principal": principal_id, "chain": proof.chain_id},
        )
    ).one_or_none()
    if row is None:
        raise WalletTaken("This address is linked to another account.")
    return LinkedWallet(asked.address, row.linked_at, proof.chain_id)


async def wallets(session: AsyncSession, *, principal_id: str) -> list[LinkedWallet]:
    """Newest first."""
    rows = await session.execute(
        text(
            "SELECT address, linked_at, chain_id FROM linked_wallets"
            " WHERE principal_id = :principal ORDER BY linked_at DESC, address"
        ),
        {"principal": principal_id},
    )
    return [LinkedWallet(row.address, row.linked_at, row.chain_id) for row in rows]


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


_OPEN = (
    " nonce = :nonce AND purpose = :purpose AND principal_id IS NOT DISTINCT FROM :principal"
    " AND browser IS NOT DISTINCT FROM :browser"
    " AND used_at IS NULL AND expires_at > clock_timestamp()"
)


def _open(
    asked: SiweMessage, purpose: Purpose, principal_id: str | None, browser: bytes | None
) -> dict[str, object]:
    return {
        "nonce": asked.nonce, "purpose": purpose, "principal": principal_id, "browser": browser,
    }  # fmt: skip


async def _take_nonce(
    session: AsyncSession, proof: Proof, principal_id: str | None, browser: bytes | None
) -> bool:
    """Use the nonce up. False when it is not ours, was used, is too old or somebody else's."""
    taken = await session.scalar(
        text(f"UPDATE siwe_nonces SET used_at = clock_timestamp() WHERE{_OPEN} RETURNING 1"),
        _open(proof.message, proof.purpose, principal_id, browser),
    )
    return taken is not None


def _refused() -> InvalidCredentials:
    return InvalidCredentials("This signature opens nothing here.")
