"""Errors of the key room. Each has a stable `code`; none ever carries secret material."""

from __future__ import annotations


class KeysError(Exception):
    """Base of every error that leaves `keys`."""

    code = "keys_error"


class InvalidMnemonic(KeysError):
    """The phrase is not a valid BIP-39 mnemonic. Knows how many words it had, never which."""

    code = "invalid_mnemonic"

    def __init__(self, *, word_count: int) -> None:
        super().__init__(f"not a valid BIP-39 mnemonic ({word_count} words given)")
        self.word_count = word_count


class InvalidDerivation(KeysError):
    """A path, index, seed length or extended key that BIP-32 or our account plan refuses."""

    code = "invalid_derivation"


class InvalidKeystore(KeysError):
    """A Web3 Secret Storage file is malformed, asks for absurd work, or its password is wrong."""

    code = "invalid_keystore"


class DepositKeyStays(KeysError):
    """The key of a deposit address never leaves and is never a hot key: with the account's xpub it
    gives away every other."""

    code = "deposit_key_stays"

    def __init__(self) -> None:
        super().__init__(
            "keys of deposit addresses (m/44'/60'/1'/…) are never exported and never hot: "
            "one of them and the account's xpub give away all the others"
        )


class KeyKnown(KeysError):
    """The vault has this key already."""

    code = "key_known"


class VaultExists(KeysError):
    """A vault is already there; it is never overwritten."""

    code = "vault_exists"


class OtherHouse(KeysError):
    """These words make another house than the one that is expected."""

    code = "other_house"

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"another house: fingerprint {found}, not {expected}")
        self.expected = expected
        self.found = found


class VaultLocked(KeysError):
    """Another process holds this vault's journal: one signer per vault."""

    code = "vault_locked"


class VaultCorrupt(KeysError):
    """The vault file was damaged or altered."""

    code = "vault_corrupt"


class WrongPassphrase(KeysError):
    """The passphrase does not open the vault."""

    code = "wrong_passphrase"

    def __init__(self) -> None:
        super().__init__("the passphrase does not open this vault")


class SecretMissing(KeysError):
    """The vault holds no secret for that owner and purpose."""

    code = "secret_missing"


class JournalCorrupt(KeysError):
    """A line of the signer's journal, other than an unfinished last one, is damaged or altered."""

    code = "journal_corrupt"


class JournalFailed(KeysError):
    """The journal could not be made durable; nothing is signed until the signer is restarted."""

    code = "journal_failed"


class InvalidPolicy(KeysError):
    """The signer's policy file is malformed or writable by others."""

    code = "invalid_signer_policy"


class SignerUnavailable(KeysError):
    """The signer did not answer. Nothing is known: ask again with the same payload."""

    code = "signer_unavailable"


class SignerRefused(KeysError):
    """The signer said no. `reason` is a stable word of its own (see docs/custody.md)."""

    code = "signer_refused"

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(f"{reason}: {message}" if message else reason)
        self.reason = reason
        self.message = message


class NonceConflict(SignerRefused):
    """The journal knows another payload at this nonce, or this intent at another nonce."""

    code = "nonce_conflict"
