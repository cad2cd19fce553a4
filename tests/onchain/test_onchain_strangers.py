"""When the chain shows what we did not do: nobody pays from that key until a person has looked."""

from __future__ import annotations

from eth_account import Account

from keys.derivation import HOT_ACCOUNT, derive_key, path
from keys.testing import test_seed as seed_of_tests
from wallet.testing.seam import FIRST_HOT_INDEX, GWEI, Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
THIEF = "0x0000000000000000000000000000000000badbad"


async def _spend_from_hot(seam: Seam, nonce: int) -> str:
    """Somebody else holds the key of the hot wallet."""
    key = derive_key(seed_of_tests(), path(HOT_ACCOUNT, FIRST_HOT_INDEX))
    signed = Account.sign_transaction(
        {
            "type": 2, "chainId": 31337, "nonce": nonce, "to": bytes.fromhex(THIEF[2:]),
            "value": 5, "gas": 21000, "data": b"",
            "maxFeePerGas": 100 * GWEI, "maxPriorityFeePerGas": 2 * GWEI,
        },
        key.reveal(),
    )  # fmt: skip
    answer = await seam.node("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
    return str(answer)


async def test_a_stranger_at_our_nonce_halts_the_signer(seam: Seam) -> None:
    ada = await seam.funded_person()
    await seam.automine(False)
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.runner.tick()
    await seam.node("anvil_dropAllTransactions")
    await _spend_from_hot(seam, 0)
    await seam.dev.mine(1)
    later = await seam.withdraw(ada, "2", "USDC", OUTSIDE)
    await seam.pass_once()
    assert (await seam.withdrawal(ada, made.id)).status == "broadcast"
    assert (await seam.withdrawal(ada, later.id)).status == "held"
    await seam.automine(True)
    await seam.finish()
    done = await seam.withdrawal(ada, made.id)
    assert (done.status, done.failure_code) == ("in_review", "foreign_transaction")
    assert (await seam.balance(ada, "USDC")).held_minor > 3_000_000
    [signer] = await seam.rows("SELECT halted_reason, next_nonce FROM chain_signers")
    assert (signer.halted_reason, signer.next_nonce) == ("foreign_transaction", 1)
    assert (await seam.withdrawal(ada, later.id)).status == "held"
    assert await seam.on_chain(OUTSIDE, "USDC") == 0
    assert any(line.startswith("chain:local:ETH:hot") for line in await seam.differences())


async def test_a_stranger_who_is_reorganised_away_changes_nothing(seam: Seam) -> None:
    ada = await seam.funded_person()
    await seam.automine(False)
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.runner.tick()
    await seam.node("anvil_dropAllTransactions")
    await _spend_from_hot(seam, 0)
    await seam.dev.mine(1)
    await seam.pass_once()
    await seam.dev.reorg(1)
    await seam.pass_once()
    await seam.automine(True)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    assert await seam.on_chain(OUTSIDE, "USDC") == 1_000_000
    assert await seam.differences() == []


async def test_a_nonce_used_behind_our_back_halts_before_the_next_payment(seam: Seam) -> None:
    ada = await seam.funded_person()
    first = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.finish()
    assert (await seam.withdrawal(ada, first.id)).status == "settled"
    await _spend_from_hot(seam, 1)
    await seam.dev.mine(1)
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "held"
    [signer] = await seam.rows("SELECT halted_reason FROM chain_signers")
    assert signer.halted_reason == "foreign_transaction"


async def test_another_chain_at_the_same_address_stops_everything(seam: Seam) -> None:
    ada = await seam.funded_person()
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.rows("UPDATE network_state SET block1_hash = '0xother' RETURNING 1")
    await seam.pass_once()
    await seam.pass_once()
    [state] = await seam.rows("SELECT healthy, detail, as_of FROM network_state")
    assert (state.healthy, state.as_of) == (False, None)
    assert "./dev clean" in state.detail
    waiting = await seam.withdrawal(ada, made.id)
    assert (waiting.status, waiting.waiting_for) == ("held", "chain")
