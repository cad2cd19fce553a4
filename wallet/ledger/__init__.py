"""The double-entry books: accounts, entries, postings, holds, with one writer."""

from wallet.ledger.accounts import AccountSpec, account_id
from wallet.ledger.batch import AccountIds, Hot, all_known, post_batch, post_known
from wallet.ledger.posting import (
    Command,
    HoldClosing,
    HoldOpening,
    Line,
    hold,
    open_amount,
    post,
    release,
    reverse,
)
from wallet.ledger.reads import (
    FOLD_DUE,
    Balance,
    Place,
    balance_at,
    balance_of,
    balances,
    fold,
    places,
    trial_balance,
)
from wallet.ledger.together import post_together
from wallet.outbox import Notice

__all__ = [
    "FOLD_DUE",
    "AccountIds",
    "AccountSpec",
    "Balance",
    "Command",
    "HoldClosing",
    "HoldOpening",
    "Hot",
    "Line",
    "Notice",
    "Place",
    "account_id",
    "all_known",
    "balance_at",
    "balance_of",
    "balances",
    "fold",
    "hold",
    "open_amount",
    "places",
    "post",
    "post_batch",
    "post_known",
    "post_together",
    "release",
    "reverse",
    "trial_balance",
]
