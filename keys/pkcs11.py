"""A hot key in a PKCS#11 token: an HSM, or SoftHSM2 to try it.

The key (CKK_EC on secp256k1) is made inside the token and never leaves it. Needs the extra `hsm`
(python-pkcs11). CKM_ECDSA signs the digest as it is and answers r and s, 32 bytes each.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

from keys.handles import DIGEST_BYTES, KeyDeviceFailed, Vrs, address_of_point, canonical
from keys.secret import SecretText

PARAMETERS: Final = bytes.fromhex("06052b8104000a")
"""The DER object identifier of secp256k1."""
OCTET_STRING: Final = bytes([0x04, 65])


class Pkcs11Key:
    """One key of one token, opened with the token's PIN."""

    def __init__(self, library: str, *, token: str, pin: SecretText, label: str) -> None:
        """Raises `KeyDeviceFailed` without the library, the token, the PIN or the key."""
        self._pkcs11 = _package()
        self._session: Any = None
        try:
            opened = self._pkcs11.lib(library).get_token(token_label=token)
            self._session = opened.open(user_pin=pin.reveal())
            classes = self._pkcs11.ObjectClass
            self._key = self._session.get_key(object_class=classes.PRIVATE_KEY, label=label)
            public = self._session.get_key(object_class=classes.PUBLIC_KEY, label=label)
            encoded = bytes(public[self._pkcs11.Attribute.EC_POINT])
            parameters = bytes(public[self._pkcs11.Attribute.EC_PARAMS])
        except (self._pkcs11.PKCS11Error, RuntimeError, OSError) as error:
            self.close()
            raise KeyDeviceFailed(f"the token refused: {type(error).__name__}") from None
        if parameters != PARAMETERS:
            raise KeyDeviceFailed("the token's key is not of secp256k1")
        self._address = address_of_point(encoded.removeprefix(OCTET_STRING))

    def __repr__(self) -> str:
        return f"Pkcs11Key({self._address})"

    @property
    def address(self) -> str:
        """See `KeyHandle`."""
        return self._address

    def sign_digest(self, digest: bytes) -> Vrs:
        """See `KeyHandle`."""
        if len(digest) != DIGEST_BYTES:
            raise ValueError("a digest has 32 bytes")
        try:
            answer = bytes(self._key.sign(digest, mechanism=self._pkcs11.Mechanism.ECDSA))
        except (self._pkcs11.PKCS11Error, RuntimeError) as error:
            raise KeyDeviceFailed(f"the token refused: {type(error).__name__}") from None
        if len(answer) != 2 * DIGEST_BYTES:
            raise KeyDeviceFailed("the token's signature has another length")
        r, s = int.from_bytes(answer[:32], "big"), int.from_bytes(answer[32:], "big")
        return canonical(self._address, digest, r, s)

    def close(self) -> None:
        """Log out of the token."""
        if self._session is not None:
            self._session.close()
            self._session = None


def generate(library: str, *, token: str, pin: SecretText, label: str) -> None:
    """Make a key inside the token: it can sign and cannot be read. Raises `KeyDeviceFailed`."""
    package = _package()
    try:
        opened = package.lib(library).get_token(token_label=token)
        with opened.open(user_pin=pin.reveal(), rw=True) as session:
            attribute = package.Attribute
            parameters = session.create_domain_parameters(
                package.KeyType.EC, {attribute.EC_PARAMS: PARAMETERS}, local=True
            )
            parameters.generate_keypair(
                store=True,
                label=label,
                private_template={attribute.SENSITIVE: True, attribute.EXTRACTABLE: False},
            )
    except (package.PKCS11Error, RuntimeError, OSError) as error:
        raise KeyDeviceFailed(f"the token refused: {type(error).__name__}") from None


def _package() -> Any:
    try:
        return importlib.import_module("pkcs11")
    except ImportError:
        raise KeyDeviceFailed("install the extra `hsm` (python-pkcs11)") from None
