"""Keys in devices: a PKCS#11 token (SoftHSM2) and AWS KMS sign what the desk has judged."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_account import Account

from keys.desk import SigningDesk
from keys.errors import SignerRefused
from keys.handles import CURVE_ORDER, KeyDeviceFailed, KeyHandle
from keys.kms import KmsKey, open_kms
from keys.request import SignRequest
from keys.secret import SecretText
from keys.testing import TEST_HOT_ADDRESSES, native_payload, open_desk, open_policy

LIBRARY = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "1234"


def desk_with(handle: KeyHandle) -> SigningDesk:
    plain = open_desk()
    return SigningDesk(
        hot_keys=[handle], deposit_xpub="", policy=open_policy(), journal=plain.journal
    )


def signs(handle: KeyHandle) -> None:
    """The desk signs with it as with a key of its own: what comes out is by its address."""
    desk = desk_with(handle)
    assert desk.hot_addresses == (handle.address,)
    for nonce in range(8):
        payload = native_payload(nonce, to=TEST_HOT_ADDRESSES[1], value=1 + nonce)
        admitted = desk.admit(SignRequest(handle.address, payload, f"int_{nonce}", "pay"))
        desk.journal.flush()
        signed = desk.sign(admitted)
        assert Account.recover_transaction(signed.raw) == handle.address
    with pytest.raises(SignerRefused):  # the policy stands before the device
        desk.admit(SignRequest(handle.address, native_payload(9, chain_id=5), "int_9", "pay"))


class Kms:
    """What KMS does: signs the digest it is given, in DER, s as it falls."""

    def __init__(self, *, spec: str = "ECC_SECG_P256K1", curve: ec.EllipticCurve | None = None):
        self.key = ec.generate_private_key(curve or ec.SECP256K1())
        self.spec = spec
        self.down = False
        self.wrong = False

    def get_public_key(self, *, KeyId: str) -> dict[str, Any]:
        encoded = self.key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return {"KeySpec": self.spec, "KeyUsage": "SIGN_VERIFY", "PublicKey": encoded}

    def sign(
        self,
        *,
        KeyId: str,
        Message: bytes,
        MessageType: str,
        SigningAlgorithm: str,
    ) -> dict[str, Any]:
        assert (MessageType, SigningAlgorithm, len(Message)) == ("DIGEST", "ECDSA_SHA_256", 32)
        if self.down:
            raise RuntimeError("throttled")
        message = secrets.token_bytes(32) if self.wrong else Message
        made = self.key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))
        r, s = decode_dss_signature(made)
        high = s if s > CURVE_ORDER // 2 else CURVE_ORDER - s  # the form Ethereum refuses
        return {"Signature": encode_dss_signature(r, high)}


class TestKms:
    def test_it_signs_with_high_s_made_low(self) -> None:
        signs(KmsKey(Kms(), "alias/hot"))

    def test_a_key_of_another_kind_is_refused(self) -> None:
        for kms in (Kms(spec="ECC_NIST_P256"), Kms(curve=ec.SECP256R1())):
            with pytest.raises(KeyDeviceFailed):
                KmsKey(kms, "alias/hot")

    def test_silence_and_lies(self) -> None:
        kms = Kms()
        key = KmsKey(kms, "alias/hot")
        kms.down = True
        with pytest.raises(KeyDeviceFailed):
            key.sign_digest(bytes(32))
        kms.down, kms.wrong = False, True
        with pytest.raises(SignerRefused, match="signing_failed"):
            key.sign_digest(bytes(32))

    def test_without_the_extra_it_says_so(self) -> None:
        if shutil.which("aws") is None and not _has("boto3"):
            with pytest.raises(KeyDeviceFailed, match="kms"):
                open_kms("alias/hot")


def _has(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fresh token of SoftHSM2 in a folder of its own."""
    if not LIBRARY.exists() or shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM2 is not installed (apt-get install softhsm2)")
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed (extra hsm)")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(config)
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "bifold", "--pin", PIN,
         "--so-pin", PIN],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    yield "bifold"
    if before is None:
        os.environ.pop("SOFTHSM2_CONF", None)
    else:
        os.environ["SOFTHSM2_CONF"] = before


class TestToken:
    def test_a_key_made_in_the_token_signs(self, token: str) -> None:
        from keys.pkcs11 import Pkcs11Key, generate

        generate(str(LIBRARY), token=token, pin=SecretText(PIN), label="hot-0")
        key = Pkcs11Key(str(LIBRARY), token=token, pin=SecretText(PIN), label="hot-0")
        try:
            signs(key)
        finally:
            key.close()

    def test_wrong_pin_token_or_label(self, token: str) -> None:
        from keys.pkcs11 import Pkcs11Key

        for wrong in (
            {"token": token, "pin": SecretText("9999"), "label": "hot-0"},
            {"token": "other", "pin": SecretText(PIN), "label": "hot-0"},
            {"token": token, "pin": SecretText(PIN), "label": "none"},
        ):
            with pytest.raises(KeyDeviceFailed):
                Pkcs11Key(str(LIBRARY), **wrong)  # type: ignore[arg-type]
