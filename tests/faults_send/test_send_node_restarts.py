"""S17 of the fault matrix: the node drops its mempool, or is started anew and has none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from chain.testing import AnvilProcess
from tests.faults_send.conftest import Case

ETH = 10**18
GONE_PASSES = 3


async def test_s17_a_node_that_forgot_its_pool(case: Case) -> None:
    made = await case.broadcast()
    await case.seam.node("anvil_dropAllTransactions")
    await case.seam.pass_once()
    assert len(case.meddler.sent) == 2 and len(set(case.meddler.sent)) == 1
    assert [tx.nonce for _, tx, _ in await case.fields()] == [0]
    await case.settled_once(made)


@pytest.fixture
async def restart(
    case: Case, anvil: AnvilProcess, tmp_path: Path
) -> AsyncIterator[Callable[[], None]]:
    """Starts the node again on its port from the blocks it has now, once `anvil` was killed."""
    state = tmp_path / "state.json"
    state.write_bytes(await case.seam.dev.dump_state())
    again = AnvilProcess(
        load_state=state, port=int(anvil.url.rsplit(":", 1)[1]), mine_on_send=False
    )
    yield lambda: (again.start(), None)[1]
    again.stop()


async def in_pool(case: Case) -> int:
    status = await case.seam.node("txpool_status")
    assert isinstance(status, dict)
    return sum(int(str(count), 16) for count in status.values())


@pytest.mark.parametrize("new_worker", [False, True])
async def test_s17_a_node_that_is_started_anew_without_its_pool(
    case: Case, anvil: AnvilProcess, restart: Callable[[], None], new_worker: bool
) -> None:
    """While it is away nothing ends; when it is back the same bytes go out, and a payment made
    before they did takes the nonce of our rows, not the one that its empty pool would give."""
    await case.seam.automine(False)
    made = [await case.withdraw("0.25") for _ in range(3)]
    await case.seam.pass_once()
    first = list(case.meddler.sent)
    assert await in_pool(case) == len(set(first)) == 3
    anvil.kill()
    for _ in range(GONE_PASSES):
        await case.seam.pass_once()
    assert {(await case.now(one)).status for one in made} == {"broadcast"}
    assert len(case.meddler.sent) - len(first) <= GONE_PASSES  # asked for in vain
    del case.meddler.sent[len(first) :]
    restart()
    [hot] = await case.seam.signer.hot_addresses()
    assert await in_pool(case) == 0
    assert await case.seam.node("eth_getTransactionCount", hot, "pending") == "0x0"
    if new_worker:
        case.stand()
    await case.seam.observer.tick()
    made.append(await case.withdraw("0.25"))
    await case.seam.pass_once()
    again = case.meddler.sent[3:]
    assert sorted(again[:3]) == sorted(first) and len(set(again)) == 4
    assert [tx.nonce for _, tx, _ in await case.fields()] == [0, 1, 2, 3]
    await case.settled_once(made[0], ETH)
    assert {(await case.now(one)).status for one in made} == {"settled"}
    assert len(await case.fields()) == 4
