"""A node that lies, floods, stalls, redirects or hangs up: typed errors, bounded work, one try."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
import pytest

from chain.client import ChainClient
from chain.errors import ChainError, NodeGarbage, NodeRejected, NodeTimeout, NodeUnavailable
from chain.outcomes import SendKind
from chain.rpc import JsonRpc
from tests.chain.benches import local_network

Respond = Callable[[asyncio.StreamWriter, bytes], Awaitable[None]]


class Server:
    """A TCP server that answers each HTTP request by a function; counts requests and bytes."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond
        self.requests = 0
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                body = await reader.readexactly(length)
                self.requests += 1
                await self._respond(writer, body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(respond: Respond) -> AsyncIterator[Server]:
    server = Server(respond)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        await asyncio.sleep(0.01)


def http(body: bytes, *, status: str = "200 OK", headers: str = "") -> Respond:
    async def respond(writer: asyncio.StreamWriter, _: bytes) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        writer.write(head.encode() + body)

    return respond


def answering(make: Callable[[dict[str, object]], object]) -> Respond:
    """A server that answers each request object by what `make` returns for it."""

    async def respond(writer: asyncio.StreamWriter, body: bytes) -> None:
        text = orjson.dumps(make(orjson.loads(body)))
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)

    return respond


async def outcome_of(server: Server, **limits: object) -> Exception | object:
    rpc = JsonRpc(server.url, **limits)  # type: ignore[arg-type]
    try:
        return await rpc.call("eth_blockNumber")
    except ChainError as error:
        return error
    finally:
        await rpc.aclose()


OK = b'{"jsonrpc":"2.0","id":1,"result":"0x1"}'


class TestOneAnswer:
    async def test_a_right_answer_is_taken(self) -> None:
        async with serving(http(OK)) as server:
            assert await outcome_of(server) == "0x1"

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html>welcome</html>",
            b"[1, 2",
            b"null",
            b"[]",
            b'"0x1"',
            b'{"jsonrpc":"2.0","id":1}',
            b'{"jsonrpc":"2.0","id":2,"result":"0x1"}',
            b'{"jsonrpc":"2.0","id":"1","result":"0x1"}',
            b'{"jsonrpc":"2.0","id":true,"result":"0x1"}',
            b'{"jsonrpc":"2.0","id":1.0,"result":"0x1"}',
            b'{"jsonrpc":"2.0","result":"0x1"}',
            b'{"jsonrpc":"2.0","id":1,"error":"no"}',
            b'{"jsonrpc":"2.0","id":1,"error":{"code":"x","message":"no"}}',
            b'{"jsonrpc":"2.0","id":1,"error":{"code":1}}',
            b'{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"of another request"}}',
            b'\xff\xfe{"id":1,"result":1}',
            b'{"id":1,"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            b'{"id":1,"result":NaN}',
        ],
    )
    async def test_anything_else_is_garbage(self, body: bytes) -> None:
        async with serving(http(body)) as server:
            assert isinstance(await outcome_of(server), NodeGarbage)
            assert server.requests == 1

    async def test_an_error_object_is_a_rejection_also_under_http_400(self) -> None:
        body = b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no\\u0007","data":"0x"}}'
        for status in ("200 OK", "400 Bad Request"):
            async with serving(http(body, status=status)) as server:
                error = await outcome_of(server)
            assert isinstance(error, NodeRejected)
            assert (error.rpc_code, error.message, error.data) == (-32000, "no\x07", "0x")
            assert "\x07" not in str(error)

    @pytest.mark.parametrize("status", ["429 Slow", "500 Oops", "502 Bad", "503 No", "404 None"])
    async def test_http_errors_are_unavailable(self, status: str) -> None:
        async with serving(http(b"oops", status=status)) as server:
            assert isinstance(await outcome_of(server), NodeUnavailable)
            assert server.requests == 1

    @pytest.mark.parametrize("status", ["301 M", "302 F", "307 T", "308 P"])
    async def test_redirects_are_not_followed(self, status: str) -> None:
        async with serving(http(OK)) as target:
            redirect = http(b"", status=status, headers=f"Location: {target.url}/\r\n")
            async with serving(redirect) as server:
                assert isinstance(await outcome_of(server), NodeGarbage)
            assert target.requests == 0


class TestLimits:
    async def test_a_flood_of_200_mb_is_cut_at_the_cap(self) -> None:
        sent = 0
        chunk = b"x" * 1_000_000

        async def flood(writer: asyncio.StreamWriter, _: bytes) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _number in range(200):
                writer.write(b"%x\r\n" % len(chunk) + chunk + b"\r\n")
                await writer.drain()
                sent += len(chunk)
            writer.write(b"0\r\n\r\n")

        async with serving(flood) as server:
            started = time.monotonic()
            error = await outcome_of(server, max_bytes=1_000_000)
            assert isinstance(error, NodeGarbage) and "larger" in str(error)
            assert time.monotonic() - started < 15
        assert sent < 50_000_000

    async def test_an_announced_200_mb_is_not_even_read(self) -> None:
        async def announce(writer: asyncio.StreamWriter, _: bytes) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n{")

        async with serving(announce) as server:
            error = await outcome_of(server, max_bytes=1_000_000)
        assert isinstance(error, NodeGarbage)

    async def test_a_compressed_answer_is_refused_unopened(self) -> None:
        bomb = gzip.compress(b"0" * 100_000_000)
        async with serving(http(bomb, headers="Content-Encoding: gzip\r\n")) as server:
            assert isinstance(await outcome_of(server), NodeGarbage)

    async def test_silence_is_a_timeout(self) -> None:
        async def silent(_: asyncio.StreamWriter, __: bytes) -> None:
            await asyncio.sleep(30)

        async with serving(silent) as server:
            error = await outcome_of(server, timeout_seconds=0.2)
            assert isinstance(error, NodeTimeout) and server.requests == 1

    async def test_a_trickle_is_a_timeout(self) -> None:
        async def trickle(writer: asyncio.StreamWriter, _: bytes) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _number in range(50):
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.05)

        async with serving(trickle) as server:
            assert isinstance(await outcome_of(server, timeout_seconds=0.3), NodeTimeout)

    async def test_nobody_listens(self) -> None:
        rpc = JsonRpc("http://127.0.0.1:1")
        with pytest.raises(NodeUnavailable) as error:
            await rpc.call("eth_blockNumber")
        await rpc.aclose()
        assert "127.0.0.1" not in str(error.value)

    @pytest.mark.parametrize("reply", [b"", b"nonsense\r\n\r\n", b"HTTP/9.9 huh\r\n\r\n"])
    async def test_a_connection_cut_or_not_http_is_one_request(self, reply: bytes) -> None:
        async def cut(writer: asyncio.StreamWriter, _: bytes) -> None:
            writer.write(reply)
            await writer.drain()
            writer.close()

        async with serving(cut) as server:
            assert isinstance(await outcome_of(server), (NodeUnavailable, NodeGarbage))
            assert server.requests == 1

    async def test_a_kept_alive_connection_that_dies_is_not_tried_again(self) -> None:
        """HTTP libraries like to repeat a request on a stale connection; a submission must not."""

        async def first_then_cut(writer: asyncio.StreamWriter, _: bytes) -> None:
            if server.requests == 1:
                await http(OK)(writer, b"")
            else:
                writer.close()

        async with serving(first_then_cut) as server:
            rpc = JsonRpc(server.url)
            await rpc.call("eth_blockNumber")
            with pytest.raises(NodeUnavailable):
                await rpc.call("eth_sendRawTransaction", ("0x02",))
            await rpc.aclose()
            assert server.requests == 2


class TestBatches:
    async def batch(self, make: Callable[[list[dict[str, object]]], object]) -> object:
        async with serving(answering(make)) as server:  # type: ignore[arg-type]
            rpc = JsonRpc(server.url)
            try:
                return await rpc.batch([("a", ()), ("b", ())])
            except ChainError as error:
                return error
            finally:
                await rpc.aclose()

    async def test_answers_in_any_order_are_put_in_ours(self) -> None:
        found = await self.batch(
            lambda calls: [{"id": c["id"], "result": c["method"]} for c in reversed(calls)]
        )
        assert found == ["a", "b"]

    async def test_missing_foreign_or_doubled_answers_are_garbage(self) -> None:
        shapes: list[Callable[[list[dict[str, object]]], object]] = [
            lambda calls: [{"id": calls[0]["id"], "result": 1}],
            lambda calls: [{"id": calls[0]["id"], "result": 1}] * 2,
            lambda calls: [{"id": c["id"], "result": 1} for c in calls] + [{"id": 99, "result": 1}],
            lambda calls: [{"id": 77, "result": 1}, {"id": 78, "result": 1}],
            lambda calls: [None, 5],
            lambda calls: [{"id": [], "result": 1}, {"id": {}, "result": 1}],
            lambda calls: [{"id": True, "result": 1}, {"id": calls[1]["id"], "result": 1}],
            lambda calls: {"id": 1, "result": []},
        ]
        for shape in shapes:
            assert isinstance(await self.batch(shape), NodeGarbage)

    async def test_a_refused_batch_is_a_rejection(self) -> None:
        refusal = {"id": None, "error": {"code": -32005, "message": "batch too large"}}
        assert isinstance(await self.batch(lambda _: refusal), NodeRejected)

    async def test_long_batches_are_split(self) -> None:
        sizes: list[int] = []

        def make(calls: list[dict[str, object]]) -> object:
            sizes.append(len(calls))
            return [{"id": c["id"], "result": c["params"]} for c in calls]

        async with serving(answering(make)) as server:  # type: ignore[arg-type]
            rpc = JsonRpc(server.url)
            found = await rpc.batch([("m", (n,)) for n in range(250)])
            await rpc.aclose()
        assert found == [[n] for n in range(250)] and sizes == [100, 100, 50]


class TestSendRaw:
    async def send(self, respond: Respond, **limits: object) -> tuple[SendKind, int]:
        async with serving(respond) as server:
            rpc = JsonRpc(server.url, **limits)  # type: ignore[arg-type]
            outcome = await ChainClient(local_network(), rpc).send_raw(b"\x02raw")
            await rpc.aclose()
            return outcome.kind, server.requests

    async def test_never_raises_and_never_tries_twice(self) -> None:
        async def silent(_: asyncio.StreamWriter, __: bytes) -> None:
            await asyncio.sleep(30)

        async def cut(writer: asyncio.StreamWriter, _: bytes) -> None:
            writer.close()

        hostile = [
            http(b"", status="308 P", headers="Location: http://127.0.0.1:1/\r\n"),
            http(b"oops", status="500 Oops"),
            http(b"{"),
            http(b"[" * 100_000),
            http(b'{"id":9,"result":"0x1"}'),
            http(b"x" * 2_000_000),
            silent,
            cut,
        ]
        for respond in hostile:
            found = await self.send(respond, timeout_seconds=0.3, max_bytes=1_000_000)
            assert found == (SendKind.UNKNOWN, 1)

    async def test_another_hash_than_the_bytes_own_is_unknown(self) -> None:
        for lie in ("0x" + "11" * 32, None, True, {}):
            found = await self.send(
                answering(lambda call, lie=lie: {"id": call["id"], "result": lie})
            )  # type: ignore[misc]
            assert found == (SendKind.UNKNOWN, 1)


def block_json(**changes: object) -> dict[str, object]:
    """A correct header, but for what is changed."""
    hashes = {"hash": "0x" + "1" * 64, "parentHash": "0x" + "2" * 64}
    return {"number": "0x1", "timestamp": "0x1", **hashes, **changes}


class TestReads:
    @pytest.mark.parametrize(
        "block",
        [
            {},
            [],
            "0x1",
            {"number": "0x1"},
            block_json(number=1),
            block_json(number="0x01"),
            block_json(number="0x2"),
            block_json(hash="0x" + "1" * 63),
            block_json(hash="0x" + "G" * 64),
            block_json(parentHash=None),
            block_json(timestamp="0x" + "f" * 65),
            block_json(baseFeePerGas="7"),
        ],
    )
    async def test_an_odd_block_is_garbage_and_null_is_none(self, block: object) -> None:
        async with serving(answering(lambda call: {"id": call["id"], "result": block})) as server:
            rpc = JsonRpc(server.url)
            with pytest.raises(NodeGarbage):
                await ChainClient(local_network(), rpc).block_ref(1)
            await rpc.aclose()
        right = answering(lambda call: {"id": call["id"], "result": block_json()})
        async with serving(right) as server:
            rpc = JsonRpc(server.url)
            assert await ChainClient(local_network(), rpc).block_ref(1) is not None
            await rpc.aclose()
        empty = answering(lambda call: {"id": call["id"], "result": None})
        async with serving(empty) as server:
            rpc = JsonRpc(server.url)
            assert await ChainClient(local_network(), rpc).block_ref(1) is None
            with pytest.raises(NodeGarbage):
                await ChainClient(local_network(), rpc).head()
            await rpc.aclose()
