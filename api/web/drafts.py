"""What somebody typed, kept until it is sent: in a cookie bound to the session, not in the URL.

Every form answers with a redirect, a refusal too: `tell` keeps it for the page that follows.
Back, forward and reload then never lose or resend anything, also without JavaScript, and no log
sees a name or a note.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response

from api.web.visit import Visit
from wallet.errors import WalletError

DRAFT_SECONDS = 30 * 60
NOTICE_SECONDS = 120
MAX_DRAFT_CHARS = 3_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a flow refused with, as far as a page shows it."""

    code: str
    field: str | None
    extra: Mapping[str, Any]


Errors = dict[str, Refusal]  # by the field they stand beside; "" for none


def refusal_of(error: WalletError) -> Refusal:
    """For a page that shows what was refused in the same answer."""
    return Refusal(error.code, error.field, error.extra)


def _seal(visit: Visit, name: str, body: str) -> str:
    return hmac.new(visit.secret.encode(), f"{name} {body}".encode(), hashlib.sha256).hexdigest()


def _write(visit: Visit, name: str, value: Mapping[str, Any], seconds: int) -> None:
    body = base64.urlsafe_b64encode(orjson.dumps(value)).decode()
    if len(body) <= MAX_DRAFT_CHARS:
        visit.set_cookie(name, f"{body}.{_seal(visit, name, body)}", seconds)


def _read(visit: Visit, name: str) -> dict[str, Any]:
    body, _, seal = visit.read_cookie(name).partition(".")
    if not body or not hmac.compare_digest(_seal(visit, name, body), seal):
        return {}
    try:
        value = orjson.loads(base64.urlsafe_b64decode(body))
    except (binascii.Error, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def keep(visit: Visit, flow: str, fields: Mapping[str, str]) -> None:
    """Remember the fields of one flow with the next answer."""
    _write(visit, f"draft_{flow}", dict(fields), DRAFT_SECONDS)


def recall(visit: Visit, flow: str) -> dict[str, str]:
    """What was kept for this session; nothing when it is another's, old, or altered."""
    return {str(n): str(v) for n, v in _read(visit, f"draft_{flow}").items()}


def forget(visit: Visit, flow: str) -> None:
    """The flow is done."""
    visit.set_cookie(f"draft_{flow}", "", 0)


def tell(visit: Visit, path: str, error: WalletError, *, at: str | None = None) -> Response:
    """Go to `path` and say there what was refused, beside the field `at`."""
    place = (error.field or "") if at is None else at
    said = {"path": path, "at": place, "code": error.code, "field": error.field}
    _write(visit, "notice", {**said, "extra": error.extra}, NOTICE_SECONDS)
    return visit.go(path)


def told(visit: Visit) -> Errors:
    """What the form before this page was refused with, once."""
    kept = _read(visit, "notice")
    if not kept or kept.get("path") != visit.request.url.path:
        return {}
    visit.set_cookie("notice", "", 0)
    return {str(kept["at"]): Refusal(str(kept["code"]), kept["field"], kept["extra"])}
