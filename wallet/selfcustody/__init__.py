"""Self-custody: accounts whose words belong to a person. The API relays boxes it cannot open."""

from wallet.selfcustody.errors import AccountKnown, SelfCustodyAway, SendOpen, TooManyAccounts
from wallet.selfcustody.service import (
    MAX_ACCOUNTS,
    Account,
    AskDraft,
    Request,
    Send,
    SendDraft,
    accounts,
    ask,
    ask_export,
    begin_send,
    get_request,
    get_send,
    public_key,
    remove,
    sends,
)
from wallet.selfcustody.worker import TICK_SECONDS, SelfCustodyWorker

__all__ = [
    "MAX_ACCOUNTS",
    "TICK_SECONDS",
    "Account",
    "AccountKnown",
    "AskDraft",
    "Request",
    "SelfCustodyAway",
    "SelfCustodyWorker",
    "Send",
    "SendDraft",
    "SendOpen",
    "TooManyAccounts",
    "accounts",
    "ask",
    "ask_export",
    "begin_send",
    "get_request",
    "get_send",
    "public_key",
    "remove",
    "sends",
]
