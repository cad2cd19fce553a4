"""What signs, seen from outside: the `Signer` protocol and its two carriers.

A signer takes the unsigned bytes of one EIP-1559 transaction and answers with the signed ones. It
decodes them itself, asks its own policy and its own journal, and trusts no caller's description.
`LocalSigner` runs in this process (tests); `RemoteSigner` speaks to the signer process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from keys.remote import RemoteSigner
from keys.request import Kind, SignedTx, SignRequest

if TYPE_CHECKING:  # the desk loads eth-account, which a process that only calls does not need
    from keys.desk import SigningDesk

__all__ = ["Kind", "LocalSigner", "RemoteSigner", "SignRequest", "SignedTx", "Signer"]


class Signer(Protocol):
    """Signs transactions of the hot accounts and names the house's public keys.

    Every method raises `SignerUnavailable` when there is no answer: then nothing is known, and the
    same call again is safe, because the same payload always signs to the same bytes.
    """

    async def hot_addresses(self) -> list[str]:
        """The EIP-55 addresses this signer signs for, in index order."""
        ...

    async def deposit_xpub(self) -> str:
        """The extended public key of the deposit account."""
        ...

    async def sign_transaction(
        self, *, address: str, payload: bytes, intent_id: str, kind: Kind
    ) -> SignedTx:
        """Sign `0x02 || rlp([chain_id, nonce, tip, cap, gas, to, value, data, access_list])`.

        `kind`: `pay` uses a fresh nonce; `bump` raises the fees of the same intent at its nonce;
        `cancel` is a transfer of 0 to oneself at the intent's nonce; `noop` fills a gap the same
        way. Raises `SignerRefused` (policy) or `NonceConflict` (journal); both are final answers.
        """
        ...


class LocalSigner:
    """A signer in this process: the same desk as the signer process, without the socket."""

    def __init__(self, desk: SigningDesk) -> None:
        self._desk = desk

    async def hot_addresses(self) -> list[str]:
        """See `Signer`."""
        return list(self._desk.hot_addresses)

    async def deposit_xpub(self) -> str:
        """See `Signer`."""
        return self._desk.deposit_xpub

    async def sign_transaction(
        self, *, address: str, payload: bytes, intent_id: str, kind: Kind
    ) -> SignedTx:
        """See `Signer`. Blocks the loop for one fsync and one signature."""
        request = SignRequest(address=address, payload=payload, intent_id=intent_id, kind=kind)
        admitted = self._desk.admit(request)
        self._desk.journal.flush()
        return self._desk.sign(admitted)
