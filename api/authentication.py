"""Who calls: a session token in `Authorization: Bearer`, never a cookie."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from api.state import ServicesDep, State, state_of
from wallet import identity
from wallet.identity import SignedIn
from wallet.identity.errors import Unauthenticated

CACHE_SECONDS = 1.0  # the longest a revoked session may still work (decision 17)
CACHE_MOST = 4_096
MAX_TOKEN_CHARS = 200


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated principal and the session it speaks through."""

    principal_id: str
    session_id: str


class CallerCache:
    """Look-ups of the last second, by the token's hash; the token itself is not kept."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[float, SignedIn]] = OrderedDict()

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
    signed_in = state.callers.get(token)
    if signed_in is None:
        async with state.services.db.transaction() as session:
            signed_in = await identity.resolve(session, token, kind="api")
        state.callers.put(token, signed_in)
    return Caller(signed_in.principal_id, signed_in.id)


async def _caller(
    request: Request, _services: ServicesDep, _documented: Annotated[object, Depends(bearer)]
) -> Caller:
    return await authenticate(state_of(request), bearer_token(request))


CallerDep = Annotated[Caller, Depends(_caller)]
