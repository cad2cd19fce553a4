"""Own accounts on a network with several nodes: no single one says how a payment ended."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from chain.blocks import Receipt
from tests.selfcustody.own_stage import OUTSIDE, Stage


async def test_a_payment_that_one_node_alone_calls_reverted_has_not_ended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is told that it failed pays again."""
    ada = await stage.seam.person()
    account = await stage.imported(ada)
    made = await stage.begin(ada, account, "2", "ETH")
    chain = stage.seam.chain
    real, lies = chain.receipts, True

    async def receipts(hashes: Sequence[str]) -> list[Receipt | None]:
        told = await real(hashes)
        return [one and one._replace(status=0, logs=()) for one in told] if lies else told

    async def others(receipt: Receipt) -> bool:
        return [receipt] == await real([receipt.tx_hash])

    monkeypatch.setattr(chain, "receipts", receipts)
    monkeypatch.setattr(chain, "_confirmed", others)
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "mined"
    lies = False
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 2 * 10**18


async def test_nor_is_it_final_where_another_node_knows_less(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await stage.seam.person()
    account = await stage.imported(ada)
    made = await stage.begin(ada, account, "2", "ETH")
    chain = stage.seam.chain
    behind = True

    async def shared(number: int) -> tuple[int, frozenset[str]]:
        return (min(number, 1), frozenset()) if behind else (number, frozenset())

    monkeypatch.setattr(chain, "_shared", shared)
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "mined"
    behind = False
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"
