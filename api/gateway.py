"""The card gateway and the bank this instance works with; the sandbox alone has any today."""

from __future__ import annotations

from wallet.bootstrap import Services
from wallet.payouts import SimulatedBank
from wallet.topups import SimulatedGateway


def gateway_of(services: Services) -> SimulatedGateway:
    """The gateway. Routes that need it exist in the sandbox only."""
    return SimulatedGateway(services.db, services.assets, action_base=services.settings.base_url)


def bank_of(services: Services) -> SimulatedBank:
    """Where bank transfers are sent."""
    return SimulatedBank(services.db)
