"""What the books refuse to one person holds up nobody else, and is not forgotten."""

from __future__ import annotations

from sqlalchemy import text

from wallet.testing.operators import as_operator
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"


async def test_a_refused_end_is_tried_again_and_others_go_on(seam: Seam) -> None:
    ada, bob = await seam.funded_person(), await seam.funded_person()
    hers = await seam.withdraw(ada, "5", "USDC", OUTSIDE)
    his = await seam.withdraw(bob, "7", "USDC", OUTSIDE)
    await seam.pass_once()
    status = "SELECT ledger_set_status(id, :to) FROM accounts WHERE principal_id = :p"
    await seam.rows(status, p=ada, to="closed")
    await seam.finish()
    assert (await seam.withdrawal(bob, his.id)).status == "settled"
    assert (await seam.withdrawal(ada, hers.id)).status == "mined"
    assert await seam.differences() == []
    async with as_operator(seam.db) as session:
        await session.execute(text(status), {"p": ada, "to": "open"})
    await seam.pass_once()
    assert (await seam.withdrawal(ada, hers.id)).status == "settled"
    assert (await seam.balance(ada, "USDC")).held_minor == 0
    assert await seam.on_chain(OUTSIDE, "USDC") == 12_000_000
    assert await seam.differences() == []
