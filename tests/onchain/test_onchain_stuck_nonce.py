"""A nonce whose payment and whose transfer of nothing the signer both refused is not lost."""

from __future__ import annotations

from dataclasses import replace

from tests.onchain.test_onchain_approvals import OUTSIDE, seam
from wallet.onchain import casework
from wallet.testing.seam import Seam

__all__ = ["seam"]


async def test_a_policy_that_was_too_narrow_for_an_hour_jams_no_address(seam: Seam) -> None:
    ada = await seam.funded_person()
    [hot] = await seam.signer.hot_addresses()
    right = seam.desk.policy
    seam.desk.policy = replace(right, chains={})
    first = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
    await seam.finish()
    [case] = await seam.rows("SELECT kind, closed_at FROM cases")
    assert (case.kind, case.closed_at) == ("signer_halted", None)
    assert (await seam.withdrawal(ada, first.id)).status == "held"

    seam.desk.policy = right
    async with seam.operators.transaction() as session:
        assert await casework.resume_signer(session, network="local", address=hot, by="ada")
    second = await seam.withdraw(ada, "2", "USDC", OUTSIDE)
    await seam.finish()
    await seam.finish()
    assert (await seam.withdrawal(ada, second.id)).status == "settled"
    assert (await seam.withdrawal(ada, first.id)).status == "failed"
    held = await seam.rows("SELECT sum(held_minor) AS held FROM accounts WHERE kind = 'customer'")
    assert (held[0].held, await seam.on_chain(OUTSIDE, "USDC")) == (0, 2 * 10**6)
    assert await seam.differences() == []
