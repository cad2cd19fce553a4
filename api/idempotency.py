"""The HTTP edge of idempotent writes: key from the header, route and body into the claim."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

import orjson
from fastapi import Depends, Header, Request
from pydantic import BaseModel
from starlette.responses import Response

from api.authentication import CallerDep
from api.errors import IdempotencyKeyRequired
from api.state import ServicesDep
from wallet.db import Database, Session
from wallet.idempotency import Answer, Claim, Outcome, fingerprint, once

KEY = re.compile(r"[\x20-\x7e]{1,255}")
REPLAYED_HEADER = "Idempotent-Replayed"

# Codes that every idempotent write may answer, for OpenAPI.
CODES = ("idempotency_key_required", "idempotency_mismatch", "idempotency_in_progress")


def answer(
    status: int, view: BaseModel | dict[str, object], *, location: str | None = None
) -> Answer:
    """The exact body, made before the commit; of a view, or of what is written as its view is."""
    body = orjson.dumps(view).decode() if isinstance(view, dict) else view.model_dump_json()
    return Answer(status, body, location)


def as_response(outcome: Outcome) -> Response:
    """The answer on the wire."""
    headers: dict[str, str] = {}
    if outcome.answer.location is not None:
        headers["Location"] = outcome.answer.location
    if outcome.replayed:
        headers[REPLAYED_HEADER] = "true"
    return Response(
        outcome.answer.body,
        status_code=outcome.answer.status,
        headers=headers,
        media_type="application/json",
    )


@dataclass(frozen=True, slots=True)
class Once:
    """One idempotent request: `await once(work)` does it, or tells its first answer again."""

    db: Database
    claim: Claim

    async def __call__(
        self,
        work: Callable[[Session], Awaitable[Answer]],
        *,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> Response:
        """See `wallet.idempotency.once`; the commit has happened when this returns."""
        return as_response(await once(self.db, self.claim, work, before=before))


def key_of(sent: list[str]) -> str:
    """The one key. Raises IdempotencyKeyRequired when missing, repeated or malformed."""
    if len(sent) != 1 or not KEY.fullmatch(sent[0]):
        raise IdempotencyKeyRequired(
            "Send one Idempotency-Key header of 1 to 255 printable ASCII characters.",
            field="/headers/Idempotency-Key",
        )
    return sent[0]


def claim_of(request: Request, principal_id: str) -> Claim:
    """What is asked for, by whom, under which key. Raises IdempotencyKeyRequired."""
    return Claim(
        principal_id=principal_id,
        method=request.method,
        route=request.scope["route"].path,
        key=key_of(request.headers.getlist("idempotency-key")),
        fingerprint=fingerprint(
            path=request.scope["path"],
            query=request.scope["query_string"].decode("latin-1"),
            body=request.scope.get("bifold.json"),
        ),
    )


def _once(
    request: Request,
    caller: CallerDep,
    services: ServicesDep,
    _documented: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Required: 1–255 printable ASCII characters, one for each intention. "
            "A repeat gets the first answer again.",
            examples=["9b2f6c1e-transfer-1"],
        ),
    ] = None,
) -> Once:
    return Once(services.db, claim_of(request, caller.principal_id))


OnceDep = Annotated[Once, Depends(_once)]
