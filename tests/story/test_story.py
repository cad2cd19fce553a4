"""The whole story over HTTP against a real sandbox, and again while its processes are killed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from wallet.sandbox.demo.client import Api, DemoFailed, wait_for
from wallet.sandbox.temporary import ROOT, TemporarySandbox
from wallet.testing.pace import patience

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ENDS = ("completed", "returned", "failed", "cancelled", "settled", "in_review")
CLABE = "032180000118359719"
RECOVERY_SECONDS = 60.0
SECOND_START_SECONDS = 10.0
MARKS = {
    "postgres": "/postgres ",
    "chain": "/anvil ",
    "signer": " signer ",
    "api": "api.server",
    "worker": " worker",
}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporarySandbox]:
    with TemporarySandbox(data_dir=tmp_path_factory.mktemp("story")) as sandbox:
        yield sandbox


@pytest.fixture
def http(sandbox: TemporarySandbox) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=sandbox.url, timeout=60) as client:
        yield client


def reconcile(sandbox: TemporarySandbox) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, "-m", "wallet.cli", "reconcile", "--json"],
        cwd=ROOT,
        env=os.environ | {"BIFOLD_DATA_DIR": str(sandbox.data_dir), "BIFOLD_MODE": "sandbox"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout, ran.stderr
    report: dict[str, Any] = json.loads(ran.stdout)
    assert ran.returncode == (0 if report["balanced"] else 1)
    return report


def child(sandbox: TemporarySandbox, name: str) -> int | None:
    """The pid of one process of this sandbox."""
    assert sandbox.process is not None
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rsplit(")", 1)[1].split()
            command = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if (
                int(fields[1]) == sandbox.process.pid
                and fields[0] != "Z"
                and MARKS[name] in command
            ):
                return int(stat.parent.name)
    return None


def person(http: httpx2.Client, name: str) -> Api:
    public = Api(http)
    email, password = f"{name}.{secrets.token_hex(4)}@example.org", secrets.token_urlsafe(14)
    public.post(
        "/v1/users",
        {"email": email, "password": password, "display_name": name.title(), "country": "DE"},
    )
    signed_in = public.post("/v1/sessions", {"email": email, "password": password})
    return Api(http, signed_in["token"])


def test_the_demo_plays_to_its_end_and_everything_balances(sandbox: TemporarySandbox) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "wallet.sandbox.demo", "--url", sandbox.url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "\x1b[" not in ran.stdout, "colours where no terminal is"
    report = reconcile(sandbox)
    assert report["balanced"], report
    assert {line["account"] for line in report["lines"]} >= {
        "chain:local:ETH:deposit",
        "chain:local:ETH:hot",
        "chain:local:ETH:warm",
        "chain:local:USDC:deposit",
        "chain:local:USDC:hot",
        "bank:simbank:EUR",
        "bank:simbank:MXN",
    }


@pytest.fixture(scope="module")
def funded(sandbox: TemporarySandbox) -> Iterator[Api]:
    with httpx2.Client(base_url=sandbox.url, timeout=60) as http:
        ada, public = person(http, "ada"), Api(http)
        place = ada.post("/v1/deposit-addresses", {"network": "local"})
        public.post(
            "/sandbox/faucet",
            {
                "address": place["address"],
                "network": "local",
                "money": {"amount": "3.000000000000000000", "asset": "ETH"},
            },
        )
        user = ada.get("/v1/me")
        public.post(
            "/sandbox/bank-credits",
            {"user": user["id"], "money": {"amount": "900.00", "asset": "EUR"}},
        )
        wait_for(
            lambda: ada.get("/v1/deposits")["data"],
            lambda rows: bool(rows) and rows[0]["status"] == "credited",
            what="the deposit",
        )
        yield ada


@pytest.mark.parametrize("name", ["worker", "signer", "api", "chain", "postgres"])
def test_work_finishes_after_kill_9_of_any_process(
    sandbox: TemporarySandbox, funded: Api, name: str
) -> None:
    outside = "0x" + secrets.token_hex(20)
    withdrawal = funded.post(
        "/v1/withdrawals",
        {
            "network": "local",
            "money": {"amount": "0.010000000000000000", "asset": "ETH"},
            "to_address": outside,
        },
    )
    recipient = funded.post(
        "/v1/recipients",
        {"type": "clabe", "name": "Lucía Hernández", "country": "MX", "clabe": CLABE},
    )
    quote = funded.post(
        "/v1/quotes",
        {
            "source_asset": "EUR",
            "target_asset": "MXN",
            "source_amount": "15.00",
            "kind": "payment",
            "corridor": "EUR-MX",
        },
    )
    payment = funded.post(
        "/v1/payments",
        {"quote_id": quote["id"], "recipient_id": recipient["id"], "purpose": "family_support"},
    )
    pid = child(sandbox, name)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)

    def state() -> tuple[str, str]:
        try:
            return (
                funded.get(f"/v1/withdrawals/{withdrawal['id']}")["status"],
                funded.get(f"/v1/payments/{payment['id']}")["status"],
            )
        except (DemoFailed, httpx2.HTTPError) as error:  # the API itself may be away
            return (type(error).__name__, "")

    ended = wait_for(
        state,
        lambda pair: all(one in ENDS for one in pair),
        seconds=patience(RECOVERY_SECONDS),
        what=f"all work to end after {name} died",
    )
    assert ended == ("settled", "completed")
    report = wait_for(
        lambda: reconcile(sandbox),
        lambda r: r["balanced"],
        seconds=patience(15),
        what="the books to agree",
    )
    assert report["balanced"]


def test_a_second_start_finds_the_same_state(sandbox: TemporarySandbox, funded: Api) -> None:
    before = funded.get("/v1/balances")["data"]
    sandbox.stop()
    began = time.monotonic()
    sandbox.start()
    assert time.monotonic() - began < patience(SECOND_START_SECONDS)
    after = funded.get("/v1/balances")["data"]
    assert after == before
    assert reconcile(sandbox)["balanced"]
