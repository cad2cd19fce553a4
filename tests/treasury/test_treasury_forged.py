"""Rows that say who signed for a payment out of warm are nothing; signatures are."""

from __future__ import annotations

from eth_account.messages import encode_defunct

from tests.treasury.warm import (
    ADA,
    BOB,
    CY,
    STRANGER,
    approve,
    fill,
    intent,
    propose,
    seam,
    settle,
    sign,
    warm_of,
    write,
)
from wallet.onchain.approvals import wording
from wallet.testing.seam import Seam

__all__ = ["seam"]
JUNK = bytes(65)


async def test_names_without_signatures_use_up_no_nonce(seam: Seam) -> None:
    await fill(seam)
    hot = (await seam.signer.hot_addresses())[0]
    for _ in range(17):  # one more than the signer lets go in a day by transfers of nothing
        paid = await approve(seam, await propose(seam, "to_hot", "1", "USDC", hot), "bob")
        await write(seam, paid, (ADA.address, JUNK), (BOB.address, JUNK))
    await settle(seam)
    waits = await intent(seam, paid)
    assert (waits.state, waits.waiting_for, waits.nonce) == ("queued", "approval", None)
    assert await seam.chain.nonce(warm_of(seam)) == 0
    good = await approve(seam, await propose(seam, "to_hot", "2", "USDC", hot), "bob")
    await sign(seam, good, BOB, "bob")
    await sign(seam, good, CY, "cy")
    await settle(seam)
    assert (await intent(seam, good)).state == "final_ok"


async def test_a_crowd_of_rows_does_not_hide_true_signatures(seam: Seam) -> None:
    """Sixteen signatures is all that a request to the signer carries."""
    await fill(seam)
    hot = (await seam.signer.hot_addresses())[0]
    paid = await approve(seam, await propose(seam, "to_hot", "5", "USDC", hot), "bob")
    words = encode_defunct(text=wording(seam.network, await intent(seam, paid), warm=warm_of(seam)))
    strange = bytes(STRANGER.sign_message(words).signature)
    await write(
        seam, paid, (STRANGER.address, strange), *((f"0x{n:040x}", strange) for n in range(1, 20))
    )
    await sign(seam, paid, BOB, "bob")
    await settle(seam)
    assert (await intent(seam, paid)).waiting_for == "approval"
    await sign(seam, paid, CY, "cy")
    await settle(seam)
    assert (await intent(seam, paid)).state == "final_ok"
    assert await seam.on_chain(hot, "USDC") > 0


async def test_a_signature_over_another_payment_counts_for_none(seam: Seam) -> None:
    await fill(seam)
    hot = (await seam.signer.hot_addresses())[0]
    seen, aimed = [
        await approve(seam, await propose(seam, "to_hot", amount, "USDC", hot), "bob")
        for amount in ("1", "9000")
    ]
    words = encode_defunct(text=wording(seam.network, await intent(seam, seen), warm=warm_of(seam)))
    await write(
        seam, aimed,
        *((key.address, bytes(key.sign_message(words).signature)) for key in (BOB, CY)),
    )  # fmt: skip
    await settle(seam)
    waits = await intent(seam, aimed)
    assert (waits.waiting_for, waits.nonce) == ("approval", None)
    assert await seam.differences() == []
