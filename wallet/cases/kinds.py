"""The kinds of cases: what each is about, how grave it is, and how its cause ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "signer_halted",
    "nonce_of_nobody",
    "signer_key_missing",
    "network_halted",
    "wrong_chain",
    "nodes_disagree",
    "nodes_differ",
    "token_halted",
    "payment_in_review",
    "payment_late",
    "payment_unsent",
    "unsigned_end_proposed",
    "deposit_quarantined",
    "deposit_unattributed",
    "deposit_shortfall",
    "topup_in_doubt",
    "topup_kept_aside",
    "transfer_unattributed",
    "statement_line_aside",
    "books_differ",
    "treasury_refused",
    "treasury_no_cold",
    "books_broken",
    "audit_finding",
    "audit_away",
]
Severity = Literal["critical", "serious", "notice"]


@dataclass(frozen=True, slots=True)
class About:
    """`ends_by`: what ends the cause, and closes the case with it; None: a person closes it."""

    subject_type: str
    severity: Severity
    ends_by: str | None


KINDS: dict[Kind, About] = {
    "signer_halted": About("signer", "critical", "bifold chain resume-signer"),
    "nonce_of_nobody": About("signer", "critical", "a pool without it for a minute"),
    "signer_key_missing": About("signer", "critical", "a signer that has the key"),
    "network_halted": About("network", "critical", "bifold chain resume-network"),
    "wrong_chain": About("network", "critical", "a node of the right chain"),
    "nodes_disagree": About("network", "critical", "nodes that agree again"),
    "nodes_differ": About("answer", "critical", "nodes that say the same again for two minutes"),
    "token_halted": About("token", "critical", "bifold chain resume-token"),
    "payment_in_review": About("payment", "serious", "bifold chain resolve-review"),
    "payment_late": About("payment", "serious", "the payment's end"),
    "payment_unsent": About("payment", "serious", "its first hand-over to a node, or its end"),
    "unsigned_end_proposed": About("payment", "serious", None),
    "deposit_quarantined": About("deposit", "serious", None),
    "deposit_unattributed": About("arrival", "notice", "bifold deposits approve"),
    "deposit_shortfall": About("address", "critical", None),
    "topup_in_doubt": About("top-up", "serious", None),
    "topup_kept_aside": About("top-up", "notice", None),
    "transfer_unattributed": About("transfer", "notice", "bifold topups approve"),
    "statement_line_aside": About("line", "serious", None),
    "books_differ": About("account", "critical", "a reading in which the account agrees again"),
    "treasury_refused": About("move", "critical", None),
    "treasury_no_cold": About("float", "serious", "bifold treasury cold, or a float within bounds"),
    "books_broken": About("asset", "critical", "bifold audit accept"),
    "audit_finding": About("check", "serious", None),
    "audit_away": About("audit", "serious", "an audit that could read the books"),
}
