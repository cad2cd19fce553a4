"""Who acts: principals, users, passwords, sessions."""

from wallet.identity.sessions import (
    SignedIn,
    authenticate,
    count_try,
    forget_ended,
    forgive_try,
    live_sessions,
    open_session,
    resolve,
    resolve_many,
    revoke,
)
from wallet.identity.users import User, change_user, find_recipient, get_user, register

__all__ = [
    "SignedIn",
    "User",
    "authenticate",
    "change_user",
    "count_try",
    "find_recipient",
    "forget_ended",
    "forgive_try",
    "get_user",
    "live_sessions",
    "open_session",
    "register",
    "resolve",
    "resolve_many",
    "revoke",
]
