"""The signer's socket: who may speak, what is answered, and group commit. In this process."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keys import journal as journal_module
from keys.desk import SigningDesk
from keys.errors import JournalFailed, NonceConflict, SignerRefused, SignerUnavailable
from keys.plain_log import OneLine
from keys.secret import Secret
from keys.server import SignerServer
from keys.signer import RemoteSigner, SignedTx, Signer
from keys.testing import TEST_HOT_ADDRESSES, local_signer, native_payload, open_desk
from keys.wire import MAX_FRAME_BYTES, frame, new_capability, proof, receive

CAPABILITY = new_capability()
HOT = TEST_HOT_ADDRESSES[0]


@pytest.fixture
def desk() -> SigningDesk:
    return open_desk()


@pytest.fixture
async def server(desk: SigningDesk, runtime_dir: Path) -> AsyncIterator[SignerServer]:
    server = SignerServer(desk, CAPABILITY)
    await server.start(str(runtime_dir / "s"))
    yield server
    await server.aclose()


@pytest.fixture
async def signer(server: SignerServer, runtime_dir: Path) -> AsyncIterator[RemoteSigner]:
    remote = RemoteSigner(runtime_dir / "s", CAPABILITY)
    yield remote
    await remote.aclose()


class TestSigning:
    async def test_local_and_remote_are_the_same_signer(self, signer: RemoteSigner) -> None:
        local, remote = local_signer(), signer
        both: list[Signer] = [local, remote]
        assert await local.hot_addresses() == await remote.hot_addresses()
        assert await local.deposit_xpub() == await remote.deposit_xpub()
        signed = [
            await one.sign_transaction(
                address=HOT, payload=native_payload(), intent_id="wdr_1", kind="pay"
            )
            for one in both
        ]
        assert signed[0] == signed[1]

    async def test_refusals_keep_class_and_reason(self, signer: RemoteSigner) -> None:
        await signer.sign_transaction(
            address=HOT, payload=native_payload(), intent_id="wdr_1", kind="pay"
        )
        with pytest.raises(NonceConflict) as conflict:
            await signer.sign_transaction(
                address=HOT, payload=native_payload(value=1), intent_id="wdr_1", kind="pay"
            )
        assert conflict.value.reason == "nonce_used"
        with pytest.raises(SignerRefused) as refused:
            await signer.sign_transaction(
                address=HOT, payload=native_payload(chain_id=5), intent_id="wdr_2", kind="pay"
            )
        assert refused.value.reason == "chain_not_allowed"
        with pytest.raises(SignerRefused, match="too long"):
            await signer.sign_transaction(
                address=HOT, payload=bytes(30_000), intent_id="wdr_2", kind="pay"
            )

    async def test_a_line_of_the_log_is_one_line(self, signer: RemoteSigner) -> None:
        forged = "\nsigned pay of wdr_9\r\x1b[2K\u2028\u202e"
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(OneLine("%(message)s"))
        logger = logging.getLogger("keys.server")
        logger.addHandler(handler)
        try:
            with pytest.raises(SignerRefused):
                await signer.sign_transaction(
                    address=HOT, payload=native_payload(), intent_id=forged, kind="pay"
                )
            with pytest.raises(SignerRefused):
                await signer.sign_authorization(
                    address=forged, deposit_index=0, chain_id=1, nonce=0, delegate=HOT
                )
            logger.warning("as it came: %s", forged)
        finally:
            logger.removeHandler(handler)
        lines = stream.getvalue().split("\n")[:-1]
        assert len(lines) == 3 and all(line.isprintable() for line in lines)
        assert all("of '\\nsigned" in line for line in lines[:2])

    async def test_many_at_once_share_fsyncs(
        self, signer: RemoteSigner, desk: SigningDesk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """200 requests in flight: each durable before its answer, in far fewer syncs."""
        syncs: list[int] = []
        real = os.fsync

        def slow_fsync(descriptor: int) -> None:
            syncs.append(descriptor)
            real(descriptor)

        monkeypatch.setattr(journal_module.os, "fsync", slow_fsync)
        answers = await asyncio.gather(
            *(
                signer.sign_transaction(
                    address=HOT, payload=native_payload(n), intent_id=f"wdr_{n}", kind="pay"
                )
                for n in range(200)
            )
        )
        assert len({answer.tx_hash for answer in answers}) == 200
        assert len(desk.journal.book) == 200
        assert 0 < len(syncs) < 150

    async def test_messages_of_one_turn_leave_in_one_write(
        self, signer: RemoteSigner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writes: list[int] = []
        real = asyncio.StreamWriter.write

        def count(self: asyncio.StreamWriter, data: bytes) -> None:
            writes.append(len(data))
            real(self, data)

        await signer.hot_addresses()
        monkeypatch.setattr(asyncio.StreamWriter, "write", count)
        answers = await asyncio.gather(*(signer.hot_addresses() for _ in range(40)))
        assert answers == [list(TEST_HOT_ADDRESSES)] * 40
        assert len(writes) <= 8, "both sides together, at most 16 messages in each"

    async def test_rivals_for_one_nonce(self, signer: RemoteSigner) -> None:
        """64 different payments for one nonce at once: one is signed, all others refused."""
        answers = await asyncio.gather(
            *(
                signer.sign_transaction(
                    address=HOT, payload=native_payload(value=n), intent_id=f"wdr_{n}", kind="pay"
                )
                for n in range(1, 65)
            ),
            return_exceptions=True,
        )
        conflicts = [answer for answer in answers if isinstance(answer, NonceConflict)]
        assert len(conflicts) == 63


class TestDurability:
    async def test_no_signature_leaves_before_the_sync_returns(
        self, signer: RemoteSigner, monkeypatch: pytest.MonkeyPatch, desk: SigningDesk
    ) -> None:
        syncing, release = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        write = desk.journal.write

        def held_write(lines: bytes) -> None:
            loop.call_soon_threadsafe(syncing.set)
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)
            write(lines)

        monkeypatch.setattr(desk.journal, "write", held_write)
        first = asyncio.create_task(_pay(signer))
        await syncing.wait()
        again = asyncio.create_task(_pay(signer))
        await asyncio.sleep(0.2)
        assert not first.done()
        assert not again.done(), "the identical request must wait for the same sync"
        release.set()
        assert await first == await again

    async def test_a_failed_sync_lets_no_identical_request_through(
        self,
        signer: RemoteSigner,
        server: SignerServer,
        desk: SigningDesk,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """A payment asked for again while the disk fails has no line of its own to be written: its
        only one is that of the first request, and that is lost."""
        syncing, release = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def failing(descriptor: int) -> None:
            loop.call_soon_threadsafe(syncing.set)
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10)
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(journal_module.os, "fsync", failing)
        first = asyncio.create_task(_pay(signer))
        await syncing.wait()
        again = asyncio.create_task(_pay(signer))
        await asyncio.sleep(0.2)
        release.set()
        answers = await asyncio.gather(first, again, return_exceptions=True)
        assert [type(answer) for answer in answers] == [SignerUnavailable] * 2
        assert server.failed.is_set()

    async def test_lines_that_no_thread_could_write_are_lost(
        self,
        signer: RemoteSigner,
        server: SignerServer,
        desk: SigningDesk,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The journal in memory knows the payment, the disk does not: it is not signed again."""

        def no_thread(lines: bytes) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(desk.journal, "write", no_thread)
        for _ in range(2):
            with pytest.raises(SignerUnavailable):
                await _pay(signer)
        assert server.failed.is_set()

    async def test_a_failed_journal_ends_the_server(
        self,
        signer: RemoteSigner,
        server: SignerServer,
        desk: SigningDesk,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def full_disk(lines: bytes) -> None:
            desk.journal.failed = True
            raise JournalFailed("no space left on device")

        monkeypatch.setattr(desk.journal, "write", full_disk)
        for nonce in range(2):
            with pytest.raises(SignerUnavailable):
                await signer.sign_transaction(
                    address=HOT, payload=native_payload(nonce), intent_id=f"w{nonce}", kind="pay"
                )
        assert server.failed.is_set()


class TestCapability:
    async def test_a_wrong_one_is_refused(self, server: SignerServer, runtime_dir: Path) -> None:
        thief = RemoteSigner(runtime_dir / "s", new_capability())
        with pytest.raises(SignerRefused) as caught:
            await thief.hot_addresses()
        assert caught.value.reason == "capability"

    async def test_requests_before_the_proof_are_not_read(
        self, server: SignerServer, runtime_dir: Path
    ) -> None:
        reader, writer = await asyncio.open_unix_connection(str(runtime_dir / "s"))
        assert set(await receive(reader)) == {"challenge"}
        writer.write(frame({"id": 1, "method": "hot_addresses", "params": {}}))
        assert (await receive(reader))["error"]["reason"] == "capability"
        assert await reader.read() == b""
        writer.close()

    async def test_an_overheard_proof_is_worthless(
        self, server: SignerServer, runtime_dir: Path
    ) -> None:
        overheard = {"nonce": "n", "proof": proof(CAPABILITY, "client", "old challenge", "n")}
        reader, writer = await asyncio.open_unix_connection(str(runtime_dir / "s"))
        await receive(reader)
        writer.write(frame(overheard))
        assert (await receive(reader))["error"]["reason"] == "capability"
        writer.close()

    async def test_somebody_else_on_the_socket_is_noticed(self, runtime_dir: Path) -> None:
        """An impostor who listens first learns a proof for one challenge, and is not believed."""

        async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(frame({"challenge": "mine"}))
            hello = await receive(reader)
            writer.write(frame({"proof": hello["proof"]}))
            writer.close()

        listening = await asyncio.start_unix_server(impostor, str(runtime_dir / "i"))
        remote = RemoteSigner(runtime_dir / "i", CAPABILITY)
        with pytest.raises(SignerUnavailable, match="not our signer"):
            await remote.hot_addresses()
        listening.close()

    async def test_the_socket_is_private(self, server: SignerServer, runtime_dir: Path) -> None:
        assert stat.S_IMODE((runtime_dir / "s").stat().st_mode) == 0o600


class TestBadClients:
    @pytest.mark.parametrize(
        "request_",
        [
            {"method": "export_key", "params": {}},
            {"method": None},
            {"method": "sign_transaction"},
            {"method": "sign_transaction", "params": {"address": HOT}},
            {
                "method": "sign_transaction",
                "params": {"address": HOT, "payload": "zz", "intent_id": "w", "kind": "pay"},
            },
            {
                "method": "sign_transaction",
                "params": {"address": 1, "payload": "", "intent_id": "w", "kind": "pay"},
            },
            {
                "method": "sign_transaction",
                "params": {"address": HOT, "payload": "", "intent_id": "w", "kind": "all"},
            },
        ],
    )
    async def test_malformed_requests_are_answered(
        self, server: SignerServer, runtime_dir: Path, request_: dict[str, object]
    ) -> None:
        reader, writer = await _proven(runtime_dir)
        writer.write(frame({"id": 5, **request_}))
        answer = await receive(reader)
        assert answer["id"] == 5
        assert answer["error"]["code"] == "signer_refused"
        writer.close()

    @pytest.mark.parametrize(
        "garbage",
        [b"GET / HTTP/1.1\r\n\r\n", (MAX_FRAME_BYTES + 1).to_bytes(4, "big"), b"\0\0\0\2[]"],
    )
    async def test_garbage_ends_the_connection_only(
        self, server: SignerServer, signer: RemoteSigner, runtime_dir: Path, garbage: bytes
    ) -> None:
        reader, writer = await _proven(runtime_dir)
        writer.write(garbage)
        assert await reader.read() == b""
        writer.close()
        assert await signer.hot_addresses()

    async def test_a_silent_peer_is_dropped(
        self, server: SignerServer, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("keys.server.HANDSHAKE_TIMEOUT_SECONDS", 0.1)
        reader, writer = await asyncio.open_unix_connection(str(runtime_dir / "s"))
        await receive(reader)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()


class TestUnavailable:
    async def test_nobody_listens(self, runtime_dir: Path) -> None:
        with pytest.raises(SignerUnavailable):
            await RemoteSigner(runtime_dir / "none", CAPABILITY).hot_addresses()

    async def test_a_path_the_kernel_would_refuse(self) -> None:
        with pytest.raises(SignerUnavailable, match="107"):
            RemoteSigner("/tmp/" + "x" * 107, CAPABILITY)

    async def test_a_silent_server_is_given_up(self, runtime_dir: Path) -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.read()
            finally:
                writer.close()

        listening = await asyncio.start_unix_server(silent, str(runtime_dir / "q"))
        remote = RemoteSigner(runtime_dir / "q", CAPABILITY, timeout_seconds=0.2)
        with pytest.raises(SignerUnavailable, match="no answer"):
            await remote.hot_addresses()
        listening.close()

    async def test_a_restarted_server_is_found_again(self, runtime_dir: Path) -> None:
        remote = RemoteSigner(runtime_dir / "s", CAPABILITY)
        for _ in range(2):
            server = SignerServer(open_desk(), CAPABILITY)
            await server.start(str(runtime_dir / "s"))
            assert await remote.hot_addresses() == list(TEST_HOT_ADDRESSES)
            await server.aclose()
        with pytest.raises(SignerUnavailable):
            await remote.hot_addresses()
        await remote.aclose()

    async def test_it_shows_no_capability(self, runtime_dir: Path) -> None:
        secret = Secret(b"canary-capability-of-32-bytes-xx")
        assert "canary" not in repr(RemoteSigner(runtime_dir / "s", secret))


async def _proven(runtime_dir: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(str(runtime_dir / "s"))
    challenge = (await receive(reader))["challenge"]
    writer.write(frame({"nonce": "n", "proof": proof(CAPABILITY, "client", challenge, "n")}))
    assert "proof" in await receive(reader)
    return reader, writer


async def _pay(signer: Signer) -> SignedTx:
    return await signer.sign_transaction(
        address=HOT, payload=native_payload(), intent_id="wdr_1", kind="pay"
    )
