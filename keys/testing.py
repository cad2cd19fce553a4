"""Signers for tests and the sandbox's own checks, on the worthless phrase every developer knows.

`local_signer` is the real desk with a real journal in a temporary folder; `FakeSigner` is the same
with switches for what a signer can do to its caller. Hot key 0 is Anvil's account 0.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keys import mnemonic
from keys.deposit_keys import HdDepositKeys
from keys.derivation import DEPOSIT_ACCOUNT, HOT_ACCOUNT, account_xpub, derive_key, path
from keys.desk import SigningDesk, utc_now
from keys.errors import KeysError
from keys.journal import JOURNAL_FILE, Journal
from keys.payload import UnsignedTx
from keys.policy import TRANSFER_SELECTOR, ChainPolicy, Limit, Policy
from keys.request import Kind, SignedTx, SignRequest
from keys.sealing import Context, associated, derived, raw_public
from keys.secret import Secret, SecretText
from keys.signer import LocalSigner

TEST_MNEMONIC: Final = "test test test test test test test test test test test junk"
TEST_PASSPHRASE: Final = SecretText("worthless passphrase of a test")
TEST_HOT_ADDRESSES: Final = (
    "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
)
TEST_JOURNAL_KEY: Final = Secret(b"journal key of a test, worthless")
LOCAL_CHAIN_ID: Final = 31_337
GWEI: Final = 10**9
UNLIMITED: Final = Limit(per_tx=10**30, per_day=10**32)


def test_seed() -> Secret:
    """The seed of `TEST_MNEMONIC`."""
    return mnemonic.to_seed(SecretText(TEST_MNEMONIC))


test_seed.__test__ = False  # type: ignore[attr-defined]  # a helper, not a test to collect


def open_policy(
    chain_ids: Iterable[int] = (LOCAL_CHAIN_ID,),
    *,
    tokens: Mapping[str, Limit] | Iterable[str] = (),
    native: Limit = UNLIMITED,
    fee_ceiling_wei: int = 10_000 * GWEI,
) -> Policy:
    """A policy wide enough for most tests; `tokens` are EIP-55 contract addresses."""
    limits = dict(tokens) if isinstance(tokens, Mapping) else dict.fromkeys(tokens, UNLIMITED)
    chain = ChainPolicy(fee_ceiling_wei=fee_ceiling_wei, native=native, tokens=limits)
    return Policy(dict.fromkeys(chain_ids, chain))


def open_desk(
    *,
    policy: Policy | None = None,
    directory: Path | None = None,
    hot: int = 2,
    clock: Callable[[], datetime] = utc_now,
) -> SigningDesk:
    """A desk on the test phrase. With a `directory` its journal stays there and is read again by
    the next desk (close `desk.journal` first); without one it lives in an unlinked folder."""
    seed = test_seed()
    if directory is None:
        with tempfile.TemporaryDirectory(prefix="bifold-journal-") as temporary:
            journal = Journal.create(Path(temporary) / JOURNAL_FILE, TEST_JOURNAL_KEY)
    elif (directory / JOURNAL_FILE).exists():
        journal = Journal.open(directory / JOURNAL_FILE, TEST_JOURNAL_KEY)
    else:
        journal = Journal.create(directory / JOURNAL_FILE, TEST_JOURNAL_KEY)
    return SigningDesk(
        hot_keys=[derive_key(seed, path(HOT_ACCOUNT, index)) for index in range(hot)],
        deposit_xpub=account_xpub(seed, DEPOSIT_ACCOUNT),
        policy=policy if policy is not None else open_policy(),
        journal=journal,
        clock=clock,
        deposit_keys=HdDepositKeys(SecretText(TEST_MNEMONIC)),
    )


def local_signer(
    *, policy: Policy | None = None, directory: Path | None = None, hot: int = 2
) -> LocalSigner:
    """A `LocalSigner` on the test phrase; see `open_desk`."""
    return LocalSigner(open_desk(policy=policy, directory=directory, hot=hot))


def native_payload(
    nonce: int = 0,
    *,
    to: str = TEST_HOT_ADDRESSES[1],
    value: int = 10**18,
    cap: int = 2 * GWEI,
    tip: int = GWEI,
    gas: int = 21_000,
    chain_id: int = LOCAL_CHAIN_ID,
    data: bytes = b"",
) -> bytes:
    """Unsigned bytes of a native transfer (or, with `data`, of a call)."""
    recipient = bytes.fromhex(to.removeprefix("0x"))
    return UnsignedTx(chain_id, nonce, tip, cap, gas, recipient, value, data).encode()


def token_payload(
    nonce: int = 0, *, contract: str, to: str, amount: int, cap: int = 2 * GWEI
) -> bytes:
    """Unsigned bytes of an ERC-20 `transfer`."""
    recipient = bytes(12) + bytes.fromhex(to.removeprefix("0x"))
    data = TRANSFER_SELECTOR + recipient + amount.to_bytes(32, "big")
    return native_payload(nonce, to=contract, value=0, cap=cap, gas=100_000, data=data)


class Browser:
    """What a person's browser does: seals one box for the signer, reads the reply."""

    def __init__(self, signer_key: bytes) -> None:
        self._key = X25519PrivateKey.generate()
        self._here = raw_public(self._key.public_key())
        self._there = signer_key
        self._shared = self._key.exchange(X25519PublicKey.from_public_bytes(signer_key))

    def seal(self, context: Context, document: Mapping[str, object]) -> dict[str, str]:
        """The box, in hex as it travels."""
        return self.seal_bytes(context, json.dumps(document).encode())

    def seal_bytes(self, context: Context, plain: bytes) -> dict[str, str]:
        """A box with anything in it."""
        nonce = os.urandom(12)
        key = AESGCM(derived(self._shared, self._here, self._there, "box"))
        sealed = key.encrypt(nonce, plain, associated(context))
        return {"key": self._here.hex(), "nonce": nonce.hex(), "box": sealed.hex()}

    def read(self, context: Context, reply: Mapping[str, str]) -> dict[str, str]:
        """What the signer answered."""
        key = AESGCM(derived(self._shared, self._here, self._there, "reply"))
        nonce, sealed = bytes.fromhex(reply["nonce"]), bytes.fromhex(reply["box"])
        opened: dict[str, str] = json.loads(key.decrypt(nonce, sealed, associated(context)))
        return opened


class FakeSigner(LocalSigner):
    """A real local signer that records its calls and fails on demand.

    `fail_before` is raised instead of signing; `fail_after` is raised once the payload was signed
    and journalled, as when the answer is lost. Both stay until set to None.
    """

    def __init__(self, *, policy: Policy | None = None, hot: int = 2) -> None:
        super().__init__(open_desk(policy=policy, hot=hot))
        self.calls: list[SignRequest] = []
        self.fail_before: KeysError | None = None
        self.fail_after: KeysError | None = None

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
        """See `keys.signer.Signer`."""
        self.calls.append(SignRequest(address, payload, intent_id, kind, deposit_index, approval))
        if self.fail_before is not None:
            raise self.fail_before
        signed = await super().sign_transaction(
            address=address,
            payload=payload,
            intent_id=intent_id,
            kind=kind,
            deposit_index=deposit_index,
            approval=approval,
        )
        if self.fail_after is not None:
            raise self.fail_after
        return signed
