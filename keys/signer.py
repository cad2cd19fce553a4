"""What signs, seen from outside: the `Signer` protocol and its two carriers.

A signer takes the unsigned bytes of one EIP-1559 transaction and answers with the signed ones. It
decodes them itself, asks its own policy and its own journal, and trusts no caller's description.
`LocalSigner` runs in this process (tests); `RemoteSigner` speaks to the signer process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from keys.remote import RemoteSigner, limits_of
from keys.request import ApprovalLimits, Kind, SignedBefore, SignedTx, SignRequest

if TYPE_CHECKING:  # the desk loads eth-account, which a process that only calls does not need
    from keys.desk import SigningDesk

__all__ = [
    "ApprovalLimits",
    "Kind",
    "LocalSigner",
    "RemoteSigner",
    "SignRequest",
    "SignedBefore",
    "SignedTx",
    "Signer",
]


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

    async def approval_limits(self) -> dict[int, ApprovalLimits]:
        """By chain id: which payments need an operator's signature."""
        ...

    async def signed_before(self, intent_ids: Sequence[str]) -> list[SignedBefore]:
        """Where its journal has these intents (at most `MAX_ASKED`) as paid or cancelled. A signer
        that keeps no journal knows none."""
        ...

    async def signed_from(self, *, chain_id: int, address: str, nonce: int) -> list[SignedBefore]:
        """What its journal has at this nonce of an address and above, the lowest first, as many as
        `MAX_ASKED`. More than the caller's rows have: those are an old copy."""
        ...

    async def sign_authorization(
        self, *, address: str, deposit_index: int, chain_id: int, nonce: int, delegate: str
    ) -> bytes:
        """Let `delegate` act for a deposit address (EIP-7702): 65 bytes r, s, parity. Signed for
        the policy's sweeper only. Raises `SignerRefused`."""
        ...

    async def sign_transaction(
        self,
        *,
        address: str,
        payload: bytes,
        intent_id: str,
        kind: Kind,
        deposit_index: int | None = None,
        approval: bytes = b"",
    ) -> SignedTx:
        """Sign `0x02 || rlp([chain_id, nonce, tip, cap, gas, to, value, data, access_list])`.

        `kind`: `pay` uses a fresh nonce; `bump` raises the fees of the same intent at its nonce;
        `cancel` is a transfer of 0 to oneself at the intent's nonce; `noop` fills a gap the same
        way. `deposit_index`: `address` is that child of the deposit account. `approval`: signatures
        of operators over `keys.request.approval_text`, one behind the other. Raises
        `SignerRefused` (policy) or `NonceConflict` (journal);
        both are final answers.
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

    async def approval_limits(self) -> dict[int, ApprovalLimits]:
        """See `Signer`."""
        return limits_of(self._desk.approval_limits())

    async def signed_before(self, intent_ids: Sequence[str]) -> list[SignedBefore]:
        """See `Signer`."""
        return self._desk.journal.book.signed_before(intent_ids)

    async def signed_from(self, *, chain_id: int, address: str, nonce: int) -> list[SignedBefore]:
        """See `Signer`."""
        return self._desk.journal.book.signed_from(chain_id, address, nonce)

    async def sign_authorization(
        self, *, address: str, deposit_index: int, chain_id: int, nonce: int, delegate: str
    ) -> bytes:
        """See `Signer`."""
        admitted = self._desk.admit_delegation(
            address=address,
            deposit_index=deposit_index,
            chain_id=chain_id,
            nonce=nonce,
            delegate=delegate,
        )
        self._desk.journal.flush()
        return self._desk.delegate(admitted)

    async def sign_transaction(
        self,
        *,
        address: str,
        payload: bytes,
        intent_id: str,
        kind: Kind,
        deposit_index: int | None = None,
        approval: bytes = b"",
    ) -> SignedTx:
        """See `Signer`. Blocks the loop for one fsync and one signature."""
        request = SignRequest(address, payload, intent_id, kind, deposit_index, approval)
        admitted = self._desk.admit(request)
        self._desk.journal.flush()
        return self._desk.sign(admitted)
