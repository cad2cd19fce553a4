"""`bifold keys …`: secrets on a terminal, from a descriptor or a file, never in argv."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from keys import keystore
from keys.backup import (
    Imported,
    export_hot,
    export_path,
    import_hot,
    public_half,
    restore_house,
    rotate_house,
    split_house,
    warm_address,
)
from keys.derivation import HOT_ACCOUNT
from keys.descriptors import take_passphrase
from keys.errors import KeysError, OtherHouse
from keys.public import PublicKeys, read_public
from keys.secret import SecretText
from keys.setup import create_house, house_exists, wordlist, write_public
from wallet.cli_files import has_folder, make, may_be_made, naming

PUBLIC_FILE, VAULT_FOLDER = "file of public keys", "folder of the vault"
NO_TERMINAL = "words and shares are shown and typed on a terminal only; run this on one."


class NoPassword(KeysError):
    """There is no terminal to type a password on, or it was typed differently the second time."""

    code = "password_missing"


def run(chosen: argparse.Namespace) -> int:
    """Do the chosen action; 1 when it is refused."""
    if chosen.action in ("init", "split", "restore") and not (
        sys.stdout.isatty() and sys.stdin.isatty()
    ):
        return _refused(NO_TERMINAL)
    return _ACTIONS[chosen.action](chosen)


def _init(chosen: argparse.Namespace) -> int:
    if not _may_be_made(chosen) or not _can_be_shown(chosen.language):
        return 1
    if Path(chosen.public).exists():
        return _refused(f"{chosen.public} is there already: it belongs to another house.")
    passphrase = take_passphrase(chosen.passphrase_fd, outside=Path(chosen.vault))
    try:
        with naming(VAULT_FOLDER, chosen.vault, making=True):
            house = create_house(
                chosen.vault, passphrase, words=chosen.words, language=chosen.language
            )
    except ValueError as error:
        return _refused(str(error))
    print("Write these words down, on paper, now. They are shown once and move all the money.\n")
    print(f"  {house.mnemonic.reveal()}\n")
    _write_public(chosen.public, house.public())  # after the words, whatever fails now
    print(f"fingerprint of the deposit key: {house.fingerprint}")
    return 0


def _public(chosen: argparse.Namespace) -> int:
    """`keys.json` anew from the vault, where it was lost; one that is there stays."""
    may_be_made(PUBLIC_FILE, chosen.public)
    passphrase = take_passphrase(chosen.passphrase_fd, outside=Path(chosen.vault))
    found = public_half(chosen.vault, passphrase)
    _write_public(chosen.public, found)
    print(f"fingerprint of the deposit key: {found.fingerprint}")
    for index, address in enumerate(found.hot):
        print(f"hot {index}: {address}")
    print("Keys in devices are not in the vault: add their addresses by hand.")
    return 0


def _split(chosen: argparse.Namespace) -> int:
    enough, count = chosen.shares
    passphrase = take_passphrase(chosen.passphrase_fd, outside=Path(chosen.vault))
    extra = _optional("Passphrase of the shares (empty for none): ", twice=True)
    try:
        shares = split_house(
            chosen.vault, passphrase, threshold=enough, count=count, share_passphrase=extra
        )
    except ValueError as error:
        return _refused(str(error))
    print(f"\nAny {enough} of these {count} shares bring the house back. Write each on its own")
    print("paper and keep them in different places. They are shown once.\n")
    for number, share in enumerate(shares, 1):
        print(f"Share {number}:\n  {share.reveal()}\n")
    return 0


def _restore(chosen: argparse.Namespace) -> int:
    if not _may_be_made(chosen):
        return 1
    known = read_public(chosen.public) if Path(chosen.public).exists() else None
    passphrase = take_passphrase(chosen.passphrase_fd, outside=Path(chosen.vault))
    expected = None if known is None else known.fingerprint
    try:
        if chosen.words:
            words = SecretText(getpass.getpass("The house's words, spaced (not shown): "))
            with naming(VAULT_FOLDER, chosen.vault, making=True):
                house = create_house(
                    chosen.vault, passphrase, mnemonic=words, hot=chosen.hot_keys, expected=expected
                )
        else:
            given, extra = _shares()
            with naming(VAULT_FOLDER, chosen.vault, making=True):
                house = restore_house(
                    chosen.vault, passphrase, given, share_passphrase=extra,
                    language=chosen.language, hot=chosen.hot_keys, expected=expected,
                )  # fmt: skip
    except OtherHouse as error:
        return _refused(
            f"{chosen.public} is of the house {error.expected}, this would be {error.found}."
            " A mistyped passphrase of the shares makes another house. Nothing was changed."
        )
    except ValueError as error:
        return _refused(str(error))
    if known is None:
        _write_public(chosen.public, house.public())
    print(f"fingerprint of the deposit key: {house.fingerprint}")
    for index, address in enumerate(house.hot):
        print(f"hot {index}: {address}")
    print(f"warm:  {house.warm}")
    if known is None:
        other = "other words give" if chosen.words else "a wrong passphrase gives"
        print(f"Compare them with your records: {other} another house, not an error.")
    else:
        print(f"{chosen.public} is of this house, and stays as it is.")
        for address in known.hot:
            if address not in house.hot:
                print(f"  the new vault does not hold {address} (hot): --hot-keys, or its key file")
    print("The journal is empty: settle what is in flight before the signer starts.")
    return 0


def _write_public(path: str, public: PublicKeys) -> None:
    with naming(PUBLIC_FILE, path, making=True):
        write_public(path, public)


def _shares() -> tuple[list[SecretText], SecretText | None]:
    given: list[SecretText] = []
    print("Type one share a line; an empty line ends. What you type is not shown.")
    while True:
        line = getpass.getpass(f"Share {len(given) + 1}: ")
        if not line.strip():
            break
        given.append(SecretText(line))
    return given, _optional("Passphrase of the shares (empty for none): ")


def _may_be_made(chosen: argparse.Namespace) -> bool:
    """Whether a vault and a public half can lie there; told before anything is made or typed."""
    has_folder(PUBLIC_FILE, chosen.public)
    if house_exists(chosen.vault):
        _refused(f"{chosen.vault} already holds a house.")
        return False
    if Path(chosen.vault).exists() and not Path(chosen.vault).is_dir():
        _refused(f"{chosen.vault} is no folder; a vault is one.")
        return False
    return True


def _can_be_shown(language: str) -> bool:
    """Whether this terminal shows the words that are to be written down."""
    encoding = sys.stdout.encoding
    try:
        wordlist(language).encode(encoding)
    except UnicodeEncodeError:
        _refused(f"this terminal ({encoding}) cannot show {language} words: set LANG=C.UTF-8.")
    except ValueError as error:
        _refused(str(error))
    else:
        return True
    return False


def _refused(why: str) -> int:
    print(f"bifold: {why}", file=sys.stderr)
    return 1


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
        _write_public(chosen.public, replace(public, warm=address))
    print(f"warm: {address}")
    print("Nothing leaves it until the signer's policy says warm: see docs/custody.md.")
    return 0


def _export(chosen: argparse.Namespace) -> int:
    may_be_made("key file", chosen.out)
    passphrase = take_passphrase(chosen.passphrase_fd, outside=Path(chosen.vault))
    password = _password(chosen, twice=True)
    if chosen.path is None:
        what = f"Hot key {chosen.index}"
        document = export_hot(chosen.vault, passphrase, index=chosen.index, password=password)
    else:
        what = f"The key at {chosen.path}"
        document = export_path(chosen.vault, passphrase, at=chosen.path, password=password)
    make("key file", chosen.out, json.dumps(document, indent=2))
    print(f"{what} is in {chosen.out}, sealed with the password.")
    return 0


def _import(chosen: argparse.Namespace) -> int:
    public = None if chosen.public is None else read_public(chosen.public)
    with naming("key file", chosen.keystore):
        document = keystore.read(chosen.keystore)
    passphrase = take_passphrase(chosen.passphrase_fd, outside=Path(chosen.vault))
    password = _password(chosen)
    made = import_hot(chosen.vault, passphrase, document, password=password)
    if public is not None:
        _write_public(chosen.public, _with_hot(public, made.index, made.address))
    print(f"hot {made.index}: {made.address}")
    for line in _way_back(made):
        print(line)
    print(f"A running signer goes on without it; start it anew with --hot-keys {made.index + 1}.")
    return 0


def _way_back(made: Imported) -> list[str]:
    """What brings this key back when the vault is lost."""
    if made.path is None:
        return [
            "Restoring the house from its words does not bring this key back: keep the key file"
            " and its password."
        ]
    account, _, index = made.path.removeprefix("m/44'/60'/").partition("'/0/")
    if int(account) == HOT_ACCOUNT:
        place = "" if int(index) == made.index else f", as hot {index}"
        return [
            f"It is a key of the house's own words ({made.path}): they bring it back{place},"
            f" by bifold keys restore --hot-keys {int(index) + 1}."
        ]
    return [
        f"It is a key of the house's own words ({made.path}), but no hot one there:",
        "bifold keys restore does not bring it back; keys export --path and keys import then do.",
    ]


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
        with naming("password file", chosen.password_file):
            descriptor = os.open(chosen.password_file, os.O_RDONLY)
        return take_passphrase(descriptor, outside=outside)
    if not sys.stdin.isatty():
        raise NoPassword("say --password-file or --password-fd, or run this on a terminal")
    typed = SecretText(getpass.getpass("Password of the key file (not shown): "))
    if twice:
        _again(typed)
    return typed


def _optional(prompt: str, *, twice: bool = False) -> SecretText | None:
    """None for an empty line. Raises `NoPassword` when it was to be repeated and was not."""
    typed = SecretText(getpass.getpass(prompt))
    if not typed.reveal():
        return None
    if twice:  # mistyped, it would make shares that bring back another house
        _again(typed)
    return typed


def _again(typed: SecretText) -> None:
    if SecretText(getpass.getpass("The same again: ")) != typed:
        raise NoPassword("the two were different")


_ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "init": _init,
    "public": _public,
    "split": _split,
    "restore": _restore,
    "export": _export,
    "import": _import,
    "rotate": _rotate,
    "warm": _warm,
}
