"""JSON-RPC 2.0 over HTTP, made for a node that may be slow, broken or hostile.

One request is one attempt: nothing in here retries or follows a redirect, because a repeated
submission can pay twice. Answers have a size cap and a time limit, and must carry the id asked for.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol

import aiohttp
import orjson

from chain.errors import (
    AnswerTooLarge,
    NodeGarbage,
    NodeRejected,
    NodeTimeout,
    NodeUnavailable,
)
from chain.told import Answers, Method

DEFAULT_TIMEOUT_SECONDS = 10.0
DEFAULT_MAX_BYTES = 16 * 1024 * 1024  # A full mainnet block with its transactions is below 4 MB.
MAX_BATCH = 100  # Calls in one HTTP request; longer batches are split. Many providers stop here.
LARGE = 4
"""Times `max_bytes` a bulk answer to a single call may have: for some gas anybody fills a block, or
a transaction, with so many logs, and who reads it could not go on. What is longer than `max_bytes`
is read in its method's shape or not at all."""
READS_AT_ONCE = 8
"""Of one process to one node. What waits for its turn waits without a clock, and a submission waits
for no read."""
SUBMISSION = "eth_sendRawTransaction"
_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}

Call = tuple[str, Sequence[object]]
Answer = object | NodeRejected


class Rpc(Protocol):
    """What the client needs from a transport; JsonRpc, FaultyRpc and fakes provide it."""

    async def call(self, method: str, params: Sequence[object] = ()) -> object:
        """One call; its `result`. Raises NodeRejected and the transport's errors."""
        ...

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        """Many calls; their results in order. Raises the first NodeRejected among them."""
        ...

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        """Many calls; a call the node rejected has its NodeRejected in its place."""
        ...

    async def aclose(self) -> None:
        """Close connections. The object may not be used afterwards."""
        ...


class JsonRpc:
    """A JSON-RPC client for one node address. Safe for concurrent use within one event loop.

    `max_bytes` caps one HTTP answer, `timeout_seconds` one HTTP exchange from connect to last
    byte. Raises NodeUnavailable (no connection, or an HTTP status that says so), NodeTimeout,
    NodeGarbage (anything that is no JSON-RPC answer to what was asked), of it AnswerTooLarge, and
    NodeRejected.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._max_bytes = max_bytes
        self._ids = itertools.count(1)
        self._session: aiohttp.ClientSession | None = None
        self._reads = asyncio.Semaphore(READS_AT_ONCE)

    async def call(self, method: str, params: Sequence[object] = ()) -> object:
        """One call; its `result`."""
        request_id = next(self._ids)
        async with self._turn((method,)):
            request = _dumps(_request(request_id, method, params))
            body = await self._exchange(request, self._most([method]))
        if isinstance(method, Method):
            told = method.alone(body)
            if told is not None and told.id == request_id:
                return told.result
        self._must_be_small(body)
        outcome = _answer(_loads(body), request_id)
        if isinstance(outcome, NodeRejected):
            raise outcome
        return outcome

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        """Many calls; their results in order. The first rejection among them is raised."""
        answers = await self.batch_answers(calls)
        for answer in answers:
            if isinstance(answer, NodeRejected):
                raise answer
        return answers

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        """Many calls in HTTP requests of at most MAX_BATCH, one after the other, in order."""
        answers: list[Answer] = []
        for start in range(0, len(calls), MAX_BATCH):
            answers += await self._one_batch(calls[start : start + MAX_BATCH])
        return answers

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _one_batch(self, calls: Sequence[Call]) -> list[Answer]:
        ids = [next(self._ids) for _ in calls]
        requests = [_request(id_, *call) for id_, call in zip(ids, calls, strict=True)]
        async with self._turn(method for method, _ in calls):
            body = await self._exchange(_dumps(requests), self._most([name for name, _ in calls]))
        told = _told(calls, body)
        if told is not None and [item.id for item in told] == ids:
            return [item.result for item in told]
        self._must_be_small(body)
        document = _loads(body)  # a rejection among them, another order, or nothing to be believed
        if isinstance(document, dict):  # A node that refuses the whole batch answers one object.
            refusal = _rejection(document)
            raise refusal or NodeGarbage("the node answered a batch with one object")
        if not isinstance(document, list) or len(document) != len(calls):
            raise NodeGarbage("the node answered a batch with another number of answers")
        by_id = {item["id"]: item for item in document if _has_number(item)}
        if by_id.keys() != set(ids):
            raise NodeGarbage("the node answered a batch with wrong ids")
        return [_answer(by_id[id_], id_) for id_ in ids]

    def _most(self, methods: Sequence[str]) -> int:
        """Bytes that the answer to these calls may have."""
        alone = len(methods) == 1 and isinstance(methods[0], Method)
        return LARGE * self._max_bytes if alone else self._max_bytes

    def _must_be_small(self, body: bytes) -> None:
        """What is read as any JSON takes many times its length in memory."""
        if len(body) > self._max_bytes:
            raise AnswerTooLarge(self._max_bytes)

    def _turn(self, methods: Iterable[str]) -> AbstractAsyncContextManager[None]:
        return nullcontext() if SUBMISSION in methods else self._reads

    async def _exchange(self, body: bytes, most: int) -> bytes:
        """Send one HTTP request, once, and return the body of its answer, of at most so many bytes.
        Fakes override this."""
        try:
            return await self._post(body, most)
        except TimeoutError:
            raise NodeTimeout("the node did not answer in time") from None
        except aiohttp.InvalidURL:
            raise NodeUnavailable("the node's address is not a usable URL") from None
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError):
            raise NodeUnavailable("the node closed the connection before its answer") from None
        except (aiohttp.ClientConnectionError, OSError):
            raise NodeUnavailable("the node cannot be reached") from None
        except (aiohttp.ClientError, ValueError):
            raise NodeGarbage("the node's answer is not HTTP") from None

    async def _post(self, body: bytes, most: int) -> bytes:
        session = self._open_session()
        async with session.post(
            self._url, data=body, headers=_HEADERS, allow_redirects=False
        ) as response:
            status = response.status
            if 300 <= status < 400:
                raise NodeGarbage(f"the node answered with a redirect ({status}); not followed")
            if status == 429 or status >= 500 or status < 200:
                raise NodeUnavailable(f"the node answered HTTP {status}")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise NodeGarbage("the node compressed an answer although asked not to")
            text = await _read_capped(response, most)
            if status >= 400 and not text.lstrip().startswith((b"{", b"[")):
                raise NodeUnavailable(f"the node answered HTTP {status}")
            return text

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                auto_decompress=False,  # A compressed answer could exceed the cap once unpacked.
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(limit=0),  # `_turn` bounds them
                trust_env=False,
            )
        return self._session


async def _read_capped(response: aiohttp.ClientResponse, most: int) -> bytes:
    announced = response.content_length
    if announced is not None and announced > most:
        response.close()
        raise AnswerTooLarge(most)
    parts: list[bytes] = []
    total = 0
    async for chunk in response.content.iter_any():  # what came, without cutting it up
        total += len(chunk)
        if total > most:
            response.close()
            raise AnswerTooLarge(most)
        parts.append(chunk)
    return b"".join(parts)


def _request(request_id: int, method: str, params: Sequence[object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": list(params)}


def _told(calls: Sequence[Call], body: bytes) -> Answers | None:
    """The answers in the shape of their method, where it has one and all fit."""
    method = calls[0][0]
    if not isinstance(method, Method) or any(other is not method for other, _ in calls):
        return None
    return method.many(body)


def _dumps(document: object) -> bytes:
    return orjson.dumps(document)


def _loads(body: bytes) -> object:
    try:
        document: object = orjson.loads(body)
    except orjson.JSONDecodeError:  # Also raised for JSON nested deeper than 1,024 levels.
        raise NodeGarbage("the node's answer is not JSON") from None
    return document


def _answer(document: object, request_id: int) -> Answer:
    """`result` of one answer object, or its rejection. Raises NodeGarbage for anything else."""
    if not isinstance(document, dict):
        raise NodeGarbage("the node's answer is not a JSON object")
    answered = document.get("id")
    refusal = _rejection(document)
    if refusal is not None and answered is None:
        return refusal  # JSON-RPC 2.0: a request that could not be parsed is answered with id null.
    if type(answered) is not int or answered != request_id:
        raise NodeGarbage("the node answered another request than the one asked")
    if refusal is not None:
        return refusal
    if "result" not in document:
        raise NodeGarbage("the node's answer has neither result nor error")
    result: object = document["result"]
    return result


def _has_number(item: object) -> bool:
    return isinstance(item, dict) and type(item.get("id")) is int


def _rejection(document: dict[object, object]) -> NodeRejected | None:
    error = document.get("error")
    if error is None:
        return None
    if not isinstance(error, dict):
        raise NodeGarbage("the node's error is not an object")
    code, message = error.get("code"), error.get("message")
    if type(code) is not int or not isinstance(message, str):
        raise NodeGarbage("the node's error has no code or message")
    return NodeRejected(code, message, error.get("data"))
