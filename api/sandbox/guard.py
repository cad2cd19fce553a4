"""Who may play: this machine, or whoever has the sandbox's token; never another site's page."""

from __future__ import annotations

import hmac
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from api.authentication import bearer_token
from api.binding import is_private
from api.errors import HostNotAllowed, OriginNotAllowed, UnsupportedMediaType
from api.state import state_of
from wallet.identity.errors import Unauthenticated
from wallet.settings import Settings

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
READING = frozenset({"GET", "HEAD"})

token = HTTPBearer(
    scheme_name="sandboxToken",
    description="`BIFOLD_SANDBOX_TOKEN`, needed only where the sandbox listens beyond loopback.",
    auto_error=False,
)


def guard(request: Request, _documented: Annotated[object, Depends(token)]) -> None:
    """Raises HostNotAllowed, OriginNotAllowed, UnsupportedMediaType, Unauthenticated.

    A page of another site can make a browser here send requests: DNS rebinding shows in Host, any
    other trick in Origin or in a content type that needs no preflight.
    """
    settings = state_of(request).services.settings
    names = _names(settings)
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or _host_of(f"//{hosts[0]}") not in names:
        raise HostNotAllowed("Sandbox routes answer to this instance's own names only.")
    for origin in request.headers.getlist("origin"):
        if not origin.startswith(("http://", "https://")) or _host_of(origin) not in names:
            raise OriginNotAllowed("Sandbox routes take no requests from other sites.")
    if request.method not in READING:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise UnsupportedMediaType("Send the body as application/json.")
    if not is_private(settings):
        wanted = settings.sandbox_token or ""
        sent = bearer_token(request) or ""
        if not wanted or not hmac.compare_digest(wanted.encode(), sent.encode()):
            raise Unauthenticated("Send the sandbox token as `Authorization: Bearer …`.")


def _names(settings: Settings) -> frozenset[str]:
    own = {_host_of(settings.base_url), settings.host.lower()}
    if not is_private(settings):
        return frozenset(own)
    return LOOPBACK_NAMES | own


def _host_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
