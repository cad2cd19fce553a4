"""Web3signer's eth1 API in front of our own desk: decode, policy, journal, sign.

`GET /upcheck`, `GET /api/v1/eth1/publicKeys`, `POST /api/v1/eth1/sign/{public key}` with
`{"data": "0x…"}`, the unsigned bytes of a transaction. Bare hashes and messages are refused. The
API carries no intent: a nonce belongs to one, named after it, and what is asked is read from the
bytes: the same body again with higher fees is a bump, nothing to oneself a cancel.
"""

from __future__ import annotations

import hmac
import json
import logging
from typing import Any, Final

from aiohttp import web
from eth_keys.datatypes import PublicKey

from keys.desk import SigningDesk
from keys.errors import JournalFailed, KeysError, NonceConflict, SignerRefused
from keys.payload import UnsignedTx, decode_list, decode_unsigned
from keys.request import Kind, SignedTx, SignRequest
from keys.secret import Secret
from keys.server import SignerServer
from keys.wire import eth1_token

MAX_BODY_BYTES: Final = 131_072
log = logging.getLogger(__name__)


class Eth1Server:
    """Serves one desk on loopback TCP. The caller sends the token made of the capability."""

    def __init__(self, desk: SigningDesk, server: SignerServer, capability: Secret) -> None:
        """`server` writes the journal in groups for both doors."""
        self._desk = desk
        self._server = server
        self._token = eth1_token(capability)
        self._by_identifier = {
            "0x" + PublicKey(point[1:]).to_bytes().hex(): address
            for address, point in desk.public_points().items()
        }
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port (of 0 a free one is taken)."""
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_get("/upcheck", self._upcheck)
        application.router.add_get("/api/v1/eth1/publicKeys", self._public_keys)
        application.router.add_post("/api/v1/eth1/sign/{identifier}", self._sign)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def aclose(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _upcheck(self, _request: web.Request) -> web.Response:
        return web.Response(text="OK")

    async def _public_keys(self, request: web.Request) -> web.Response:
        self._demand(request)
        return web.json_response(list(self._by_identifier))

    async def _sign(self, request: web.Request) -> web.Response:
        self._demand(request)
        address = self._by_identifier.get(request.match_info["identifier"].lower())
        if address is None:
            return web.Response(status=404, text="no such key")
        try:
            payload = _data(await request.read())
            signed = await self._signed(address, payload)
        except JournalFailed:
            self._server.failed.set()
            return web.Response(status=503, text=JournalFailed.code)
        except SignerRefused as refusal:
            log.warning("refused over eth1: %s", refusal)
            status = 400 if refusal.reason.startswith("malformed") else 403
            code = NonceConflict.code if isinstance(refusal, NonceConflict) else SignerRefused.code
            return web.Response(status=status, text=f"{code}: {refusal.reason}")
        except KeysError as error:
            return web.Response(status=503, text=error.code)
        return web.Response(text="0x" + signature_of(signed).hex())

    async def _signed(self, address: str, payload: bytes) -> SignedTx:
        tx = decode_unsigned(payload)
        intent = f"eth1/{tx.chain_id}/{address}/{tx.nonce}"
        request = SignRequest(address, payload, intent, self._kind(address, tx))
        return await self._server.sign(request)

    def _kind(self, address: str, tx: UnsignedTx) -> Kind:
        slot = (tx.chain_id, address, tx.nonce)
        used = self._desk.journal.book.uses(slot)
        if tx.to == bytes.fromhex(address[2:]) and tx.value == 0 and tx.data == b"":
            return "cancel" if used else "noop"
        return "bump" if used and not self._desk.journal.book.signed(slot, tx.encode()) else "pay"

    def _demand(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "")
        proof = given.encode("utf-8", "surrogateescape")  # headers may hold any byte
        if not hmac.compare_digest(proof, f"Bearer {self._token.reveal().hex()}".encode()):
            raise web.HTTPUnauthorized(text="the caller did not prove its capability")


def signature_of(signed: SignedTx) -> bytes:
    """r, s and v (27 or 28) of signed bytes: what the API answers."""
    fields = decode_list(signed.raw[1:])
    assert fields is not None
    parity, r, s = (int.from_bytes(field, "big") for field in fields[-3:])
    return r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + parity])


def _data(body: bytes) -> bytes:
    """The bytes to sign. Raises `SignerRefused` with reason `malformed_request`."""
    try:
        document: Any = json.loads(body)
        return bytes.fromhex(document["data"].removeprefix("0x"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise SignerRefused("malformed_request", 'the body is {"data": "0x…"}') from None
