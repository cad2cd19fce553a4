"""Every code, kind and state in plain words, marked here and translated where they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from api.web.i18n import N_, Language

KINDS: dict[str, str] = {
    "transfer": N_("Transfer"),
    "deposit": N_("Deposit"),
    "withdrawal": N_("Withdrawal"),
    "conversion": N_("Conversion"),
    "payment": N_("Sent abroad"),
    "topup": N_("Top-up"),
    "hold": N_("Hold"),
}


HOLD_TIMES: dict[int, str] = {
    3_600: N_("One hour"),
    86_400: N_("One day"),
    3 * 86_400: N_("Three days"),
    7 * 86_400: N_("One week"),
    30 * 86_400: N_("30 days"),
}


@dataclass(frozen=True, slots=True)
class State:
    """A state in words. `tone` picks colour and icon: good, wait, bad or quiet."""

    words: str
    tone: str


_STATES: dict[str, State] = {
    "completed": State(N_("Completed"), "good"),
    "credited": State(N_("Credited"), "good"),
    "settled": State(N_("Settled"), "good"),
    "succeeded": State(N_("Succeeded"), "good"),
    "seen": State(N_("Seen"), "wait"),
    "confirmed": State(N_("Confirmed, not final yet"), "wait"),
    "held": State(N_("Held"), "wait"),
    "open": State(N_("Held"), "wait"),
    "captured": State(N_("Paid out of a hold"), "good"),
    "voided": State(N_("Given back"), "quiet"),
    "expired": State(N_("Given back: time over"), "quiet"),
    "signed": State(N_("Signed"), "wait"),
    "broadcast": State(N_("Broadcast"), "wait"),
    "mined": State(N_("Mined"), "wait"),
    "created": State(N_("Created"), "wait"),
    "funded": State(N_("Funded"), "wait"),
    "converted": State(N_("Converted"), "wait"),
    "settling": State(N_("Settling"), "wait"),
    "paying_out": State(N_("Being paid out"), "wait"),
    "pending": State(N_("Pending"), "wait"),
    "queued": State(N_("Waiting for the signer"), "wait"),
    "allocated": State(N_("Being signed"), "wait"),
    "sent": State(N_("Sent to the network"), "wait"),
    "in_review": State(N_("In review"), "wait"),
    "returned": State(N_("Returned"), "bad"),
    "failed": State(N_("Failed"), "bad"),
    "orphaned": State(N_("Undone by the chain"), "bad"),
    "quarantined": State(N_("Set aside for a check"), "bad"),
    "charged_back": State(N_("Charged back"), "bad"),
    "cancelled": State(N_("Cancelled"), "quiet"),
    "ignored": State(N_("Ignored"), "quiet"),
}


PURPOSES: dict[str, str] = {
    "family_support": N_("Support of family"),
    "goods": N_("Goods"),
    "services": N_("Services"),
    "salary": N_("Salary"),
    "savings": N_("Savings"),
    "other": N_("Something else"),
}


def state_of(status: str) -> State:
    """The state in words; one we have no words for is shown as it is called."""
    return _STATES.get(status, State(status, "quiet"))


_REFUSALS: dict[str, str] = {
    "amount_must_be_string": N_("Write an amount in digits, for example 12.50."),
    "amount_malformed": N_("Write an amount in digits, for example 12.50."),
    "amount_precision": N_("That has more decimals than this asset knows."),
    "amount_not_positive": N_("The amount has to be more than zero."),
    "amount_too_large": N_("That is more than can move at once."),
    "amount_outside_limit": N_("Choose an amount between %(min)s and %(max)s."),
    "unknown_asset": N_("Choose one of the assets in the list."),
    "insufficient_funds": N_("You do not have that much available."),
    "insufficient_funds_for_fee": N_(
        "The fee does not fit beside this amount. Choose a little less."
    ),
    "max_fee_too_low": N_("The network became dearer since you looked. Here is the new price."),
    "recipient_not_found": N_("Nobody here has that @handle or e-mail address."),
    "self_transfer": N_("That is you. To move money between your own assets, convert it."),
    "invalid_address": N_(
        "This address cannot be used. Check it letter by letter; for somebody who has an account"
        " here, send it inside, free."
    ),
    "secret_refused": N_(
        "This looks like a private key or a recovery phrase. It was not stored. Consider it"
        " compromised: move what it holds to a new wallet."
    ),
    "card_not_usable": N_("This card cannot be used. Add it again."),
    "card_number_refused": N_(
        "That looks like a card's number. It was not kept. Use the gateway's own form."
    ),
    "too_many_pending": N_("%(max)s of these are enough at a time. Let one end first."),
    "gateway_unavailable": N_("The card gateway does not answer right now. Nothing was taken."),
    "address_is_ours": N_("This belongs to Bifold itself. What arrives there is in the books."),
    "self_custody_unavailable": N_("Own accounts cannot be used right now. Try again later."),
    "too_many_accounts": N_("You have as many own accounts as one person may keep here."),
    "account_known": N_("You have this account already."),
    "send_in_progress": N_("An earlier payment of this account is still under way."),
    "already_watched": N_("You watch this already."),
    "too_many_watched": N_("You watch %(max)s of these already. Remove one first."),
    "limit_exceeded": N_("This goes beyond your limit of outgoing money for 24 hours."),
    "rate_stale": N_("The rates are too old to use right now. Nothing was moved; try again soon."),
    "liquidity_unavailable": N_(
        "We cannot take on this exchange right now. Nothing was moved; try again later."
    ),
    "chain_unavailable": N_("The network does not answer right now. Nothing was moved."),
    "rate_limited": N_("That was too often. Try again in %(retry_after)s seconds."),
    "hold_exceeded": N_("That is more than is still held."),
    "hold_expired": N_("The time of this hold is over; the money went back."),
    "quote_expired": N_("This price has expired. Ask for a fresh one."),
    "quote_used": N_("This price was used already."),
    "invalid_state": N_("It is too late for that."),
    "not_found": N_("There is nothing here, or it is not yours to see."),
    "unknown_network": N_("Choose one of the networks in the list."),
    "account_frozen": N_("This account is frozen: it can receive, and not send."),
    "account_closed": N_("This account is closed."),
    "idempotency_mismatch": N_("This form was already used for something else. Start again."),
    "idempotency_in_progress": N_("Your first try is still running. Look at your activity."),
    "invalid_credentials": N_("E-mail or password is wrong."),
    "password_too_weak": N_(
        "Use at least 12 characters, and nothing that is on a list of common passwords."
    ),
    "email_invalid": N_("This is not an e-mail address."),
    "email_taken": N_("There is an account with this address already. Sign in instead."),
    "handle_unavailable": N_("This handle is not free."),
    "form_expired": N_("This page was open too long. Go back, load it again, and send it again."),
    "foreign_origin": N_("Another site sent this form. Nothing was done."),
    "busy": N_("A lot is happening at once. Try again in a moment."),
    "address_mismatch": N_("This address cannot be shown safely. Support has been told."),
}
OWN_REASONS: dict[str, str] = {
    "wrong_passphrase": N_("This passphrase does not open the account."),
    "account_locked": N_("Too many wrong passphrases. Wait 15 minutes."),
    "passphrase_too_short": N_("Passphrase and file password have 10 characters or more."),
    "invalid_mnemonic": N_("These are not the words of any BIP-39 list, or one is misspelt."),
    "invalid_key_file": N_(
        "The key file does not open: another password, a damaged file, or one that asks for too"
        " much work."
    ),
    "account_known": N_("You have this account already."),
    "box_not_opened": N_("The signer has a new key. Load the page again."),
    "malformed_request": N_("Something in this form cannot be used. Check it, field by field."),
    "outside_grant": N_("The fee was higher than you allowed, or the payment was another one."),
    "fee_above_grant": N_("The network asks for more than the highest fee you allowed."),
    "too_little": N_("There is too little in the account for this payment and its highest fee."),
    "would_revert": N_(
        "It would fail on the chain: most often there is too little in the account."
    ),
    "grant_expired": N_(
        "The signer could not pay within two minutes. Nothing was sent; try again."
    ),
    "nonce_used_elsewhere": N_("Another wallet with the same words was faster. This one is void."),
    "reverted": N_("It failed on the chain. Only its fee was spent."),
}
"""Why the signer or the chain refused something about an own account."""
_ENDINGS: dict[str, str] = {
    "money_owed": N_(
        "It was not sent, because you owe money after a payment was taken back. What comes in"
        " repays it first; then everything is open again."
    ),
    "quote_expired": N_(
        "It could not be sent while its price held. All of it is back, the fee too."
    ),
}
"""Why something on its way out ended, where the code alone says too little."""
_BY_FIELD: dict[tuple[str, str], str] = {
    ("invalid_field", "/display_name"): N_("Write a name of at most 80 letters."),
    ("invalid_field", "/seconds"): N_("Choose one of the times."),
    ("invalid_field", "/query/from"): N_("Choose a period of at most 366 days and 10,000 lines."),
    ("invalid_field", "/query/to"): N_("The end has to be after the start."),
    ("invalid_field", "/country"): N_("Choose a country from the list."),
    ("invalid_field", "/note"): N_("Keep the note under 200 letters, on one line."),
    ("invalid_field", "/clabe"): N_(
        "This CLABE cannot be right: 18 digits, and the last one has to fit the others."
    ),
    ("invalid_field", "/iban"): N_(
        "This IBAN cannot be right: its length or its check digits do not fit."
    ),
    ("invalid_field", "/source"): N_(
        "Neither an address nor the xpub of an account. Paste it whole; a wrong letter is noticed."
    ),
    ("invalid_field", "/label"): N_("Give it a name of at most 60 letters."),
    ("invalid_field", "/name"): N_("Write the account holder's name, 2 to 140 letters."),
    ("invalid_field", "/reference"): N_("This message is too long, or holds signs a bank refuses."),
    ("invalid_field", "/card"): N_("Choose one of your cards."),
    ("invalid_field", "/test_card"): N_("Choose a card from the list."),
    ("invalid_field", "/purpose"): N_("Choose what the money is for."),
}
_ASK = N_("This cannot be used. Please check it.")
_OTHER = N_("Something went wrong on our side. Nothing was lost; try again in a moment.")


class Refused(Protocol):
    """A refusal, or what was kept of one."""

    @property
    def code(self) -> str:
        """Stable code."""
        ...

    @property
    def field(self) -> str | None:
        """JSON pointer of the field at fault."""
        ...

    @property
    def extra(self) -> Mapping[str, Any]:
        """Members of the problem document."""
        ...


def refusal(error: Refused, language: Language) -> str:
    """What a refusal means to a person, and the way out."""
    by_field = _BY_FIELD.get((error.code, error.field or ""))
    message = by_field or _REFUSALS.get(error.code) or (_ASK if error.field else _OTHER)
    values = {name: _plain(value) for name, value in error.extra.items()}
    said = language.gettext(message)
    try:
        return said % values if "%(" in said else said
    except KeyError:
        return language.gettext(_ASK)


def ending(code: str, language: Language) -> str:
    """Why something on its way out ended, in words; a code or a bank's word that has none stays."""
    return language.gettext(_ENDINGS[code]) if code in _ENDINGS else code


def own_reasons(language: Language) -> dict[str, str]:
    """Every reason about own accounts in words, by its code."""
    return {code: language.gettext(message) for code, message in OWN_REASONS.items()}


def _plain(value: Any) -> str:
    """Money of a problem document as text; anything else as it is."""
    if isinstance(value, dict) and {"amount", "asset"} <= value.keys():
        return f"{value['amount']}\u00a0{value['asset']}"
    return str(value)
