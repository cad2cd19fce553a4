"""`./dev demo [--url URL]`: exit 0 only if the whole story held and everything balanced."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2

from wallet.sandbox.demo.client import Api, DemoFailed, Node
from wallet.sandbox.demo.stage import Stage
from wallet.sandbox.demo.story import Story
from wallet.sandbox.temporary import SandboxFailed, TemporarySandbox

REQUEST_SECONDS = 20.0


def main() -> int:
    """Play the story and judge it."""
    parser = argparse.ArgumentParser(
        prog="./dev demo", description="The main story, played for real."
    )
    parser.add_argument("--url", help="a running sandbox; without it a temporary one is started")
    chosen = parser.parse_args()
    stage = Stage()
    stage.title("Bifold", "one wallet, two folds: money and chain, one set of books")
    try:
        if chosen.url:
            return _play(stage, chosen.url.rstrip("/"), data_dir=None)
        with _temporary_sandbox(stage) as (url, data_dir):
            return _play(stage, url, data_dir=data_dir)
    except DemoFailed as failure:
        stage.verdict(False, f"The story stopped: {failure}")
    except httpx2.HTTPError as error:
        stage.verdict(False, f"The sandbox does not answer ({type(error).__name__}).")
    except KeyboardInterrupt:
        stage.verdict(False, "Stopped.")
    return 1


def _play(stage: Stage, url: str, *, data_dir: Path | None) -> int:
    started = time.monotonic()
    with httpx2.Client(base_url=url, timeout=REQUEST_SECONDS) as http:
        public = Api(http)
        network = next((n for n in public.get("/v1/networks")["data"] if n.get("rpc_url")), None)
        if network is None:
            raise DemoFailed("this instance shows no node; the demo plays on sandboxes only")
        usdc = next(a for a in public.get("/v1/assets")["data"] if a["code"] == "USDC")
        contract = next(
            n["contract"] for n in usdc["networks"] if n["network"] == network["network"]
        )
        node = Node(http, network["rpc_url"])
        stage.say(f"{url} · network {network['network']} (chain {network['chain_id']})")
        Story(stage, public, node, network["network"], contract, Api(http), Api(http)).play()
        balanced = _reconcile(stage, data_dir) if data_dir else None
    seconds = time.monotonic() - started
    if balanced is False:
        stage.verdict(False, "The books differ from chain or bank; see the lines above.")
        return 1
    end = (
        "Books, chain and bank agree to the last unit."
        if balanced
        else "Every step held. On a shared sandbox `bifold reconcile` has the last word."
    )
    stage.verdict(True, f"{end}  {seconds:.0f} s")
    return 0


def _reconcile(stage: Stage, data_dir: Path) -> bool:
    stage.step("The operator reconciles: books against chain and bank")
    ran = subprocess.run(
        [sys.executable, "-m", "wallet.cli", "reconcile", "--json"],
        env=os.environ | {"BIFOLD_DATA_DIR": str(data_dir), "BIFOLD_MODE": "sandbox"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    try:
        report: dict[str, Any] = json.loads(ran.stdout)
    except ValueError:
        raise DemoFailed(f"bifold reconcile said: {ran.stderr.strip()[-300:]}") from None
    rows = [[f"  {line['account']}", line["books"], line["outside"]] for line in report["lines"]]
    stage.table([("  account", "left"), ("books", "right"), ("outside", "right")], rows)
    for line in report["lines"]:
        for name in ("in_flight", "difference"):
            if Decimal(line[name]):
                stage.say(f"{line['account']}: {name.replace('_', ' ')} {line[name]}")
    for network, block in report["blocks"].items():
        stage.chain(f"{network} at block {block['number']} {block['hash'][:14]}…")
    return ran.returncode == 0 and bool(report["balanced"])


@contextlib.contextmanager
def _temporary_sandbox(stage: Stage) -> Iterator[tuple[str, Path]]:
    """A sandbox of its own in a temporary folder, ended and removed afterwards."""
    sandbox = TemporarySandbox()
    try:
        with stage.progress("starting database, chain, signer, API and worker"):
            sandbox.start()
        yield sandbox.url, sandbox.data_dir
    except SandboxFailed as failure:
        raise DemoFailed(f"the sandbox did not start: {failure}") from None
    finally:
        sandbox.stop()
        sandbox.remove()


if __name__ == "__main__":
    sys.exit(main())
