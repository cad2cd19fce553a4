"""`bifold keys sign`: the cold machine's command. No network, no database, no settings."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from pathlib import Path

from keys.keystore import decrypt, read
from keys.offline import Sheet, explain, read_sheet, sign_with_key, sign_with_words
from keys.secret import SecretText

ANSWER = "sign"


def run(chosen: argparse.Namespace) -> int:
    """Show what the bytes say, ask, sign; 2 without a terminal, 1 when the answer is no."""
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        print("bifold: this is signed in front of a person; run it on a terminal.", file=sys.stderr)
        return 2
    if Path(chosen.out).exists():  # told before the words are typed
        print(f"bifold: {chosen.out} is there already.", file=sys.stderr)
        return 2
    sheet = read_sheet(Path(chosen.sheet).read_text("utf-8", errors="replace"))
    print("The bytes of this sheet say:\n")
    for line in explain(sheet):
        print(f"  {line}")
    print("\nCompare them with what was agreed, the recipient digit by digit.")
    if input(f"Type '{ANSWER}' to sign: ").strip() != ANSWER:
        print("Nothing was signed.")
        return 1
    signed = _signed(sheet, chosen.keystore)
    descriptor = os.open(chosen.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(signed)
    print(f"Signed. Carry {chosen.out} back; it holds no secret.")
    return 0


def _signed(sheet: Sheet, keystore: str | None) -> str:
    if keystore is None:
        phrase = SecretText(getpass.getpass("The cold words (not shown): "))
        return sign_with_words(sheet, phrase, SecretText(getpass.getpass(_PASSPHRASE)))
    document = read(keystore)
    password = SecretText(getpass.getpass("Password of the key file (not shown): "))
    return sign_with_key(sheet, decrypt(document, password))


_PASSPHRASE = "Their BIP-39 passphrase (empty for none): "
