"""The local node dies and returns from its last snapshot; books and chain agree at every step."""

from __future__ import annotations

from pathlib import Path

from chain.dev import DevNode
from chain.rpc import JsonRpc
from chain.testing import AnvilProcess
from wallet.db import Database
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"


async def _snapshot(seam: Seam) -> None:
    head = await seam.chain.head()
    await seam.rows(
        "UPDATE network_state SET snapshot_block = :n, snapshot_hash = :h RETURNING 1",
        n=head.number,
        h=head.hash,
    )


async def test_payouts_after_the_last_snapshot_are_paid_again_not_twice(
    db: Database, anvil: AnvilProcess, tmp_path: Path
) -> None:
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", local_snapshots=True)
    [hot] = await seam.signer.hot_addresses()
    ada = await seam.person()
    for address in (hot, await seam.address(ada)):
        await seam.pay_in(address, "50", "ETH")
    await seam.mine(10)
    await _snapshot(seam)
    await seam.pass_once()
    assert (await seam.balance(ada, "ETH")).total_minor == 50 * 10**18
    state = tmp_path / "state.json"
    state.write_bytes(await seam.dev.dump_state())
    await _snapshot(seam)

    made = [await seam.withdraw(ada, "0.25", "ETH", OUTSIDE) for _ in range(3)]
    await seam.pass_once()
    assert await seam.differences() == []  # what is mined and not booked is explained
    await seam.mine(12)
    assert {(await seam.withdrawal(ada, w.id)).status for w in made} == {"mined"}
    assert await seam.differences() == []
    anvil.kill()
    await seam.close()

    with AnvilProcess(load_state=state) as again:
        seam.opened = [JsonRpc(again.url)]
        seam.dev = DevNode(seam.opened[0])
        seam.restart_worker(url=again.url)
        await seam.mine(13)
        for _ in range(3):
            await seam.mine(4)
            assert await seam.differences() == []
        await _snapshot(seam)
        await seam.finish()
        assert {(await seam.withdrawal(ada, w.id)).status for w in made} == {"settled"}
        assert await seam.on_chain(OUTSIDE, "ETH") == 75 * 10**16
        assert len(await seam.rows("SELECT 1 FROM chain_attempts")) == 3
        assert await seam.differences() == []
        await seam.close()
