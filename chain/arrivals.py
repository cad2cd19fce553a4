"""What arrived in a block, by receipts or a range's logs, and whether balances moved so."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from chain.balances import PAIRS_AT_ONCE, Pair, balance_changes
from chain.blocks import Block, Log, Receipt, parse_ref
from chain.errors import NodeGarbage
from chain.lanes import in_lanes
from chain.observe import (
    ObservedDeposit,
    coin_sweeps,
    deposits_in,
    in_order,
    is_watched,
    may_hold_coin_sweeps,
    may_hold_transfers,
    native_candidates,
    native_deposits,
    net_transfers,
    token_deposits,
    verified_logs,
)
from chain.ranges import Range, logs_in
from chain.receipts import Ahead, BlockReceipts, receipts_of
from chain.registry import Network, Token
from chain.rpc import Rpc
from chain.told import GET_BLOCK
from chain.window import Window

Checked = tuple[ObservedDeposit, bool]
"""A deposit, and whether its recipient's balance moved as the block's logs say."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Deposits of one network's blocks through one transport."""

    rpc: Rpc
    network: Network
    receipts: BlockReceipts
    pairs: Window = field(default_factory=lambda: Window(PAIRS_AT_ONCE))
    """Whose balances are asked for in one request."""

    def may_matter(self, block: Block, watched: Container[str]) -> bool:
        """Whether anything may have arrived, as far as the block alone tells."""
        return bool(
            self._tokens(block)
            or native_candidates(block, watched)
            or (self._treasury(watched) and may_hold_coin_sweeps(block))
        )

    async def in_block(
        self, block: Block, watched: Container[str], ahead: Ahead
    ) -> tuple[list[ObservedDeposit], list[Log]]:
        """What arrived by all its receipts, with all its logs. Raises NodeGarbage."""
        if not self.may_matter(block, watched):
            return [], []
        receipts = ahead.get(block.hash) or await self.receipts.of(block)
        logs = verified_logs(block, receipts)
        deposits = deposits_in(
            block,
            receipts,
            logs,
            watched=watched,
            native_asset=self.network.native_asset,
            tokens=self._tokens(block),
        )
        return in_order(block, [*deposits, *self._coin_sweeps(logs, watched)]), logs

    async def checked_in_block(
        self, block: Block, watched: Container[str], ahead: Ahead
    ) -> list[Checked]:
        """The same, each with whether the recipient's balance moved as the logs say."""
        deposits, logs = await self.in_block(block, watched, ahead)
        return (await self._checked([(block, deposits, logs)]))[0]

    async def in_range(self, piece: Range, watched: Container[str]) -> dict[str, list[Checked]]:
        """What `checked_in_block` says of each block where something arrived, by block hash."""
        coins = {
            block.hash: [tx.hash for tx in native_candidates(block, watched)]
            for block in piece.blocks
        }
        paid = await receipts_of(self.rpc, [item for many in coins.values() for item in many])
        by_hash = {receipt.tx_hash: receipt for receipt in paid if receipt is not None}
        clear: list[tuple[Block, list[ObservedDeposit], list[Log]]] = []
        unclear: list[Block] = []
        for block in piece.blocks:
            logs = logs_in(
                piece, block, watched=watched, tokens=self.network.tokens,
                coin_sweeps=self._treasury(watched) is not None,
            )  # fmt: skip
            if logs is None:
                unclear.append(block)
            elif logs or coins[block.hash]:
                clear.append((block, self._in_logs(block, logs, by_hash, watched), logs))

        async def by_receipts(
            block: Block,
        ) -> tuple[Block, list[ObservedDeposit], list[Log]]:
            return block, *await self.in_block(block, watched, {})

        clear += await in_lanes(unclear, by_receipts)
        clear.sort(key=lambda item: item[0].number)
        checked = await self._checked(clear)
        return {
            block.hash: many for (block, _, _), many in zip(clear, checked, strict=True) if many
        }

    def _tokens(self, block: Block) -> list[Token]:
        return [token for token in self.network.tokens if may_hold_transfers(block, token)]

    def _in_logs(
        self,
        block: Block,
        logs: list[Log],
        by_hash: Mapping[str, Receipt],
        watched: Container[str],
    ) -> list[ObservedDeposit]:
        """By these logs, which add up to the header, and the receipts of what pays coins."""
        coins = native_deposits(block, by_hash, watched=watched, asset=self.network.native_asset)
        tokens = token_deposits(block, logs, watched=watched, tokens=self.network.tokens)
        swept = self._coin_sweeps(logs, watched)
        return in_order(block, [*coins, *(deposit for _, deposit in tokens), *swept])

    def _treasury(self, watched: Container[str]) -> str | None:
        """Where the sweeping contracts send, if that is looked at."""
        treasury = self.network.contracts.get("treasury")
        return treasury if treasury and is_watched(treasury.lower(), watched) else None

    def _coin_sweeps(self, logs: Iterable[Log], watched: Container[str]) -> list[ObservedDeposit]:
        treasury = self._treasury(watched)
        if treasury is None:
            return []
        return coin_sweeps(logs, treasury=treasury, asset=self.network.native_asset)

    async def _checked(
        self, found: Sequence[tuple[Block, list[ObservedDeposit], list[Log]]]
    ) -> list[list[Checked]]:
        """Of several blocks: what was found, and all logs of listed tokens there."""
        wanted = [(block.number, pair) for block, many, _ in found for pair in _pairs(many)]
        moved = await balance_changes(self.rpc, self.network, wanted, self.pairs)
        changes = dict(zip(wanted, moved, strict=True))
        checked = [
            _judged(many, net_transfers(logs, self.network.tokens), block.number, changes)
            if any(deposit.contract is not None for deposit in many)
            else [(deposit, True) for deposit in many]
            for block, many, logs in found
        ]
        for (block, _, _), many in zip(found, checked, strict=True):
            if not all(right for _, right in many):
                await self._must_stand(block)
        return checked

    async def _must_stand(self, block: Block) -> None:
        """Balances are asked by height: those of another fork contradict nothing. Raises
        NodeGarbage where the block is another one by now."""
        answer = await self.rpc.call(GET_BLOCK, (hex(block.number), False))
        if answer is None or parse_ref(answer).hash != block.hash:
            raise NodeGarbage("the chain changed while balances were read")


def _pairs(deposits: Iterable[ObservedDeposit]) -> list[Pair]:
    """Whose balance in which token must have moved."""
    return sorted({(d.asset, d.to_address) for d in deposits if d.contract is not None})


def _judged(
    deposits: Sequence[ObservedDeposit],
    told: Mapping[Pair, int],
    height: int,
    changes: Mapping[tuple[int, Pair], int | None],
) -> list[Checked]:
    """`told`: what the block's logs say of each asset and lower-case address. A node that has no
    state of the block any more leaves the logs alone, and they stand."""
    judged = []
    for deposit in deposits:
        moved = None
        if deposit.contract is not None:
            moved = changes[height, (deposit.asset, deposit.to_address)]
        right = moved is None or moved == told[deposit.asset, deposit.to_address.lower()]
        judged.append((deposit, right))
    return judged
