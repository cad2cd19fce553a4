"""Own accounts on a network with several nodes: no single one says how a payment ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from chain.blocks import Receipt
from chain.client import ChainClient
from chain.fees import FeeQuote
from chain.spent import Spent, spender
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


async def test_nor_that_another_one_used_its_nonce(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It denies the receipt, and shows a stranger's transaction in the block that has ours."""
    ada = await stage.seam.person()
    account = await stage.imported(ada)
    made = await stage.begin(ada, account, "2", "ETH")
    chain = stage.seam.chain
    real, lies = chain.receipts, True

    async def receipts(hashes: Sequence[str]) -> list[Receipt | None]:
        return [None for _ in hashes] if lies else await real(hashes)

    async def strange(chain: ChainClient, address: str, nonce: int, *, final: int) -> Spent | None:
        found = await spender(chain, address, nonce, final=final)
        return found and replace(found, tx=found.tx._replace(to="0x" + "7" * 40), raw=None)

    async def others(
        method: str, params: Sequence[object], read: Callable[[object], int]
    ) -> list[tuple[str, int]]:
        return [("node 2", read(await chain.rpc.call(method, params)))]

    def same(_: str, ours: int, told: list[tuple[str, int]]) -> bool:
        return all(number == ours for _, number in told)

    monkeypatch.setattr(chain, "receipts", receipts)
    monkeypatch.setattr("wallet.selfcustody.worker.spender", strange)
    monkeypatch.setattr("wallet.selfcustody.turns.ASK_AGAIN_SECONDS", 0.0)
    rpc: Any = chain.rpc
    monkeypatch.setattr(rpc, "others", others, raising=False)
    monkeypatch.setattr(rpc, "same", same, raising=False)
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "sent"
    lies = False
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"


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


async def test_no_single_node_says_at_which_nonce_it_pays(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a gap it is mined when its owner has used that many nonces elsewhere, and until then
    the account pays nothing else."""
    ada = await stage.seam.person()
    account = await stage.imported(ada)
    made = await stage.begin(ada, account, "2", "ETH")
    chain = stage.seam.chain
    real, lies = chain.nonce, True

    async def too_many(address: str) -> int:
        return await real(address) + 3 * lies

    async def others(address: str, nonce: int) -> bool:
        return nonce < await real(address)

    monkeypatch.setattr(chain, "nonce", too_many)
    monkeypatch.setattr(chain, "_passed", others)
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "queued"
    lies = False
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 2 * 10**18


async def test_nor_for_how_little_it_is_mined(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing outbids it, and the account pays nothing else."""
    ada = await stage.seam.person()
    account = await stage.imported(ada)
    chain = stage.seam.chain
    real, lies = chain.fees, True
    true = [await real()]

    async def cheap() -> FeeQuote:
        true[:] = [await real()]
        return FeeQuote(base_fee=1, tip=1, cap=3) if lies else true[0]

    monkeypatch.setattr(chain, "fees", cheap)
    monkeypatch.setattr(chain.rpc, "base_fee", lambda: true[0].base_fee, raising=False)
    made = await stage.begin(ada, account, "2", "ETH")
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "queued"
    lies = False
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"


async def test_nor_does_one_that_denies_nonces_stop_an_account_that_pays_here_alone(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await stage.seam.person()
    account = await stage.imported(ada)

    async def denies(*_: object) -> bool:
        return False

    monkeypatch.setattr(stage.seam.chain, "_passed", denies)
    for _ in range(2):
        made = await stage.begin(ada, account, "1", "ETH")
        await stage.finish()
        assert (await stage.send(ada, made.id)).state == "settled"
