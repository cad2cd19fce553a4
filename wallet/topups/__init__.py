"""Top-ups: money into the wallet from a card, by one gateway adapter, or by bank transfer."""

from wallet.topups import cards
from wallet.topups.incoming import IncomingTransfers, bank_credit
from wallet.topups.reconcile import gateway_lines
from wallet.topups.service import ADVANCE, TopupDraft, bank_details, create, get, page
from wallet.topups.simgate import SimulatedGateway
from wallet.topups.tasks import TopupTasks
from wallet.topups.views import BankDetails, Card, Topup

__all__ = [
    "ADVANCE",
    "BankDetails",
    "Card",
    "IncomingTransfers",
    "SimulatedGateway",
    "Topup",
    "TopupDraft",
    "TopupTasks",
    "bank_credit",
    "bank_details",
    "cards",
    "create",
    "gateway_lines",
    "get",
    "page",
]
