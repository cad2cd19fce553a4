"""Blocks, transactions, receipts and logs as small immutable objects, parsed strictly.

Hashes are lower-case `0x` text. Addresses in here are lower-case too: they come by the thousand
and most are nobody's; `chain.observe` gives the EIP-55 form of those that matter.
Anything odd in a node's answer raises NodeGarbage; an absent block is the caller's `None`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chain import parse
from chain.errors import NodeGarbage

BLOOM_BYTES = 256  # Yellow Paper, 4.3.1: 2,048 bits.
MAX_TOPICS = 4


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block's place in the chain. Seconds; `base_fee` in wei, 0 before EIP-1559."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    base_fee: int


@dataclass(frozen=True, slots=True)
class BlockTx:
    """A transaction inside a block. `to` is None for a contract creation; `value` in wei."""

    hash: str
    index: int
    from_address: str
    to: str | None
    value: int
    nonce: int


@dataclass(frozen=True, slots=True)
class Block:
    """A block with its transactions in order; `logs_bloom` are the header's 256 bytes.

    `gas_used` by all of them; None where the header does not say.
    """

    ref: BlockRef
    logs_bloom: bytes
    transactions: tuple[BlockTx, ...]
    gas_used: int | None = None

    @property
    def number(self) -> int:
        """Height of the block."""
        return self.ref.number

    @property
    def hash(self) -> str:
        """Hash of the block."""
        return self.ref.hash

    @property
    def parent_hash(self) -> str:
        """Hash of the block below."""
        return self.ref.parent_hash


@dataclass(frozen=True, slots=True)
class Log:
    """An event a contract emitted. `log_index` counts within the block."""

    address: str
    topics: tuple[str, ...]
    data: bytes
    block_hash: str
    block_number: int
    tx_hash: str
    log_index: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a mined transaction did. `status` 1 is success, 0 reverted; prices in wei per gas."""

    tx_hash: str
    block_hash: str
    block_number: int
    tx_index: int
    status: int
    gas_used: int
    effective_gas_price: int
    contract_address: str | None
    logs: tuple[Log, ...]
    data_fee_wei: int = 0
    """What an OP chain took beside gas: the L1 data fee and the operator fee."""

    @property
    def fee_wei(self) -> int:
        """All that the sender paid for being mined, in wei."""
        return self.gas_used * self.effective_gas_price + self.data_fee_wei


def parse_ref(value: object) -> BlockRef:
    """A header or block object as `eth_getBlockByNumber` answers it. Raises NodeGarbage."""
    fields = parse.table(value, "block")
    fee = fields.get("baseFeePerGas")
    return BlockRef(
        number=parse.quantity(fields.get("number"), "block.number"),
        hash=parse.hash32(fields.get("hash"), "block.hash"),
        parent_hash=parse.hash32(fields.get("parentHash"), "block.parentHash"),
        timestamp=parse.quantity(fields.get("timestamp"), "block.timestamp"),
        base_fee=0 if fee is None else parse.quantity(fee, "block.baseFeePerGas"),
    )


def parse_block(value: object) -> Block:
    """A block with full transaction objects, each of which must belong to it."""
    ref = parse_ref(value)
    fields = parse.table(value, "block")
    listed = parse.items(fields.get("transactions"), "block.transactions")
    transactions = tuple(_parse_tx(item, ref, index) for index, item in enumerate(listed))
    if len({tx.hash for tx in transactions}) != len(transactions):
        raise NodeGarbage("a block lists a transaction twice")
    bloom = parse.data(fields.get("logsBloom"), "block.logsBloom", length=BLOOM_BYTES)
    gas = fields.get("gasUsed")
    gas_used = None if gas is None else parse.quantity(gas, "block.gasUsed")
    return Block(ref=ref, logs_bloom=bloom, transactions=transactions, gas_used=gas_used)


def parse_log(value: object) -> Log:
    """One log object of a mined block."""
    fields = parse.table(value, "log")
    if fields.get("removed") not in (None, False):
        raise NodeGarbage("the node answered a removed log")
    topics = parse.items(fields.get("topics"), "log.topics")
    if len(topics) > MAX_TOPICS:
        raise NodeGarbage("a log has more than four topics")
    return Log(
        address=parse.address(fields.get("address"), "log.address"),
        topics=tuple(parse.hash32(topic, "log.topics") for topic in topics),
        data=parse.data(fields.get("data"), "log.data"),
        block_hash=parse.hash32(fields.get("blockHash"), "log.blockHash"),
        block_number=parse.quantity(fields.get("blockNumber"), "log.blockNumber"),
        tx_hash=parse.hash32(fields.get("transactionHash"), "log.transactionHash"),
        log_index=parse.quantity(fields.get("logIndex"), "log.logIndex"),
    )


def parse_receipt(value: object) -> Receipt:
    """One receipt; its logs must name the same block and transaction."""
    fields = parse.table(value, "receipt")
    status = parse.quantity(fields.get("status"), "receipt.status")
    if status not in (0, 1):
        raise NodeGarbage("a receipt's status is neither 0 nor 1")
    created = fields.get("contractAddress")
    logs = tuple(parse_log(item) for item in parse.items(fields.get("logs"), "receipt.logs"))
    gas_used = parse.quantity(fields.get("gasUsed"), "receipt.gasUsed")
    receipt = Receipt(
        tx_hash=parse.hash32(fields.get("transactionHash"), "receipt.transactionHash"),
        block_hash=parse.hash32(fields.get("blockHash"), "receipt.blockHash"),
        block_number=parse.quantity(fields.get("blockNumber"), "receipt.blockNumber"),
        tx_index=parse.quantity(fields.get("transactionIndex"), "receipt.transactionIndex"),
        status=status,
        gas_used=gas_used,
        effective_gas_price=parse.quantity(
            fields.get("effectiveGasPrice"), "receipt.effectiveGasPrice"
        ),
        contract_address=(
            None if created is None else parse.address(created, "receipt.contractAddress")
        ),
        logs=logs,
        data_fee_wei=_data_fee(fields, gas_used),
    )
    for log in logs:
        same_place = (log.block_hash, log.tx_hash) == (receipt.block_hash, receipt.tx_hash)
        if not same_place:
            raise NodeGarbage("a receipt holds a log of another transaction")
    if status == 0 and logs:
        raise NodeGarbage("a reverted transaction has logs")
    return receipt


def _data_fee(fields: Mapping[str, object], gas_used: int) -> int:
    """`l1Fee` plus `gasUsed × operatorFeeScalar / 10^6 + operatorFeeConstant` (Isthmus)."""

    def told(name: str) -> int:
        value = fields.get(name)
        return 0 if value is None else parse.quantity(value, f"receipt.{name}")

    operator = gas_used * told("operatorFeeScalar") // 10**6 + told("operatorFeeConstant")
    return told("l1Fee") + operator


def _parse_tx(value: object, ref: BlockRef, index: int) -> BlockTx:
    fields = parse.table(value, "transaction")
    to = fields.get("to")
    tx = BlockTx(
        hash=parse.hash32(fields.get("hash"), "transaction.hash"),
        index=parse.quantity(fields.get("transactionIndex"), "transaction.transactionIndex"),
        from_address=parse.address(fields.get("from"), "transaction.from"),
        to=None if to is None else parse.address(to, "transaction.to"),
        value=parse.quantity(fields.get("value"), "transaction.value"),
        nonce=parse.quantity(fields.get("nonce"), "transaction.nonce"),
    )
    if tx.index != index or fields.get("blockHash") != ref.hash:
        raise NodeGarbage("a block holds a transaction of another place")
    return tx
