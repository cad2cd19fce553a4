"""`bifold keys split|restore|import|export|rotate|warm`: secrets on a terminal, from a descriptor
or a file, never in argv."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

from keys import keystore
from keys.backup import (
    export_hot,
    export_path,
    import_hot,
    restore_house,
    rotate_house,
    split_house,
    warm_address,
)
from keys.descriptors import take_passphrase
from keys.errors import KeysError
from keys.public import PublicKeys, read_public
from keys.secret import SecretText
from keys.setup import write_public

_COUNTS = re.compile(r"([1-9][0-9]?)of([1-9][0-9]?)")
NO_TERMINAL = "bifold: shares are shown and typed on a terminal only; run this on one."


class NoPassword(KeysError):
    """There is no terminal to type a key file's password on, or it was typed differently."""

    code = "password_missing"


def run(chosen: argparse.Namespace) -> int:
    """Do the chosen action; 2 when it may not be done here."""
    if chosen.action == "export":
        return _export(chosen)
    if chosen.action == "import":
        return _import(chosen)
    if chosen.action == "rotate":
        return _rotate(chosen)
    if chosen.action == "warm":
        return _warm(chosen)
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        print(NO_TERMINAL, file=sys.stderr)
        return 2
    return _split(chosen) if chosen.action == "split" else _restore(chosen)


def _split(chosen: argparse.Namespace) -> int:
    found = _COUNTS.fullmatch(chosen.shares)
    if found is None:
        print("bifold: say how many are enough and how many there are, like 2of3.", file=sys.stderr)
        return 2
    passphrase = take_passphrase(chosen.passphrase_fd, outside=Path(chosen.vault))
    extra = _optional("Passphrase of the shares (empty for none): ")
    try:
        shares = split_house(
            chosen.vault, passphrase, threshold=int(found[1]), count=int(found[2]),
            share_passphrase=extra,
        )  # fmt: skip
    except ValueError as error:
        print(f"bifold: {error}", file=sys.stderr)
        return 2
    print(
        f"\nAny {found[1]} of these {found[2]} shares bring the house back. Write each on its own"
    )
    print("paper and keep them in different places. They are shown once.\n")
    for number, share in enumerate(shares, 1):
        print(f"Share {number}:\n  {share.reveal()}\n")
    return 0


def _restore(chosen: argparse.Namespace) -> int:
    passphrase = take_passphrase(chosen.passphrase_fd, outside=Path(chosen.vault))
    given: list[SecretText] = []
    print("Type one share a line; an empty line ends. What you type is not shown.")
    while True:
        line = getpass.getpass(f"Share {len(given) + 1}: ")
        if not line.strip():
            break
        given.append(SecretText(line))
    extra = _optional("Passphrase of the shares (empty for none): ")
    try:
        house = restore_house(
            chosen.vault, passphrase, given, share_passphrase=extra, language=chosen.language,
            hot=chosen.hot_keys,
        )  # fmt: skip
    except ValueError as error:
        print(f"bifold: {error}", file=sys.stderr)
        return 2
    write_public(chosen.public, house.public())
    print(f"fingerprint of the deposit key: {house.fingerprint}")
    for index, address in enumerate(house.hot):
        print(f"hot {index}: {address}")
    print(f"warm:  {house.warm}")
    print("Compare them with your records: a wrong passphrase gives another house, not an error.")
    print("The journal is empty: settle what is in flight before the signer starts.")
    return 0


def _rotate(chosen: argparse.Namespace) -> int:
    outside = Path(chosen.vault)
    old = take_passphrase(chosen.passphrase_fd, outside=outside)
    new = take_passphrase(chosen.new_passphrase_fd, outside=outside)
    rotate_house(chosen.vault, old, new)
    print("The vault has a new passphrase and data key. A running signer goes on; its next start")
    print("needs the new passphrase. Destroy old copies of the vault: the old one opens them.")
    return 0


def _warm(chosen: argparse.Namespace) -> int:
    """The vault's warm address; `--public` makes it known to every process at its next start."""
    public = None if chosen.public is None else read_public(chosen.public)
    passphrase = take_passphrase(chosen.passphrase_fd, outside=Path(chosen.vault))
    address = warm_address(chosen.vault, passphrase)
    if public is not None:
        write_public(chosen.public, replace(public, warm=address))
    print(f"warm: {address}")
    print("Nothing leaves it until the signer's policy says warm: see docs/custody.md.")
    return 0


def _export(chosen: argparse.Namespace) -> int:
    if Path(chosen.out).exists():  # told before anything is typed
        print(f"bifold: {chosen.out} is there already.", file=sys.stderr)
        return 2
    passphrase = take_passphrase(chosen.passphrase_fd, outside=Path(chosen.vault))
    password = _password(chosen, twice=True)
    if chosen.path is None:
        what = f"Hot key {chosen.index}"
        document = export_hot(chosen.vault, passphrase, index=chosen.index, password=password)
    else:
        what = f"The key at {chosen.path}"
        document = export_path(chosen.vault, passphrase, at=chosen.path, password=password)
    descriptor = os.open(chosen.out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2)
    print(f"{what} is in {chosen.out}, sealed with the password.")
    return 0


def _import(chosen: argparse.Namespace) -> int:
    public = None if chosen.public is None else read_public(chosen.public)
    document = keystore.read(chosen.keystore)
    passphrase = take_passphrase(chosen.passphrase_fd, outside=Path(chosen.vault))
    password = _password(chosen)
    index, address = import_hot(chosen.vault, passphrase, document, password=password)
    if public is not None:
        write_public(chosen.public, _with_hot(public, index, address))
    print(f"hot {index}: {address}")
    print("The house's words do not bring this key back: keep the key file and its password.")
    print(f"A running signer goes on without it; start it anew with --hot-keys {index + 1}.")
    return 0


def _with_hot(public: PublicKeys, index: int, address: str) -> PublicKeys:
    """Keys in devices come after those of the vault."""
    return replace(public, hot=(*public.hot[:index], address, *public.hot[index:]))


def _password(chosen: argparse.Namespace, *, twice: bool = False) -> SecretText:
    """The key file's: from a descriptor, a file outside the vault, or typed. Raises `NoPassword`,
    `UnreadableDescriptor`."""
    outside = Path(chosen.vault)
    if chosen.password_fd is not None:
        return take_passphrase(chosen.password_fd, outside=outside)
    if chosen.password_file is not None:
        return take_passphrase(os.open(chosen.password_file, os.O_RDONLY), outside=outside)
    if not sys.stdin.isatty():
        raise NoPassword("say --password-file or --password-fd, or run this on a terminal")
    typed = SecretText(getpass.getpass("Password of the key file (not shown): "))
    if twice and SecretText(getpass.getpass("The same again: ")) != typed:
        raise NoPassword("the two were different")
    return typed


def _optional(prompt: str) -> SecretText | None:
    typed = getpass.getpass(prompt)
    return SecretText(typed) if typed else None
