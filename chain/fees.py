"""What to pay per unit of gas now, from the node's fee history. Pure.

Standards: EIP-1559; `eth_feeHistory` of execution-apis. All figures in wei per gas.
"""

from __future__ import annotations

from dataclasses import dataclass

from chain import parse
from chain.errors import FeeCeiling, NodeGarbage

FEE_HISTORY_BLOCKS = 10
FEE_HISTORY_PERCENTILE = 50
HEADROOM_PERCENT = 26
FEE_HISTORY = (
    "eth_feeHistory", (hex(FEE_HISTORY_BLOCKS), "latest", [FEE_HISTORY_PERCENTILE]),
)  # fmt: skip
"""What `quote` reads, as a node is asked for it."""


@dataclass(frozen=True, slots=True)
class FeeQuote:
    """Fees for a transaction sent now: `cap = 2 × base_fee + tip`.

    Twice the base fee covers five full blocks in a row, each raising it by 12.5 %.
    """

    base_fee: int
    tip: int
    cap: int


def least_cap(base_fee: int, tip: int) -> int:
    """The least cap worth a nonce: a transaction that bids less may be passed by for hours when
    fees rise, and everything behind its nonce with it. Two full blocks in a row are covered."""
    return -(-base_fee * (100 + HEADROOM_PERCENT) // 100) + tip


def quote(fee_history: object, *, min_tip_wei: int, max_fee_wei: int) -> FeeQuote:
    """The quote from an `eth_feeHistory` answer with one percentile column.

    The base fee is the next block's; the tip the lower median of the blocks' rewards, at least
    `min_tip_wei`. Raises FeeCeiling when the cap exceeds `max_fee_wei`, NodeGarbage for an answer
    that is none.
    """
    history = parse.table(fee_history, "eth_feeHistory")
    base_fees = parse.items(history.get("baseFeePerGas"), "feeHistory.baseFeePerGas")
    if not base_fees:
        raise NodeGarbage("feeHistory.baseFeePerGas is empty")
    base_fee = parse.quantity(base_fees[-1], "feeHistory.baseFeePerGas")
    tip = max(min_tip_wei, _median_reward(history.get("reward")))
    cap = 2 * base_fee + tip
    if cap > max_fee_wei:
        raise FeeCeiling(
            needed_wei=cap, ceiling_wei=max_fee_wei, base_fee_wei=base_fee, tip_wei=tip
        )
    return FeeQuote(base_fee=base_fee, tip=tip, cap=cap)


def _median_reward(rewards: object) -> int:
    """The lower median of the reward column; 0 when the node gives none."""
    if rewards is None:
        return 0
    values = []
    for row in parse.items(rewards, "feeHistory.reward"):
        columns = parse.items(row, "feeHistory.reward")
        if columns:
            values.append(parse.quantity(columns[0], "feeHistory.reward"))
    values.sort()
    return values[(len(values) - 1) // 2] if values else 0
