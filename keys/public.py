"""The public half of a house, `keys.json`: what every process may know. Loads no vault."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from eth_utils.address import is_checksum_address

from keys.derivation import DepositDeriver, fingerprint
from keys.errors import InvalidDerivation
from keys.files import in_words, write_atomically


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """What every process may know of a house: deposit xpub, its fingerprint, hot addresses, and
    the warm one (None: `bifold keys warm` has not been asked for it).

    The xpub is public but private matter: who has it can list all deposit addresses."""

    deposit_xpub: str
    fingerprint: str
    hot: tuple[str, ...]
    warm: str | None = None


def write_public(path: str | os.PathLike[str], public: PublicKeys) -> None:
    """Write `keys.json`, atomically."""
    document: dict[str, str | list[str]] = {
        "deposit_xpub": public.deposit_xpub,
        "fingerprint": public.fingerprint,
        "hot": list(public.hot),
    }
    if public.warm is not None:
        document["warm"] = public.warm
    write_atomically(Path(path), json.dumps(document, indent=2).encode("ascii") + b"\n")


def read_public(path: str | os.PathLike[str]) -> PublicKeys:
    """Read and verify `keys.json`: the xpub is one of account 1' and has the stated fingerprint.
    Raises `InvalidDerivation`."""
    public = _read_document(path)
    DepositDeriver(public.deposit_xpub)
    if fingerprint(public.deposit_xpub) != public.fingerprint:
        raise InvalidDerivation("the deposit xpub does not have the stated fingerprint")
    return public


def _read_document(path: str | os.PathLike[str]) -> PublicKeys:
    """The file's values, of the right shape. Raises `InvalidDerivation`."""
    try:
        document = json.loads(Path(path).read_bytes())
        public = PublicKeys(
            document["deposit_xpub"], document["fingerprint"], tuple(document["hot"]),
            document.get("warm"),
        )  # fmt: skip
    except OSError as error:
        raise InvalidDerivation(in_words(error, "file of public keys", path)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidDerivation(f"{path} is no file of public keys (keys.json)") from error
    addresses = public.hot if public.warm is None else (*public.hot, public.warm)
    texts = (public.deposit_xpub, public.fingerprint, *addresses)
    if any(not isinstance(text, str) for text in texts):
        raise InvalidDerivation("the public keys are not text")
    if any(not is_checksum_address(address) for address in addresses):
        raise InvalidDerivation("a hot or warm address is not a valid EIP-55 address")
    if public.warm in public.hot:
        raise InvalidDerivation("the warm address is hot, too")
    return public
