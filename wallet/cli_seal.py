"""`bifold seal head|verify`: the newest link to write down outside, and the whole chain anew."""

from __future__ import annotations

import argparse
import sys

import orjson
from sqlalchemy import text

from wallet import seal
from wallet.clock import rfc3339
from wallet.db import Database
from wallet.seal import Anchor, Head, Verified
from wallet.settings import Settings


async def command(settings: Settings, chosen: argparse.Namespace) -> int:
    """`head`: print it, 0. `verify`: 0 when all is whole, else 1 with what is wrong, by row."""
    db = Database(settings.direct_url, application_name="bifold-seal", pool_size=1)
    try:
        async with db.snapshot() as session:
            if chosen.action == "head":
                waiting = int(await session.scalar(text("SELECT count(*) FROM unsealed")) or 0)
                _show_head(await seal.head(session), waiting, as_json=chosen.json)
                return 0
            checked = await seal.verify(session, anchors=[Anchor(*told) for told in chosen.anchor])
    finally:
        await db.dispose()
    _show_verified(checked, as_json=chosen.json)
    return int(bool(checked.findings))


def _show_head(head: Head, waiting: int, *, as_json: bool) -> None:
    told = {
        "chain": head.chain,
        "seq": head.seq,
        "hash": head.hash.hex(),
        "sealed_at": rfc3339(head.sealed_at),
        "entries_waiting": waiting,
        "anchor": f"{head.seq}:{head.hash.hex()}",
    }
    if as_json:
        sys.stdout.write(orjson.dumps(told).decode() + "\n")
        return
    for name, value in told.items():
        print(f"{name.replace('_', ' '):<16} {value}")


def _show_verified(checked: Verified, *, as_json: bool) -> None:
    if as_json:
        told = {
            "links": checked.links,
            "seq": checked.seq,
            "hash": checked.hash.hex(),
            "findings": [
                {"seq": one.seq, "subject": one.subject, "what": one.what}
                for one in checked.findings
            ],
        }
        sys.stdout.write(orjson.dumps(told).decode() + "\n")
        return
    for one in checked.findings:
        place = "no link" if one.seq is None else f"link {one.seq}"
        print(f"{place}: {one.subject}: {one.what}")
    if checked.findings:
        print(f"{len(checked.findings)} found; the first one is where it began to differ.")
    else:
        print(f"{checked.links} links computed anew, all whole; head {checked.seq}:"
              f"{checked.hash.hex()}")  # fmt: skip
