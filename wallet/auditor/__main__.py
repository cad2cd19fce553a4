"""`python -m wallet.auditor`: audit once. 0 clean, 1 breaks named, 2 could not read."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from wallet.auditor.address import driver_url, fault
from wallet.auditor.instance import Instance
from wallet.auditor.record import keep
from wallet.auditor.run import CannotRead, audit, codes
from wallet.auditor.schedule import URL, Schedule, unsaid
from wallet.auditor.show import as_json, as_text

CLEAN, BROKEN, UNREAD = 0, 1, 2
MINUTES_AT_MOST = 1_440


def main(arguments: Sequence[str]) -> int:
    """Run it with the environment of this process."""
    parser = argparse.ArgumentParser(
        prog="bifold audit",
        description="Audit the books. 0: clean, 1: breaks, each named, 2: could not be read.",
        epilog="What a break paused: `bifold audit pauses`, `bifold audit accept` (docs/audit.md).",
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--since-checkpoint", action="store_true", help="postings since the last sound run only"
    )
    parser.add_argument("--no-chain", action="store_true", help="ask no node")
    parser.add_argument("--no-record", action="store_true", help="keep nothing of this run")
    parser.add_argument("--codes", action="store_true", help="list every check and end")
    parser.add_argument(
        "--every", type=_minutes, metavar="MINUTES", help="audit again and again until it is ended"
    )
    chosen = parser.parse_args(arguments)
    if chosen.codes:
        for code, means in sorted(codes().items()):
            sys.stdout.write(f"{code:<28} {means}\n")
        return CLEAN
    return _audit(chosen, environment(os.environ))


def _audit(chosen: argparse.Namespace, told: Mapping[str, str]) -> int:
    url = told.get(URL)
    if not url:
        sys.stderr.write(
            f"bifold audit: set {URL} (role bifold_audit; docs/audit.md),"
            " or start ./dev run first.\n"
        )
        return UNREAD
    if (wrong := fault(url)) is not None:
        sys.stderr.write(f"bifold audit: {URL} {wrong} (docs/configuration.md).\n")
        return UNREAD
    if chosen.every is not None:
        return Schedule(told, minutes=chosen.every).keep()
    folder = Path(told.get("BIFOLD_DATA_DIR") or ".bifold")
    networks = told.get("BIFOLD_NETWORKS_FILE") or folder / "networks.toml"
    keys = told.get("BIFOLD_KEYS_FILE") or folder / "keys.json"
    try:
        report = audit(
            driver_url(url),
            Instance.read(Path(networks), Path(keys)),
            since_checkpoint=chosen.since_checkpoint,
            ask_chain=not chosen.no_chain,
            told=_progress if sys.stderr.isatty() and not chosen.json else _silent,
        )
        run = None if chosen.no_record else keep(driver_url(url), report)
    except (CannotRead, ValueError) as error:
        sys.stderr.write(f"bifold audit: nothing can be said: {unsaid(url, str(error))}\n")
        return UNREAD
    sys.stdout.write((as_json(report, run) if chosen.json else as_text(report)) + "\n")
    return CLEAN if report.clean else BROKEN


def _minutes(word: str) -> int:
    if not word.isdecimal() or not 1 <= int(word) <= MINUTES_AT_MOST:
        raise argparse.ArgumentTypeError(f"1 to {MINUTES_AT_MOST} minutes")
    return int(word)


def environment(process: Mapping[str, str]) -> dict[str, str]:
    """The process's environment; beside a running sandbox, what it wrote down about itself."""
    if URL in process:
        return dict(process)
    file = Path(process.get("BIFOLD_DATA_DIR") or ".bifold") / "sandbox" / "environment"
    if not file.is_file():
        return dict(process)
    lines = (line.partition("=") for line in file.read_text("utf-8").splitlines())
    return dict(process) | {name: value for name, _, value in lines}


def _progress(room: str) -> None:
    sys.stderr.write(f"\r\x1b[K  reading: {room} …\r")
    sys.stderr.flush()


def _silent(room: str) -> None:
    """A program does not watch."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
