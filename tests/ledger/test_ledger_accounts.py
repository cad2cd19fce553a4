"""Which account is which, and when one is opened by a batch."""

from __future__ import annotations

from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import text

from tests.ledger.test_ledger_together import pay, total
from wallet import ledger
from wallet.db import Database
from wallet.ledger import accounts, batch
from wallet.ledger.errors import InsufficientFunds
from wallet.testing.books import fund, new_principal


@pytest.mark.parametrize(
    ("spec", "path", "side"),
    [
        (accounts.customer("usr_a", "EUR"), "customer:usr_a:EUR", "C"),
        (accounts.on_chain("local", "ETH", "hot"), "chain:local:ETH:hot", "D"),
        (accounts.bank("simbank", "EUR"), "bank:simbank:EUR", "D"),
        (accounts.gateway("simgate", "EUR"), "gateway:simgate:EUR", "D"),
        (accounts.payments_in_transit("MXN"), "payments:in_transit:MXN", "C"),
        (accounts.payout_in_transit("spei", "MXN"), "payouts:spei:in_transit:MXN", "C"),
        (accounts.fx_position("EUR"), "house:fx_position:EUR", "C"),
        (accounts.spread_income("EUR"), "income:fx_spread:EUR", "C"),
        (accounts.fee_income("network", "ETH"), "income:fee:network:ETH", "C"),
        (accounts.gas_expense("local", "ETH"), "expense:gas:local:ETH", "D"),
        (accounts.capital("EUR"), "house:capital:EUR", "C"),
        (accounts.profit_taken("EUR"), "house:profit_taken:EUR", "C"),
        (accounts.unattributed("local", "ETH"), "unattributed:local:ETH", "C"),
        (accounts.chain_loss("local", "ETH"), "suspense:chain_loss:local:ETH", "D"),
        (accounts.chain_loss_expense("local", "ETH"), "expense:chain_loss:local:ETH", "D"),
        (accounts.correction_expense("EUR"), "expense:correction:EUR", "D"),
        (accounts.receivable("usr_a", "EUR"), "receivable:usr_a:EUR", "D"),
    ],
)
def test_a_path_names_one_account_and_its_side(
    spec: accounts.AccountSpec, path: str, side: str
) -> None:
    """Paths are kept for ever: another spelling would be another account."""
    assert (spec.path, spec.asset, spec.side) == (path, path.split(":")[-1 - ("hot" in path)], side)
    assert spec.principal_id == ("usr_a" if path.startswith("customer:") else None)


async def test_a_batch_opens_an_account_with_the_command_that_needs_it_or_not_at_all(
    db: Database,
) -> None:
    async with db.transaction() as session:
        ada, bob, eve = [await new_principal(session) for _ in range(3)]
        await fund(session, ada, 100)
    ids = ledger.AccountIds()
    for opens_eve in (True, False):
        async with db.driver_transaction() as hot:
            first, *others = await ledger.post_batch(
                hot, [pay(ada, bob, 150), pay(ada, eve, 30), pay(eve, ada, 10)], ids
            )
        ids.committed()
        assert isinstance(first, InsufficientFunds), opens_eve
        assert others == [None, None]
    async with db.transaction() as session:
        opened = await session.scalars(text("SELECT principal_id FROM accounts WHERE kind ="
                                            " 'customer'"))  # fmt: skip
        assert set(opened) == {ada, eve}
        assert [await total(session, who) for who in (ada, eve)] == [60, 40]


async def test_what_was_read_is_remembered_once_it_is_durable(db: Database) -> None:
    async with db.transaction() as session:
        ada, bob = [await new_principal(session) for _ in range(2)]
        await fund(session, ada, 100)
    specs = [accounts.customer(who, "EUR") for who in (ada, bob)]
    ids, shared = ledger.AccountIds(known := {}), ledger.AccountIds(known)
    async with db.driver_transaction() as hot:
        asked = Asked(hot)
        read = cast(psycopg.AsyncConnection[Any], asked)
        found = await ids.existing(read, specs)
        assert list(found) == [specs[0].path]
        ids.lost()
        assert await shared.existing(read, specs) == found and asked.times == 2
        ids.learn({specs[1].path: "acc_of_bob"})
        ids.lost()
        assert specs[1].path not in await ids.existing(read, specs)
        ids.learn({specs[1].path: "acc_of_bob"})
        ids.committed()
        both = {**found, specs[1].path: "acc_of_bob"}
        asked.times = 0
        assert await shared.existing(read, specs) == await ids.existing(read, specs) == both
        assert asked.times == 0
        shared.forget()
        assert await ids.existing(read, specs) == found and asked.times == 1


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "ACCOUNTS_KNOWN_MOST", 4)
    ids = ledger.AccountIds(known := {})
    for number in range(4):
        ids.learn({str(number): "id"})
        ids.committed()
    assert len(known) == 4
    ids.learn({"5": "id", "6": "id"})
    ids.committed()
    assert sorted(known) == ["5", "6"]


class Asked:
    """A connection that counts what it is asked."""

    def __init__(self, hot: psycopg.AsyncConnection[Any]) -> None:
        self.hot = hot
        self.times = 0

    async def execute(self, *question: Any) -> psycopg.AsyncCursor[Any]:
        self.times += 1
        return await self.hot.execute(*question)


async def test_a_fold_says_how_many_lines_it_added(db: Database) -> None:
    async with db.transaction() as session:
        who = await new_principal(session)
        for _ in range(3):
            await fund(session, who, 10)
    for folded in (2, 1, 0):
        async with db.transaction() as session:
            assert await ledger.fold(session, max_rows=2) == folded
            assert await ledger.balance_of(session, accounts.capital("EUR")) == -30
