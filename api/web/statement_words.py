"""What a statement says on paper, in the reader's language."""

from __future__ import annotations

from api.web.i18n import N_, Language
from wallet.statements import Words

ENTRY_KINDS: dict[str, str] = {
    "transfer": N_("Transfer"),
    "hold_capture": N_("Paid out of a hold"),
    "deposit": N_("Deposit"),
    "withdrawal": N_("Withdrawal"),
    "withdrawal_failed": N_("Network fee of a withdrawal that failed"),
    "conversion": N_("Conversion"),
    "payment.funded": N_("Sent abroad"),
    "payment.converted": N_("Sent abroad"),
    "payment.returned": N_("Payment abroad: sent back"),
    "payment.failed": N_("Payment abroad: not taken"),
    "payment.cancelled": N_("Payment abroad: cancelled"),
    "topup": N_("Top-up"),
    "deposit_loss_settled": N_("A deposit that the chain took back"),
    "deposit_loss_returned": N_("A deposit that came back"),
    "receivable_collected": N_("Kept for what was owed"),
    "reversal": N_("Correction"),
}


def paper_words(language: Language, *, sandbox: bool) -> Words:
    """Everything `as_pdf` prints beside figures and names."""
    t = language.gettext
    note = (
        N_(
            "Simulated. This statement comes from a sandbox: its money, banks and rates are play"
            " money, it proves no claim, and it is no legal document."
        )
        if sandbox
        else N_(
            "Made by a machine from the books, and valid without a signature. Times are UTC. What"
            " is held for payments under way is part of the balance."
        )
    )
    return Words(
        tag=language.tag,
        title=t(N_("Statement of account")),
        holder=t(N_("Account holder")),
        asset=t(N_("Asset")),
        period_label=t(N_("Period")),
        period=t(N_("%(from)s up to, not including, %(to)s (UTC)")),
        opening=t(N_("Opening balance")),
        money_in=t(N_("Money in")),
        money_out=t(N_("Money out")),
        closing=t(N_("Closing balance")),
        number=t(N_("No.")),
        booked=t(N_("Booked (UTC)")),
        what=t(N_("What for")),
        amount=t(N_("Amount")),
        balance=t(N_("Balance")),
        nothing=t(N_("Nothing was booked in this period.")),
        page=t(N_("Page %(page)s of %(pages)s")),
        made=t(N_("Made on %(time)s UTC.")),
        proof=t(
            N_("Checked when it was made: opening balance and all lines make the closing balance.")
        ),
        note=t(note),
        kinds={kind: t(words) for kind, words in ENTRY_KINDS.items()},
    )
