"""The sandbox as a whole: ready, restarting what dies, ending in time, same state again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from wallet.sandbox.node import LocalNode, NodeError
from wallet.sandbox.temporary import ROOT, TemporarySandbox
from wallet.testing.pace import patience

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
STOP_LIMIT_SECONDS = 10.0
SECOND_START_LIMIT_SECONDS = 10.0
SUPERVISOR_LIMIT_KB = 45 * 1024


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporarySandbox]:
    with TemporarySandbox(data_dir=tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


def until(condition: Callable[[], bool], within_seconds: float) -> bool:
    deadline = time.monotonic() + patience(within_seconds)
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def answers(node: LocalNode) -> bool:
    try:
        return node.quantity("eth_blockNumber") >= 0
    except NodeError:
        return False


def mined_in(node: LocalNode, tx_hash: object) -> int | None:
    receipt = node.call("eth_getTransactionReceipt", tx_hash)
    return int(receipt["blockNumber"], 16) if isinstance(receipt, dict) else None


def children(sandbox: TemporarySandbox) -> dict[str, int]:
    """Processes of the sandbox by what they are."""
    assert sandbox.process is not None
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            command = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if int(fields[1]) == sandbox.process.pid and fields[0] != "Z":
            for name, mark in (
                ("postgres", "/postgres "), ("chain", "/anvil "), ("signer", " signer "),
                ("api", "serve"), ("api", "api.server"), ("worker", " worker"),
                ("auditor", "wallet.auditor --every"),
            ):  # fmt: skip
                if mark in command:
                    found[name] = int(stat.parent.name)
                    break
    return found


def ready(sandbox: TemporarySandbox) -> bool:
    try:
        with urllib.request.urlopen(f"{sandbox.url}/readyz", timeout=3) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def node_of(sandbox: TemporarySandbox) -> LocalNode:
    networks = tomllib.loads((sandbox.data_dir / "networks.toml").read_text())["networks"]
    return LocalNode(networks["local"]["rpc_urls"][0])


def local_of(sandbox: TemporarySandbox) -> dict[str, object]:
    local: dict[str, object] = tomllib.loads((sandbox.data_dir / "networks.toml").read_text())[
        "networks"
    ]["local"]
    return local


class TestHouse:
    def test_the_house_is_funded(self, sandbox: TemporarySandbox) -> None:
        hot = json.loads((sandbox.data_dir / "keys.json").read_text())["hot"][0]
        token = tomllib.loads((sandbox.data_dir / "networks.toml").read_text())["networks"][
            "local"
        ]["tokens"][0]
        node = node_of(sandbox)
        balance_of = "0x70a08231" + hot[2:].rjust(64, "0")
        asked = {"to": token["contract"], "data": balance_of}
        assert node.quantity("eth_getBalance", hot, "latest") == 1_000 * 10**18
        assert node.quantity("eth_call", asked, "latest") == 5_000_000 * 10**6

    def test_its_clock_may_be_moved(self, sandbox: TemporarySandbox) -> None:
        asked = urllib.request.Request(
            f"{sandbox.url}/sandbox/clock",
            data=b'{"advance_seconds": 60}',
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=10) as response:
            assert response.status == 200

    def test_the_chain_is_pinned(self, sandbox: TemporarySandbox) -> None:
        first = node_of(sandbox).block("0x1")
        assert first is not None
        assert local_of(sandbox)["block1_hash"] == first["hash"]

    def test_no_secret_is_in_a_log_or_an_environment(self, sandbox: TemporarySandbox) -> None:
        secret = (sandbox.data_dir / "sandbox" / "passphrase").read_text().strip()
        assert secret.startswith("worthless")
        places = [*(sandbox.data_dir / "log").glob("*.log"), sandbox.output]
        for pid in children(sandbox).values():
            places += [Path(f"/proc/{pid}/environ"), Path(f"/proc/{pid}/cmdline")]
        for place in places:
            if os.access(place, os.R_OK):
                assert secret.encode() not in place.read_bytes(), place

    def test_the_words_are_not_shown_without_a_terminal(self, sandbox: TemporarySandbox) -> None:
        assert "words of your" not in sandbox.output.read_text()

    def test_an_idle_chain_does_not_grow(self, sandbox: TemporarySandbox) -> None:
        node = node_of(sandbox)
        before = node.quantity("eth_blockNumber")
        time.sleep(4)
        assert node.quantity("eth_blockNumber") <= before + 1

    def test_the_supervisor_is_small(self, sandbox: TemporarySandbox) -> None:
        assert sandbox.process is not None
        rollup = Path(f"/proc/{sandbox.process.pid}/smaps_rollup").read_text()
        pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        assert pss < SUPERVISOR_LIMIT_KB


COMMANDS = """
import contextlib, io, json, sys
from wallet.cli import main
told = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    told.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(told))
"""


class TestOperatorsCommands:
    """One process for several commands: each start costs two seconds of CPU."""

    def bifold(
        self, sandbox: TemporarySandbox, *commands: Sequence[str]
    ) -> list[tuple[int, str, str]]:
        """Exit code, output and errors of each, outside the sandbox's own processes."""
        ran = subprocess.run(
            [sys.executable, "-c", COMMANDS, json.dumps(commands)],
            cwd=ROOT,
            env=os.environ | {"BIFOLD_DATA_DIR": str(sandbox.data_dir), "BIFOLD_MODE": "sandbox"},
            capture_output=True,
            text=True,
            timeout=patience(60),
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return [(code, out, err) for code, out, err in json.loads(ran.stdout)]

    def test_nothing_is_halted_and_nothing_unattributed(self, sandbox: TemporarySandbox) -> None:
        assert until(lambda: ready(sandbox), 40)
        status, *listed = self.bifold(
            sandbox,
            ("chain", "status"),
            ("deposits", "unattributed"),
            ("deposits", "losses"),
            ("cases", "list"),
        )
        assert status[0] == 0, status
        assert status[1].split()[:3] == ["network", "local", "usable"]
        assert [(code, out) for code, out, _ in listed] == [
            (0, "Nothing is unattributed.\n"),
            (0, "Nothing that was credited is lost.\n"),
            (0, "No case is open.\n"),
        ]

    def test_a_command_is_a_program(self, sandbox: TemporarySandbox) -> None:
        ran = subprocess.run(
            [sys.executable, "-m", "wallet.cli", "chain", "resume-network", "local", "--by", "al"],
            cwd=ROOT,
            env=os.environ | {"BIFOLD_DATA_DIR": str(sandbox.data_dir), "BIFOLD_MODE": "sandbox"},
            capture_output=True,
            text=True,
            timeout=patience(60),
            check=False,
        )
        assert ran.returncode == 1
        assert ran.stderr.startswith("bifold: ") and len(ran.stderr.splitlines()) == 1

    def test_what_is_not_there_is_said_in_one_line(self, sandbox: TemporarySandbox) -> None:
        asked = [
            ("chain", "resume-network", "local"),
            ("chain", "resume-signer", "local", "0x0"),
            ("chain", "resume-token", "local", "USDC"),
            ("deposits", "approve", "una_x", "--to", "usr_x"),
            ("deposits", "propose-fork", "local"),
            ("deposits", "approve-fork", "nowhere"),
            ("chain", "cancel", "wdr_x"),
            ("cases", "close", "cas_x", "--note", "seen"),
        ]
        told = self.bifold(sandbox, *((*words, "--by", "al") for words in asked))
        assert len(told) == len(asked)
        for words, (code, _, errors) in zip(asked, told, strict=True):
            assert code == 1, words
            assert errors.startswith("bifold: ") and len(errors.splitlines()) == 1, (words, errors)


class TestDeaths:
    @pytest.mark.parametrize("name", ["api", "worker", "signer", "auditor", "chain", "postgres"])
    def test_what_is_killed_comes_back(self, sandbox: TemporarySandbox, name: str) -> None:
        before = children(sandbox)[name]
        os.kill(before, signal.SIGKILL)
        assert until(lambda: children(sandbox).get(name, before) != before, 20)
        assert until(lambda: ready(sandbox), 40)

    def test_the_chain_comes_back_with_what_was_stored(self, sandbox: TemporarySandbox) -> None:
        node = node_of(sandbox)
        assert until(lambda: answers(node), 40)  # whoever died before this test
        accounts = node.call("eth_accounts")
        assert isinstance(accounts, list)
        payment = {"from": accounts[1], "to": accounts[2], "value": hex(10**18)}
        tx_hash = node.call("eth_sendTransaction", payment)
        # Anvil answers a send before the block that holds it is there.
        assert until(lambda: mined_in(node, tx_hash) is not None, 20)
        height = mined_in(node, tx_hash)
        assert height is not None
        stored = sandbox.data_dir / "anvil" / "snapshot.json"
        assert until(lambda: json.loads(stored.read_text())["height"] >= height, 10)
        before = children(sandbox)["chain"]
        os.kill(before, signal.SIGKILL)
        assert until(lambda: children(sandbox).get("chain", before) != before, 20)
        assert until(lambda: answers(node), 40)  # started is not yet listening
        assert until(lambda: ready(sandbox), 40)
        assert node.call("eth_getTransactionReceipt", tx_hash) is not None
        told = node.call("anvil_metadata")
        assert isinstance(told, dict)
        [mark] = told["snapshots"].values()  # no reorganisation goes below it: `DevNode.deepest`
        assert mark[0] >= height


class TestRefusals:
    def test_a_second_sandbox_on_the_same_data_says_so_in_one_line(
        self, sandbox: TemporarySandbox
    ) -> None:
        second = TemporarySandbox(data_dir=sandbox.data_dir)
        second.output = sandbox.data_dir / "second.txt"
        second.launch()
        assert second.process is not None
        assert second.process.wait(patience(20)) == 1
        said = second.output.read_text().strip()
        assert "already runs on" in said
        assert len(said.splitlines()) == 1

    def test_a_port_in_use_is_named_in_one_line(
        self, sandbox: TemporarySandbox, tmp_path: Path
    ) -> None:
        second = TemporarySandbox(data_dir=tmp_path, environment={"BIFOLD_PORT": str(sandbox.port)})
        second.launch()
        assert second.process is not None
        assert second.process.wait(patience(20)) == 1
        said = second.output.read_text().strip()
        assert f"Port {sandbox.port}" in said
        assert len(said.splitlines()) == 1

    def test_clean_does_not_touch_a_running_sandbox(self, sandbox: TemporarySandbox) -> None:
        result = subprocess.run(
            [sys.executable, ROOT / "dev", "clean"],
            env={**os.environ, "BIFOLD_DATA_DIR": str(sandbox.data_dir)},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 1
        assert "running" in result.stderr
        assert (sandbox.data_dir / "keys.json").exists()


class TestEnding:
    def test_it_ends_in_time_and_the_second_start_finds_the_same_state(
        self, tmp_path: Path
    ) -> None:
        first = TemporarySandbox(data_dir=tmp_path)
        first.start()
        keys, networks = (tmp_path / "keys.json").read_text(), local_of(first)
        height = node_of(first).quantity("eth_blockNumber")
        running = children(first)
        assert set(running) == {"postgres", "chain", "signer", "api", "worker", "auditor"}
        assert first.stop(signal.SIGTERM) < patience(STOP_LIMIT_SECONDS)
        assert [name for name, pid in running.items() if Path(f"/proc/{pid}").exists()] == []

        second = TemporarySandbox(data_dir=tmp_path)
        began = time.monotonic()
        second.start()
        took = time.monotonic() - began
        try:
            assert (tmp_path / "keys.json").read_text() == keys
            assert local_of(second)["block1_hash"] == networks["block1_hash"]
            assert node_of(second).quantity("eth_blockNumber") >= height
            assert took < patience(SECOND_START_LIMIT_SECONDS)
        finally:
            second.stop()

    def test_nothing_survives_kill_9_of_the_supervisor(self, tmp_path: Path) -> None:
        sandbox = TemporarySandbox(data_dir=tmp_path)
        sandbox.start()
        running = children(sandbox)
        sandbox.stop(signal.SIGKILL)
        alive = list(running.values())
        assert until(lambda: not any(_alive(pid) for pid in alive), 8)
        again = TemporarySandbox(data_dir=tmp_path)
        again.start()
        again.stop()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
