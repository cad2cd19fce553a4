"""The signer as a process: start, refusals, kill -9 around every step, what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct

from keys import policy_file
from keys.address import address_of
from keys.descriptors import UnreadableDescriptor, offer, take, take_passphrase
from keys.errors import NonceConflict, SignerRefused, SignerUnavailable
from keys.house import OWNER, WARM_KEY, warm_key
from keys.kdf import KdfCost
from keys.policy import Policy, WarmPolicy
from keys.request import approval_text
from keys.secret import Secret, SecretText
from keys.setup import create_house
from keys.signer import RemoteSigner, SignedTx
from keys.testing import (
    LOCAL_CHAIN_ID,
    TEST_HOT_ADDRESSES,
    TEST_MNEMONIC,
    TEST_PASSPHRASE,
    UNLIMITED,
    native_payload,
    open_policy,
)
from keys.vault import VAULT_FILE, Vault
from keys.wire import new_capability

HOT = TEST_HOT_ADDRESSES[0]
START_SECONDS = 30
ROOT = Path(__file__).resolve().parents[2]
KNOWN = {
    "before": "unknown",
    "half": "unknown",
    "written": "known",
    "synced": "known",
    "signed": "known",
}
"""Moments of death round the journal write, and whether the entry is there afterwards. The page
cache outlives the process, so a write without its fsync is there too."""


@dataclass
class Host:
    """A house on disk and the signer processes started on it."""

    folder: Path
    socket: Path
    capability: Secret = field(default_factory=new_capability)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(
        self, *extra: str, passphrase: SecretText = TEST_PASSPHRASE
    ) -> subprocess.Popen[bytes]:
        """Start a signer; both secrets go through pipes."""
        descriptors = [offer(Secret(passphrase.reveal().encode())), offer(self.capability)]
        command = [sys.executable, "-m", "keys.process", "--vault", str(self.folder / "vault")]
        command += ["--socket", str(self.socket), "--policy", str(self.folder / "policy.json")]
        command += ["--passphrase-fd", str(descriptors[0])]
        command += ["--capability-fd", str(descriptors[1]), *extra]
        log = (self.folder / "signer.log").open("ab")
        try:
            process = subprocess.Popen(command, pass_fds=descriptors, stderr=log, cwd=ROOT)
        finally:
            log.close()
            for descriptor in descriptors:
                os.close(descriptor)
        self.running.append(process)
        return process

    def log(self) -> str:
        """All the signers wrote."""
        return (self.folder / "signer.log").read_text()

    async def client(self) -> RemoteSigner:
        """A caller, once a signer answers."""
        remote = RemoteSigner(self.socket, self.capability)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                await remote.hot_addresses()
                return remote
            except SignerUnavailable:
                assert time.monotonic() < deadline, self.log()
                assert self.running[-1].poll() is None, self.log()
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """kill -9 the newest signer."""
        self.running[-1].send_signal(signal.SIGKILL)
        self.running[-1].wait(10)

    def close(self) -> None:
        """End whatever still runs."""
        for process in self.running:
            if process.poll() is None:
                process.kill()
            process.wait(10)


@pytest.fixture
def host(tmp_path: Path, runtime_dir: Path, light: KdfCost) -> Iterator[Host]:
    phrase = SecretText(TEST_MNEMONIC)
    create_house(tmp_path / "vault", TEST_PASSPHRASE, mnemonic=phrase, cost=light)
    policy_file.dump(tmp_path / "policy.json", open_policy())
    host = Host(tmp_path, runtime_dir / "s")
    yield host
    host.close()


async def _pay(remote: RemoteSigner, nonce: int, *, value: int = 1) -> SignedTx:
    return await remote.sign_transaction(
        address=HOT,
        payload=native_payload(nonce, value=value),
        intent_id=f"wdr_{nonce}",
        kind="pay",
    )


class TestLife:
    def test_a_socket_that_cannot_be_made_is_named(self, host: Host) -> None:
        host.socket = host.folder / "none" / "socket"
        assert host.start().wait(START_SECONDS) == 1
        assert f"there is no folder for the socket {host.socket}" in host.log()
        assert "Traceback" not in host.log()

    async def test_start_sign_stop_and_start_again(self, host: Host) -> None:
        host.start("--hot-keys", "2")
        remote = await host.client()
        assert await remote.hot_addresses() == list(TEST_HOT_ADDRESSES)
        first = await _pay(remote, 0)
        host.running[-1].terminate()
        assert host.running[-1].wait(10) == 0
        assert not host.socket.exists()
        host.start()
        again = await host.client()
        assert await again.hot_addresses() == [HOT]
        assert await _pay(again, 0) == first
        with pytest.raises(NonceConflict):
            await _pay(again, 0, value=2)
        await remote.aclose()
        await again.aclose()
        assert TEST_MNEMONIC not in host.log()
        assert TEST_PASSPHRASE.reveal() not in host.log()
        assert host.capability.reveal().hex() not in host.log()

    async def test_nothing_that_is_sent_starts_a_line_of_the_log(self, host: Host) -> None:
        host.start()
        remote = await host.client()
        with pytest.raises(SignerRefused):
            await remote.sign_transaction(address=HOT, payload=b"", intent_id="\nsent", kind="pay")
        await remote.aclose()
        assert "\nsent" not in host.log() and "refused pay of '\\nsent'" in host.log()

    async def test_no_secret_in_argv_environment_or_core(self, host: Host) -> None:
        process = host.start("--inspectable")
        remote = await host.client()
        proc = Path(f"/proc/{process.pid}")
        for name in ("cmdline", "environ"):
            content = (proc / name).read_bytes()
            assert TEST_PASSPHRASE.reveal().encode() not in content
            assert host.capability.reveal() not in content
        limits = (proc / "limits").read_text().splitlines()
        core = next(line for line in limits if line.startswith("Max core file size"))
        assert core.split()[4:6] == ["0", "0"]
        opened = [os.readlink(link) for link in (proc / "fd").iterdir()]
        assert not [name for name in opened if name.startswith("pipe:")], "both pipes are closed"
        await remote.aclose()

    async def test_a_second_signer_of_one_vault_is_refused(self, host: Host) -> None:
        host.start()
        remote = await host.client()
        second = host.start()
        assert second.wait(START_SECONDS) == 1
        assert "vault_locked" in host.log()
        assert await remote.hot_addresses() == [HOT]
        await remote.aclose()

    async def test_memory_stays_small(self, host: Host) -> None:
        """PSS of a signer that has signed; all own processes together have 400 MB."""
        process = host.start("--inspectable")
        remote = await host.client()
        for nonce in range(20):
            await _pay(remote, nonce)
        await remote.aclose()
        assert _pss_kib(process.pid) < 75 * 1024
        assert "nacl" not in _maps(process.pid), "HD code is loaded"

    async def test_missing_hot_keys_are_derived_once(self, host: Host) -> None:
        for expected in (True, False):
            process = host.start("--inspectable", "--hot-keys", "3")
            remote = await host.client()
            assert len(await remote.hot_addresses()) == 3
            await remote.aclose()
            assert ("nacl" in _maps(process.pid)) is expected
            host.kill()

    async def test_a_vault_of_an_older_release_gets_its_warm_key_when_the_policy_says_warm(
        self, host: Host, light: KdfCost
    ) -> None:
        file = host.folder / "vault" / VAULT_FILE
        made = Vault.open(file, TEST_PASSPHRASE)
        older = {name: made.get(*name) for name in made.names() if name != (OWNER, WARM_KEY)}
        file.unlink()
        Vault.create(file, TEST_PASSPHRASE, contents=older, cost=light)
        before = file.read_bytes()
        host.start()
        remote = await host.client()
        paid = await _pay(remote, 0)
        assert (await remote.approval_limits())[LOCAL_CHAIN_ID].warm == frozenset()
        assert file.read_bytes() == before  # without warm in the policy nothing is made
        await remote.aclose()
        host.kill()

        ada, bob = (Account.from_key(bytes([number]) * 32) for number in (7, 8))
        [chain] = open_policy().chains.values()
        chain = replace(chain, warm=WarmPolicy(native=UNLIMITED))
        operators = frozenset({ada.address, bob.address})
        policy_file.dump(host.folder / "policy.json", Policy({LOCAL_CHAIN_ID: chain}, operators))
        for first in (True, False):
            process = host.start("--inspectable")
            remote = await host.client()
            [warm] = (await remote.approval_limits())[LOCAL_CHAIN_ID].warm
            words = approval_text(
                intent_id="int_1", chain_id=LOCAL_CHAIN_ID, to=HOT, asset="native", amount=5,
                warm=warm,
            )  # fmt: skip
            signed = await remote.sign_transaction(
                address=warm, payload=native_payload(to=HOT, value=5), intent_id="int_1",
                kind="pay", approval=b"".join(
                    bytes(one.sign_message(encode_defunct(text=words)).signature)
                    for one in (ada, bob)
                ),
            )  # fmt: skip
            assert Account.recover_transaction(signed.raw) == warm
            assert await _pay(remote, 0) == paid  # the journal went on
            assert ("nacl" in _maps(process.pid)) is first
            await remote.aclose()
            host.kill()
        kept = Vault.open(file, TEST_PASSPHRASE)
        assert {name: kept.get(*name) for name in older} == older
        assert address_of(warm_key(kept)) == warm


def _pss_kib(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    line = next(line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1])


def _maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


class TestRefusesToStart:
    def _ends(self, host: Host, *extra: str, passphrase: SecretText = TEST_PASSPHRASE) -> str:
        process = host.start(*extra, passphrase=passphrase)
        assert process.wait(START_SECONDS) == 1
        assert not host.socket.exists()
        return host.log()

    def test_a_wrong_passphrase(self, host: Host) -> None:
        log = self._ends(host, passphrase=SecretText("canary-guess"))
        assert "wrong_passphrase" in log
        assert "canary-guess" not in log

    def test_a_damaged_journal(self, host: Host) -> None:
        journal = host.folder / "vault" / "journal.log"
        journal.write_bytes(journal.read_bytes() + b"an invented entry\n")
        assert "journal_corrupt" in self._ends(host)

    def test_a_lost_journal(self, host: Host) -> None:
        (host.folder / "vault" / "journal.log").unlink()
        assert "journal_corrupt" in self._ends(host)

    def test_a_policy_others_may_write(self, host: Host) -> None:
        (host.folder / "policy.json").chmod(0o666)
        assert "invalid_signer_policy" in self._ends(host)


class TestKill:
    """kill -9 at any moment: what was answered is remembered, what was not can be asked again."""

    async def test_at_random_moments(self, host: Host) -> None:
        random = Random(20261122)
        answered: dict[int, SignedTx] = {}
        nonce = 0
        for _ in range(3):
            host.start()
            remote = await host.client()
            for old, signed in list(answered.items())[-20:]:
                assert await _pay(remote, old) == signed
                with pytest.raises(NonceConflict):
                    await _pay(remote, old, value=2)
            burst = [asyncio.create_task(_pay(remote, nonce + i)) for i in range(40)]
            await asyncio.sleep(random.uniform(0.0, 0.15))
            host.kill()
            for offset, result in enumerate(await asyncio.gather(*burst, return_exceptions=True)):
                if isinstance(result, SignedTx):
                    answered[nonce + offset] = result
                else:
                    assert isinstance(result, SignerUnavailable)
            nonce += 40
            await remote.aclose()
        host.start()
        remote = await host.client()
        for old in range(nonce):
            signed = await _pay(remote, old)
            assert answered.get(old, signed) == signed
        await remote.aclose()

    @pytest.mark.parametrize("moment", KNOWN)
    def test_around_the_journal_write(self, tmp_path: Path, moment: str) -> None:
        """The process dies before, in the middle of and after the write, and after signing. Nonce 0
        was answered before; nonce 1 is in the making."""
        code, answered = _run_desk(tmp_path / "a", CRASH, moment)
        assert code == -signal.SIGKILL, answered
        _, (known, *after) = _run_desk(tmp_path / "a", AFTER)
        _, (fresh, *undisturbed) = _run_desk(tmp_path / "b", AFTER)
        assert (known, fresh) == (KNOWN[moment], "unknown")
        assert answered == after[:1], "what was answered before is answered again"
        assert after == undisturbed, "and the same payloads sign to the same bytes as ever"
        assert after[2] == "nonce_used nonce_used"


class TestDescriptors:
    def test_offered_and_taken(self) -> None:
        descriptor = offer(Secret(b"\x00\xff" * 16))
        assert take(descriptor) == Secret(b"\x00\xff" * 16)
        with pytest.raises(UnreadableDescriptor):
            take(descriptor)

    @pytest.mark.parametrize("text", ["word", "word\n", "word\r\n"])
    def test_one_line_end_is_dropped(self, tmp_path: Path, text: str) -> None:
        taken = take_passphrase(offer(Secret(text.encode())), outside=tmp_path)
        assert taken == SecretText("word")

    @pytest.mark.parametrize("content", [b"\n", b"\xff\xfe"])
    def test_no_passphrase_at_all(self, tmp_path: Path, content: bytes) -> None:
        with pytest.raises(UnreadableDescriptor) as caught:
            take_passphrase(offer(Secret(content)), outside=tmp_path)
        assert caught.value.__context__ is None

    def test_a_file_in_the_vaults_folder_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "vault").mkdir()
        (tmp_path / "vault" / "passphrase").write_text("word")
        with (tmp_path / "vault" / "passphrase").open() as file:
            with pytest.raises(UnreadableDescriptor, match="vault's own folder"):
                take_passphrase(os.dup(file.fileno()), outside=tmp_path / "vault")
            assert take_passphrase(os.dup(file.fileno()), outside=tmp_path / "x")

    @pytest.mark.parametrize("length", [0, 4097])
    def test_bounds(self, length: int) -> None:
        with pytest.raises(ValueError, match="4096"):
            offer(Secret(bytes(length)))


class TestWrongCapability:
    async def test_the_process_refuses_it(self, host: Host) -> None:
        host.start()
        remote = await host.client()
        thief = RemoteSigner(host.socket, new_capability())
        with pytest.raises(SignerRefused) as caught:
            await _pay(thief, 0)
        assert caught.value.reason == "capability"
        assert await _pay(remote, 0)
        await remote.aclose()


PRELUDE = """
import os, signal, sys
from pathlib import Path
from keys.errors import NonceConflict
from keys.request import SignRequest
from keys.testing import TEST_HOT_ADDRESSES, native_payload, open_desk

desk = open_desk(directory=Path(sys.argv[1]), hot=1)

def sign(nonce, value=1):
    payload = native_payload(nonce, value=value)
    admitted = desk.admit(SignRequest(TEST_HOT_ADDRESSES[0], payload, f"wdr_{nonce}", "pay"))
    desk.journal.flush()
    return desk.sign(admitted).raw.hex()
"""
CRASH = """
moment = sys.argv[2]
real_write, real_fsync = os.write, os.fsync

def die_at(here):
    if moment == here:
        os.kill(os.getpid(), signal.SIGKILL)

def write(descriptor, data):
    die_at("before")
    if moment == "half":
        real_write(descriptor, bytes(data)[: len(data) // 2])
    die_at("half")
    written = real_write(descriptor, data)
    die_at("written")
    return written

def fsync(descriptor):
    real_fsync(descriptor)
    die_at("synced")

print(sign(0), flush=True)
os.write, os.fsync = write, fsync
sign(1)
die_at("signed")
"""
AFTER = """
def other_payload(nonce):
    try:
        sign(nonce, value=2)
    except NonceConflict as conflict:
        return conflict.reason

print("known" if len(desk.journal.book) == 2 else "unknown")
print(sign(0))
print(sign(1))
print(other_payload(0), other_payload(1))
"""


def _run_desk(directory: Path, script: str, *arguments: str) -> tuple[int, list[str]]:
    """Run a script on the desk whose journal is in `directory`: exit code and printed lines."""
    directory.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script, str(directory), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.splitlines() or [done.stderr]
