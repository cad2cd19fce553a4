"""Withdrawals as a weapon: contracts that burn gas, crowds that pay next to nothing."""

from __future__ import annotations

from typing import Any

import pytest
from eth_utils.address import to_checksum_address

from wallet.custody.errors import InvalidAddress
from wallet.onchain.queue import NEW_LOOK, turn
from wallet.testing.seam import Seam
from wallet.treasury.hot import introduce

# Counts down from 560,000 whenever it is sent something: 14.6 million gas.
BURNER = "62" + "088b80" + "5b" + "6001900380600457" + "00"
ELSEWHERE = "0x00000000000000000000000000000000000A11cE"


async def _deploy(seam: Seam, runtime: str) -> str:
    size = f"60{len(runtime) // 2:02x}"
    code = f"0x{size}600c600039{size}6000f3{runtime}"
    accounts: Any = await seam.node("eth_accounts")
    wanted = {"from": accounts[0], "data": code, "gas": hex(1_000_000)}
    tx_hash = await seam.node("eth_sendTransaction", wanted)
    await seam.mine()
    receipt: Any = await seam.node("eth_getTransactionReceipt", tx_hash)
    return to_checksum_address(receipt["contractAddress"])


async def test_a_contract_that_burns_more_gas_than_may_be_signed_is_refused(seam: Seam) -> None:
    person = await seam.funded_person()
    burner = await _deploy(seam, BURNER)
    with pytest.raises(InvalidAddress):
        await seam.plan("0.001", "ETH", burner)
    with pytest.raises(InvalidAddress):
        await seam.withdraw(person, "0.001", "ETH", burner)
    assert (await seam.balance(person, "ETH")).held_minor == 0


async def test_code_that_asks_for_much_gas_and_may_use_none_of_it_is_refused(seam: Seam) -> None:
    """Each payment counts with all its gas against the day's fees of the signer: some dozens of
    them stopped everybody's withdrawals until the next day, for the price of plain ones."""
    person = await seam.funded_person()
    greedy = await _deploy(seam, BURNER.replace("088b80", "004000"))  # 430,000 gas
    with pytest.raises(InvalidAddress):
        await seam.withdraw(person, "0.001", "ETH", greedy)
    assert (await seam.balance(person, "ETH")).held_minor == 0
    usual = await _deploy(seam, BURNER.replace("088b80", "001000"))  # 107,000 + 21,000 gas
    assert (await seam.withdraw(person, "0.001", "ETH", usual)).to_address == usual


async def test_a_crowd_that_waits_for_cheaper_gas_is_not_in_anybodys_way(seam: Seam) -> None:
    person = await seam.funded_person()
    insert = (
        "INSERT INTO chain_intents (id, purpose, ref, network, asset, to_address, amount_minor,"
        " gas_limit, fee_ceiling_wei, waiting_for, created_at) SELECT 'int_' || n, 'crowd', n,"
        " 'local', 'ETH', :to, 1, 21000, n, 'fees', bifold_now() - interval '1 day'"
        " FROM generate_series(1, :many) n RETURNING id"
    )
    await seam.rows(insert, to=ELSEWHERE, many=NEW_LOOK + 5)
    made = await seam.withdraw(person, "1", "USDC", ELSEWHERE)
    [address] = await seam.signer.hot_addresses()
    await introduce(seam.db, seam.chain, address)
    async with seam.db.transaction() as session:
        looked_at, _ = await turn(session, network="local", sender=address, assets=["ETH", "USDC"])
    assert looked_at[0].ref == made.id
    # Of those who wait, whoever would pay most comes first: the only one that may fit soonest.
    assert [intent.fee_ceiling_wei for intent in looked_at[1:4]] == [69, 68, 67]
    await seam.pass_once()
    assert (await seam.withdrawal(person, made.id)).status != "held"


async def test_a_row_in_the_queue_alone_pays_nobody(seam: Seam) -> None:
    """The application's role can write an intent; only the signer's limits stood behind it."""
    person = await seam.funded_person()
    theft = (
        "INSERT INTO chain_intents (id, purpose, ref, network, asset, to_address, amount_minor,"
        " gas_limit, fee_ceiling_wei) VALUES ('int_' || :purpose, :purpose, 'x', 'local', 'USDC',"
        " :to, 1000000, 80000, 100000000000) RETURNING id"
    )
    for purpose in ("withdrawal", "theft"):
        await seam.rows(theft, purpose=purpose, to=ELSEWHERE)
    bent = await seam.withdraw(person, "2", "USDC", ELSEWHERE)
    await seam.rows(
        "UPDATE withdrawals SET amount_minor = 1 WHERE id = :id RETURNING id", id=bent.id
    )
    true = await seam.withdraw(person, "3", "USDC", ELSEWHERE)
    await seam.finish()
    for _ in range(12):
        await seam.pass_once()
        await seam.mine()
    assert await seam.on_chain(ELSEWHERE, "USDC") == 3_000_000
    assert (await seam.withdrawal(person, true.id)).status == "settled"
    assert (await seam.withdrawal(person, bent.id)).waiting_for == "review"
