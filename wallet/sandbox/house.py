"""Short-lived child: make the sandbox's house on its first start, or finish making it.

The words are printed when standard output is a terminal and nowhere else; nothing is logged.
"""

from __future__ import annotations

import secrets
import sys

from keys.errors import KeysError
from keys.secret import SecretText
from keys.setup import create_house, house_exists, public_of, read_mnemonic, write_public
from keys.vault import VAULT_FILE, Vault
from wallet.sandbox.config import SandboxConfig
from wallet.sandbox.runtime import write_private

WORDS_PER_LINE = 6


def passphrase(config: SandboxConfig) -> SecretText:
    """The sandbox's passphrase. It lies in a file, so it protects nothing, and says so."""
    if not config.passphrase_path.exists():
        write_private(
            config.passphrase_path, f"worthless-sandbox-only-{secrets.token_urlsafe(24)}\n"
        )
    return SecretText(config.passphrase_path.read_text("utf-8").strip())


def make(config: SandboxConfig) -> SecretText:
    """Make vault, journal and keys.json where they are missing; the mnemonic, to be shown once."""
    secret = passphrase(config)
    if house_exists(config.vault_dir):  # a crash came between the vault and keys.json
        vault = Vault.open(config.vault_dir / VAULT_FILE, secret)
        write_public(config.keys_path, public_of(vault))
        return read_mnemonic(vault)
    house = create_house(config.vault_dir, secret)
    write_public(config.keys_path, house.public())
    return house.mnemonic


def show(words: list[str]) -> None:
    """Print the words, numbered, to the person in front of the terminal."""
    print("\n  The words of your sandbox house (worthless; shown this once):\n")
    for start in range(0, len(words), WORDS_PER_LINE):
        line = words[start : start + WORDS_PER_LINE]
        print(
            "    "
            + "".join(f"{start + n:>2} {word:<11}" for n, word in enumerate(line, 1)).rstrip()
        )
    print(flush=True)


def main() -> int:
    """Make the house; 1 with one line on standard error when it cannot be made."""
    try:
        words = make(SandboxConfig.from_env())
    except KeysError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1
    if sys.stdout.isatty():
        show(words.reveal().split())
    return 0


if __name__ == "__main__":
    sys.exit(main())
