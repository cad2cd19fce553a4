"""SLIP-39 shares of a house's words: any `threshold` of `count` bring them back, fewer say nothing.

Standard: https://github.com/satoshilabs/slips/blob/master/slip-0039.md, by Trezor's library. The
secret that is shared is the BIP-39 entropy, not the seed: so the same words come back, and with
them every key. The language of the words is not in the shares.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

import shamir_mnemonic

from keys import mnemonic as bip39
from keys.errors import KeysError
from keys.secret import Secret, SecretText

MAX_SHARES: Final = 16
ITERATION_EXPONENT: Final = 1
"""The standard's usual cost: 20,000 rounds of PBKDF2 for the passphrase."""


class InvalidShares(KeysError):
    """The shares do not belong together, are too few, or one is mistyped."""

    code = "invalid_shares"


def split(
    phrase: SecretText, *, threshold: int, count: int, passphrase: SecretText | None = None
) -> list[SecretText]:
    """`count` shares (20 or 33 words for 12 or 24) of which any `threshold` are enough.

    `passphrase` is asked for again when they are combined; a wrong one gives other words instead
    of an error, by the standard's design. Raises `InvalidMnemonic`; `ValueError` for counts that
    cannot be.
    """
    if not 1 <= threshold <= count <= MAX_SHARES or (threshold == 1 and count > 1):
        raise ValueError("shares are 1 of 1, or 2 to 16 of at most 16")
    entropy = _entropy(phrase)
    [group] = shamir_mnemonic.generate_mnemonics(
        1,
        [(threshold, count)],
        entropy.reveal(),
        passphrase=_bytes(passphrase),
        iteration_exponent=ITERATION_EXPONENT,
    )
    return [SecretText(share) for share in group]


def combine(
    shares: Sequence[SecretText],
    *,
    passphrase: SecretText | None = None,
    language: str = "english",
) -> SecretText:
    """The words again, in the list of `language`. Raises `InvalidShares`."""
    entropy = None
    with contextlib.suppress(shamir_mnemonic.MnemonicError, ValueError):  # it repeats what it read
        entropy = Secret(
            shamir_mnemonic.combine_mnemonics(
                [" ".join(share.reveal().lower().split()) for share in shares],
                passphrase=_bytes(passphrase),
            )
        )
    if entropy is None:
        raise InvalidShares("too few shares, shares that do not belong together, or a wrong word")
    try:
        return bip39.from_entropy(entropy, language)
    except ValueError:
        raise InvalidShares("what these shares hold is no mnemonic's entropy") from None


def _entropy(phrase: SecretText) -> Secret:
    """The 16 to 32 bytes behind a valid mnemonic of any list."""
    return bip39.to_entropy(phrase, bip39.check(phrase))


def _bytes(passphrase: SecretText | None) -> bytes:
    return b"" if passphrase is None else passphrase.reveal().encode("utf-8")
