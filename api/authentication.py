"""Who calls: a session token in `Authorization: Bearer`, never a cookie."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import islice
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from api.state import ServicesDep, State, state_of
from wallet import identity
from wallet.db import Database
from wallet.identity import SignedIn
from wallet.identity.errors import Unauthenticated

CACHE_SECONDS = 1.0  # the longest a revoked session may still work (decision 17)
CACHE_MOST = 4_096
LOOKED_UP_MOST = 256  # tokens in one look-up
MAX_TOKEN_CHARS = 200
WITH_PORT = re.compile(r"([0-9.]+):[0-9]+|\[([^\]]*)\](?::[0-9]+)?")


def client_of(request: Request) -> str:
    """Who asks, for counting tries: the peer's address, or whom a proxy of ours says it serves.

    `X-Forwarded-For` is read from its end, and only as far as `BIFOLD_TRUSTED_PROXIES` wrote it. An
    IPv6 address counts as its /64: whoever has one has all of them.
    """
    client = _address(request.client.host if request.client else "")
    proxies = state_of(request).services.settings.proxies
    said = ",".join(request.headers.getlist("x-forwarded-for")).split(",") if proxies else []
    while client is not None and said and any(client in proxy for proxy in proxies):
        further = _address(said.pop().strip())
        if further is None:  # nothing, or nothing that can be told apart: the proxy itself
            break
        client = further
    if isinstance(client, IPv6Address):
        return str(ip_network((client, 64), strict=False))
    return "unknown" if client is None else str(client)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """`203.0.113.1` or `2001:db8::1`, also as proxies write them with a port."""
    with_port = WITH_PORT.fullmatch(text)
    bare = with_port[1] or with_port[2] if with_port else text
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated principal and the session it speaks through."""

    principal_id: str
    session_id: str


class CallerCache:
    """Look-ups of the last second, by the token's hash; the token itself is not kept.

    Tokens that are asked for while a look-up is under way share the next one.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: OrderedDict[bytes, tuple[float, SignedIn]] = OrderedDict()
        self._asked: dict[str, asyncio.Future[SignedIn | None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def find(self, token: str) -> SignedIn | None:
        """The living session behind a token, looked up at most a second ago."""
        known = self.get(token)
        if known is not None:
            return known
        answer = self._asked.get(token)
        if answer is None:
            answer = self._asked[token] = asyncio.get_running_loop().create_future()
            if self._task is None:
                self._task = asyncio.create_task(self._look())
        return await asyncio.shield(answer)  # others may wait for it, too

    async def _look(self) -> None:
        try:
            while self._asked:
                now = dict(islice(self._asked.items(), LOOKED_UP_MOST))
                for token in now:
                    del self._asked[token]
                await self._answer(now)
        finally:
            self._task = None

    async def _answer(self, asked: dict[str, asyncio.Future[SignedIn | None]]) -> None:
        try:
            async with self._db.driver_transaction() as hot:
                found = await identity.resolve_many(hot, asked, kind="api")
        except Exception as error:  # noqa: BLE001 - told to all who asked
            for answer in asked.values():
                answer.set_exception(error)
                answer.exception()  # one who left meanwhile does not hear it
            return
        for token, answer in asked.items():
            signed_in = found.get(token)
            if signed_in is not None:
                self.put(token, signed_in)
            answer.set_result(signed_in)

    def get(self, token: str) -> SignedIn | None:
        """The session, when it was looked up within the last second."""
        found = self._known.get(_marked(token))
        if found is None or found[0] < time.monotonic():
            return None
        return found[1]

    def put(self, token: str, signed_in: SignedIn) -> None:
        """Remember for a second."""
        while len(self._known) >= CACHE_MOST:
            self._known.popitem(last=False)
        self._known[_marked(token)] = (time.monotonic() + CACHE_SECONDS, signed_in)

    def forget(self, session_id: str) -> None:
        """A session ended here: it opens nothing from now on."""
        for marked, (_until, signed_in) in list(self._known.items()):
            if signed_in.id == session_id:
                del self._known[marked]


def _marked(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


bearer = HTTPBearer(
    scheme_name="sessionToken",
    description="The token of `POST /v1/sessions`, as `Authorization: Bearer …`.",
    auto_error=False,
)


def bearer_token(request: Request) -> str | None:
    """The token of exactly one well-formed Authorization header."""
    sent = request.headers.getlist("authorization")
    if len(sent) != 1:
        return None
    scheme, _, token = sent[0].partition(" ")
    if scheme.lower() != "bearer" or not token or not token.isascii() or " " in token:
        return None
    return token if len(token) <= MAX_TOKEN_CHARS else None


async def authenticate(state: State, token: str | None) -> Caller:
    """The caller behind a token. Raises Unauthenticated."""
    if token is None:
        raise Unauthenticated("Send a session token as `Authorization: Bearer …`.")
    signed_in = await state.callers.find(token)
    if signed_in is None:
        raise Unauthenticated("Sign in first: this session is unknown or has ended.")
    return Caller(signed_in.principal_id, signed_in.id)


async def _caller(
    request: Request, _services: ServicesDep, _documented: Annotated[object, Depends(bearer)]
) -> Caller:
    return await authenticate(state_of(request), bearer_token(request))


CallerDep = Annotated[Caller, Depends(_caller)]
