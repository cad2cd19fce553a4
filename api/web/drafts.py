"""What somebody typed, kept until it is sent: in a cookie bound to their session, not in the URL.

Back, forward and reload then never lose or resend anything, also without JavaScript, and no log
sees a name or a note.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

import orjson

from api.web.visit import Visit

DRAFT_SECONDS = 30 * 60
MAX_DRAFT_CHARS = 3_000


def _seal(visit: Visit, flow: str, body: str) -> str:
    return hmac.new(
        visit.secret.encode(), f"draft {flow} {body}".encode(), hashlib.sha256
    ).hexdigest()


def keep(visit: Visit, flow: str, fields: Mapping[str, str]) -> None:
    """Remember the fields of one flow with the next answer."""
    body = base64.urlsafe_b64encode(orjson.dumps(dict(fields))).decode()
    if len(body) <= MAX_DRAFT_CHARS:
        visit.set_cookie(f"draft_{flow}", f"{body}.{_seal(visit, flow, body)}", DRAFT_SECONDS)


def recall(visit: Visit, flow: str) -> dict[str, str]:
    """What was kept for this session; nothing when it is another's, old, or altered."""
    body, _, seal = visit.read_cookie(f"draft_{flow}").partition(".")
    if not body or not hmac.compare_digest(_seal(visit, flow, body), seal):
        return {}
    try:
        fields = orjson.loads(base64.urlsafe_b64decode(body))
    except (binascii.Error, ValueError):
        return {}
    return {str(name): str(value) for name, value in fields.items()}


def forget(visit: Visit, flow: str) -> None:
    """The flow is done."""
    visit.set_cookie(f"draft_{flow}", "", 0)
