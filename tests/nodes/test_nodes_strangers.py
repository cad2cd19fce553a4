"""Several nodes of which none serves the chain that is known: a case says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from chain.testing import AnvilProcess, FaultProxy
from tests.nodes.test_nodes_money import EVERYTHING, _stand_behind
from wallet.networks import states
from wallet.onchain import ChainUnavailable
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"


@pytest.fixture
async def strange() -> AsyncIterator[str]:
    """Another chain with the same chain id."""
    process = AnvilProcess()
    process.start()
    rpc = process.rpc()
    await rpc.call("anvil_mine", ("0x14", "0x7"))
    await rpc.aclose()
    yield process.url
    process.stop()


async def opened(seam: Seam) -> list[str]:
    return [row.kind for row in await seam.rows("SELECT kind FROM cases WHERE status = 'open'")]


@pytest.mark.parametrize("pinned", ["file", "database"])
async def test_where_all_of_them_are_strangers_a_case_names_them(
    seam: Seam, strange: str, pinned: str
) -> None:
    """They were told as away: nothing was sent, and nobody was told why."""
    await seam.observer.tick()
    ada = await seam.funded_person()
    if pinned == "database":
        seam.network = replace(seam.network, block1_hash=None)
    async with FaultProxy(strange) as one, FaultProxy(strange) as two:
        _stand_behind(seam, one.url, two.url)
        for _ in range(2):
            await seam.observer.tick()
        assert await opened(seam) == ["wrong_chain"]
        [case] = await seam.rows("SELECT what FROM cases WHERE status = 'open'")
        assert "node 1 and node 2" in case.what and "another block 1" in case.what
        async with seam.db.transaction() as session:
            seen = (await states(session))["local"]
        assert (seen.healthy, seen.as_of, seen.nodes_well) == (False, None, 0)
        with pytest.raises(ChainUnavailable):
            await seam.withdraw(ada, "1", "ETH", OUTSIDE)
    _stand_behind(seam, seam.url, seam.url)
    await seam.observer.tick()
    assert await opened(seam) == []


async def test_a_stranger_beside_one_that_is_away_is_a_case_once_the_network_is_stale(
    seam: Seam, strange: str
) -> None:
    await seam.observer.tick()
    async with FaultProxy(seam.url) as one, FaultProxy(strange) as two:
        _stand_behind(seam, one.url, two.url)
        one.fault, one.methods = "drop_request", EVERYTHING
        await seam.observer.tick()
        assert await opened(seam) == []  # it may answer again in a moment
        await seam.rows(
            "UPDATE network_state SET as_of = as_of - interval '20 s' RETURNING network"
        )
        await seam.observer.tick()
        assert await opened(seam) == ["wrong_chain"]
        [case] = await seam.rows("SELECT what FROM cases WHERE status = 'open'")
        assert "node 2 serves" in case.what


async def test_nodes_that_are_all_away_are_none(seam: Seam) -> None:
    await seam.observer.tick()
    async with FaultProxy(seam.url) as one, FaultProxy(seam.url) as two:
        _stand_behind(seam, one.url, two.url)
        for door in (one, two):
            door.fault, door.methods = "drop_request", EVERYTHING
        await seam.rows(
            "UPDATE network_state SET as_of = as_of - interval '20 s' RETURNING network"
        )
        await seam.observer.tick()
        assert await opened(seam) == []
