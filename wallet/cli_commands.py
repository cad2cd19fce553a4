"""What the commands of `bifold` do, once chosen."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

from chain.errors import ChainError
from keys.errors import KeysError
from wallet.cli_files import system_words
from wallet.database_url import fault
from wallet.errors import DatabaseUnavailable, Forbidden, WalletError
from wallet.settings import RUNNING_SANDBOX, InvalidSettings, Settings

INSUFFICIENT_PRIVILEGE = "42501"
INTERRUPTED = 130  # the shell's code for SIGINT


def run(chosen: argparse.Namespace) -> int:
    """Do the chosen command."""
    try:
        match chosen.command:
            case "worker":
                return _worker()
            case "migrate":
                return _migrate()
            case "keys":
                return _keys(chosen)
            case _:
                return _operate(chosen)
    except WalletError as error:
        print(f"bifold: {error.detail}", file=sys.stderr)
    except (ChainError, KeysError) as error:
        print(f"bifold: {error}", file=sys.stderr)
    except OSError as error:
        print(f"bifold: {system_words(error)}", file=sys.stderr)
    except EOFError:
        print("\nbifold: the input ended before all was typed.", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nbifold: broken off.", file=sys.stderr)
        return INTERRUPTED
    return 1


def _operate(chosen: argparse.Namespace) -> int:
    """What operators do. Logs and database are loaded here: a cold machine has neither."""
    from sqlalchemy.exc import ProgrammingError

    from wallet.cli_log import held_back
    from wallet.db import sqlstate

    with held_back():
        try:
            return asyncio.run(_command(Settings.from_env(), chosen))
        except ProgrammingError as error:
            if sqlstate(error) != INSUFFICIENT_PRIVILEGE:
                raise
            raise Forbidden(
                "the database's role may not do that; operators' commands need"
                " BIFOLD_OPERATOR_DATABASE_URL (docs/configuration.md)."
            ) from None
        except DatabaseUnavailable as error:
            if error.__cause__ is None:
                raise
            raise DatabaseUnavailable(_unreachable(error.__cause__)) from None


def _unreachable(error: BaseException) -> str:
    """Why, in the driver's words: their first line, which names the server and no password."""
    why = str(getattr(error, "orig", error)).partition("\n")[0]
    return f"the database cannot be reached: {why}"


async def _command(settings: Settings, chosen: argparse.Namespace) -> int:
    """Each command is a module of its own. What it changes is logged under its `--by`."""
    from wallet.db import ACTOR

    ACTOR.set(getattr(chosen, "by", None))
    match chosen.command:
        case "reconcile":
            from wallet.cli_reconcile import command
        case "chain":
            from wallet.cli_operator import chain as command
        case "deposits":
            from wallet import cli_forks, cli_held_back
            from wallet.cli_operator import deposits as command

            if chosen.action in cli_forks.ACTIONS:
                return await cli_forks.command(settings, chosen)
            if chosen.action in cli_held_back.ACTIONS:
                return await cli_held_back.command(settings, chosen)
        case "cases":
            from wallet.cli_cases import command
        case "topups":
            from wallet.cli_topups import command
        case "audit":
            from wallet.cli_audit import command
        case "seal":
            from wallet.cli_seal import command
        case "log":
            from wallet.cli_oplog import command
        case "ledger":
            from wallet.cli_ledger import command
        case _:
            from wallet.cli_treasury import treasury as command
    return await command(settings, chosen)


def _worker() -> int:
    from uvloop import new_event_loop

    from wallet.worker import main as work

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work(Settings.from_env()))


def _migrate() -> int:
    from sqlalchemy.exc import OperationalError, ProgrammingError

    from wallet.db import sqlstate
    from wallet.migrate import head_revision, upgrade

    url = _owner_url()
    if url is None:
        print(
            "bifold: set BIFOLD_MIGRATION_DATABASE_URL (the owner's role; docs/configuration.md),"
            " or start ./dev run first (BIFOLD_DATA_DIR names its folder).",
            file=sys.stderr,
        )
        return 1
    try:
        upgrade(url)
    except OperationalError as error:
        if sqlstate(error) is not None:
            raise
        raise DatabaseUnavailable(_unreachable(error)) from None
    except ProgrammingError as error:
        if sqlstate(error) != INSUFFICIENT_PRIVILEGE:
            raise
        raise Forbidden(
            "the database's role may not do that; bifold migrate needs"
            " BIFOLD_MIGRATION_DATABASE_URL (the owner's role; docs/configuration.md)."
        ) from None
    print(f"The database is at {head_revision()}.")
    return 0


def _owner_url() -> str | None:
    """As whom to migrate: what the environment says, or else the sandbox that runs here.

    Raises InvalidSettings.
    """
    for name in ("BIFOLD_MIGRATION_DATABASE_URL", "BIFOLD_DATABASE_URL"):
        if url := os.environ.get(name):
            if (wrong := fault(url)) is not None:
                raise InvalidSettings(f"{name} {wrong} (docs/configuration.md).")
            return url
    if not (_data_dir() / RUNNING_SANDBOX).is_file():
        return None
    found = Settings.from_env()
    return found.migration_database_url or found.database_url


def _data_dir() -> Path:
    return Path(os.environ.get("BIFOLD_DATA_DIR") or ".bifold")


def _keys(chosen: argparse.Namespace) -> int:
    if chosen.action == "sign":
        from wallet.cli_keys_sign import run as sign

        return sign(chosen)
    if chosen.action == "show":
        return _keys_show(chosen.public or _keys_file(), chosen.count)
    from wallet.cli_keys import run

    return run(chosen)


def _keys_file() -> str:
    """Where the public half lies, without asking for settings that showing it does not need."""
    return os.environ.get("BIFOLD_KEYS_FILE") or str(_data_dir() / "keys.json")


def _keys_show(public_file: str, count: int) -> int:
    from keys.derivation import DepositDeriver
    from keys.setup import read_public

    public = read_public(public_file)
    print(f"deposit xpub   {public.deposit_xpub}")
    print(f"fingerprint    {public.fingerprint}")
    for number, address in enumerate(public.hot):
        print(f"hot {number}          {address}")
    if public.warm is not None:
        print(f"warm           {public.warm}")
    deriver = DepositDeriver(public.deposit_xpub)
    for index in range(count):
        print(f"deposit {index}      {deriver.address(index)}")
    return 0
