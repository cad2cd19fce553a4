"""The real server on a loopback socket: what only bytes can show."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import uvicorn

from api import server
from api.app import create_app
from api.server import CannotListen, bound, check_bind, configuration
from wallet.bootstrap import RefusedToStart
from wallet.settings import Settings
from wallet.testing.pace import patience

GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
async def port(world: Any) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    # The fixture closes the services; the lifespan would close them a first time.
    config = configuration(create_app(world.services), world.services.settings)
    config.lifespan = "off"
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve(sockets=[listener]))
    while not running.started:  # noqa: ASYNC110 - uvicorn has a flag and no event
        await asyncio.sleep(0.01)
    yield listener.getsockname()[1]
    running.should_exit = True
    await task


async def talk(port: int, sent: bytes, *, seconds: float = 5.0) -> bytes:
    """Send, then read until the server closes or nothing comes for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    await writer.drain()
    got = b""
    try:
        async with asyncio.timeout(patience(seconds)):
            while chunk := await reader.read(65_536):
                got += chunk
    except TimeoutError:
        pass
    writer.close()
    return got


class TestLargeBodies:
    async def test_the_refusal_comes_before_the_body(self, port: int) -> None:
        """10 MB announced, none of them sent: the answer is already there."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 10485760\r\n\r\n"
        )
        async with asyncio.timeout(patience(2)):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 ")
        assert b"application/problem+json" in head and b"connection: close" in head.lower()
        writer.close()

    async def test_a_client_that_sends_it_all_still_reads_the_answer(self, port: int) -> None:
        async with httpx2.AsyncClient() as http:
            for content in (b"x" * 10_485_760, _chunks()):
                refused = await http.post(
                    f"http://127.0.0.1:{port}/v1/sessions",
                    content=content,
                    headers={"Content-Type": "application/json"},
                )
                assert refused.status_code == 413
                assert refused.json()["code"] == "body_too_large"

    async def test_an_odd_length_is_no_length(self, port: int) -> None:
        got = await talk(
            port,
            b"POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
            seconds=2,
        )
        assert got.startswith(b"HTTP/1.1 4")


async def _chunks() -> AsyncIterator[bytes]:
    for _ in range(160):
        yield b"x" * 65_536


class TestSlowBodies:
    HEAD = b"POST /v1/transfers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

    async def test_one_that_stops_is_told_and_cut(self, port: int, monkeypatch: Any) -> None:
        monkeypatch.setattr("api.body.BODY_TIMEOUT_SECONDS", 0.2)
        got = await talk(port, self.HEAD + b"Content-Length: 10\r\n\r\n{", seconds=10)
        assert got.startswith(b"HTTP/1.1 408 ") and b"request_timeout" in got

    async def test_one_that_is_there_already_is_read_and_so_is_the_next(self, port: int) -> None:
        whole = self.HEAD + b"Content-Length: 2\r\n\r\n{}"
        bad = self.HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\n{]"
        got = await talk(port, whole + whole + bad)
        assert got.count(b"HTTP/1.1 401 ") == 2 and b"HTTP/1.1 400 " in got
        assert got.count(b"x-content-type-options: nosniff\r\n") == 3
        assert got.index(b"malformed_json") > got.rindex(b"unauthenticated")


class TestHeads:
    @pytest.mark.parametrize(
        "head",
        [
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Big: " + b"a" * 200_000,
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Big: " + b"a" * 40_000 + b"\r\n\r\n",
            b"GET /livez?" + b"a" * 100_000,
            b"GET /livez HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(20_000)),
        ],
    )
    async def test_a_large_head_is_refused_while_it_grows(self, port: int, head: bytes) -> None:
        got = await talk(port, head, seconds=3)
        assert got.startswith(b"HTTP/1.1 431 "), got[:200]
        assert got.count(b"HTTP/1.1") == 1

    async def test_a_head_that_trickles_is_cut(self, port: int, monkeypatch: Any) -> None:
        monkeypatch.setattr(server, "HEAD_TIMEOUT_SECONDS", 0.3)
        began = time.monotonic()
        got = await talk(port, b"GET /livez HTTP/1.1\r\nHost: lo", seconds=5)
        assert got == b""
        assert time.monotonic() - began < patience(4.5)

    async def test_ordinary_keep_alive_goes_on(self, port: int) -> None:
        one = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        last = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        got = await talk(port, one * 3 + last)
        assert got.count(b"HTTP/1.1 200 OK") == 4

    async def test_nonsense_is_400(self, port: int) -> None:
        assert (await talk(port, b"nonsense\r\n\r\n", seconds=2)).startswith(b"HTTP/1.1 400 ")


class TestTrailers:
    CHUNKED = (
        b"POST /v1/transfers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )

    async def test_a_trailer_is_no_header(self, port: int) -> None:
        """What stands behind a body was checked by no proxy in front of us."""
        trailer = b"2\r\n{}\r\n0\r\nAuthorization: Bearer bfs_nobody\r\n\r\n"
        got = await talk(port, self.CHUNKED + trailer, seconds=2)
        assert got.startswith(b"HTTP/1.1 401 ")
        assert b"Send a session token" in got  # not: this session is unknown

    @pytest.mark.parametrize(
        "start",
        [b"0\r\nX-Endless: ", b"0\r\nX-Endless", b"2;extension="],
        ids=["value", "name", "size"],
    )
    async def test_an_endless_trailer_is_cut(self, port: int, start: bytes) -> None:
        """It was kept whole, and copied anew with every piece: one client held everybody up."""
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(self.CHUNKED + start)
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 8 * 1024 * 1024:
                writer.write(b"a" * 65_536)
                await writer.drain()
                sent += 65_536
        writer.close()
        assert sent < 8 * 1024 * 1024
        assert (await talk(port, GET, seconds=2)).startswith(b"HTTP/1.1 200 ")

    async def test_a_body_in_chunks_of_one_byte_is_read(self, port: int) -> None:
        """Five bytes of framing for each."""
        body = b"".join(b"1\r\n%c\r\n" % byte for byte in b" " * 65_000 + b"{}") + b"0\r\n\r\n"
        got = await talk(port, self.CHUNKED + body, seconds=3)
        assert got.startswith(b"HTTP/1.1 401 "), got[:200]


class TestHosts:
    async def test_a_host_that_looks_like_a_path_opens_nothing(self, port: int) -> None:
        """CVE-2026-48710: a Host header must not become part of the path that is checked."""
        for host in (b"localhost/livez", b"localhost#", b"a b"):
            got = await talk(
                port,
                b"GET /v1/me HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n",
            )
            assert got.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 400 ")), host

    async def test_a_raw_path_is_not_decoded_twice(self, port: int) -> None:
        for path in (b"/v1/%252e%252e/metrics", b"/%2e%2e/etc/passwd", b"/static/..%2f..%2fapp.py"):
            got = await talk(
                port, b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            assert got.startswith(b"HTTP/1.1 404 "), path


class TestBind:
    def test_a_sandbox_for_everybody_needs_a_token(self) -> None:
        settings = Settings(mode="sandbox", database_url="postgresql+psycopg://x/x", host="0.0.0.0")
        with pytest.raises(RefusedToStart):
            check_bind(settings)
        check_bind(settings.model_copy(update={"sandbox_token": "t"}))
        check_bind(settings.model_copy(update={"host": "127.0.0.1"}))

    async def test_a_refused_start_is_one_line_and_exit_1(self) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "BIFOLD_MODE": "sandbox",
            "BIFOLD_DATABASE_URL": "postgresql+psycopg://x@127.0.0.1:9/x",
            "BIFOLD_HOST": "0.0.0.0",
        }
        code, words = await _refused(environment)
        assert (code, words.count("\n")) == (1, 1) and "BIFOLD_SANDBOX_TOKEN" in words

    async def test_a_missing_file_is_one_line_and_exit_1(self, tmp_path: Any) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "BIFOLD_MODE": "sandbox",
            "BIFOLD_DATABASE_URL": "postgresql+psycopg://x@127.0.0.1:9/x",
            "BIFOLD_DATA_DIR": str(tmp_path),
            "BIFOLD_PORT": "0",
        }
        code, words = await _refused(environment)
        assert (code, words.count("\n")) == (1, 1) and "networks" in words

    async def test_a_taken_port_is_one_line_with_the_way_out_and_exit_1(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            environment = {
                "PATH": os.environ["PATH"],
                "BIFOLD_MODE": "sandbox",
                "BIFOLD_DATABASE_URL": "postgresql+psycopg://x@127.0.0.1:9/x",
                "BIFOLD_PORT": str(port),
            }
            code, words = await _refused(environment)
        assert code == 1
        assert words == (
            f"bifold serve: port {port} of 127.0.0.1 is taken: set BIFOLD_PORT to another,"
            " or end what listens there.\n"
        )

    def test_a_start_that_fails_is_1_like_every_other(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(_settings: Settings) -> None:
            sys.exit(3)  # as uvicorn does

        monkeypatch.setenv("BIFOLD_MODE", "sandbox")
        monkeypatch.setenv("BIFOLD_DATABASE_URL", "postgresql+psycopg://x/x")
        monkeypatch.setattr(server, "run", fails)
        assert server.main() == 1

    @pytest.mark.parametrize(
        ("host", "port", "says"),
        [
            ("no.such.host.invalid", 0, "no.such.host.invalid is no address"),
            ("192.0.2.1", 0, "192.0.2.1 is no address of this machine"),
            ("127.0.0.1", 70_000, "BIFOLD_PORT=70000 is no port"),
        ],
    )
    def test_what_cannot_be_had_is_told_by_name(self, host: str, port: int, says: str) -> None:
        with pytest.raises(CannotListen, match=re.escape(says)):
            bound(host, port)

    def test_localhost_is_both_loopback_addresses(self) -> None:
        sockets = bound("localhost", 0)
        assert sockets[0].getsockname()[0] == "127.0.0.1"
        assert {one.getsockname()[0] for one in sockets} <= {"127.0.0.1", "::1"}
        for one in sockets:
            one.close()

    def test_after_a_refusal_no_socket_is_left(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            for host in ("127.0.0.1", "localhost"):
                with pytest.raises(CannotListen):  # a socket left open is a warning, an error here
                    bound(host, taken.getsockname()[1])
        gc.collect()


async def _refused(environment: dict[str, str]) -> tuple[int | None, str]:
    """The exit code of a server that does not start, and its words."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "api.server", env=environment, stderr=asyncio.subprocess.PIPE
    )
    _out, words = await child.communicate()
    return child.returncode, words.decode()


class TestEnd:
    async def test_sigterm_ends_it_within_seconds(
        self, database: Any, tmp_path: Any, world: Any
    ) -> None:
        """A real process, with a request in flight and an idle connection open."""
        from chain.registry import dump_networks
        from keys.public import write_public

        dump_networks(tmp_path / "networks.toml", world.services.networks)
        write_public(tmp_path / "keys.json", world.services.house)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        environment = {
            "PATH": os.environ["PATH"],
            "BIFOLD_MODE": "sandbox",
            "BIFOLD_DATABASE_URL": database.app_url,
            "BIFOLD_DATA_DIR": str(tmp_path),
            "BIFOLD_PORT": str(port),
        }
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "api.server", env=environment, stderr=asyncio.subprocess.PIPE
        )
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            await _until_alive(http)
            assert (await http.get("/readyz")).json()["down"] == ["network:local"]
            _reader, idle = await asyncio.open_connection("127.0.0.1", port)
            began = time.monotonic()
            child.send_signal(signal.SIGTERM)
            await asyncio.wait_for(child.communicate(), patience(10))
            assert time.monotonic() - began < patience(8)
            idle.close()


async def _until_alive(http: httpx2.AsyncClient) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            if (await http.get("/livez")).status_code == 200:
                return
        except httpx2.TransportError:
            await asyncio.sleep(0.1)
    raise AssertionError("the server did not come up")
