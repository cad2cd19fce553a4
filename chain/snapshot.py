"""Makes an Anvil snapshot reload reliably. Pure; development nodes only.

Anvil writes its past states in hash-map order and, once reloaded, forgets the first ones in the
file when new blocks come: measured on 1.7.1, that could be the state of the newest block, and
`anvil_reorg` or a past balance then failed with "Required data unavailable". Sorted from old to
new it forgets the oldest. Each state also repeats the hash of every block there ever was, which
makes snapshots grow with (states × blocks); the EVM can only ask for the last 256.
"""

from __future__ import annotations

from typing import Any

import orjson

from chain.errors import NodeGarbage

BLOCKHASH_REACH = 256  # Blocks whose hashes the BLOCKHASH instruction can see (Yellow Paper H.2).


def normalised(text: bytes) -> bytes:
    """The same snapshot with its past states sorted by block and their block hashes cut.

    All of Anvil's integers beyond 64 bits are hexadecimal texts, so re-encoding is exact. Raises
    NodeGarbage when the text is no snapshot.
    """
    try:
        document: dict[str, Any] = orjson.loads(text)
        states = document.get("historical_states")
        if not states:
            return text
        heights = _heights(document)
        # States of blocks that were reorganised away come first: nobody will ask for them. (The
        # newest block's state is no past state; the snapshot holds it as `accounts`.)
        document["historical_states"] = sorted(
            ([block_hash, _cut(state)] for block_hash, state in states),
            key=lambda item: heights.get(item[0], -1),
        )
        return orjson.dumps(document)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        raise NodeGarbage("the node's state is not an Anvil snapshot") from None


def _heights(document: dict[str, Any]) -> dict[str, int]:
    """Height of each block but the newest, known by its child's `parentHash`."""
    return {
        block["header"]["parentHash"]: int(block["header"]["number"], 16) - 1
        for block in document["blocks"]
    }


def _cut(state: dict[str, Any]) -> dict[str, Any]:
    hashes = state["block_hashes"]
    if len(hashes) > BLOCKHASH_REACH:
        newest = sorted(hashes, key=lambda number: int(number, 16))[-BLOCKHASH_REACH:]
        state["block_hashes"] = {number: hashes[number] for number in newest}
    return state
