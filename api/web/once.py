"""A form that moves money is sent once: its hidden key goes through the same room as the API's."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

import orjson
from starlette.requests import Request

from api.state import state_of
from api.web.visit import BadForm, Visit
from wallet import idempotency
from wallet.db import Session
from wallet.group_batch import Flow

Asked = TypeVar("Asked")
Made = TypeVar("Made")
KEY = re.compile(r"[A-Za-z0-9_-]{16,64}")


def new_key() -> str:
    """For the hidden field of a fresh form."""
    return secrets.token_urlsafe(18)


async def once(
    visit: Visit,
    fields: dict[str, str],
    work: Callable[[Session], Awaitable[str]],
    *,
    before: Callable[[], Awaitable[None]] | None = None,
) -> str:
    """Run `work` for this form's key, or repeat where its first run led. Returns that path.

    Raises what `work` refuses with; a refusal leaves the key free.
    """
    asked = _claim(visit, fields)

    async def answered(session: Session) -> idempotency.Answer:
        return _leading(await work(session))

    outcome = await idempotency.once(visit.services.db, asked, answered, before=before)
    return _place(outcome)


async def once_together(
    visit: Visit,
    fields: dict[str, str],
    flow: Flow[Asked, Made],
    wanted: Asked,
    path_of: Callable[[Made], str],
) -> str:
    """The same for what rides the group commit; it leads to `path_of` its effect."""
    writer = state_of(visit.request).writer
    claim = _claim(visit, fields)
    return _place(await writer.submit(claim, flow, wanted, lambda made: _leading(path_of(made))))


def _claim(visit: Visit, fields: dict[str, str]) -> idempotency.Claim:
    key = fields.get("key", "")
    if not KEY.fullmatch(key):
        raise BadForm("This form has lost its key; load the page again.")
    return idempotency.Claim(
        principal_id=visit.member.id,
        method="POST",
        route=f"web:{_route(visit.request)}",
        key=key,
        fingerprint=idempotency.fingerprint(
            path=visit.request.url.path,
            query="",
            body={name: value for name, value in fields.items() if name != "key"},
        ),
    )


def _leading(path: str) -> idempotency.Answer:
    return idempotency.Answer(200, orjson.dumps({"location": path}).decode(), path)


def _place(outcome: idempotency.Outcome) -> str:
    return str(orjson.loads(outcome.answer.body)["location"])


def _route(request: Request) -> str:
    return str(getattr(request.scope.get("route"), "path", request.url.path))
