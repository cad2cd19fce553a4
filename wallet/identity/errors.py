"""Refusals about people, passwords and sessions."""

from __future__ import annotations

from wallet.errors import WalletError


class InvalidCredentials(WalletError):
    """E-mail and password do not belong together. Says no more, by design."""

    code = "invalid_credentials"


class Unauthenticated(WalletError):
    """No credential, or one that is unknown, revoked or expired."""

    code = "unauthenticated"


class PasswordTooWeak(WalletError):
    """Too short, or on the list of common passwords."""

    code = "password_too_weak"


class EmailTaken(WalletError):
    """Sandbox only: production answers alike for free and taken addresses."""

    code = "email_taken"


class InvalidEmail(WalletError):
    """Not an address that could receive mail."""

    code = "email_invalid"


class HandleUnavailable(WalletError):
    """The handle is taken, was somebody's, or has the wrong form."""

    code = "handle_unavailable"


class RecipientNotFound(WalletError):
    """Nobody here by that handle, verified e-mail or id."""

    code = "recipient_not_found"
