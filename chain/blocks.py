"""Blocks, transactions, receipts and logs as small immutable objects, parsed strictly.

Hashes are lower-case `0x` text. Addresses in here are lower-case too: they come by the thousand
and most are nobody's; `chain.observe` gives the EIP-55 form of those that matter.
Anything odd in a node's answer raises NodeGarbage; an absent block is the caller's `None`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from chain import parse
from chain.errors import NodeGarbage
from chain.told import MAX_TOPICS, BlockTold, LogTold, ReceiptTold, TxTold, as_told

BLOOM_BYTES = 256  # Yellow Paper, 4.3.1: 2,048 bits.
LAST_NUMBER = 2**63 - 1  # What a column holds; at a block a millisecond 292 million years away.
LAST_SECOND = 253_402_300_799  # The end of 9999, the last that a date holds.
_HASH, _NUMBER, _ADDRESS = "(0x[0-9a-f]{64})", "0x(0|[1-9a-f][0-9a-f]{0,63})", "(0x[0-9a-fA-F]{40})"
_REF = re.compile(f"{_NUMBER} {_HASH} {_HASH} {_NUMBER} {_NUMBER}", re.ASCII)
_TX = re.compile(f"{_HASH} {_NUMBER} {_ADDRESS} {_NUMBER} {_NUMBER}", re.ASCII)
_LOG = re.compile(
    f"{_ADDRESS} 0x((?:[0-9a-fA-F]{{2}})*) {_HASH} {_NUMBER} {_HASH} {_NUMBER}"
    f"((?: 0x[0-9a-f]{{64}}){{0,{MAX_TOPICS}}})",
    re.ASCII,
)
_RECEIPT = re.compile(f"{_HASH} {_HASH} {_NUMBER} {_NUMBER} 0x([01]) {_NUMBER} {_NUMBER}", re.ASCII)


class BlockRef(NamedTuple):
    """A block's place in the chain. Seconds; `base_fee` in wei, 0 before EIP-1559."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    base_fee: int


class BlockTx(NamedTuple):
    """A transaction inside a block. `to` is None for a contract creation; `value` in wei."""

    hash: str
    index: int  # type: ignore[assignment]  # hides tuple.index
    from_address: str
    to: str | None
    value: int
    nonce: int


class Block(NamedTuple):
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


class Log(NamedTuple):
    """An event a contract emitted. `log_index` counts within the block."""

    address: str
    topics: tuple[str, ...]
    data: bytes
    block_hash: str
    block_number: int
    tx_hash: str
    log_index: int


class Receipt(NamedTuple):
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
    told = as_told(value, BlockTold, "block")
    fee = told.base_fee_per_gas
    shape = _REF.fullmatch(
        f"{told.number} {told.hash} {told.parent_hash} {told.timestamp}"
        f" {'0x0' if fee is None else fee}"
    )
    if shape is None:
        raise _odd_ref(told)
    digits, block_hash, parent, since, base_fee = shape.groups()
    number, seconds = int(digits, 16), int(since, 16)
    if number > LAST_NUMBER or seconds > LAST_SECOND:
        raise NodeGarbage("block.number or block.timestamp is beyond any chain")
    return BlockRef(number, block_hash, parent, seconds, int(base_fee, 16))


def _odd_ref(told: BlockTold) -> NodeGarbage:
    """Which field it is."""
    try:
        parse.quantity(told.number, "block.number")
        parse.quantity(told.timestamp, "block.timestamp")
        parse.hash32(told.hash, "block.hash")
        parse.hash32(told.parent_hash, "block.parentHash")
    except NodeGarbage as error:
        return error
    return NodeGarbage("block.baseFeePerGas is not a quantity")


def parse_block(value: object) -> Block:
    """A block with full transaction objects, each of which must belong to it."""
    told = as_told(value, BlockTold, "block")
    ref = parse_ref(told)
    listed = parse.items(told.transactions, "block.transactions")
    transactions = tuple([_parse_tx(item, ref, index) for index, item in enumerate(listed)])
    if len({tx.hash for tx in transactions}) != len(transactions):
        raise NodeGarbage("a block lists a transaction twice")
    bloom = parse.data(told.logs_bloom, "block.logsBloom", length=BLOOM_BYTES)
    gas = told.gas_used
    gas_used = None if gas is None else parse.quantity(gas, "block.gasUsed")
    return Block(ref=ref, logs_bloom=bloom, transactions=transactions, gas_used=gas_used)


def parse_log(value: object) -> Log:
    """One log object of a mined block."""
    told = as_told(value, LogTold, "log")
    if told.removed:
        raise NodeGarbage("the node answered a removed log")
    # One match for all: logs come by the hundred thousand. What is used is what matched.
    shape = _LOG.fullmatch(
        f"{told.address} {told.data} {told.block_hash} {told.block_number}"
        f" {told.transaction_hash} {told.log_index}" + "".join([f" {item}" for item in told.topics])
    )
    if shape is None:
        raise _odd_log(told)
    address, data, block_hash, block_number, tx_hash, log_index, topics = shape.groups()
    return Log(
        address.lower(),
        tuple(topics.split()),
        bytes.fromhex(data),
        block_hash,
        int(block_number, 16),
        tx_hash,
        int(log_index, 16),
    )


def _odd_log(told: LogTold) -> NodeGarbage:
    """Which field it is."""
    try:
        for topic in told.topics:
            parse.hash32(topic, "log.topics")
        parse.address(told.address, "log.address")
        parse.data(told.data, "log.data")
        parse.hash32(told.block_hash, "log.blockHash")
        parse.quantity(told.block_number, "log.blockNumber")
        parse.hash32(told.transaction_hash, "log.transactionHash")
        parse.quantity(told.log_index, "log.logIndex")
    except NodeGarbage as error:
        return error
    return NodeGarbage("a log is not of the standard's shape")


def parse_receipt(value: object) -> Receipt:
    """One receipt; its logs must name the same block and transaction."""
    told = as_told(value, ReceiptTold, "receipt")
    shape = _RECEIPT.fullmatch(
        f"{told.transaction_hash} {told.block_hash} {told.block_number}"
        f" {told.transaction_index} {told.status} {told.gas_used} {told.effective_gas_price}"
    )
    if shape is None:
        raise _odd_receipt(told)
    tx_hash, block_hash, block_number, tx_index, status, used, price = shape.groups()
    created = told.contract_address
    logs = tuple([parse_log(item) for item in told.logs])
    gas_used = int(used, 16)
    for log in logs:
        if log.block_hash != block_hash or log.tx_hash != tx_hash:
            raise NodeGarbage("a receipt holds a log of another transaction")
    if logs and status == "0":
        raise NodeGarbage("a reverted transaction has logs")
    return Receipt(
        tx_hash,
        block_hash,
        int(block_number, 16),
        int(tx_index, 16),
        int(status),
        gas_used,
        int(price, 16),
        None if created is None else parse.address(created, "receipt.contractAddress"),
        logs,
        _data_fee(told, gas_used),
    )


def _odd_receipt(told: ReceiptTold) -> NodeGarbage:
    """Which field it is."""
    try:
        parse.quantity(told.status, "receipt.status")
        parse.quantity(told.gas_used, "receipt.gasUsed")
        parse.quantity(told.block_number, "receipt.blockNumber")
        parse.quantity(told.transaction_index, "receipt.transactionIndex")
        parse.quantity(told.effective_gas_price, "receipt.effectiveGasPrice")
        parse.hash32(told.transaction_hash, "receipt.transactionHash")
        parse.hash32(told.block_hash, "receipt.blockHash")
    except NodeGarbage as error:
        return error
    return NodeGarbage("a receipt's status is neither 0 nor 1")


def _data_fee(told: ReceiptTold, gas_used: int) -> int:
    """`l1Fee` plus `gasUsed × operatorFeeScalar / 10^6 + operatorFeeConstant` (Isthmus)."""
    scalar, constant = told.operator_fee_scalar, told.operator_fee_constant
    if told.l1_fee is None and scalar is None and constant is None:
        return 0
    operator = gas_used * _fee(scalar, "operatorFeeScalar") // 10**6
    return _fee(told.l1_fee, "l1Fee") + operator + _fee(constant, "operatorFeeConstant")


def _fee(value: str | None, name: str) -> int:
    return 0 if value is None else parse.quantity(value, f"receipt.{name}")


def _parse_tx(value: object, ref: BlockRef, index: int) -> BlockTx:
    told = as_told(value, TxTold, "transaction")
    shape = _TX.fullmatch(
        f"{told.hash} {told.transaction_index} {told.sender} {told.value} {told.nonce}"
    )
    if shape is None:
        raise _odd_tx(told)
    tx_hash, place, sender, amount, nonce = shape.groups()
    to = told.to
    tx = BlockTx(
        tx_hash,
        int(place, 16),
        sender.lower(),
        None if to is None else parse.address(to, "transaction.to"),
        int(amount, 16),
        int(nonce, 16),
    )
    if tx.index != index or told.block_hash != ref.hash:
        raise NodeGarbage("a block holds a transaction of another place")
    return tx


def _odd_tx(told: TxTold) -> NodeGarbage:
    """Which field it is."""
    try:
        parse.hash32(told.hash, "transaction.hash")
        parse.address(told.sender, "transaction.from")
        parse.quantity(told.transaction_index, "transaction.transactionIndex")
        parse.quantity(told.value, "transaction.value")
        parse.quantity(told.nonce, "transaction.nonce")
    except NodeGarbage as error:
        return error
    return NodeGarbage("a transaction is not of the standard's shape")
