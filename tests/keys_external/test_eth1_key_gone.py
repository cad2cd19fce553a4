"""A Web3signer that has lost the key of one hot address: the others pay, and a person is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain.testing import AnvilProcess
from keys.derivation import HOT_ACCOUNT, derive_key, path
from keys.errors import SignerUnavailable
from keys.eth1_client import Eth1Signer
from keys.testing import native_payload, test_seed
from tests.keys_external.test_eth1 import PAYEE, Web3signer
from wallet import crashpoints
from wallet.db import Database
from wallet.onchain import Desk, IntentRunner, keyless
from wallet.testing.seam import FIRST_HOT_INDEX, Seam


class House:
    """Two hot addresses behind one Web3signer; the first one's key can be taken away."""

    def __init__(self, seam: Seam, other: Web3signer, signer: Eth1Signer, hot: list[str]) -> None:
        self.seam, self.other, self.signer = seam, other, signer
        self.gone, self.there = hot
        self.kept = dict(other.keys)

    def take_key(self) -> None:
        del self.other.keys[next(iter(self.other.keys))]

    def bring_key(self) -> None:
        self.other.keys = dict(self.kept)

    async def nonces(self, address: str) -> int:
        [row] = await self.seam.rows(
            "SELECT next_nonce FROM chain_signers WHERE address = :a", a=address
        )
        return int(row.next_nonce)

    async def cases(self) -> list[tuple[str, str]]:
        rows = await self.seam.rows("SELECT subject, status, evidence FROM cases")
        return [(row.subject, row.status) for row in rows]


@pytest.fixture
async def house(
    db: Database, anvil: AnvilProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    monkeypatch.setattr(keyless, "TOLD_AFTER_SECONDS", 0.0)
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", hot_keys=2)
    await seam.fund_house()
    keys = [derive_key(test_seed(), path(HOT_ACCOUNT, FIRST_HOT_INDEX + one)) for one in (0, 1)]
    other = Web3signer(keys)
    runner, url = await other.start()
    hot = await seam.signer.hot_addresses()
    signer = Eth1Signer(url, hot=hot, deposit_xpub=await seam.signer.deposit_xpub())
    seam.runner = IntentRunner(
        Desk(db, seam.chain, signer, seam.runner._desk.followers), rebroadcast_seconds=0.0
    )
    yield House(seam, other, signer, hot)
    await signer.aclose()
    await runner.cleanup()
    await seam.close()


async def test_it_tells_which_keys_it_has_now(house: House) -> None:
    assert await house.signer.hot_addresses() == [house.gone, house.there]
    house.take_key()
    with pytest.raises(SignerUnavailable):
        await house.signer.sign_transaction(
            address=house.gone, payload=native_payload(to=PAYEE, value=5), intent_id="int_1",
            kind="pay",
        )  # fmt: skip
    assert await house.signer.hot_addresses() == [house.there]
    house.bring_key()
    assert await house.signer.hot_addresses() == [house.gone, house.there]


async def test_such_an_address_gets_no_payments_until_its_key_is_back(house: House) -> None:
    """Up to sixteen got their nonces there, and waited for good."""
    seam = house.seam
    ada = await seam.funded_person()
    first = [await seam.withdraw(ada, "1", "USDC", PAYEE) for _ in range(2)]
    await seam.finish()
    assert [await house.nonces(one) for one in (house.gone, house.there)] == [1, 1]
    house.take_key()
    made = [await seam.withdraw(ada, "1", "USDC", PAYEE) for _ in range(6)]
    await seam.finish()
    states = [(await seam.withdrawal(ada, one.id)).status for one in [*first, *made]]
    assert states == ["settled"] * 8
    assert [await house.nonces(one) for one in (house.gone, house.there)] == [1, 7]
    assert await house.cases() == [(f"local/{house.gone}", "open")]
    await seam.rows(
        "UPDATE cases SET status = 'closed', closed_at = bifold_now(), closed_by = 'bea',"
        " closing_note = 'it is retired' RETURNING id"
    )
    await seam.withdraw(ada, "1", "USDC", PAYEE)
    await seam.finish()
    assert await house.cases() == [(f"local/{house.gone}", "closed")]
    house.bring_key()
    made = [await seam.withdraw(ada, "1", "USDC", PAYEE) for _ in range(2)]
    await seam.finish()
    assert await house.nonces(house.gone) == 2
    assert await house.cases() == [(f"local/{house.gone}", "closed")]
    assert await seam.differences() == []


async def test_what_has_its_nonce_there_waits_and_is_named(house: House) -> None:
    """That nothing was signed at it nobody can prove: Web3signer keeps no journal."""
    seam = house.seam
    ada = await seam.funded_person()
    waits, goes = [await seam.withdraw(ada, "1", "USDC", PAYEE) for _ in range(2)]

    def gone(name: str) -> None:
        if name == "intent.between_allocate_and_deliver" and len(house.other.keys) == 2:
            house.take_key()

    crashpoints.install(gone)
    try:
        await seam.runner.tick()
    finally:
        crashpoints.install(None)
    await seam.finish()
    [row] = await seam.rows("SELECT * FROM chain_intents WHERE from_address = :a", a=house.gone)
    if row.ref != waits.id:
        waits, goes = goes, waits
    assert (row.state, row.waiting_for, row.nonce) == ("allocated", "signer", 0)
    assert (await seam.withdrawal(ada, goes.id)).status == "settled"
    [case] = await seam.rows("SELECT evidence FROM cases WHERE status = 'open'")
    assert case.evidence["payments"] == [row.ref]
    house.bring_key()
    await seam.finish()
    assert (await seam.withdrawal(ada, waits.id)).status == "settled"
    assert await seam.on_chain(PAYEE, "USDC") == 2 * 10**6


async def test_where_no_key_is_left_all_waits_for_the_signer(house: House) -> None:
    seam = house.seam
    ada = await seam.funded_person()
    await seam.withdraw(ada, "1", "USDC", PAYEE)
    await seam.finish()
    house.other.keys = {}
    made = await seam.withdraw(ada, "1", "USDC", PAYEE)
    await seam.finish()
    waits = await seam.withdrawal(ada, made.id)
    assert (waits.status, waits.waiting_for) == ("held", "signer")
    assert len(await house.cases()) == 2
    house.bring_key()
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    rows = await seam.rows("SELECT status, closed_by FROM cases")
    assert [(row.status, row.closed_by) for row in rows] == [("closed", "bifold")] * 2
