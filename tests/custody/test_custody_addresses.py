"""An address belongs to one person, everywhere, and a false one is never shown."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text

from contracts.create2 import ephemeral_address
from keys.derivation import DepositDeriver
from keys.hd import HdNode
from keys.public import PublicKeys
from keys.testing import open_desk
from wallet import custody
from wallet.custody import AddressMismatch, DepositAddress, FactoryDeriver, TooManyAddresses
from wallet.custody.addresses import list_addresses
from wallet.custody.house import Place
from wallet.db import Database
from wallet.ids import new_id
from wallet.seed import HouseSeed
from wallet.testing.databases import ScratchDatabase
from wallet.testing.operators import as_operator


@pytest.fixture(scope="module")
def deriver() -> DepositDeriver:
    """The public half of the test phrase's deposit account."""
    return DepositDeriver(open_desk().deposit_xpub)


async def _person(db: Database) -> str:
    principal_id = new_id("usr")
    async with db.transaction() as session:
        await session.execute(
            text("INSERT INTO principals (id, kind) VALUES (:id, 'user')"), {"id": principal_id}
        )
    return principal_id


async def _issue(
    db: Database, deriver: DepositDeriver, who: str, *, network: str = "local", fresh: bool = False
) -> DepositAddress:
    async with db.transaction() as session:
        return await custody.issue_address(
            session, principal_id=who, network=network, deriver=deriver, fresh=fresh
        )


class TestIssuing:
    async def test_again_gives_the_same_one_unless_fresh(
        self, db: Database, deriver: DepositDeriver
    ) -> None:
        ada = await _person(db)
        first = await _issue(db, deriver, ada)
        assert await _issue(db, deriver, ada) == first
        fresh = await _issue(db, deriver, ada, fresh=True)
        assert fresh.address != first.address
        assert await _issue(db, deriver, ada) == fresh
        async with db.transaction() as session:
            listed = await list_addresses(session, principal_id=ada, deriver_of=lambda _: deriver)
        assert [row.id for row in listed] == [fresh.id, first.id]

    async def test_no_address_serves_two_people_or_two_networks(
        self, db: Database, deriver: DepositDeriver
    ) -> None:
        """Coins sent on the wrong network reach an address of the same person, or of nobody."""
        people = [await _person(db) for _ in range(3)]
        issued = [
            await _issue(db, deriver, who, network=network)
            for who in people
            for network in ("local", "elsewhere")
        ]
        assert len({row.address for row in issued}) == 6
        assert {row.address for row in issued} == {deriver.address(i) for i in range(6)}

    async def test_ten_at_once_get_one(self, db: Database, deriver: DepositDeriver) -> None:
        ada = await _person(db)
        issued = await asyncio.gather(*(_issue(db, deriver, ada) for _ in range(10)))
        assert len({row.address for row in issued}) == 1

    async def test_there_is_an_end_to_fresh_ones(
        self, db: Database, deriver: DepositDeriver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("wallet.custody.addresses.MAX_ADDRESSES", 2)
        ada = await _person(db)
        await _issue(db, deriver, ada)
        last = await _issue(db, deriver, ada, fresh=True)
        with pytest.raises(TooManyAddresses):
            await _issue(db, deriver, ada, fresh=True)
        assert await _issue(db, deriver, ada) == last


class TestMany:
    """One person may have a thousand on each network, and ask for all of them again and again."""

    async def test_what_was_derived_is_not_derived_anew(
        self, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deriver, derived = DepositDeriver(open_desk().deposit_xpub), []
        child = HdNode.child

        def counted(node: HdNode, index: int, *, hardened: bool = False) -> HdNode:
            derived.append(index)
            return child(node, index, hardened=hardened)

        ada = await _person(db)
        for _ in range(3):
            await _issue(db, deriver, ada, fresh=True)
        monkeypatch.setattr(HdNode, "child", counted)
        for _ in range(2):
            async with db.transaction() as session:
                await list_addresses(session, principal_id=ada, deriver_of=lambda _: deriver)
        assert len(derived) == 0  # as they were given out

    def test_nor_what_has_no_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        factory, computed = "0x" + "12" * 20, []

        def counted(factory: str, salt: bytes) -> str:
            computed.append(salt)
            return ephemeral_address(factory, salt)

        monkeypatch.setattr("wallet.custody.derivers.ephemeral_address", counted)
        told = {FactoryDeriver("local", factory).address(7) for _ in range(3)}
        assert (len(told), len(computed)) == (1, 1)

    async def test_listing_them_lets_others_go_on(self, db: Database) -> None:
        ada, turns, seen = await _person(db), [0], []

        class Slow:
            def address(self, index: int) -> str:
                seen.append(turns[0])
                return f"0x{index:040x}"

        async with db.transaction() as session:
            await session.execute(
                text(
                    "INSERT INTO deposit_addresses (id, principal_id, network, derivation_index,"
                    " address, is_current) SELECT 'adr_' || n, :who, 'local', n,"
                    " '0x' || lpad(to_hex(n), 40, '0'), false FROM generate_series(1, 100) n"
                ),
                {"who": ada},
            )

        async def others() -> None:
            while True:
                turns[0] += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(others())
        async with db.transaction() as session:
            shown = await list_addresses(session, principal_id=ada, deriver_of=lambda _: Slow())
        beside.cancel()
        assert len(shown) == 100
        assert max(seen.count(turn) for turn in set(seen)) <= 20


class TestShowing:
    async def test_an_address_swapped_in_the_database_is_never_shown(
        self, db: Database, deriver: DepositDeriver, database: ScratchDatabase
    ) -> None:
        ada = await _person(db)
        await _issue(db, deriver, ada)
        owner = Database(database.owner_url)
        async with owner.transaction() as session:
            await session.execute(
                text("UPDATE deposit_addresses SET address = :address"),
                {"address": "0x" + "ab" * 20},
            )
        await owner.dispose()
        with pytest.raises(AddressMismatch) as refused:
            await _issue(db, deriver, ada)
        assert "abab" not in refused.value.detail

    async def test_the_application_itself_cannot_swap_one(
        self, db: Database, deriver: DepositDeriver
    ) -> None:
        ada = await _person(db)
        await _issue(db, deriver, ada)
        with pytest.raises(Exception, match="permission denied"):
            async with db.transaction() as session:
                await session.execute(
                    text("UPDATE deposit_addresses SET address = :address"),
                    {"address": "0x" + "ab" * 20},
                )


class TestHouse:
    async def test_which_addresses_are_ours(self, db: Database, deriver: DepositDeriver) -> None:
        ada = await _person(db)
        theirs = (await _issue(db, deriver, ada, network="elsewhere")).address
        hot, cold, faucet, warm = (deriver.address(90 + i) for i in range(4))
        places: list[tuple[str, Place]] = [
            (hot, "hot"), (cold, "cold"), (faucet, "faucet"), (warm, "warm"),
        ]  # fmt: skip
        async with as_operator(db) as session:  # cold is theirs to name
            for address, place in places:
                await custody.register_house_address(
                    session, network="local", address=address, place=place
                )
            found = {
                address: await custody.is_house_address(session, network="local", address=address)
                for address in (hot, cold.lower(), warm, theirs, faucet, deriver.address(95))
            }
        assert list(found.values()) == [True, True, True, True, False, False]

    async def test_a_warm_address_is_known_from_keys_json_on_every_network(
        self, db: Database, deriver: DepositDeriver
    ) -> None:
        """Whoever starts a worker with it; a house made before has none, and nothing changes."""
        hot, warm, newer = (deriver.address(80 + i) for i in range(3))

        async def start(known: str | None) -> None:
            services: Any = SimpleNamespace(
                db=db, networks={"local": None, "other": None}, rpcs={},
                settings=SimpleNamespace(sandbox=False),
                house=PublicKeys("", "", (hot,), known),
            )  # fmt: skip
            await HouseSeed(services).tick()

        async def knows() -> list[str | None]:
            async with db.transaction() as session:
                return [
                    await custody.warm_address(session, network=network)
                    for network in ("local", "other", "none")
                ]

        await start(None)
        assert await knows() == [None, None, None]
        await start(warm)
        await start(warm)
        assert await knows() == [warm, warm, None]
        await start(newer)  # of a new house; what lies at the older one is still seen
        assert await knows() == [newer, newer, None]
        async with db.transaction() as session:
            places = await custody.house_addresses(session, network="local")
        assert places == {hot: "hot", warm: "warm", newer: "warm"}
