"""What a house keeps in its vault, by name.

The signer loads hot keys by name. It opens the mnemonic only when its policy lets it sweep deposit
addresses (`keys.deposit_keys`); otherwise it holds no key of the deposit account and no HD code.
The warm key is loaded only when its policy says what may leave there.
"""

from __future__ import annotations

from typing import Final

from keys.secret import Secret
from keys.vault import Vault

OWNER: Final = "house"
MNEMONIC: Final = "mnemonic"
DEPOSIT_XPUB: Final = "deposit-xpub"
JOURNAL_KEY: Final = "journal-key"
WARM_KEY: Final = "warm-key"
MAX_HOT_KEYS: Final = 64


def hot_purpose(index: int) -> str:
    """The vault purpose of hot key `index`."""
    return f"hot-key/{index}"


def hot_count(vault: Vault) -> int:
    """How many consecutive hot keys, from index 0, the vault holds."""
    names = set(vault.names())
    count = 0
    while (OWNER, hot_purpose(count)) in names:
        count += 1
    return count


def hot_keys(vault: Vault, count: int) -> list[Secret]:
    """The first `count` hot keys. Raises `SecretMissing` when the vault holds fewer."""
    return [vault.get(OWNER, hot_purpose(index)) for index in range(count)]


def has_warm(vault: Vault) -> bool:
    """Whether the vault holds a warm key; one made by an older release gets it by `extend_warm`."""
    return (OWNER, WARM_KEY) in vault.names()


def warm_key(vault: Vault) -> Secret:
    """The key of the warm address. Raises `SecretMissing` when there is none yet."""
    return vault.get(OWNER, WARM_KEY)


def deposit_xpub(vault: Vault) -> str:
    """The extended public key of the deposit account."""
    return vault.get(OWNER, DEPOSIT_XPUB).reveal().decode("ascii")


def journal_key(vault: Vault) -> Secret:
    """The key of the journal's chained MAC. It outlives a change of passphrase."""
    return vault.get(OWNER, JOURNAL_KEY)
