"""What every page carries against the web's own attacks: headers, CSRF tokens, Origin checks."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.requests import Request

from wallet.errors import WalletError
from wallet.settings import Settings

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # Pico's form icons are data: images inside its style sheet
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "object-src 'none'",
        "manifest-src 'self'",
    )
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not `no-referrer`: with it browsers send `Origin: null` on every form.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PRIVATE = "private, no-store"


class FormExpired(WalletError):
    """The form's token does not belong to this session: old page, or a forged request."""

    code = "form_expired"


class ForeignOrigin(WalletError):
    """A browser says that another site sent this form."""

    code = "foreign_origin"


def csrf_token(secret: str) -> str:
    """The token of one session or visitor; made from its cookie, kept nowhere."""
    return hmac.new(secret.encode(), b"bifold web form", hashlib.sha256).hexdigest()


def check_csrf(*, secret: str, given: str) -> None:
    """Raises FormExpired unless the form carries this visitor's token."""
    if not secret or not hmac.compare_digest(csrf_token(secret).encode(), given.encode()):
        raise FormExpired("This page is too old; load it again.")


def check_origin(request: Request, settings: Settings) -> None:
    """Raises ForeignOrigin when a browser names another site. No Origin at all: no browser."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise ForeignOrigin("This form was sent by another site.")
    origin = request.headers.get("origin")
    if origin is None or origin == settings.base_url:
        return
    host = request.headers.get("host", "")
    loopback = urlsplit(f"//{host}").hostname in LOOPBACK_NAMES
    if settings.sandbox and loopback and origin == f"http://{host}":
        return
    raise ForeignOrigin("This form was sent by another site.")


def safe_next(target: str | None) -> str | None:
    """A path of our own to go back to, or None: never another site."""
    if not target or len(target) > 500 or not target.startswith("/"):
        return None
    if target[1:2] in {"/", "\\"} or any(ord(letter) < 33 for letter in target):
        return None
    return target
