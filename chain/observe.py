"""Deposits inside a block: pure functions over what the node answered, trusting little of it.

A native deposit is a top-level transfer whose receipt says success; payments made inside
contracts are seen by `chain.traces`, or show as a balance difference. A token
deposit is a `Transfer` log of a listed contract with exactly the standard's shape.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from eth_hash.backends.pysha3 import keccak256 as keccak

from chain.address import to_checksum
from chain.blocks import Block, BlockTx, Log, Receipt
from chain.errors import NodeGarbage
from chain.registry import Token

NATIVE_LOG_INDEX = -1  # Stands in a deposit's key where a native transfer has no log.
TRANSFER_TOPIC = "0x" + keccak(b"Transfer(address,address,uint256)").hex()
_TRANSFER_TOPIC_BYTES = bytes.fromhex(TRANSFER_TOPIC[2:])
TRANSFER_TOPICS = 3
COINS_SWEPT_TOPIC = "0x" + keccak(b"NativeSwept(address,uint256)").hex()
_COINS_SWEPT_BYTES = bytes.fromhex(COINS_SWEPT_TOPIC[2:])
_WORD_BYTES = 32
_PADDING = "0x" + "0" * 24


@dataclass(frozen=True, slots=True)
class ObservedDeposit:
    """One arrival at a watched address; unique by (block hash, tx_hash, log_index, trace_path).

    `amount` in the asset's smallest unit, above zero. Addresses are EIP-55. `contract` is None
    and `log_index` −1 for the native coin, but for swept coins, which have a log. `trace_path` is
    empty but for coins paid inside a transaction: the frame that paid them (`chain.traces`).
    """

    tx_hash: str
    log_index: int
    asset: str
    contract: str | None
    from_address: str
    to_address: str
    amount: int
    trace_path: str = ""

    @property
    def is_coin_sweep(self) -> bool:
        """Whether this is what a log of swept coins says."""
        return self.contract is None and self.log_index > NATIVE_LOG_INDEX


class Watched(set[str]):
    """Watched addresses, lower-case only: one look-up each, no EIP-55 form is tried (a hash)."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A well-formed ERC-20 Transfer event of a listed contract. Addresses are lower-case."""

    token: Token
    from_address: str
    to_address: str
    amount: int


_PLACES = [1 << place for place in range(2048)]


def bloom_mask(item: bytes) -> int:
    """The three of 2,048 bits that stand for an item, as one number. Standard: Yellow Paper 4.3.1.

    `item`: an address's 20 or a topic's 32 bytes.
    """
    told = keccak(item)
    return (
        _PLACES[(told[0] << 8 | told[1]) & 0x7FF]
        | _PLACES[(told[2] << 8 | told[3]) & 0x7FF]
        | _PLACES[(told[4] << 8 | told[5]) & 0x7FF]
    )


_remembered = lru_cache(maxsize=4096)(bloom_mask)
"""The same few contracts and topics are looked for in every block."""


def bloom_may_contain(bloom: bytes, item: bytes) -> bool:
    """Whether a block's 2,048-bit bloom may hold `item`. False is certain."""
    mask = _remembered(item)
    return int.from_bytes(bloom, "big") & mask == mask


def bloom_of(logs: Iterable[Log]) -> bytes:
    """The bloom a header must carry for exactly these logs."""
    bits = 0
    for item in {item for log in logs for item in (log.address, *log.topics)}:
        bits |= bloom_mask(bytes.fromhex(item[2:]))
    return bits.to_bytes(256, "big")


def may_hold_transfers(block: Block, token: Token) -> bool:
    """Whether the block's bloom allows a Transfer log of this token."""
    contract = bytes.fromhex(token.contract[2:])
    bloom = block.logs_bloom
    return bloom_may_contain(bloom, contract) and bloom_may_contain(bloom, _TRANSFER_TOPIC_BYTES)


def transfer_in(log: Log, tokens: Sequence[Token]) -> Transfer | None:
    """The token transfer a log reports, or None if it is no ERC-20 Transfer of a listed contract.

    Exactly three topics and 32 bytes of data; topics with more than an address in them are not
    ERC-20 (ERC-721 uses four topics for the same signature).
    """
    if len(log.topics) != TRANSFER_TOPICS or log.topics[0] != TRANSFER_TOPIC:
        return None
    for token in tokens:
        if token.contract.lower() == log.address:
            break
    else:
        return None
    _, sender, recipient = log.topics
    if not (sender.startswith(_PADDING) and recipient.startswith(_PADDING)):
        return None
    if len(log.data) != _WORD_BYTES:
        return None
    amount = int.from_bytes(log.data, "big")
    return Transfer(token, "0x" + sender[26:], "0x" + recipient[26:], amount)


def coins_swept_in(log: Log) -> int | None:
    """The wei that a sweeping contract says its own address sent to the treasury. Anybody can emit
    such a log: it means something from an address of ours only."""
    if log.topics != (COINS_SWEPT_TOPIC, _PADDING + log.address[2:]):
        return None
    return int.from_bytes(log.data, "big") if len(log.data) == _WORD_BYTES else None


def may_hold_coin_sweeps(block: Block) -> bool:
    """Whether the block's bloom allows a log of swept coins."""
    return bloom_may_contain(block.logs_bloom, _COINS_SWEPT_BYTES)


def coin_sweeps(logs: Iterable[Log], *, treasury: str, asset: str) -> list[ObservedDeposit]:
    """Coins that logs say reached the treasury (EIP-55) from the address that emitted them, whose
    it is to be asked: see `coins_swept_in`. They have the place of their log, and no contract."""
    found = []
    for log in logs:
        amount = coins_swept_in(log)
        if amount:
            found.append(
                ObservedDeposit(
                    tx_hash=log.tx_hash,
                    log_index=log.log_index,
                    asset=asset,
                    contract=None,
                    from_address=to_checksum(log.address),
                    to_address=treasury,
                    amount=amount,
                )
            )
    return found


def net_transfers(logs: Iterable[Log], tokens: Sequence[Token]) -> dict[tuple[str, str], int]:
    """(asset, lower-case address) → what these logs say the balance changed by, in and out."""
    nets: dict[tuple[str, str], int] = {}
    for log in logs:
        moved = transfer_in(log, tokens)
        if moved is not None:
            code = moved.token.code
            for address, minor in (
                (moved.from_address, -moved.amount),
                (moved.to_address, moved.amount),
            ):
                nets[code, address] = nets.get((code, address), 0) + minor
    return nets


def verified_logs(block: Block, receipts: Sequence[Receipt]) -> list[Log]:
    """All logs of a block out of all its receipts. Raises NodeGarbage when some are missing.

    Log indexes must count 0, 1, 2 … through the block and the logs add up to exactly the
    header's bloom: together this shows any log left out but a repetition at the very end.
    """
    logs = [log for receipt in receipts for log in receipt.logs]
    if [log.log_index for log in logs] != list(range(len(logs))):
        raise NodeGarbage("the logs of a block are not numbered without a gap")
    if bloom_of(logs) != block.logs_bloom:
        raise NodeGarbage("the logs of a block do not add up to its bloom")
    return logs


def native_candidates(block: Block, watched: Container[str]) -> list[BlockTx]:
    """Transactions that pay the native coin to a watched address, if their receipts say success."""
    return [tx for tx in block.transactions if _pays_watched(tx, watched)]


def deposits_in(
    block: Block,
    receipts: Iterable[Receipt],
    logs: Iterable[Log],
    *,
    watched: Container[str],
    native_asset: str,
    tokens: Sequence[Token],
) -> list[ObservedDeposit]:
    """Everything in this block that arrived at a watched address, in block order.

    `watched` may hold EIP-55 or lower-case addresses. `receipts` must cover the transactions that
    pay watched addresses; more do no harm. Zero values, reverted transactions, unlisted
    contracts and malformed logs give nothing. Raises NodeGarbage when the parts do not belong
    together (another block, a log its receipt does not have, a receipt missing): a deposit must
    not be lost or invented because a node answered from two views of the chain.
    """
    by_hash = {receipt.tx_hash: receipt for receipt in receipts}
    held = {log for receipt in by_hash.values() for log in receipt.logs}
    found = []
    for log, deposit in token_deposits(block, logs, watched=watched, tokens=tokens):
        receipt = _receipt_of(log.tx_hash, block, by_hash)
        if log not in held:
            raise NodeGarbage("a log does not belong to its block and receipt")
        if receipt.status == 1:
            found.append(deposit)
    coins = native_deposits(block, by_hash, watched=watched, asset=native_asset)
    return in_order(block, [*coins, *found])


def native_deposits(
    block: Block, by_hash: Mapping[str, Receipt], *, watched: Container[str], asset: str
) -> list[ObservedDeposit]:
    """Coins that transactions brought. Raises NodeGarbage for a receipt of another block."""
    return [
        _native(tx, asset)
        for tx in native_candidates(block, watched)
        if _receipt_of(tx.hash, block, by_hash).status == 1
    ]


def token_deposits(
    block: Block, logs: Iterable[Log], *, watched: Container[str], tokens: Sequence[Token]
) -> list[tuple[Log, ObservedDeposit]]:
    """Tokens that logs say arrived. Raises NodeGarbage for a log of another block, or twice."""
    found = []
    seen: set[int] = set()
    for log in sorted(logs, key=lambda item: item.log_index):
        transfer = transfer_in(log, tokens)
        if transfer is None or transfer.amount == 0:
            continue
        if not is_watched(transfer.to_address, watched):
            continue
        if transfer.from_address == transfer.to_address:
            continue  # nothing arrives that was there before
        if log.block_hash != block.hash or log.log_index in seen:
            raise NodeGarbage("a log does not belong to its block and receipt")
        seen.add(log.log_index)
        found.append((log, _token(log, transfer)))
    return found


def in_order(block: Block, deposits: list[ObservedDeposit]) -> list[ObservedDeposit]:
    """By transaction, then by log."""
    if not deposits:
        return []
    order = {tx.hash: tx.index for tx in block.transactions}
    return sorted(deposits, key=lambda item: (order[item.tx_hash], item.log_index))


def is_watched(address: str, watched: Container[str]) -> bool:
    """Whether a lower-case address is in `watched`, in either form."""
    if isinstance(watched, Watched):
        return address in watched  # a node's addresses are lower-case once parsed
    return address in watched or to_checksum(address) in watched


def _pays_watched(tx: BlockTx, watched: Container[str]) -> bool:
    return tx.value > 0 and tx.to is not None and is_watched(tx.to, watched)


def _receipt_of(tx_hash: str, block: Block, by_hash: Mapping[str, Receipt]) -> Receipt:
    receipt = by_hash.get(tx_hash)
    if receipt is None or receipt.block_hash != block.hash:
        raise NodeGarbage("a transaction's receipt is missing or from another block")
    if not any(tx.hash == tx_hash for tx in block.transactions):
        raise NodeGarbage("a log names a transaction its block does not have")
    return receipt


def _native(tx: BlockTx, asset: str) -> ObservedDeposit:
    return ObservedDeposit(
        tx_hash=tx.hash,
        log_index=NATIVE_LOG_INDEX,
        asset=asset,
        contract=None,
        from_address=to_checksum(tx.from_address),
        to_address=to_checksum(tx.to or ""),
        amount=tx.value,
    )


def _token(log: Log, transfer: Transfer) -> ObservedDeposit:
    return ObservedDeposit(
        tx_hash=log.tx_hash,
        log_index=log.log_index,
        asset=transfer.token.code,
        contract=transfer.token.contract,
        from_address=to_checksum(transfer.from_address),
        to_address=to_checksum(transfer.to_address),
        amount=transfer.amount,
    )
