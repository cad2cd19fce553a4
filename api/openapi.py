"""The OpenAPI document: complete, stable, and honest about headers and errors."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.errors import documented
from api.schemas import FieldProblem, ProblemView

DESCRIPTION = """\
Money is `{"amount": "12.34", "asset": "EUR"}`: amounts are decimal *strings*. Errors are RFC 9457
problem documents with a stable `code`. Writes that move money take an `Idempotency-Key`: repeat a
request with the same key and you get its first answer, and one effect. Lists are newest first and
paged by an opaque cursor. Times are RFC 3339 in UTC.
"""
METHODS = ("get", "put", "post", "patch", "delete")
REQUEST_ID = {
    "description": "Names this request in our records.",
    "schema": {"type": "string", "example": "req_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"},
}
ULID = "01JD3VQ4T0Z8Y6X5W4V3T2S1R0"
LOCATIONS = {  # what is made there, and its place; other answers of 201 and 202 name none
    "/v1/sessions": f"/v1/sessions/ses_{ULID}",
    "/v1/sessions/siwe": f"/v1/sessions/ses_{ULID}",
    "/v1/users": "/v1/me",
    "/v1/deposit-addresses": "/v1/deposit-addresses",
    "/v1/transfers": f"/v1/transfers/trf_{ULID}",
    "/v1/holds": f"/v1/holds/hld_{ULID}",
    "/v1/quotes": f"/v1/quotes/quo_{ULID}",
    "/v1/conversions": f"/v1/conversions/cnv_{ULID}",
    "/v1/withdrawals": f"/v1/withdrawals/wdr_{ULID}",
    "/v1/recipients": f"/v1/recipients/rcp_{ULID}",
    "/v1/self-custody/accounts": f"/v1/self-custody/requests/scr_{ULID}",
    "/v1/self-custody/accounts/{account_id}/export": f"/v1/self-custody/requests/scr_{ULID}",
    "/v1/self-custody/sends": f"/v1/self-custody/sends/scs_{ULID}",
    "/v1/watched": f"/v1/watched/wat_{ULID}",
    "/v1/payments": f"/v1/payments/pay_{ULID}",
    "/v1/topups": f"/v1/topups/top_{ULID}",
}
ALWAYS = ("internal", "busy", "database_unavailable")
WITH_BODY = (
    "malformed_json", "body_too_large", "request_timeout", "unsupported_media_type",
    "duplicate_key", "unknown_field", "field_required", "invalid_field",
)  # fmt: skip


def install(app: FastAPI) -> None:
    """Replace FastAPI's document by one finished here; made once, on first use."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
    )
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    for ours in (FieldProblem, ProblemView):
        schema = ours.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        schemas["Problem" if ours is ProblemView else ours.__name__] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path, item in made["paths"].items():
        for method in METHODS:
            if method in item:
                _finish(path, item[method], method)
    return made


def _finish(path: str, operation: dict[str, Any], method: str) -> None:
    """Errors any route may answer, and headers."""
    responses = operation["responses"]
    unprocessable = responses.get("422", {}).get("content", {})
    if "application/json" in unprocessable:  # FastAPI's own shape, which never leaves here
        del responses["422"]
    codes: tuple[str, ...] = ()
    if path.startswith(("/v1", "/sandbox")):
        codes = ALWAYS
        if "requestBody" in operation:
            codes += WITH_BODY
        elif operation.get("parameters"):
            codes += ("invalid_field",)
        if method in ("post", "delete") and "requestBody" not in operation:
            codes += ("unknown_field",)  # somebody sends a body all the same
    for status, response in documented(codes).items():
        _merge(responses, str(status), response)
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "Idempotency-Key":
            parameter["required"] = True
            parameter["schema"] = {
                "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$",
            }  # fmt: skip
    for response in responses.values():
        response.setdefault("headers", {})["X-Request-Id"] = REQUEST_ID
    for status in ("201", "202"):
        if status in responses and path in LOCATIONS:
            responses[status]["headers"]["Location"] = {
                "description": "Where the made resource is.",
                "schema": {"type": "string", "example": LOCATIONS[path]},
            }


def _merge(responses: dict[str, Any], status: str, response: dict[str, Any]) -> None:
    """Add codes to a status that may already be documented."""
    known = responses.get(status)
    if known is None:
        responses[status] = response
        return
    ours = response["content"]["application/problem+json"]["examples"]
    content = known.setdefault("content", {})
    problem = content.setdefault(
        "application/problem+json",
        {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}},
    )
    fresh = [code for code in ours if code not in problem["examples"]]
    problem["examples"].update(ours)
    if fresh and "application/json" not in content:
        known["description"] += ", " + ", ".join(f"`{code}`" for code in fresh)
