"""A hot key in AWS KMS: an asymmetric key of spec ECC_SECG_P256K1 for SIGN_VERIFY.

https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html with MessageType DIGEST: KMS signs
the 32 bytes as they are. boto3 comes with the extra `kms`; any client of the same two calls serves.
"""

from __future__ import annotations

import importlib
from typing import Any, Final, Protocol

from keys.handles import (
    DIGEST_BYTES,
    KeyDeviceFailed,
    Vrs,
    address_of_point,
    canonical,
    parse_der,
    point_of_der,
)

ALGORITHM: Final = "ECDSA_SHA_256"
KEY_SPEC: Final = "ECC_SECG_P256K1"


class KmsClient(Protocol):
    """The two calls of boto3's KMS client that are used."""

    def get_public_key(self, *, KeyId: str) -> dict[str, Any]: ...

    def sign(
        self,
        *,
        KeyId: str,
        Message: bytes,
        MessageType: str,
        SigningAlgorithm: str,
    ) -> dict[str, Any]: ...


class KmsKey:
    """One key in KMS. Its public key is read once, when it is opened."""

    def __init__(
        self,
        client: KmsClient,
        key_id: str,
        *,
        errors: tuple[type[Exception], ...] = (OSError, RuntimeError),
    ) -> None:
        """`errors`: what the client raises. Raises `KeyDeviceFailed` when KMS does not answer or
        the key is of another kind."""
        self._errors = errors
        self._client = client
        self._key_id = key_id
        answer = self._call(lambda: client.get_public_key(KeyId=key_id))
        if answer.get("KeySpec") != KEY_SPEC or answer.get("KeyUsage") != "SIGN_VERIFY":
            raise KeyDeviceFailed(f"the KMS key is not {KEY_SPEC} for SIGN_VERIFY")
        self._address = address_of_point(point_of_der(bytes(answer["PublicKey"])))

    def __repr__(self) -> str:
        return f"KmsKey({self._address})"

    @property
    def address(self) -> str:
        """See `KeyHandle`."""
        return self._address

    def sign_digest(self, digest: bytes) -> Vrs:
        """See `KeyHandle`."""
        if len(digest) != DIGEST_BYTES:
            raise ValueError("a digest has 32 bytes")
        answer = self._call(
            lambda: self._client.sign(
                KeyId=self._key_id,
                Message=digest,
                MessageType="DIGEST",
                SigningAlgorithm=ALGORITHM,
            )
        )
        signature = answer.get("Signature")
        if not isinstance(signature, bytes):
            raise KeyDeviceFailed("KMS answered no signature")
        return canonical(self._address, digest, *parse_der(signature))

    def _call(self, ask: Any) -> dict[str, Any]:
        try:
            answer = ask()
        except self._errors as error:
            raise KeyDeviceFailed(f"KMS did not answer: {type(error).__name__}") from None
        if not isinstance(answer, dict):
            raise KeyDeviceFailed("KMS answered no object")
        return answer


def open_kms(key_id: str) -> KmsKey:
    """The key by boto3's own configuration (region, role). Raises `KeyDeviceFailed`."""
    try:
        boto3 = importlib.import_module("boto3")
        exceptions = importlib.import_module("botocore.exceptions")
    except ImportError:
        raise KeyDeviceFailed("install the extra `kms` (boto3)") from None
    errors = (exceptions.BotoCoreError, exceptions.ClientError, OSError)
    return KmsKey(boto3.client("kms"), key_id, errors=errors)
