"""Out of review by proof alone: settled, given back, or still in review."""

from __future__ import annotations

import pytest

from contracts.loader import artifact
from tests.onchain.test_onchain_strangers import _spend_from_hot
from wallet import crashpoints
from wallet.errors import InvalidState
from wallet.onchain.review import resolve
from wallet.testing.seam import Seam
from wallet.withdrawals import Withdrawal

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
RETURNS_TRUE_SILENTLY = "0x600160005260206000f3"


async def _ask(seam: Seam, made: Withdrawal) -> None:
    [row] = await seam.rows("SELECT intent_id FROM withdrawals WHERE id = :id", id=made.id)
    await resolve(seam.runner._desk, row.intent_id, by="bea")


async def _with_code(seam: Seam, code: object) -> tuple[str, Withdrawal]:
    """A token payment that was mined while the token behaved otherwise."""
    ada = await seam.funded_person()
    await seam.automine(False)
    made = await seam.withdraw(ada, "5", "USDC", OUTSIDE)
    await seam.pass_once()
    await seam.node("anvil_setCode", seam.network.tokens[0].contract, code)
    await seam.automine(True)
    await seam.finish()
    seen = await seam.withdrawal(ada, made.id)
    assert (seen.status, seen.failure_code) == ("in_review", "no_transfer_event")
    return ada, seen


async def test_a_nonce_that_a_stranger_used_for_good(seam: Seam) -> None:
    ada = await seam.funded_person()
    await seam.automine(False)
    made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.pass_once()
    with pytest.raises(InvalidState, match="not in review"):
        await _ask(seam, made)
    await seam.node("anvil_dropAllTransactions")
    stolen = await _spend_from_hot(seam, 0)
    await _spend_from_hot(seam, 1)  # never given, and no payment of ours
    await seam.dev.mine(1)
    await seam.automine(True)
    await seam.finish()
    assert (await seam.withdrawal(ada, made.id)).status == "in_review"
    await _ask(seam, made)
    done = await seam.withdrawal(ada, made.id)
    assert (done.status, done.fee.minor) == ("failed", 0)
    assert done.failure_code == f"reviewed by bea: nonce used by a foreign transaction {stolen}"
    balance = await seam.balance(ada, "USDC")
    assert (balance.total_minor, balance.held_minor) == (1000 * 10**6, 0)
    with pytest.raises(InvalidState, match="not in review"):
        await _ask(seam, made)


async def test_a_token_that_paid_without_saying_so(seam: Seam) -> None:
    """Its runtime code with the same storage: balances move, nothing is logged."""
    silent = await seam.dev.deploy(artifact("SilentToken"), (1,))
    ada, made = await _with_code(seam, await seam.node("eth_getCode", silent, "latest"))
    await _ask(seam, made)
    done = await seam.withdrawal(ada, made.id)
    assert done.status == "settled" and await seam.on_chain(OUTSIDE, "USDC") == 5 * 10**6
    balance = await seam.balance(ada, "USDC")
    assert (balance.total_minor, balance.held_minor) == (995 * 10**6 - done.fee.minor, 0)
    assert await seam.differences() == []


async def test_a_token_that_paid_nobody(seam: Seam) -> None:
    """It answers one word to everything: the recipient's balance did not grow, the gas is burnt."""
    token = seam.network.tokens[0].contract
    honest = await seam.node("eth_getCode", token, "latest")
    ada, made = await _with_code(seam, RETURNS_TRUE_SILENTLY)
    await _ask(seam, made)
    done = await seam.withdrawal(ada, made.id)
    assert done.status == "failed" and "got nothing" in str(done.failure_code)
    assert 0 < done.fee.minor <= done.fee_max.minor
    balance = await seam.balance(ada, "USDC")
    assert (balance.total_minor, balance.held_minor) == (1000 * 10**6 - done.fee.minor, 0)
    await seam.node("anvil_setCode", token, honest)
    await seam.mine(seam.network.confirmations)  # the token is honest at the final block, too
    await seam.pass_once()
    assert await seam.on_chain(OUTSIDE, "USDC") == 0
    assert await seam.differences() == []


async def test_what_is_not_final_proves_nothing(seam: Seam) -> None:
    ada, made = await _with_code(seam, RETURNS_TRUE_SILENTLY)
    [row] = await seam.rows("SELECT mined_block FROM chain_intents")
    head = (await seam.chain.head()).number
    await seam.dev.reorg(head - row.mined_block + 1)
    await seam.observer.tick()
    with pytest.raises(InvalidState, match="not used up"):
        await _ask(seam, made)
    assert (await seam.withdrawal(ada, made.id)).status == "in_review"


class Death(BaseException):
    """The operator's command ends here."""


@pytest.mark.crash
@pytest.mark.parametrize(
    ("point", "status"),
    [
        ("intent.before_commit_reviewed", "in_review"),
        ("intent.after_commit_reviewed", "settled"),
    ],
)
async def test_a_death_on_the_way_leaves_it_in_review_or_ended_once(
    seam: Seam, point: str, status: str
) -> None:
    """Asked again it ends; what had ended before the death is refused, and booked once."""
    silent = await seam.dev.deploy(artifact("SilentToken"), (1,))
    ada, made = await _with_code(seam, await seam.node("eth_getCode", silent, "latest"))

    def die(name: str) -> None:
        if name == point:
            raise Death(name)

    crashpoints.install(die)
    try:
        with pytest.raises(Death):
            await _ask(seam, made)
    finally:
        crashpoints.install(None)
    assert (await seam.withdrawal(ada, made.id)).status == status
    if status == "in_review":
        await _ask(seam, made)
    else:
        with pytest.raises(InvalidState):
            await _ask(seam, made)
    assert (await seam.withdrawal(ada, made.id)).status == "settled"
    assert await seam.differences() == []
