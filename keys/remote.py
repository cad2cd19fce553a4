"""The client side of the signer process. Loads nothing of the cryptography.

One connection, many requests in flight. Every call is safe to repeat (the same payload signs to the
same bytes), so a connection found dead is replaced and the call made once more inside its time-out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from typing import Any, Final

from keys.errors import (
    JournalFailed,
    KeysError,
    NonceConflict,
    SignerRefused,
    SignerUnavailable,
)
from keys.request import MAX_PAYLOAD_BYTES, ApprovalLimits, Kind, SignedBefore, SignedTx
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

TIMEOUT_SECONDS: Final = 5.0
OWN_ACCOUNT_SECONDS: Final = 30.0
"""Sealing an own account takes an argon2id, opening a key file 256 MiB of scrypt besides."""
ATTEMPTS: Final = 2


class RemoteSigner:
    """A `Signer` behind a unix socket. Call `aclose` at the end."""

    def __init__(
        self,
        socket_path: str | os.PathLike[str],
        capability: Secret,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._path = check_socket_path(os.fspath(socket_path))
        self._capability = capability
        self._timeout_seconds = timeout_seconds
        self._connecting = asyncio.Lock()
        self._connection: _Connection | None = None

    def __repr__(self) -> str:
        return "RemoteSigner(***)"

    async def hot_addresses(self) -> list[str]:
        """See `keys.signer.Signer`."""
        return [str(address) for address in (await self._call("hot_addresses"))["addresses"]]

    async def deposit_xpub(self) -> str:
        """See `keys.signer.Signer`."""
        return str((await self._call("deposit_xpub"))["xpub"])

    async def approval_limits(self) -> dict[int, ApprovalLimits]:
        """See `keys.signer.Signer`."""
        return limits_of((await self._call("approval_limits"))["limits"])

    async def signed_before(self, intent_ids: Sequence[str]) -> list[SignedBefore]:
        """See `keys.signer.Signer`."""
        return await self._places("signed_before", intent_ids=list(intent_ids))

    async def signed_from(self, *, chain_id: int, address: str, nonce: int) -> list[SignedBefore]:
        """See `keys.signer.Signer`."""
        return await self._places("signed_from", chain_id=chain_id, address=address, nonce=nonce)

    async def _places(self, method: str, **params: Any) -> list[SignedBefore]:
        try:
            told = await self._call(method, **params)
        except SignerRefused as error:
            if error.reason == "unknown_method":  # a signer of before it, not restarted yet
                return []
            raise
        return [SignedBefore.from_document(one) for one in told["places"]]

    async def sign_authorization(
        self, *, address: str, deposit_index: int, chain_id: int, nonce: int, delegate: str
    ) -> bytes:
        """See `keys.signer.Signer`."""
        result = await self._call(
            "sign_authorization",
            address=address,
            deposit_index=deposit_index,
            chain_id=chain_id,
            nonce=nonce,
            delegate=delegate,
        )
        return bytes.fromhex(result["signature"])

    async def sign_transaction(
        self,
        *,
        address: str,
        payload: bytes,
        intent_id: str,
        kind: Kind,
        deposit_index: int | None = None,
        approval: bytes = b"",
    ) -> SignedTx:
        """See `keys.signer.Signer`."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise SignerRefused("malformed_payload", "too long")
        params: dict[str, str | int] = {
            "address": address,
            "payload": payload.hex(),
            "intent_id": intent_id,
            "kind": kind,
        }
        if deposit_index is not None:
            params["deposit_index"] = deposit_index
        if approval:
            params["approval"] = approval.hex()
        result = await self._call("sign_transaction", **params)
        return SignedTx(raw=bytes.fromhex(result["raw"]), tx_hash=str(result["tx_hash"]))

    async def selfcustody(self, method: str, **params: Any) -> dict[str, Any]:
        """`selfcustody.{method}` of `keys.selfcustody_methods`."""
        wait = max(self._timeout_seconds, OWN_ACCOUNT_SECONDS if method == "open" else 0)
        return await self._call(f"selfcustody.{method}", wait, **params)

    async def aclose(self) -> None:
        """Close the connection; a later call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    async def _call(
        self, method: str, wait: float | None = None, /, **params: Any
    ) -> dict[str, Any]:
        seconds = self._timeout_seconds if wait is None else wait
        try:
            async with asyncio.timeout(seconds):
                return await self._attempt(method, params)
        except TimeoutError:
            raise SignerUnavailable(f"no answer in {seconds:g} s") from None

    async def _attempt(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                connection = await self._connected()
                return _result(await connection.ask({"method": method, "params": params}))
            except (ConnectionLost, OSError) as error:
                reason = type(error).__name__
        raise SignerUnavailable(f"the signer is not there ({reason})")

    async def _connected(self) -> _Connection:
        async with self._connecting:
            if self._connection is None or self._connection.is_closed:
                await self.aclose()
                self._connection = await _Connection.open(self._path, self._capability)
            return self._connection


class _Connection:
    """One proven connection and the answers it still owes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._outbox = Outbox(writer)
        self._owed: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last_id = 0
        self.is_closed = False
        self._listening: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: str, capability: Secret) -> _Connection:
        """Connect and prove both ways. Raises `OSError`, `ConnectionLost`, or `SignerRefused` when
        the signer does not accept the capability."""
        reader, writer = await asyncio.open_unix_connection(path)
        try:
            challenge = str((await receive(reader)).get("challenge"))
            nonce = fresh_nonce()
            mine = proof(capability, "client", challenge, nonce)
            writer.write(frame({"nonce": nonce, "proof": mine}))
            answer = await receive(reader)
            if "error" in answer:
                raise _error(answer["error"])
            if not proves(answer, capability, "server", challenge, nonce):
                raise SignerUnavailable("who listens on the socket is not our signer")
        except BaseException:
            writer.close()
            raise
        connection = cls(reader, writer)
        connection._listening = asyncio.create_task(connection._listen())
        return connection

    async def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send one request and wait for its answer. Raises `ConnectionLost`."""
        if self.is_closed:
            raise ConnectionLost("closed")
        self._last_id += 1
        request_id = self._last_id
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._owed[request_id] = future
        try:
            self._outbox.put({"id": request_id, **request})
            await self._outbox.drained()
            return await future
        finally:
            self._owed.pop(request_id, None)

    async def aclose(self) -> None:
        """Close and wait for the listener."""
        self._writer.close()
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listening
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _listen(self) -> None:
        """Hand each answer to its asker; at the end tell all who still wait."""
        try:
            while True:
                answer = await receive(self._reader)
                request_id = answer.get("id")
                future = self._owed.get(request_id) if isinstance(request_id, int) else None
                if future is not None and not future.done():
                    future.set_result(answer)
        except ConnectionLost:
            self._writer.close()
        finally:
            self.is_closed = True
            for future in self._owed.values():
                if not future.done():
                    future.set_exception(ConnectionLost("connection lost"))


def limits_of(document: Any) -> dict[int, ApprovalLimits]:
    """The signer's `approval_limits` as numbers."""
    return {
        int(chain_id): ApprovalLimits(
            above={str(asset): int(amount) for asset, amount in told["above"].items()},
            exempt=frozenset(map(str, told["exempt"])),
            warm=frozenset(map(str, told.get("warm", {}).get("addresses", ()))),
            warm_signatures=int(told.get("warm", {}).get("signatures", 0)),
            operators=frozenset(
                map(str, told.get("operators", told.get("warm", {}).get("operators", ())))
            ),
            fee_ceiling=None if "fee_ceiling" not in told else int(told["fee_ceiling"]),
        )
        for chain_id, told in dict(document).items()
    }


def _result(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise _error(answer["error"])
    result = answer.get("result")
    if not isinstance(result, dict):
        raise ConnectionLost("malformed answer")
    return result


def _error(document: Any) -> KeysError:
    """The signer's error as an exception of this process."""
    fields = document if isinstance(document, dict) else {}
    code, reason = str(fields.get("code")), str(fields.get("reason"))
    message = str(fields.get("message", ""))
    if code == NonceConflict.code:
        return NonceConflict(reason, message)
    if code == SignerRefused.code:
        return SignerRefused(reason, message)
    if code == JournalFailed.code:
        return SignerUnavailable("the signer's journal failed")
    return SignerUnavailable(f"the signer answered {code}")
