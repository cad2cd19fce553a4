"""The signer's server: proves its callers, writes the journal in groups, signs.

Requests that arrive while the disk syncs share the next sync; a signature never leaves before the
sync that covers its entry has returned.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from keys.desk import SigningDesk
from keys.errors import JournalFailed, KeysError, NonceConflict, SignerRefused
from keys.journal import Journal
from keys.request import (
    KINDS,
    MAX_ASKED,
    MAX_INTENT_ID_LENGTH,
    SignedBefore,
    SignedTx,
    SignRequest,
)
from keys.secret import Secret
from keys.wire import (
    ConnectionLost,
    Outbox,
    check_socket_path,
    frame,
    fresh_nonce,
    proof,
    proves,
    receive,
)

HANDSHAKE_TIMEOUT_SECONDS: Final = 2.0
WRITE_TIMEOUT_SECONDS: Final = 5.0
MAX_CONNECTIONS: Final = 32
MAX_IN_FLIGHT: Final = 64
"""Requests of one connection that are worked on at once; more wait in the socket."""
SIGNED_TOGETHER: Final = 16
"""Requests that go on in one turn of the event loop once their journal entries are on disk."""
SOCKET_UMASK: Final = 0o177
Method = Callable[[Any], Awaitable[dict[str, Any]]]
"""Takes a request's `params`, answers its `result`; raises a `KeysError`."""
log = logging.getLogger(__name__)


class GroupCommit:
    """Makes journal entries durable, many with one fsync, outside the event loop.

    Those who waited for one fsync go on a few at a time, so that requests which come meanwhile are
    admitted and their fsync begins while the rest is being signed.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: list[asyncio.Future[None]] = []
        self._running: asyncio.Task[None] | None = None

    async def durable(self) -> None:
        """Return when everything appended so far is on disk. Raises `JournalFailed`."""
        if self._journal.failed:
            raise JournalFailed("the journal failed earlier; restart the signer")
        if self._running is None and not self._journal.has_pending:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        await waiter

    async def _run(self) -> None:
        try:
            while self._waiting:
                covered, self._waiting = self._waiting, []
                try:
                    await self._write()
                except JournalFailed as error:
                    for waiter in covered:
                        if not waiter.done():
                            waiter.set_exception(error)
                else:
                    _release(covered)
        finally:
            self._running = None

    async def _write(self) -> None:
        """What waits goes to disk. Raises `JournalFailed`, also for those who brought no line of
        their own and wait for one that a failed write has lost."""
        lines = self._journal.take_pending()
        if not lines and not self._journal.failed:
            return
        try:
            await asyncio.to_thread(self._journal.write, lines)
        except (RuntimeError, MemoryError) as error:  # no thread could be started
            self._journal.failed = True
            raise JournalFailed(f"the journal cannot be written: {error}") from error


def _release(waiters: list[asyncio.Future[None]]) -> None:
    """Let them go on, `SIGNED_TOGETHER` in one turn of the event loop."""
    for waiter in waiters[:SIGNED_TOGETHER]:
        if not waiter.done():  # its caller may have gone
            waiter.set_result(None)
    if len(waiters) > SIGNED_TOGETHER:
        asyncio.get_running_loop().call_soon(_release, waiters[SIGNED_TOGETHER:])


class SignerServer:
    """Serves one desk on one unix socket. `failed` is set when it must not go on."""

    def __init__(self, desk: SigningDesk, capability: Secret) -> None:
        self._desk = desk
        own: dict[str, Method] = {
            "hot_addresses": self._hot_addresses,
            "deposit_xpub": self._deposit_xpub,
            "approval_limits": self._approval_limits,
            "signed_before": self._signed_before,
            "signed_from": self._signed_from,
            "sign_transaction": self._sign_transaction,
            "sign_authorization": self._sign_authorization,
        }
        self._methods: Mapping[str, Method] = own
        self._capability = capability
        self._commit = GroupCommit(desk.journal)
        self._connections: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self.failed = asyncio.Event()

    async def start(self, socket_path: str) -> None:
        """Listen on `socket_path` (0600). The journal's lock makes a leftover socket ours."""
        previous = os.umask(SOCKET_UMASK)
        try:
            self._server = await asyncio.start_unix_server(
                self._serve, check_socket_path(socket_path)
            )
        finally:
            os.umask(previous)

    async def aclose(self) -> None:
        """Stop listening, end the connections, close the journal."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._desk.journal.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) <= MAX_CONNECTIONS and await self._proven(reader, writer):
                await self._converse(reader, writer)
        except (ConnectionLost, TimeoutError, OSError) as error:
            log.debug("connection ended: %s", type(error).__name__)
        except asyncio.CancelledError:
            log.debug("connection closed at shutdown")
        finally:
            self._connections.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _proven(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """The handshake. A peer without the capability gets one refusal and no second try."""
        challenge = fresh_nonce()
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_SECONDS):
            writer.write(frame({"challenge": challenge}))
            hello = await receive(reader)
            nonce = str(hello.get("nonce"))
            if proves(hello, self._capability, "client", challenge, nonce):
                writer.write(frame({"proof": proof(self._capability, "server", challenge, nonce)}))
                return True
            log.warning("a caller without the capability was refused")
            refusal = SignerRefused("capability", "the caller did not prove its capability")
            writer.write(frame({"error": _error_document(refusal)}))
            await writer.drain()
        return False

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Work on requests as they come; answers may overtake each other."""
        slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        working: set[asyncio.Task[None]] = set()
        outbox = Outbox(writer)
        try:
            while True:
                request = await receive(reader)
                await slots.acquire()
                task = asyncio.create_task(self._answer(request, outbox))
                working.add(task)
                task.add_done_callback(working.discard)
                task.add_done_callback(lambda _: slots.release())
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)

    async def _answer(self, request: dict[str, Any], outbox: Outbox) -> None:
        try:
            answer: dict[str, Any] = {"result": await self._perform(request)}
        except KeysError as error:
            answer = {"error": _error_document(error)}
            if isinstance(error, JournalFailed):
                self.failed.set()
        outbox.put({"id": request.get("id"), **answer})
        if outbox.is_behind:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                    await outbox.drained()

    async def _perform(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request.get("method")
        method = self._methods.get(name) if isinstance(name, str) else None
        if method is None:
            raise SignerRefused("unknown_method", str(name)[:32])
        return await method(request.get("params"))

    async def _hot_addresses(self, _params: Any) -> dict[str, Any]:
        return {"addresses": list(self._desk.hot_addresses)}

    async def _deposit_xpub(self, _params: Any) -> dict[str, Any]:
        return {"xpub": self._desk.deposit_xpub}

    async def _sign_transaction(self, params: Any) -> dict[str, Any]:
        signed = await self._sign(_sign_request(params))
        return {"raw": signed.raw.hex(), "tx_hash": signed.tx_hash}

    async def _approval_limits(self, _params: Any) -> dict[str, Any]:
        return {"limits": self._desk.approval_limits()}

    async def _signed_before(self, params: Any) -> dict[str, Any]:
        asked = params.get("intent_ids") if isinstance(params, dict) else None
        if not isinstance(asked, list) or len(asked) > MAX_ASKED:
            raise SignerRefused("malformed_request", "needs intent_ids, a list")
        if any(not isinstance(one, str) or len(one) > MAX_INTENT_ID_LENGTH for one in asked):
            raise SignerRefused("malformed_request", "intent_ids are short texts")
        return _places(self._desk.journal.book.signed_before(asked))

    async def _signed_from(self, params: Any) -> dict[str, Any]:
        names = {"chain_id", "address", "nonce"}
        if not isinstance(params, dict) or set(params) != names:
            raise SignerRefused("malformed_request", f"needs {', '.join(sorted(names))}")
        chain_id, address, nonce = params["chain_id"], params["address"], params["nonce"]
        if not isinstance(address, str) or type(chain_id) is not int or type(nonce) is not int:
            raise SignerRefused("malformed_request", "an address and two numbers")
        return _places(self._desk.journal.book.signed_from(chain_id, address, nonce))

    async def _sign_authorization(self, params: Any) -> dict[str, Any]:
        names = {"address", "deposit_index", "chain_id", "nonce", "delegate"}
        if not isinstance(params, dict) or set(params) != names:
            raise SignerRefused("malformed_request", f"needs {', '.join(sorted(names))}")
        if any(not isinstance(params[name], str) for name in ("address", "delegate")):
            raise SignerRefused("malformed_request", "addresses are text")
        try:
            admitted = self._desk.admit_delegation(**params)
        except SignerRefused as refusal:
            log.warning("refused an authorisation of %r: %s", params["address"][:64], refusal)
            raise
        await self._commit.durable()
        signature = self._desk.delegate(admitted)
        log.info("authorised the sweeper for %s, nonce %d", admitted.address, admitted.nonce)
        return {"signature": signature.hex()}

    async def durable(self) -> None:
        """Return when the journal is on disk."""
        await self._commit.durable()

    def add(self, more: Mapping[str, Method]) -> None:
        """Methods of another room; none may take the name of one that is there."""
        if self._methods.keys() & more.keys():
            raise ValueError("a method of the signer cannot be replaced")
        self._methods = {**self._methods, **more}

    async def sign(self, request: SignRequest) -> SignedTx:
        """Admit, make the journal durable, sign. For another door to the same desk."""
        return await self._sign(request)

    async def _sign(self, request: SignRequest) -> SignedTx:
        try:
            admitted = self._desk.admit(request)
        except SignerRefused as refusal:
            log.warning("refused %s of %r: %s", request.kind, request.intent_id[:64], refusal)
            raise
        await self._commit.durable()
        signed = self._desk.sign(admitted)
        log.info(
            "signed %s of %r: chain %d nonce %d %s",
            request.kind,
            request.intent_id,
            admitted.tx.chain_id,
            admitted.tx.nonce,
            signed.tx_hash,
        )
        return signed


def _sign_request(params: Any) -> SignRequest:
    """The parameters, typed. Raises `SignerRefused` with reason `malformed_request`."""
    names = {"address", "payload", "intent_id", "kind"}
    if not isinstance(params, dict) or not names <= set(params) <= names | {
        "deposit_index",
        "approval",
    }:
        raise SignerRefused("malformed_request", "address, payload, intent_id and kind")
    index, approval = params.get("deposit_index"), params.get("approval", "")
    if (
        any(not isinstance(params[name], str) for name in names)
        or not isinstance(approval, str)
        or not (index is None or type(index) is int)
        or params["kind"] not in KINDS
    ):
        raise SignerRefused("malformed_request", "address, payload, intent_id and kind are text")
    try:
        payload, approved = bytes.fromhex(params["payload"]), bytes.fromhex(approval)
    except ValueError:
        raise SignerRefused("malformed_request", "the payload is not hex") from None
    return SignRequest(
        params["address"], payload, params["intent_id"], params["kind"], index, approved
    )


def _places(found: list[SignedBefore]) -> dict[str, Any]:
    """Also what is not on disk yet: rather a nonce too many is left alone than one given twice."""
    return {"places": [one.document() for one in found]}


def _error_document(error: KeysError) -> dict[str, str]:
    if isinstance(error, SignerRefused | NonceConflict):
        return {"code": error.code, "reason": error.reason, "message": error.message}
    return {"code": error.code, "reason": "", "message": str(error)}
