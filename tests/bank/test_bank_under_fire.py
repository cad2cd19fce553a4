"""The bank campaign at a size for CI: payments over HTTP, one kill of everything, whole-book reads.

At full size by `./dev campaign bank`; the figures are in docs/campaigns.md.
"""

from __future__ import annotations

import psycopg
import pytest

from bench.campaigns import bank_load
from bench.campaigns.bank import measure
from bench.campaigns.bank_house import opened
from bench.campaigns.bank_load import Payment, Told, judge
from wallet.testing.databases import ScratchCluster

pytestmark = [pytest.mark.durable, pytest.mark.timeout(300)]


@pytest.mark.slow
def test_payments_outlive_a_killed_database(durable_cluster: ScratchCluster) -> None:
    """Acknowledged means there; unanswered means whole or absent; every read sums to zero."""
    figures = measure(transfers=600, kills=1, shared=durable_cluster)
    assert figures["wrong"] == []
    assert figures["kills"] == 1
    assert figures["first"]["acknowledged"] >= 600
    assert figures["first"]["acknowledged_and_lost"] == 0
    assert figures["first"]["half"] == 0
    assert figures["last"]["open"] == 0
    assert figures["reads"]["done"] >= 3
    assert figures["troubles"] > 0, "the kill disturbed nobody: nothing was proved"


class TestTheVerdict:
    """It is worth something only if it sees what is wrong."""

    def test_it_sees_a_lost_and_an_invented_payment(self, durable_cluster: ScratchCluster) -> None:
        with opened(people=2, seed=1, servers=0, shared=durable_cluster) as bank:
            payer, payee = bank.people
            payment = Payment("k1", payer, payee, "EUR", 1)
            assert judge(bank, Told())["wrong"] == []
            told = Told(acknowledged={"k1": (payment, "trf_1")})
            assert judge(bank, told)["wrong"] == ["k1 was acknowledged and is lost"]
            _transfer_past_the_api(bank.database.conninfo("bifold_owner"), bank, payment)
            seen = judge(bank, Told())["wrong"]
            assert "k1 is in the books and was refused or never asked" in seen
            assert any(line.startswith("entries or answers without") for line in seen)
            assert "k1 is half: (2, 2, 0, 0)" in judge(bank, Told(open={"k1": payment}))["wrong"]

    def test_it_sees_another_amount(self, durable_cluster: ScratchCluster) -> None:
        with opened(people=2, seed=2, servers=0, shared=durable_cluster) as bank:
            payer, payee = bank.people
            _transfer_past_the_api(
                bank.database.conninfo("bifold_owner"),
                bank,
                Payment("k1", payer, payee, "EUR", 1),
            )
            asked = Payment("k1", payer, payee, "EUR", 2)
            seen = judge(bank, Told(acknowledged={"k1": (asked, "trf_1")}))["wrong"]
            assert "k1 is another payment than was asked" in seen

    def test_a_read_sees_books_that_are_off(self, durable_cluster: ScratchCluster) -> None:
        """The reader's query counts assets off zero and balances that are not their postings."""
        with (
            opened(people=2, seed=3, servers=0, shared=durable_cluster) as bank,
            psycopg.connect(bank.database.conninfo("bifold_owner"), autocommit=True) as owner,
        ):
            sound = owner.execute(bank_load.BOOK_SQL).fetchone()
            assert sound is not None
            assert sound[:3] == (0, 0, 0)
            owner.execute("UPDATE accounts SET balance_minor = balance_minor + 1 WHERE id = %s",
                          (bank.accounts[bank.people[0], "EUR"],))  # fmt: skip
            off = owner.execute(bank_load.BOOK_SQL).fetchone()
            assert off is not None
            assert off[:3] == (1, 0, 1)


def _transfer_past_the_api(conninfo: str, bank: bank_load.Bank, payment: Payment) -> None:
    """An entry and a transfer row as nobody asked for."""
    command = {
        "entry": {"id": "ent_1", "kind": "transfer", "ref": "trf_1"},
        "postings": [
            {"account": bank.accounts[payment.payer, payment.asset], "asset": payment.asset,
             "amount": str(-payment.minor)},
            {"account": bank.accounts[payment.payee, payment.asset], "asset": payment.asset,
             "amount": str(payment.minor)},
        ],
        "transfer": {"id": "trf_1", "payer_id": payment.payer, "payee_id": payment.payee,
                     "asset": payment.asset, "amount_minor": payment.minor, "note": payment.key,
                     "created_at": "2026-01-01T00:00:00Z"},
    }  # fmt: skip
    with psycopg.connect(conninfo, autocommit=True) as owner:
        row = owner.execute(
            "SELECT code FROM ledger_post(%s::jsonb)", (bank_load.orjson.dumps([command]).decode(),)
        ).fetchone()
        assert row == (None,)
