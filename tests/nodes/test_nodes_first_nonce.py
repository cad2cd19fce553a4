"""One of several nodes that lies about an address's nonces begins none of the house's too far
ahead: nothing of it would ever be mined, and what is given goes down never."""

from __future__ import annotations

import argparse
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eth_account import Account

from chain.address import checked
from chain.client import ChainClient
from chain.failover import FailoverRpc
from chain.testing.fake_node import FakeNode
from wallet import cli_operator
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.onchain import casework
from wallet.sweeps import Sweeper
from wallet.testing.seam import Seam
from wallet.treasury import hot, moves

COLD = checked("0x00000000000000000000000000000000c01d0001")
OPERATORS = [Account.from_key(bytes([number]) * 32).address for number in (7, 8)]


@pytest.fixture
def honest() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def seam(db: Database, tmp_path: Path, honest: FakeNode) -> AsyncIterator[Seam]:
    seam = await Seam.open(
        db, "http://fake.invalid", tmp_path / "signer", confirmations=4, cold=COLD, warm=OPERATORS,
        transport=honest.transport,
    )  # fmt: skip
    [hot] = seam.desk.hot_addresses
    seam.network = replace(seam.network, contracts={"treasury": hot})
    [(chain_id, chain)] = seam.desk.policy.chains.items()
    swept = replace(chain, sweep_to=frozenset({hot}))
    seam.desk.policy = replace(seam.desk.policy, chains={chain_id: swept})
    seam.restart_worker()
    await seam.fund_house()
    yield seam
    await seam.close()


def lied_to(seam: Seam, honest: FakeNode) -> ChainClient:
    """The first of two nodes says that every address has used nine nonces."""
    liar = FakeNode()
    liar.chain, exchange = honest.chain, liar.exchange

    async def lying(body: bytes) -> bytes:
        asked: Any = json.loads(body)
        if isinstance(asked, dict) and asked["method"] == "eth_getTransactionCount":
            return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": "0x9"}).encode()
        return await exchange(body)

    liar.exchange = lying  # type: ignore[method-assign]
    several = FailoverRpc(seam.network, [liar.transport(), honest.transport()])
    return ChainClient(seam.network, several)


async def test_no_deposit_address(seam: Seam, honest: FakeNode) -> None:
    """Its coins would lie there for ever, and with forty such sweeps open none is made any more."""
    await seam.funded_person(eth="2", usdc="0.01")
    for chain in (lied_to(seam, honest), seam.chain):
        await Sweeper(seam.db, chain, seam.assets, seam.signer, patience_seconds=0.0).tick()
    await seam.finish()
    found = await seam.rows("SELECT kind, state FROM sweeps")
    assert [tuple(one) for one in found] == [("coin", "done")]


async def test_no_warm_address(seam: Seam, honest: FakeNode) -> None:
    """Nothing would leave warm any more, not even on the day that all of it has to."""
    to, warm = seam.desk.hot_addresses[0], seam.desk.warm_address
    async with seam.operators.transaction() as session:
        move = await moves.propose(
            session, network="local", money=seam.money("1", "ETH"), kind="to_hot", to_address=to,
            by="ada",
        )  # fmt: skip
    await seam.pay_in(str(warm), "5", "ETH")
    with pytest.raises(InvalidState, match="nodes"):
        await _approve(seam, move, lied_to(seam, honest))
    assert await seam.rows("SELECT 1 FROM chain_signers WHERE role = 'warm'") == []
    await _approve(seam, move, seam.chain)
    [row] = await seam.rows("SELECT next_nonce FROM chain_signers WHERE role = 'warm'")
    assert row.next_nonce == 0


async def _approve(seam: Seam, move: str, chain: ChainClient) -> None:
    async with seam.operators.transaction() as session:
        await moves.approve(session, move, by="bob", chain=chain, sender="", assets=seam.assets)


async def test_nor_does_an_operator_let_one_go_on_there(seam: Seam, honest: FakeNode) -> None:
    [address] = seam.desk.hot_addresses
    await hot.introduce(seam.db, seam.chain, address)
    async with seam.db.transaction() as session:
        await casework.halt_signer(
            session, network="local", address=address, reason="foreign_transaction"
        )
    services: Any = SimpleNamespace(
        db=seam.operators, chains={"local": lied_to(seam, honest)}, assets=seam.assets,
        signer=seam.signer, networks={"local": seam.network},
    )  # fmt: skip
    chosen = argparse.Namespace(
        network="local", address=address, by="ada", action="resume-signer", next_nonce=9
    )
    with pytest.raises(InvalidState, match="nodes"):
        await cli_operator.resume(services, chosen)
