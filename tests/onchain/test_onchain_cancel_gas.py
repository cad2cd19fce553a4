"""A transfer of nothing has the gas that it takes: limit × price must lie at its sender."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chain.registry import FeeModel
from chain.transactions import decode_unsigned, native_transfer
from tests.withdrawals.test_withdrawals_replace import _attempts, _passes, _waiting
from wallet.onchain.replace import nothing, plain
from wallet.testing.seam import Seam

SENDER = "0x" + "1" * 40


async def test_a_cancel_of_a_dear_payment_is_not_as_dear(seam: Seam) -> None:
    ada, sent = await _waiting(seam, "5", "USDC")
    await seam.cancel(ada, sent.id)
    await _passes(seam)
    pay, cancel = [decode_unsigned(one.unsigned) for one in await _attempts(seam, sent)]
    assert pay.gas > 2 * 21_000 and cancel.gas == 21_000
    await seam.automine(True)
    await seam.finish()
    assert (await seam.withdrawal(ada, sent.id)).status == "cancelled"
    assert await seam.differences() == []


@pytest.mark.parametrize(("model", "gas"), [("l1", 21_000), ("op", 21_000), ("arbitrum", 90_000)])
def test_not_where_the_price_of_l1_lies_in_the_gas_units(model: FeeModel, gas: int) -> None:
    pays = native_transfer(
        chain_id=1, nonce=3, tip=1, cap=2, gas=90_000, to="0x" + "2" * 40, value_wei=5
    )
    done = plain(nothing(pays, SENDER), model)
    assert done == replace(nothing(pays, SENDER), gas=gas)
