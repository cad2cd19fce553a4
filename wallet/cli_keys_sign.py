"""`bifold keys sign`: the cold machine's command. No network, no database, no settings."""

from __future__ import annotations

import argparse
import getpass
import sys

from keys.keystore import decrypt, read
from keys.offline import Sheet, explain, read_sheet, sign_with_key, sign_with_words
from keys.secret import SecretText
from wallet.cli_files import make, may_be_made, naming, read_text

ANSWER = "sign"
SIGNED = "signed sheet"


def run(chosen: argparse.Namespace) -> int:
    """Show what the bytes say, ask, sign; 1 without a terminal, or when the answer is no."""
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        print("bifold: this is signed in front of a person; run it on a terminal.", file=sys.stderr)
        return 1
    may_be_made(SIGNED, chosen.out)  # told before the words are typed
    sheet = read_sheet(read_text("sheet", chosen.sheet))
    print("The bytes of this sheet say:\n")
    for line in explain(sheet):
        print(f"  {line}")
    print("\nCompare them with what was agreed, the recipient digit by digit.")
    if input(f"Type '{ANSWER}' to sign: ").strip() != ANSWER:
        print("Nothing was signed.")
        return 1
    signed = _signed(sheet, chosen.keystore)
    make(SIGNED, chosen.out, signed)
    print(f"Signed. Carry {chosen.out} back; it holds no secret.")
    return 0


def _signed(sheet: Sheet, keystore: str | None) -> str:
    if keystore is None:
        phrase = SecretText(getpass.getpass("The cold words (not shown): "))
        return sign_with_words(sheet, phrase, SecretText(getpass.getpass(_PASSPHRASE)))
    with naming("key file", keystore):
        document = read(keystore)
    password = SecretText(getpass.getpass("Password of the key file (not shown): "))
    return sign_with_key(sheet, decrypt(document, password))


_PASSPHRASE = "Their BIP-39 passphrase (empty for none): "
