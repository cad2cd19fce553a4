"""Withdrawals on chains of other fee models, planned and sent through a real node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chain.client import ChainClient
from chain.fee_models import GET_L1_FEE, GET_OPERATOR_FEE, GET_UPPER_BOUND, ORACLE
from chain.registry import FeeModel
from chain.transactions import decode_unsigned
from tests.chain.test_chain_fee_models import _oracle
from wallet.custody.errors import InvalidAddress
from wallet.onchain import ChainUnavailable
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
ANSWERS = {GET_L1_FEE: 10**12, GET_UPPER_BOUND: 3 * 10**12, GET_OPERATOR_FEE: 10**9}


def _with_model(seam: Seam, model: FeeModel) -> None:
    seam.network = replace(seam.network, fee_model=model)
    seam.restart_worker()


async def test_op_data_fee_is_estimated_and_held(seam: Seam) -> None:
    before = (await seam.plan("1", "ETH", OUTSIDE)).terms
    _with_model(seam, "op")
    with pytest.raises(ChainUnavailable):  # no oracle, no promise
        await seam.plan("1", "ETH", OUTSIDE)
    await seam.node("anvil_setCode", ORACLE, _oracle(ANSWERS))
    now = (await seam.plan("1", "ETH", OUTSIDE)).terms
    assert now.expected.minor - before.expected.minor == 10**12 + 10**9
    assert now.bound.minor - before.bound.minor == 2 * (3 * 10**12 + 10**9)
    assert now.gas_limit == before.gas_limit


async def test_arbitrum_cancel_keeps_a_limit_that_covers_l1(seam: Seam) -> None:
    """21,000 is nothing there: payment and cancel both carry the estimate with its margin."""
    ada = await seam.funded_person()
    _with_model(seam, "arbitrum")
    await seam.automine(False)
    made = await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    await seam.pass_once()
    await seam.cancel(ada, made.id)
    await seam.pass_once()
    await seam.pass_once()
    await seam.automine(True)
    await seam.finish()
    rows = await seam.rows("SELECT kind, unsigned FROM chain_attempts ORDER BY seq")
    limits = {row.kind: decode_unsigned(bytes(row.unsigned)).gas for row in rows}
    assert limits == {"pay": 31_500, "cancel": 31_500}
    assert (await seam.withdrawal(ada, made.id)).status == "cancelled"
    assert await seam.on_chain(OUTSIDE, "ETH") == 0
    assert await seam.differences() == []


async def test_arbitrum_gas_of_l1_is_nobodys_code(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its part of an estimate may be large; the code of a recipient has no more than elsewhere."""
    _with_model(seam, "arbitrum")
    plain = ChainClient.estimate_gas

    async def with_l1(self: ChainClient, *given: Any) -> int:
        return 400_000 + await plain(self, *given)

    monkeypatch.setattr(ChainClient, "estimate_gas", with_l1)
    assert (await seam.plan("1", "ETH", OUTSIDE)).terms.gas_limit == 631_500
    greedy = "0x00000000000000000000000000000000000A11C0"
    await seam.node("anvil_setCode", greedy, "0x62004000" + "5b" + "6001900380600457" + "00")
    with pytest.raises(InvalidAddress):  # 430,000 gas of its own
        await seam.plan("1", "ETH", greedy)
