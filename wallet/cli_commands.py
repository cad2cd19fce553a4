"""What the commands of `bifold` do, once chosen."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from typing import NoReturn

from chain.errors import ChainError
from keys.errors import KeysError
from wallet.errors import WalletError
from wallet.settings import Settings


def run(chosen: argparse.Namespace) -> int:
    """Do the chosen command."""
    try:
        match chosen.command:
            case "serve":
                _serve()
            case "worker":
                return _worker()
            case "migrate":
                return _migrate()
            case "reconcile":
                return _reconcile(as_json=chosen.json)
            case "chain":
                from wallet.cli_operator import chain

                return asyncio.run(chain(Settings.from_env(), chosen))
            case "deposits":
                from wallet import cli_forks
                from wallet.cli_operator import deposits

                if chosen.action in cli_forks.ACTIONS:
                    return asyncio.run(cli_forks.command(Settings.from_env(), chosen))
                return asyncio.run(deposits(Settings.from_env(), chosen))
            case "audit" | "cases":
                from wallet import cli_audit, cli_cases

                command = cli_audit.command if chosen.command == "audit" else cli_cases.command
                return asyncio.run(command(Settings.from_env(), chosen))
            case "treasury":
                from wallet.cli_treasury import treasury

                return asyncio.run(treasury(Settings.from_env(), chosen))
            case _:
                return _keys(chosen)
    except WalletError as error:
        print(f"bifold: {error.detail}", file=sys.stderr)
    except (ChainError, KeysError, OSError) as error:
        print(f"bifold: {error}", file=sys.stderr)
    return 1


def _serve() -> NoReturn:
    """The HTTP room stands above this one, so it is started as a program, not imported."""
    Settings.from_env()  # refuse here, in one line, what the server would refuse later
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "api.server"])  # noqa: S606 - ourselves


def _worker() -> int:
    from wallet.worker import main as work

    return asyncio.run(work(Settings.from_env()))


def _migrate() -> int:
    from wallet.migrate import head_revision, upgrade

    url = os.environ.get("BIFOLD_MIGRATION_DATABASE_URL") or os.environ.get("BIFOLD_DATABASE_URL")
    if not url:
        print("bifold: set BIFOLD_MIGRATION_DATABASE_URL (the owner's role).", file=sys.stderr)
        return 2
    upgrade(url)
    print(f"The database is at {head_revision()}.")
    return 0


def _reconcile(*, as_json: bool) -> int:
    from wallet.reconcile import command

    return asyncio.run(command(Settings.from_env(), as_json=as_json))


def _keys(chosen: argparse.Namespace) -> int:
    if chosen.action in ("split", "restore", "import", "export", "rotate"):
        from wallet.cli_keys import run as backups

        return backups(chosen)
    if chosen.action == "sign":
        from wallet.cli_keys_sign import run as sign

        return sign(chosen)
    if chosen.action == "show":
        return _keys_show(chosen.public or _keys_file(), chosen.count)
    return _keys_init(chosen)


def _keys_file() -> str:
    """Where the public half lies, without asking for settings that showing it does not need."""
    data_dir = os.environ.get("BIFOLD_DATA_DIR") or ".bifold"
    return os.environ.get("BIFOLD_KEYS_FILE") or os.path.join(data_dir, "keys.json")


def _keys_show(public_file: str, count: int) -> int:
    from keys.derivation import DepositDeriver
    from keys.setup import read_public

    public = read_public(public_file)
    print(f"deposit xpub   {public.deposit_xpub}")
    print(f"fingerprint    {public.fingerprint}")
    for number, address in enumerate(public.hot):
        print(f"hot {number}          {address}")
    deriver = DepositDeriver(public.deposit_xpub)
    for index in range(count):
        print(f"deposit {index}      {deriver.address(index)}")
    return 0


def _keys_init(chosen: argparse.Namespace) -> int:
    from keys.descriptors import take_passphrase
    from keys.errors import KeysError
    from keys.setup import create_house, write_public

    if not sys.stdout.isatty():
        print("bifold: the words are shown on a terminal only; run this on one.", file=sys.stderr)
        return 2
    try:
        house = create_house(
            chosen.vault,
            take_passphrase(chosen.passphrase_fd, outside=chosen.vault),
            words=chosen.words,
            language=chosen.language,
        )
        write_public(chosen.public, house.public())
    except KeysError as error:
        print(f"bifold: {error}", file=sys.stderr)
        return 1
    print("Write these words down, on paper, now. They are shown once and move all the money.\n")
    print(f"  {house.mnemonic.reveal()}\n")
    print(f"fingerprint of the deposit key: {house.fingerprint}")
    return 0
