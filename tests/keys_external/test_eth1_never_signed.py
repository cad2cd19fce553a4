"""A payment whose hot address has lost its key, and that was never signed, is ended by two people;
one that was signed is not, and is paid once, by the chain."""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import Any

import pytest

from chain.client import ChainClient
from chain.failover import FailoverRpc
from chain.transactions import PLAIN_TRANSFER_GAS, TxFields, decode_unsigned, encode_unsigned
from chain.votes import COUNT
from keys.request import SignedTx
from tests.keys_external.test_eth1 import PAYEE
from tests.keys_external.test_eth1_key_gone import House
from tests.keys_external.test_eth1_key_gone import house as house
from tests.onchain.older_copy import OlderCopy
from wallet import cli_operator, crashpoints
from wallet.errors import InvalidState, NotFound
from wallet.testing.databases import ScratchCluster, ScratchDatabase
from wallet.testing.meddler import Meddler
from wallet.withdrawals import Withdrawal


async def _waits(house: House) -> tuple[str, Withdrawal, Withdrawal]:
    """Its owner, a payment with its nonce at an address whose key goes just then, another one."""
    seam = house.seam
    ada = await seam.funded_person()
    made = [await seam.withdraw(ada, "1", "USDC", PAYEE) for _ in range(2)]

    def gone(name: str) -> None:
        if name == "intent.between_allocate_and_deliver" and len(house.other.keys) == 2:
            house.take_key()

    crashpoints.install(gone)
    try:
        await seam.runner.tick()
    finally:
        crashpoints.install(None)
    [row] = await seam.rows("SELECT ref FROM chain_intents WHERE from_address = :a", a=house.gone)
    made.sort(key=lambda one: one.id != row.ref)
    return ada, made[0], made[1]


async def _say(
    house: House, payment: str, *, by: str, approve: bool = False, chain: ChainClient | None = None
) -> None:
    seam = house.seam
    services: Any = SimpleNamespace(
        db=seam.operators, chains={"local": chain or seam.chain}, assets=seam.assets,
        signer=house.signer, networks={"local": seam.network},
    )  # fmt: skip
    action = "approve-unsigned" if approve else "end-unsigned"
    await cli_operator.end_unsigned(
        services, argparse.Namespace(payment=payment, by=by, action=action)
    )


async def _raw(house: House) -> tuple[bytes, bytes]:
    """What it pays by, unsigned and as the lost key signs it."""
    [row] = await house.seam.rows(
        "SELECT a.unsigned, i.id FROM chain_attempts a JOIN chain_intents i ON i.id = a.intent_id"
        " WHERE i.from_address = :a AND a.seq = 1",
        a=house.gone,
    )
    house.bring_key()
    signed = await house.signer.sign_transaction(
        address=house.gone, payload=bytes(row.unsigned), intent_id=row.id, kind="pay"
    )
    house.take_key()
    return bytes(row.unsigned), signed.raw


async def test_two_people_end_what_was_never_signed(
    house: House, database: ScratchDatabase, cluster: ScratchCluster
) -> None:
    seam = house.seam
    ada, waits, _ = await _waits(house)
    await seam.finish()
    with pytest.raises(NotFound):
        await _say(house, waits.id, by="bea", approve=True)
    await _say(house, waits.id, by="bea")
    with pytest.raises(InvalidState, match="proposed already"):
        await _say(house, waits.id, by="cai")
    with pytest.raises(InvalidState, match="Somebody else"):
        await _say(house, waits.id, by="Bea", approve=True)
    assert (await seam.withdrawal(ada, waits.id)).status == "held"
    await _say(house, waits.id, by="cai", approve=True)
    seen = await seam.withdrawal(ada, waits.id)
    assert (seen.status, seen.failure_code, seen.fee.minor) == ("failed", "never_signed", 0)
    balance = await seam.balance(ada, "USDC")
    assert balance.held_minor == 0
    with pytest.raises(InvalidState, match="does not wait"):
        await _say(house, waits.id, by="bea")
    assert await OlderCopy(seam, database, cluster).unexplained() == [
        f"signer_key_missing local/{house.gone}"
    ]
    rows = await seam.rows("SELECT closed_by FROM cases WHERE kind = 'unsigned_end_proposed'")
    assert [row.closed_by for row in rows] == ["cai"]

    # Its key is back: nothing is signed behind the hole, until somebody has filled it.
    unsigned, _ = await _raw(house)
    house.bring_key()
    made = [await seam.withdraw(ada, "1", "USDC", PAYEE) for _ in range(3)]
    await seam.finish()
    assert [(await seam.withdrawal(ada, one.id)).status for one in made] == ["settled"] * 3
    assert await house.nonces(house.gone) == 1
    old = decode_unsigned(unsigned)
    fill = TxFields(
        chain_id=old.chain_id, nonce=old.nonce, tip=old.tip, cap=old.cap, gas=PLAIN_TRANSFER_GAS,
        to=house.gone, value=0, data=b"",
    )  # fmt: skip
    signed = await house.signer.sign_transaction(
        address=house.gone, payload=encode_unsigned(fill), intent_id="by hand", kind="pay"
    )
    await seam.chain.send_raw(signed.raw)
    await seam.finish()
    made = [await seam.withdraw(ada, "1", "USDC", PAYEE) for _ in range(3)]
    await seam.finish()
    assert [(await seam.withdrawal(ada, one.id)).status for one in made] == ["settled"] * 3
    assert await house.nonces(house.gone) > 1
    assert await seam.on_chain(PAYEE, "USDC") == 7 * 10**6


async def test_while_the_key_is_there_it_is_not_for_people_to_end(house: House) -> None:
    _, waits, _ = await _waits(house)
    house.bring_key()
    with pytest.raises(InvalidState, match="has its key"):
        await _say(house, waits.id, by="bea")


async def test_what_was_signed_is_not_given_back_and_is_mined_afterwards(house: House) -> None:
    seam = house.seam
    ada, waits, _ = await _waits(house)
    await _say(house, waits.id, by="bea")
    await seam.automine(False)
    house.bring_key()
    await seam.pass_once()
    house.take_key()
    await seam.node("anvil_dropAllTransactions")
    with pytest.raises(InvalidState, match="It is signed"):
        await _say(house, waits.id, by="cai", approve=True)
    balance = await seam.balance(ada, "USDC")
    assert balance.held_minor > 0
    await seam.automine(True)
    await seam.finish()
    assert (await seam.withdrawal(ada, waits.id)).status == "settled"
    assert await seam.on_chain(PAYEE, "USDC") == 2 * 10**6
    with pytest.raises(InvalidState, match="does not wait"):
        await _say(house, waits.id, by="cai", approve=True)


async def test_bytes_that_these_books_lack_are_looked_for_in_pool_and_chain(house: House) -> None:
    """A database that was put back: the lost one had sent them."""
    seam = house.seam
    ada, waits, _ = await _waits(house)
    await seam.finish()
    await _say(house, waits.id, by="bea")
    _, raw = await _raw(house)
    await seam.automine(False)
    await seam.chain.send_raw(raw)
    with pytest.raises(InvalidState, match="in the pool"):
        await _say(house, waits.id, by="cai", approve=True)
    await seam.automine(True)
    await seam.dev.mine(1)
    with pytest.raises(InvalidState, match="used its nonce"):
        await _say(house, waits.id, by="cai", approve=True)
    await seam.finish()
    assert (await seam.withdrawal(ada, waits.id)).status == "in_review"
    resolving = argparse.Namespace(payment=waits.id, by="bea", action="resolve-review")
    services: Any = SimpleNamespace(
        db=seam.operators, chains={"local": seam.chain}, assets=seam.assets, signer=house.signer,
        networks={"local": seam.network},
    )  # fmt: skip
    await cli_operator._resolve(services, resolving)
    assert (await seam.withdrawal(ada, waits.id)).status == "settled"
    assert await seam.on_chain(PAYEE, "USDC") == 2 * 10**6
    assert await seam.differences() == []


async def test_a_node_that_stands_at_old_data_hides_no_bytes(house: House) -> None:
    """As above, where the serving node of two has seen nothing of what was sent."""
    seam = house.seam
    ada, waits, _ = await _waits(house)
    await seam.finish()
    _, raw = await _raw(house)
    serving = Meddler(seam.chain.rpc)
    serving.alter = lambda method, _, told: "0x0" if method == COUNT else told
    chain = ChainClient(seam.network, FailoverRpc(seam.network, [serving, seam.chain.rpc]))
    await _say(house, waits.id, by="bea", chain=chain)
    await seam.automine(False)
    await seam.chain.send_raw(raw)
    with pytest.raises(InvalidState, match="in the pool"):
        await _say(house, waits.id, by="cai", approve=True, chain=chain)
    await seam.automine(True)
    await seam.dev.mine(1)
    with pytest.raises(InvalidState, match="used its nonce"):
        await _say(house, waits.id, by="cai", approve=True, chain=chain)
    assert (await seam.balance(ada, "USDC")).held_minor > 0


async def test_an_answer_of_the_signer_that_comes_too_late_leaves_nowhere(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has asked for it; the key goes, two people end it, and then it has its bytes."""
    seam = house.seam
    ada, waits, _ = await _waits(house)
    house.bring_key()
    really = house.signer.sign_transaction

    async def late(**asked: Any) -> SignedTx:
        signed: SignedTx = await really(**asked)
        if asked["address"] == house.gone and len(house.other.keys) == 2:
            house.take_key()
            await _say(house, waits.id, by="bea")
            await _say(house, waits.id, by="cai", approve=True)
        return signed

    monkeypatch.setattr(house.signer, "sign_transaction", late)
    await seam.finish()
    assert (await seam.withdrawal(ada, waits.id)).failure_code == "never_signed"
    assert await seam.on_chain(PAYEE, "USDC") == 10**6
    assert await seam.chain.nonce(house.gone) == 0
    assert await seam.rows("SELECT 1 FROM chain_attempts WHERE refused = 'never_signed' AND raw"
                           " IS NULL")  # fmt: skip
    assert await seam.differences() == []


async def test_what_a_journal_has_was_signed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own signer, started without that key: the answer was lost, the journal was not."""
    seam = house.seam
    ada, waits, _ = await _waits(house)
    unsigned, _ = await _raw(house)
    [row] = await seam.rows("SELECT id FROM chain_intents WHERE ref = :ref", ref=waits.id)
    await seam.signer.sign_transaction(
        address=house.gone, payload=unsigned, intent_id=row.id, kind="pay"
    )
    for name in ("signed_before", "signed_from"):
        monkeypatch.setattr(house.signer, name, getattr(seam.signer, name))
    with pytest.raises(InvalidState, match="journal has it"):
        await _say(house, waits.id, by="bea")
    assert (await seam.withdrawal(ada, waits.id)).status == "held"
