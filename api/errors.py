"""The one table code → status, and the problem documents (RFC 9457) made from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from wallet.errors import InvalidField, WalletError

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_SECONDS = 1
BUSY_CODES = frozenset({"busy", "idempotency_in_progress"})

# Refusals a caller can act on. A code has one status, everywhere.
STATUS: dict[str, int] = {
    # the request itself
    "malformed_json": 400,
    "invalid_cursor": 400,
    "invalid_request": 400,
    "bad_form": 400,
    "idempotency_key_required": 400,
    "host_not_allowed": 400,
    "unauthenticated": 401,
    "invalid_credentials": 401,
    "forbidden": 403,
    "form_expired": 403,
    "foreign_origin": 403,
    "origin_not_allowed": 403,
    "account_frozen": 403,
    "account_closed": 403,
    "limit_exceeded": 403,
    "four_eyes_required": 403,
    "not_found": 404,
    "recipient_not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "request_timeout": 408,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "head_too_large": 431,
    "rate_limited": 429,
    # fields
    "duplicate_key": 422,
    "unknown_field": 422,
    "field_required": 422,
    "invalid_field": 422,
    "amount_must_be_string": 422,
    "amount_malformed": 422,
    "amount_precision": 422,
    "amount_not_positive": 422,
    "amount_too_large": 422,
    "amount_outside_limit": 422,
    "unknown_asset": 422,
    "unknown_network": 422,
    "password_too_weak": 422,
    "email_invalid": 422,
    "self_transfer": 422,
    "invalid_address": 422,
    "siwe_invalid": 422,
    "invalid_chain_address": 422,
    "secret_refused": 422,
    "card_not_usable": 422,
    "card_number_refused": 422,
    "address_is_ours": 422,
    "max_fee_too_low": 422,
    "idempotency_mismatch": 422,
    # the state of things
    "email_taken": 409,
    "wallet_taken": 409,
    "handle_unavailable": 409,
    "insufficient_funds": 409,
    "insufficient_funds_for_fee": 409,
    "invalid_state": 409,
    "fee_bound_reached": 409,
    "idempotency_in_progress": 409,
    "already_reversed": 409,
    "hold_closed": 409,
    "hold_exceeded": 409,
    "hold_expired": 409,
    "hold_moved": 409,
    "too_many_addresses": 409,
    "too_many_pending": 409,
    "self_custody_unavailable": 503,
    "too_many_accounts": 409,
    "account_known": 409,
    "send_in_progress": 409,
    "already_watched": 409,
    "too_many_watched": 409,
    "faucet_refused": 409,
    "quote_used": 409,
    "quote_expired": 410,
    # what we lean on
    "rate_stale": 503,
    "gateway_unavailable": 503,
    "gateway_silent": 503,
    "liquidity_unavailable": 503,
    "busy": 503,
    "database_unavailable": 503,
    "chain_unavailable": 503,
    "node_unavailable": 503,
    "node_timeout": 503,
    "node_garbage": 503,
    "node_rejected": 503,
    "no_unlocked_account": 503,
    "dev_node_failed": 503,
    "wrong_chain": 503,
    "fee_ceiling": 503,
    "signer_unavailable": 503,
    "address_mismatch": 503,
    "bank_silent": 503,
    # defects and refusals that no caller can cause or mend: logged, told as `internal`
    "internal": 500,
    "ledger_refused": 500,
    "asset_mismatch": 500,
    "unbalanced": 500,
    "refused_to_start": 500,
    "invalid_settings": 500,
    "payout_reference_reused": 500,
    "charge_reference_reused": 500,
    "chain_error": 500,
    "invalid_chain_transaction": 500,
    "invalid_networks": 500,
    "keys_error": 500,
}

TITLES: dict[int, str] = {
    400: "The request cannot be read",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "The request took too long",
    409: "Not possible now",
    410: "Gone",
    413: "The body is too large",
    415: "Send JSON",
    422: "A field cannot be accepted",
    429: "Too many requests",
    431: "The request head is too large",
    500: "Something is wrong on our side",
    503: "Not available now",
}
INTERNAL_DETAIL = "An unexpected error; it is recorded under the request id."
AWAY_DETAIL = "Something this needs is away; try again in a moment."


class ApiError(WalletError):
    """Base of the refusals that only the HTTP edge knows: head or body cannot be read."""

    code: ClassVar[str] = "invalid_request"


class MalformedJson(ApiError):
    """Not strict JSON: syntax, NaN, bad UTF-8, NUL, or too deep."""

    code = "malformed_json"


class DuplicateKey(ApiError):
    """An object names a key twice: two readers could understand two things."""

    code = "duplicate_key"


class BodyTooLarge(ApiError):
    """More than the 64 kB any request may have."""

    code = "body_too_large"


class RequestTimeout(ApiError):
    """The body did not arrive in time."""

    code = "request_timeout"
    retryable = True


class UnsupportedMediaType(ApiError):
    """A body that does not call itself application/json."""

    code = "unsupported_media_type"


class InvalidCursor(ApiError):
    """Not a cursor this API gave."""

    code = "invalid_cursor"


class IdempotencyKeyRequired(ApiError):
    """Missing, or not 1–255 printable ASCII characters."""

    code = "idempotency_key_required"


class HostNotAllowed(ApiError):
    """Sandbox routes answer to their own host names only."""

    code = "host_not_allowed"


class OriginNotAllowed(ApiError):
    """Sandbox routes take browser requests from their own origin only."""

    code = "origin_not_allowed"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field at fault; `field` is a JSON pointer into the body (or /query/…, /headers/…)."""

    field: str
    code: str
    detail: str

    def json(self) -> dict[str, str]:
        """As the contract shows it."""
        return {"field": self.field, "code": self.code, "detail": self.detail}


MOST_TOLD = 50  # of a body with ten thousand unknown fields


class InvalidFields(InvalidField):
    """What the schema refused, told at once; the first by precedence names the problem."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__(errors[0].detail, field=errors[0].field)
        self.errors = tuple(errors[:MOST_TOLD])


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem document ready to leave."""

    status: int
    code: str
    detail: str
    retryable: bool = False
    errors: tuple[FieldError, ...] = ()
    extra: Mapping[str, Any] | None = None

    def body(self, request_id: str) -> dict[str, Any]:
        """The members of RFC 9457 plus ours."""
        standard = {
            "type": f"urn:bifold:problem:{self.code}",
            "title": TITLES.get(self.status, "Refused"),
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": request_id,
            "retryable": self.retryable,
            "errors": [error.json() for error in self.errors],
        }
        return standard | {
            name: value for name, value in (self.extra or {}).items() if name not in standard
        }

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to the status."""
        headers: dict[str, str] = {}
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="bifold"'
        if self.status in {429, 503} or self.code in BUSY_CODES:
            after = (self.extra or {}).get("retry_after", RETRY_AFTER_SECONDS)
            headers["Retry-After"] = str(after)
        return headers


INTERNAL = Problem(500, "internal", INTERNAL_DETAIL)


def status_of(code: str) -> int:
    """The status of a code; an unmapped one is a defect and 500 (a test finds it first)."""
    return STATUS.get(code, 500)


def problem_of(error: WalletError) -> Problem:
    """The document of a domain refusal. A 500 says nothing of its cause."""
    if isinstance(error, InvalidFields):
        first = error.errors[0]
        return Problem(status_of(first.code), first.code, first.detail, errors=error.errors)
    status = status_of(error.code)
    if status >= 500 and status != 503:
        return INTERNAL
    errors = (FieldError(error.field, error.code, error.detail),) if error.field else ()
    return Problem(status, error.code, error.detail, error.retryable, errors, error.extra)


def problem_of_lower(code: str) -> Problem:
    """The document for an error of `chain` or `keys` that no flow translated, in our own words."""
    status = status_of(code)
    if status == 503:
        return Problem(503, "chain_unavailable", AWAY_DETAIL, retryable=True)
    if status == 422:
        return Problem(422, "invalid_address", "This is not an address that can be used.")
    return INTERNAL


def documented(codes: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` for these codes: one example each, grouped by status."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(STATUS[code], []).append(code)
    return {
        status: {
            "description": f"{TITLES[status]}: " + ", ".join(f"`{code}`" for code in named),
            "content": {
                PROBLEM_JSON: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {code: {"value": _example(status, code)} for code in named},
                }
            },
        }
        for status, named in sorted(by_status.items())
    }


def _example(status: int, code: str) -> dict[str, Any]:
    retryable = status in {429, 503} or code in BUSY_CODES
    return Problem(status, code, f"{TITLES[status]}.", retryable).body(
        "req_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"
    )
