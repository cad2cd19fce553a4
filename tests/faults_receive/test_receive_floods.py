"""Strangers who fill blocks and receipts with logs, more than one answer of a node may hold.

For 380 gas anybody logs what is 370 bytes of a node's answer: a transaction of 16,000,000 gas has a
receipt of 16 MB. Here an answer may have 100 kB, and one of them logs 220 kB.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain.address import to_checksum
from chain.rpc import JsonRpc
from chain.testing import AnvilProcess
from wallet.db import Database
from wallet.testing.seam import Seam
from wallet.withdrawals import plan

FLOODER = to_checksum("0x" + "f1" * 20)
LOGS = 600
FLOODS = "0x61" + f"{LOGS:04x}" + "5b5f5fa06001900380600357" + "00"
"""Logs nothing, so many times, whoever pays it."""
FLOODERS = 4


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(
        db, anvil.url, tmp_path / "signer",
        transport=lambda: JsonRpc(anvil.url, max_bytes=100_000),
    )  # fmt: skip
    await seam.fund_house()
    await seam.node("anvil_setCode", FLOODER, FLOODS)
    yield seam
    await seam.close()


async def test_a_block_full_of_logs_stops_no_scanner(seam: Seam) -> None:
    ada = await seam.person()
    address = await seam.address(ada)
    await seam.automine(False)
    sent = [await seam.dev.call_contract(FLOODER, b"", gas=400_000) for _ in range(FLOODERS)]
    sent.append(await seam.dev.send_token(seam.network.tokens[0].contract, address, 10**6))
    sent.append(await seam.dev.send_native(address, 10**18))
    await seam.dev.mine(1)
    blocks = {(await seam.dev.wait_mined(tx)).block_number for tx in sent[FLOODERS:]}
    assert len(blocks) == 1  # all in one
    await seam.automine(True)
    await seam.finish()
    assert (await seam.balance(ada, "USDC")).total_minor == 10**6
    assert (await seam.balance(ada, "ETH")).total_minor == 10**18
    assert await seam.differences() == []


async def test_recipients_who_log_without_end_hide_nobody_s_payment(
    seam: Seam, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All payments that are under way are asked for together. So much gas has no recipient's code
    any more; payments of before have."""
    monkeypatch.setattr(plan, "CODE_GAS", plan.MAX_GAS)
    mallory, ada = await seam.funded_person(), await seam.funded_person()
    mine = [await seam.withdraw(mallory, "0.1", "ETH", FLOODER) for _ in range(FLOODERS)]
    hers = await seam.withdraw(ada, "0.1", "ETH", "0x00000000000000000000000000000000000A11cE")
    await seam.finish()
    assert (await seam.withdrawal(ada, hers.id)).status == "settled"
    assert {(await seam.withdrawal(mallory, one.id)).status for one in mine} == {"settled"}
    assert await seam.differences() == []
