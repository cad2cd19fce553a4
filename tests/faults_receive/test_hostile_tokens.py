"""Twenty kinds of hostile token, each listed by an operator who was fooled: none is credited what
did not arrive, and none stops the scanner.

Kinds that need no listing of their own stand in the rows (`ROWS`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.testing import AnvilProcess
from tests.faults_receive.conftest import Inbox
from wallet.db import Database
from wallet.testing.seam import Seam

SENT = 1_000
# Contract → what may be credited of 1,000 sent: all that truly arrived, as one log told it.
LISTED = {
    "LyingToken": 0,
    "DoubleTale": 0,  # two logs of 1,000 and a balance that grew by 1,000
    "BoastingTale": 0,
    "TakingTale": 0,
    "GrowingTale": 0,
    "MuteTale": 0,
    "BurningTale": 0,
    "ShortTale": 0,
    "FloodTale": 0,
    "EndlessTale": 0,
    "WanderingTale": 0,
    "LoopingTale": SENT,  # what it tells of itself is no arrival
    "VanishingTale": 0,
}
# Kind → the test that plays it.
ROWS = {
    "a look-alike": "test_d05_a_fake_token_of_the_same_name",
    "logs of wrong shapes": "test_d06_logs_that_only_look_like_transfers",
    "approvals of that shape": "test_d06_an_approval_has_the_shape_of_a_transfer_and_is_none",
    "an answer that is false": "test_d08_a_transfer_that_returned_false",
    "a revert behind its log": "test_d09_a_reverted_transaction_with_value",
    "balances that change": "test_d13_a_token_that_rebases",
    "a fee of each transfer": "test_d13_a_token_that_keeps_a_fee",
    "transfers of nothing": "test_d14_nothing_is_written_for_a_transfer_of_nothing",
    "absurd amounts": "test_d23_what_a_liar_logs_is_stored_exactly_too",
    "decimals that change": "test_d24_decimals_that_change_stop_the_token_alone",
}


def test_there_are_twenty_kinds() -> None:
    folder = Path(__file__).parent
    tests = "\n".join(file.read_text("utf-8") for file in folder.glob("test_receive_*.py"))
    assert [kind for kind, test in ROWS.items() if f"def {test}(" not in tests] == []
    assert len(LISTED) + len(set(ROWS.values())) >= 20


@pytest.mark.parametrize("contract", sorted(LISTED))
async def test_it_is_credited_nothing_false_and_stops_nobody(
    db: Database, anvil: AnvilProcess, tmp_path: Path, contract: str
) -> None:
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", contract_name=contract)
    try:
        ada = await seam.person()
        inbox = Inbox(seam, None, ada, await seam.address(ada))  # type: ignore[arg-type]
        token = seam.network.tokens[0].contract
        done = await inbox.call(token, "transfer(address,uint256)", inbox.address, SENT)
        assert done.status == 1
        await seam.pay_in(inbox.address, "1", "ETH")
        await seam.finish()
        arrived = [row for row in await inbox.rows() if row[0] == "USDC"]
        assert await inbox.total("USDC") == LISTED[contract], arrived
        assert {row[1] for row in arrived} <= {"credited" if LISTED[contract] else "quarantined"}
        assert await inbox.total("ETH") == 10**18  # the scanner went on
        assert await inbox.gaps() == 0
    finally:
        await seam.close()


async def test_an_honest_one_on_the_same_ground_is_credited(inbox: Inbox) -> None:
    await inbox.seam.pay_in(inbox.address, "0.001", "USDC")
    await inbox.seam.finish()
    assert await inbox.total("USDC") == SENT
