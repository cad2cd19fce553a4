"""Where nobody means to send anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain.address import checked
from tests.chain.benches import local_network
from wallet.custody import InvalidAddress
from wallet.withdrawals.plan import check_destination

OURS = checked("0x00000000000000000000000000000000000c0de5")
TREASURY = checked("0x00000000000000000000000000000000000c0de6")


@pytest.mark.parametrize("role", ["batch_payout", "sweep_batch", "sweeper", "forwarder_factory"])
@pytest.mark.parametrize("typed", [OURS, OURS.lower()])
def test_a_contract_of_the_house_is_nobodys_account(role: str, typed: str) -> None:
    """What comes there stays there."""
    network = replace(local_network(), contracts={role: OURS, "treasury": TREASURY})
    with pytest.raises(InvalidAddress):
        check_destination(network, network.native_asset, typed)
