"""A small JSON-RPC client for the supervisor's own node: standard library, blocking, one attempt.

Calls are made from worker threads (`asyncio.to_thread`). The state dump is streamed to disk,
because it can be many times larger than the supervisor.
"""

from __future__ import annotations

import http.client
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

CALL_TIMEOUT_SECONDS = 5.0
DUMP_TIMEOUT_SECONDS = 60.0
CHUNK_BYTES = 64 * 1024
_RESULT_PREFIX = b'"0x'
_GZIP = 31  # zlib's window bits for a gzip stream


class NodeError(Exception):
    """The local node did not answer, or not with a result."""


class LocalNode:
    """The Anvil at `url` (http://127.0.0.1:PORT)."""

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80

    def call(self, method: str, *params: object) -> object:
        """One call; its `result`. Raises NodeError."""
        connection = self._connection(CALL_TIMEOUT_SECONDS)
        try:
            document = json.loads(self._post(connection, method, params).read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise NodeError(f"{method}: {error}") from error
        finally:
            connection.close()
        if not isinstance(document, dict) or "result" not in document:
            raise NodeError(f"{method}: no result")
        result: object = document["result"]
        return result

    def calls(self, *calls: tuple[str, tuple[object, ...]]) -> list[object]:
        """Several calls in one request; their results in order. Raises NodeError."""
        body = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in enumerate(calls)
        ]
        connection = self._connection(CALL_TIMEOUT_SECONDS)
        try:
            answers = json.loads(self._send(connection, body).read())
            found = {answer["id"]: answer["result"] for answer in answers}
            return [found[number] for number in range(len(calls))]
        except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException) as error:
            raise NodeError(f"{calls[0][0]} and more: {error}") from error
        finally:
            connection.close()

    def quantity(self, method: str, *params: object) -> int:
        """A call whose result is a hexadecimal number."""
        result = self.call(method, *params)
        if not isinstance(result, str):
            raise NodeError(f"{method}: not a number")
        return int(result, 16)

    def block(self, tag: str) -> dict[str, object] | None:
        """One block's header and transaction hashes, or None."""
        result = self.call("eth_getBlockByNumber", tag, False)
        return result if isinstance(result, dict) else None

    def dump_state(self, target: Path) -> None:
        """Stream `anvil_dumpState(true)`, unpacked, into `target`, fsynced. Raises NodeError."""
        connection = self._connection(DUMP_TIMEOUT_SECONDS)
        try:
            response = self._post(connection, "anvil_dumpState", (True,))
            with target.open("wb") as file:
                for piece in _unpacked(response):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, ValueError, zlib.error, http.client.HTTPException) as error:
            raise NodeError(f"anvil_dumpState: {error}") from error
        finally:
            connection.close()

    def _connection(self, timeout_seconds: float) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._host, self._port, timeout=timeout_seconds)

    @classmethod
    def _post(
        cls, connection: http.client.HTTPConnection, method: str, params: tuple[object, ...]
    ) -> http.client.HTTPResponse:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return cls._send(connection, body)

    @staticmethod
    def _send(connection: http.client.HTTPConnection, body: object) -> http.client.HTTPResponse:
        connection.request("POST", "/", json.dumps(body), {"Content-Type": "application/json"})
        return connection.getresponse()


def _unpacked(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The bytes inside a JSON-RPC answer whose result is a hexadecimal gzip stream."""
    head = b""
    while _RESULT_PREFIX not in head:
        piece = response.read(CHUNK_BYTES)
        if not piece or len(head) > CHUNK_BYTES:
            raise ValueError(f"no state in the answer: {head[:200]!r}")
        head += piece
    digits = head.split(_RESULT_PREFIX, 1)[1]
    unpack = zlib.decompressobj(_GZIP)
    ended = False
    while not ended:
        digits, quote, _ = digits.partition(b'"')
        whole = len(digits) & ~1  # two digits are one byte; an odd one waits for its partner
        yield unpack.decompress(bytes.fromhex(digits[:whole].decode("ascii")))
        piece = b"" if quote else response.read(CHUNK_BYTES)
        digits, ended = digits[whole:] + piece, not piece
    yield unpack.flush()
    if not unpack.eof:
        raise ValueError("the state ends too early")
