"""Every error leaves as a problem document, whatever raised it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.errors import (
    INTERNAL,
    PROBLEM_JSON,
    FieldError,
    InvalidFields,
    Problem,
    problem_of,
    problem_of_lower,
)
from chain.errors import ChainError
from keys.errors import KeysError
from wallet.errors import WalletError

log = structlog.get_logger("api")

# Codes our own validators use as pydantic error types; they pass through unchanged.
OWN_CODES = frozenset(
    {
        "amount_must_be_string",
        "amount_malformed",
        "unknown_asset",
        "invalid_field",
        "field_required",
    }
)
PRECEDENCE = ("unknown_field", "amount_must_be_string", "amount_malformed", "unknown_asset")
# What pydantic says about a field, as we say it; anything else keeps its words.
SAID = {
    "greater_than_equal": "At least {ge}.",
    "less_than_equal": "At most {le}.",
    "int_parsing": "A whole number.",
    "int_type": "A whole number.",
    "string_type": "A text.",
    "bool_type": "true or false.",
    "string_too_short": "Its length is at least {min_length}.",
    "string_too_long": "Its length is at most {max_length}.",
    "literal_error": "One of {expected}.",
    "datetime_from_date_parsing": "A time, for example 2026-01-31T09:00:00Z.",
    "datetime_parsing": "A time, for example 2026-01-31T09:00:00Z.",
}
HTTP_CODES: dict[int, tuple[str, str]] = {
    400: ("invalid_request", "The request cannot be read."),
    404: ("not_found", "There is nothing here."),
    405: ("method_not_allowed", "This path does not take this method."),
    406: ("not_acceptable", "This cannot be given in the form asked for."),
    413: ("body_too_large", "A body may have at most 64 kB."),
    415: ("unsupported_media_type", "Send the body as application/json."),
}


def request_id(request: Request) -> str:
    """The id that `api.context` gave this request."""
    return str(request.scope.get("bifold.request_id", "req_unknown"))


def respond(problem: Problem, id_: str) -> Response:
    """The document as a response."""
    return Response(
        orjson.dumps(problem.body(id_)),
        status_code=problem.status,
        headers=problem.headers,
        media_type=PROBLEM_JSON,
    )


def install(app: FastAPI) -> None:
    """Hang the handlers into the app."""
    app.add_exception_handler(WalletError, _wallet)
    app.add_exception_handler(ChainError, _lower)
    app.add_exception_handler(KeysError, _lower)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)


async def _wallet(request: Request, error: Exception) -> Response:
    refusal = cast(WalletError, error)
    problem = problem_of(refusal)
    if problem.status >= 500 and problem.status != 503:
        log.error(
            "request.defect", code=refusal.code, request_id=request_id(request), exc_info=error
        )
    return respond(problem, request_id(request))


async def _lower(request: Request, error: Exception) -> Response:
    code = cast(ChainError | KeysError, error).code
    problem = problem_of_lower(code)
    log.warning("request.lower_error", code=code, request_id=request_id(request), exc_info=error)
    return respond(problem, request_id(request))


async def _http(request: Request, error: Exception) -> Response:
    http = cast(HTTPException, error)
    if http.status_code not in HTTP_CODES:
        log.error("request.unmapped_status", status=http.status_code, exc_info=error)
        return respond(INTERNAL, request_id(request))
    code, detail = HTTP_CODES[http.status_code]
    response = respond(Problem(http.status_code, code, detail), request_id(request))
    allow = (http.headers or {}).get("Allow")
    if allow:
        response.headers["Allow"] = allow
    return response


async def _validation(request: Request, error: Exception) -> Response:
    told = [_field_error(one) for one in cast(RequestValidationError, error).errors()]
    return respond(problem_of(InvalidFields(_ordered(told))), request_id(request))


def _ordered(errors: Sequence[FieldError]) -> list[FieldError]:
    """The one that names the problem first: unknown fields, then the money table's order."""
    rank = {code: place for place, code in enumerate(PRECEDENCE)}
    return sorted(errors, key=lambda error: rank.get(error.code, len(rank)))


def _field_error(error: dict[str, Any]) -> FieldError:
    place, *path = error["loc"]
    pointer = "".join(f"/{_escaped(part)}" for part in path)
    if place != "body":
        pointer = f"/{place}{pointer}"
    kind = error["type"]
    if kind == "extra_forbidden":
        return FieldError(pointer, "unknown_field", "There is no such field.")
    if kind == "missing":
        return FieldError(pointer, "field_required", "This field is required.")
    if kind in OWN_CODES:
        return FieldError(pointer, kind, error["msg"])
    return FieldError(pointer, "invalid_field", _said(kind, error))


def _said(kind: str, error: dict[str, Any]) -> str:
    if kind in SAID:
        return SAID[kind].format(**error.get("ctx", {}))
    return str(error["msg"]).rstrip(".") + "."


def _escaped(part: object) -> str:
    """RFC 6901."""
    return str(part).replace("~", "~0").replace("/", "~1")
