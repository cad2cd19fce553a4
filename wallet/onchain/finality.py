"""Which blocks can no longer change, as far as money is concerned."""

from __future__ import annotations

from chain.blocks import BlockRef
from chain.client import ChainClient
from wallet.onchain.network import NetworkStatus

NOTHING_FINAL = -1


async def final_number(chain: ChainClient, *, status: NetworkStatus, head: BlockRef) -> int:
    """Height of the newest final block; −1 while nothing is.

    The network's own rule (depth, tag or both). Where we snapshot the node ourselves, a restart
    takes the chain back to the last stored snapshot: nothing above it is final, and nothing at all
    while that snapshot is of a fork the node has left.
    """
    number = await chain.final_number(head)
    if not chain.network.local_snapshots:
        return number
    if status.snapshot_block is None:
        return NOTHING_FINAL
    if status.snapshot_hash is not None:
        there = await chain.block_ref(status.snapshot_block)
        if there is None or there.hash != status.snapshot_hash:
            return NOTHING_FINAL
    return min(number, status.snapshot_block)
