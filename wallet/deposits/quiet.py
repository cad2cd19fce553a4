"""Whether a pass of the scanner could find anything new: the node's head and one query tell."""

from __future__ import annotations

from dataclasses import dataclass, field

from chain.client import ChainClient
from chain.errors import NodeTimeout, NodeUnavailable
from wallet import clock
from wallet.db import Database
from wallet.deposits.lineage import Tip

WHOLE_PASS_SECONDS = 10.0  # where nothing is new, a whole pass is made this often


@dataclass(frozen=True, slots=True)
class Settled:
    """Where a whole pass began that ended well, and when."""

    tip: Tip
    snapshot_hash: str | None
    began_seconds: float = field(default_factory=clock.steady)


async def nothing_new(db: Database, chain: ChainClient, settled: Settled) -> bool:
    """Whether all is as when that pass began: the node's head, and what we keep.

    Only where finality is a matter of depth: a tag may move while the head stays.
    """
    if chain.network.finality != "depth":
        return False
    if clock.steady() - settled.began_seconds > WHOLE_PASS_SECONDS:
        return False
    try:
        if (await chain.head()).hash != settled.tip.hash:
            return False
    except (NodeUnavailable, NodeTimeout):
        return False  # the whole pass says so
    return await _nothing_waits(db, chain.network.name, settled)


async def _nothing_waits(db: Database, network: str, settled: Settled) -> bool:
    """Still at this place over this snapshot, and nothing waits to be booked: deposits, losses that
    may return, gas of cold addresses."""
    return bool(
        await db.look(
            "SELECT EXISTS (SELECT FROM scan_state s JOIN network_state n ON n.network = s.network"
            " WHERE s.network = :network AND s.tip_hash = :tip AND s.final_number = :final"
            " AND n.halted_reason IS NULL"
            " AND n.snapshot_hash IS NOT DISTINCT FROM CAST(:snapshot AS text))"
            " AND NOT EXISTS (SELECT FROM deposits WHERE network = :network"
            " AND status IN ('seen', 'confirmed'))"
            " AND NOT EXISTS (SELECT FROM deposit_losses WHERE network = :network"
            " AND return_entry_id IS NULL)"
            " AND NOT EXISTS (SELECT FROM cold_gas WHERE network = :network AND entry_id IS NULL)",
            {
                "network": network,
                "tip": settled.tip.hash,
                "final": settled.tip.final_number,
                "snapshot": settled.snapshot_hash,
            },
        )
    )
