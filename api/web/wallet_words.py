"""What a browser wallet's rooms say: marked here, given to the script in the person's language."""

from __future__ import annotations

from api.web.i18n import N_
from api.web.visit import Visit
from api.web.words import Refused, refusal

COMMON: dict[str, str] = {
    "none": N_(
        "There is no wallet in this browser. Install one as an extension, or open this page in the"
        " browser of your wallet app, and try again."
    ),
    "look": N_("Look at your wallet: it asks which account this page may see."),
    "rejected": N_("You declined in your wallet. Nothing was done."),
    "pending": N_(
        "Your wallet still waits for an answer to an earlier question. Open it, answer there, then"
        " try again."
    ),
    "unauthorised": N_("Your wallet does not let this page see the account. Allow it there."),
    "disconnected": N_("Your wallet has no connection to its network. Try again in a moment."),
    "unsupported": N_("Your wallet cannot do this."),
    "no_account": N_("Your wallet showed no account. Unlock it and try again."),
    "failed": N_("Your wallet says: %(said)s"),
    "lost": N_("Bifold does not answer. Check your connection and try again."),
    "session": N_("You are no longer signed in here."),
}
PROVING: dict[str, str] = {
    **COMMON,
    "sign": N_("Look at your wallet: it shows a text to sign. It moves no money."),
    "checking": N_("Checking the signature."),
    "password": N_("Write your password first."),
}
PAYING: dict[str, str] = {
    **COMMON,
    "sentence": N_(
        "Your wallet will send %(amount)s %(asset)s on %(network)s to your own address here,"
        " %(address)s."
    ),
    "confirm": N_("Look at your wallet: it shows the payment and waits for your yes."),
    "amount": N_("Write an amount in digits, for example 12.50."),
    "precision": N_("That has more decimals than this asset knows."),
    "nothing": N_("The amount has to be more than zero."),
    "poor": N_("The account in your wallet does not have that much on this network."),
    "same": N_("This account of your wallet is the address you would pay to. Choose another one."),
    "wrong_chain": N_(
        "Your wallet is on another network. Switch it to %(network)s (chain %(chain)s) and try"
        " again. Nothing was sent."
    ),
    "unknown_chain": N_(
        "Your wallet does not know %(network)s. Add the network with chain id %(chain)s there and"
        " try again. Nothing was sent."
    ),
    "no_hash": N_(
        "Your wallet gave no transaction number. Look there whether it was sent; what arrives is"
        " credited in any case."
    ),
}
FOLLOWING: dict[str, str] = {
    "undone": N_("The network took this transaction and undid it: only its fee is gone."),
}
_REFUSALS: dict[str, str] = {
    "siwe_invalid": N_("The signed text is not the one asked for, or is too old. Try once more."),
    "wallet_taken": N_(
        "This address cannot be linked: it is linked to another account, or you have ten already."
    ),
}
STRANGER = N_(
    "This wallet opens nothing here. Sign in with your password and link it under Settings first."
)
WRONG_PASSWORD = N_("The password is wrong, or your wallet did not sign what was asked.")


def spoken(words: dict[str, str], visit: Visit) -> dict[str, str]:
    """The words in the visitor's language; `%(name)s` is filled in by the script."""
    return {kind: visit.t(message) for kind, message in words.items()}


def wallet_refusal(error: Refused, visit: Visit, *, invalid: str = WRONG_PASSWORD) -> str:
    """What a refusal means here; `invalid` for a credential that opens nothing."""
    message = invalid if error.code == "invalid_credentials" else _REFUSALS.get(error.code)
    return visit.t(message) if message else refusal(error, visit.language)
