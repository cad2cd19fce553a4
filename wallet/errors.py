"""The error tree of the domain. Each class has one code; `api/errors.py` maps code to status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class WalletError(Exception):
    """A refusal the caller can understand. `detail` never holds a secret, SQL or a path.

    `field` is a JSON pointer into the request where one field is at fault; `extra` holds
    members of the problem document that the contract names (for example `min` and `max`).
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(
        self, detail: str, *, field: str | None = None, extra: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.extra: dict[str, Any] = dict(extra or {})


class NotFound(WalletError):
    """No such resource, or it belongs to somebody else: the two are told alike."""

    code = "not_found"


class InvalidState(WalletError):
    """The resource is past the point where this action is possible."""

    code = "invalid_state"


class SelfTransfer(WalletError):
    """Payer and payee are one."""

    code = "self_transfer"


class ChainUnavailable(WalletError):
    """The network cannot be used now: no fresh word from its node, or it is halted."""

    code = "chain_unavailable"
    retryable = True


class FourEyesRequired(WalletError):
    """The one who proposes is not the one who approves."""

    code = "four_eyes_required"


class InvalidField(WalletError):
    """A field has the right shape and a value that cannot be."""

    code = "invalid_field"


class NotAcceptable(WalletError):
    """The thing exists, and cannot be given in the form asked for."""

    code = "not_acceptable"


class Forbidden(WalletError):
    """The caller is known and may not do this."""

    code = "forbidden"


class LimitExceeded(WalletError):
    """A limit of the person's tier would be exceeded."""

    code = "limit_exceeded"


class RateLimited(WalletError):
    """Too many tries; `extra["retry_after"]` says when to come back, in seconds."""

    code = "rate_limited"
    retryable = True


class Busy(WalletError):
    """The database could not serialise this work after bounded retries."""

    code = "busy"
    retryable = True


class DatabaseUnavailable(WalletError):
    """The database cannot be reached now. Whether a commit under way took effect is not known."""

    code = "database_unavailable"
    retryable = True
