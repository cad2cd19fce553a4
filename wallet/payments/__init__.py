"""Cross-border payments: from a quote to a bank account abroad, or back."""

from wallet.payments.reading import get, page
from wallet.payments.recipients import Recipient, RecipientDraft
from wallet.payments.service import ADVANCE, PaymentDraft, cancel, create
from wallet.payments.tasks import PaymentTasks
from wallet.payments.views import Event, Leg, Payment

__all__ = [
    "ADVANCE",
    "Event",
    "Leg",
    "Payment",
    "PaymentDraft",
    "PaymentTasks",
    "Recipient",
    "RecipientDraft",
    "cancel",
    "create",
    "get",
    "page",
]
