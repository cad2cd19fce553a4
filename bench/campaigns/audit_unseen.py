"""What no check names when it is altered, and why: docs/audit.md has the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True)
class Unseen:
    """Columns (`table.column`, or `table.*`) that nothing tells, and why. `where`: only of such
    rows, as SQL about the row `t`; `how`: only such alterations, a pattern; `said`: both in words.
    `always`: nothing names any of these; else some are named, by what happens to stand beside.
    """

    columns: str
    why: str
    where: str = ""
    how: str = ""
    said: str = ""
    always: bool = True

    def names(self, column: str) -> bool:
        """Whether this is about a column."""
        return bool({column, f"{column.rpartition('.')[0]}.*"} & set(self.columns.split()))

    def words(self) -> str:
        """Its columns as the documentation has them, table by table."""
        told = [
            f"`{table}`" + ("" if "*" in names else " " + ", ".join(f"`{n}`" for n in names))
            for table, names in _by_table(self.columns)
        ]
        return "; ".join(told) + (f" ({self.said})" if self.said else "")


def _by_table(columns: str) -> list[tuple[str, list[str]]]:
    parts = [column.rpartition(".") for column in columns.split()]
    return [
        (table, [name for _, _, name in some]) for table, some in groupby(parts, lambda p: p[0])
    ]


def documented() -> list[str]:
    """The rows of the second table of docs/audit.md, "Column by column"."""
    reasons = dict.fromkeys(one.why for one in UNSEEN)
    return [
        f"| {'; '.join(one.words() for one in UNSEEN if one.why == why)} | {why} |"
        for why in reasons
    ]


_APART = (
    "no question of the auditor reads them: who people are and how they sign in, their own"
    " accounts and watched addresses, which address is in which sweep, counters, readings, the"
    " auditor's own reports, the sandbox"
)
_CLOSED = (
    "its role may not read them: secrets, what people wrote, why somebody did something, what a"
    " node or a service said, and fees of attempts (signed bytes are decoded)"
)
_TIMES = (
    "when a row was made, changed or ended; times from which something follows are compared (first"
    " table)"
)
_WORKING = (
    "they are shown, or say why, what is waited for or when to look again: no money follows from"
    " them"
)
_NOT_BOOKED = (
    "in no entry: what was told to its owner is compared, and at the final block what lies there;"
    " the rest nothing tells"
)
_WISHES = "wishes of people and operators: the chain decides what becomes of them"
_FEES = (
    "how a payment is sent: alone or with others, from where, for how much gas at most. By little"
    " nobody sees it; what it burnt, and where, is compared"
)
_PRICES = (
    "several prices of an asset count at any time, and are kept for a week. Later: sources in euro,"
    " payments against their quotes, API quotes against their answer"
)
_OUTSIDE = "another company's word of what is in no entry of ours: it may be ahead of our books"

UNSEEN: tuple[Unseen, ...] = (
    Unseen(
        "audit_checkpoints.* audit_findings.* audit_runs.* linked_wallets.* network_nodes.*"
        " principals.* process_state.* rate_counters.* reconcile_lines.* reconcile_reads.*"
        " reconcile_runs.* retired_handles.* sandbox_clock.* sandbox_faults.*"
        " selfcustody_accounts.* selfcustody_key.* selfcustody_requests.* selfcustody_sends.*"
        " sessions.* simgate.tokens.* siwe_nonces.* sweep_accounts.* users.* watched.*"
        " watched_addresses.* watched_balances.* withdrawal_events.*",
        _APART,
    ),
    Unseen(
        "asset_terms.listed_at asset_terms.name audit_accepted.at audit_accepted.note"
        " audit_pauses.at audit_pauses.reason bank_lines_aside.said bank_references.created_at"
        " bank_strays.about cards.brand cards.created_at cards.exp_month cards.exp_year"
        " cards.last4 cards.removed_at cards.token cases.closed_at cases.closing_note"
        " cases.evidence cases.opened_at cases.severity cases.what chain_approvals.signature"
        " chain_attempts.cap_wei chain_attempts.first_sent_at chain_attempts.last_message"
        " chain_attempts.last_outcome chain_attempts.last_sent_at chain_attempts.late_at"
        " chain_attempts.refused chain_attempts.sends chain_attempts.tip_wei"
        " chain_attempts.unsigned corrections.reason deposit_releases.reason"
        " float_bounds.set_at fork_proposals.approved_in fork_proposals.proposed_at"
        " fx_rates.simulated fx_rates.source gateway_resolutions.reason halted_tokens.at"
        " halted_tokens.reason idempotency_answers.fingerprint idempotency_answers.location"
        " network_freezes.at network_freezes.reason nonce_burns.raw outbox.data"
        " payment_events.at payment_events.id payment_holds.note payments.next_try_at"
        " payments.purpose payments.reference payments.travel_rule payments.uetr"
        " payments.waiting_for payments.waiting_until payouts.reason payouts.remittance"
        " receivable_freezes.created_at recipients.country recipients.created_at"
        " recipients.details recipients.name recipients.type simbank.orders.due_at"
        " simbank.orders.reason simbank.orders.remittance simbank.orders.will_return"
        " simbank.statement.about simgate.charges.charge_back_at"
        " simgate.charges.charge_back_seconds simgate.charges.due_at simgate.charges.fate"
        " simgate.charges.reason simgate.charges.token topups.action_url transfers.note",
        _CLOSED,
    ),
    Unseen(
        "accounts.created_at bank_credits.created_at bank_lines_aside.created_at"
        " bank_strays.created_at chain_approvals.created_at chain_attempts.created_at"
        " chain_attempts.signed_at chain_intents.created_at chain_intents.unsent_at"
        " chain_intents.updated_at chain_signers.created_at chain_signers.halted_at"
        " corrections.ended_at corrections.proposed_at deposit_addresses.created_at"
        " deposit_losses.created_at deposit_releases.proposed_at deposits.created_at"
        " deposits.updated_at fork_proposals.approved_at gateway_resolutions.ended_at"
        " gateway_resolutions.proposed_at holds.created_at house_addresses.created_at"
        " idempotency_answers.created_at nonce_burns.created_at nonce_burns.sent_at"
        " payment_legs.at payments.ended_at payments.updated_at payouts.answered_at"
        " payouts.created_at payouts.told_at scan_state.updated_at simbank.orders.ended_at"
        " simbank.orders.received_at simgate.charges.ended_at simgate.charges.received_at"
        " sweeps.created_at topups.ended_at topups.expires_at topups.next_at topups.told_at"
        " transfers.created_at treasury_moves.created_at unattributed_arrivals.created_at"
        " unattributed_arrivals.proposed_at withdrawals.updated_at",
        _TIMES,
    ),
    Unseen(
        "deposit_releases.ended_at treasury_moves.ended_at", _TIMES,
        where="t.entry_id IS NULL", said="of what is in no entry", always=False,
    ),
    Unseen("outgoing_usage.released_at", _TIMES, how="a day .*", said="by days"),
    Unseen(
        "holds.closed_at topups.created_at", _TIMES, always=False,
        said="but for holds that expired, and top-ups by API",
    ),
    Unseen(
        "account_deltas.id bank_lines.matched_at bank_lines.problem bank_lines_aside.problem"
        " chain_intents.reason chain_intents.waiting_for chain_intents.passed_at_block"
        " conversions.status deposit_addresses.is_current payment_legs.id"
        " payment_legs.position payments.reason payouts.contradicted_at"
        " scan_state.started_at_block simbank.accounts.number topups.waiting_for topups.reason"
        " treasury_moves.reason withdrawals.failure_code",
        _WORKING,
    ),
    Unseen("network_state.*", _WORKING, said="but for the chain and the factory", always=False),
    Unseen("payment_legs.status payment_legs.reference", _WORKING,
           said="beside the payout's, once it was handed over", always=False),
    Unseen("payment_events.payment_id payment_events.type payment_events.detail", _WORKING,
           said="beside name and account in the first words of what was handed over", always=False),
    Unseen("payments.status", _WORKING, where="t.status IN ('converted', 'settling')",
           how="to (converted|settling)", said="between `converted` and `settling`"),
    Unseen("payouts.answer", _WORKING, where="t.answer = 'accepted'", how="emptied",
           said="whether it was accepted yet"),
    Unseen("payment_holds.ended", _WORKING, where="t.ended = 'captured'", how="emptied",
           said="that it was captured whole"),
    Unseen("corrections.document", _WORKING, where="t.kind = 'reversal'", how=".*note in it",
           said="the note of a reversal"),
    Unseen("deposits.from_address deposits.contract", _WORKING, always=False,
           said="but for what came to the house from its cold address or a faucet"),
    Unseen("quotes.fixed_side", _WORKING, always=False),
    Unseen("quotes.refund_rule", _WORKING, where="t.refund_rule IS NULL", said="of a conversion"),
    Unseen("quotes.expires_at", _WORKING, where="t.used_by IS NULL", how="a day earlier",
           said="of one that nobody used, earlier"),
    Unseen(
        "deposits.id deposits.network deposits.tx_hash deposits.asset deposits.to_address"
        " deposits.amount_minor deposits.principal_id deposits.status deposits.reason"
        " deposits.is_move",
        _NOT_BOOKED, where="t.entry_id IS NULL", said="of what is not credited", always=False,
    ),
    Unseen("deposits.block_hash", _NOT_BOOKED, where="t.entry_id IS NULL OR EXISTS (SELECT FROM"
           " deposit_losses l WHERE l.deposit_id = t.id)", said="and of what a fork took",
           always=False),
    Unseen("deposits.log_index deposits.trace_path", _NOT_BOOKED, where="t.log_index >= -1",
           said="the place in its transaction", always=False),
    Unseen("deposit_losses.fork_number", _NOT_BOOKED, how="one more", always=False,
           said="as long as the deposit was above it"),
    Unseen(
        "chain_intents.cancel_requested_at chain_intents.speed_up_requested_at"
        " chain_intents.cancel_asked_by",
        _WISHES,
    ),
    Unseen("chain_intents.alone chain_intents.exact_fee chain_intents.authorizations"
           " chain_intents.gas_limit chain_intents.fee_ceiling_wei", _FEES),
    Unseen("chain_intents.gas_used", _FEES, how="filled|one more", always=False),
    Unseen("chain_intents.gas_fee_wei", _FEES, how="filled", said="before it was mined",
           where="t.state IN ('queued', 'allocated', 'signed', 'sent')"),
    Unseen("chain_intents.pinned_address", _FEES, where="t.purpose <> 'sweep'", always=False,
           said="but for sweeps and what leaves warm"),
    Unseen("chain_attempts.kind", _FEES, how="to (pay|bump)", said="unless mined",
           where="NOT EXISTS (SELECT FROM chain_intents i WHERE i.mined_tx_hash = t.tx_hash)"),
    Unseen("chain_signers.next_nonce", _FEES, where="t.role = 'deposit'",
           said="of a deposit address"),
    Unseen("cards.id cards.principal_id cards.gateway", _OUTSIDE, always=False,
           said="of one that no top-up was booked by",
           where="NOT EXISTS (SELECT FROM topups x WHERE x.card_id = t.id"
           " AND x.entry_id IS NOT NULL)"),
    Unseen("topups.card_id", _OUTSIDE, always=False, where="t.entry_id IS NULL",
           how="another's", said="another of its owner's, of what was not booked"),
    Unseen("gateway_lines.gateway", _OUTSIDE, always=False, said="of the newest line",
           where="t.line_id = (SELECT max(l.line_id) FROM gateway_lines l"
           " WHERE l.asset = t.asset)"),
    Unseen("simbank.orders.status simgate.charges.reference simgate.charges.asset"
           " simgate.charges.amount_minor simgate.charges.status", _OUTSIDE, always=False),
    Unseen("outbox.id outbox.principal_id outbox.type outbox.ref outbox.created_at",
           "not told to anybody yet: what was told is compared, and that each transfer is told",
           always=False),
    Unseen("idempotency_answers.method idempotency_answers.route idempotency_answers.key"
           " idempotency_answers.status idempotency_answers.principal_id idempotency_answers.body",
           "what an answer tells is compared, where something was made; who repeats a request hears"
           " it, no more", always=False),
    Unseen("asset_terms.code", "what is listed is written down again at the next start"),
    Unseen("payments.recipient_id",
           "the kept answer of a form is only where it led. Whom the bank was told to pay is"
           " compared with the payment's first words: the name and the last four of the account",
           where="NOT EXISTS (SELECT FROM idempotency_answers s WHERE s.route = '/v1/payments'"
           " AND strpos(s.body, t.id) > 0)", said="of a payment made in the web app"),
    Unseen("fx_rates.asset fx_rates.as_of fx_rates.eur_price",
           _PRICES, always=False),
    Unseen("quotes.eur_minor quotes.mid_rate outgoing_usage.eur_minor withdrawals.gas_rate",
           _PRICES,
           where="t.created_at < clock_timestamp() - interval '7 days'",
           said="after a week, of withdrawals of tokens and quotes of the web app", always=False),
    Unseen("holds.expires_at",
           "where no kept answer names the hold; a day is seen where that is past 30 days",
           where="NOT EXISTS (SELECT FROM idempotency_answers s WHERE s.route = '/v1/holds'"
           " AND strpos(s.body, t.id) > 0)", said="by whole seconds, within 30 days", always=False),
)  # fmt: skip
