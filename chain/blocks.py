"""Blocks, transactions, receipts and logs as small immutable objects, parsed strictly.

Hashes are lower-case `0x` text. Addresses in here are lower-case too: they come by the thousand
and most are nobody's; `chain.observe` gives the EIP-55 form of those that matter.
Anything odd in a node's answer raises NodeGarbage; an absent block is the caller's `None`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from chain import parse
from chain.errors import NodeGarbage

BLOOM_BYTES = 256  # Yellow Paper, 4.3.1: 2,048 bits.
MAX_TOPICS = 4
_DATA_FEES = {"l1Fee", "operatorFeeScalar", "operatorFeeConstant"}
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
    fields = parse.table(value, "block")
    get = fields.get
    fee = get("baseFeePerGas")
    shape = _REF.fullmatch(
        f"{get('number')} {get('hash')} {get('parentHash')} {get('timestamp')}"
        f" {'0x0' if fee is None else fee}"
    )
    if shape is None:
        raise _odd_ref(fields)
    number, block_hash, parent, seconds, base_fee = shape.groups()
    return BlockRef(int(number, 16), block_hash, parent, int(seconds, 16), int(base_fee, 16))


def _odd_ref(fields: Mapping[str, object]) -> NodeGarbage:
    """Which field it is."""
    try:
        for name in ("number", "timestamp"):
            parse.quantity(fields.get(name), f"block.{name}")
        for name in ("hash", "parentHash"):
            parse.hash32(fields.get(name), f"block.{name}")
    except NodeGarbage as error:
        return error
    return NodeGarbage("block.baseFeePerGas is not a quantity")


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
    get = fields.get
    if get("removed") not in (None, False):
        raise NodeGarbage("the node answered a removed log")
    topics = parse.items(get("topics"), "log.topics")
    # One match for all: logs come by the hundred thousand. What is used is what matched.
    shape = _LOG.fullmatch(
        f"{get('address')} {get('data')} {get('blockHash')} {get('blockNumber')}"
        f" {get('transactionHash')} {get('logIndex')}" + "".join([f" {topic}" for topic in topics])
    )
    if shape is None:
        raise _odd_log(fields, topics)
    address, data, block_hash, block_number, tx_hash, log_index, told = shape.groups()
    return Log(
        address.lower(),
        tuple(told.split()),
        bytes.fromhex(data),
        block_hash,
        int(block_number, 16),
        tx_hash,
        int(log_index, 16),
    )


def _odd_log(fields: Mapping[str, object], topics: list[object]) -> NodeGarbage:
    """Which field it is."""
    if len(topics) > MAX_TOPICS:
        return NodeGarbage("a log has more than four topics")
    try:
        for topic in topics:
            parse.hash32(topic, "log.topics")
        parse.address(fields.get("address"), "log.address")
        parse.data(fields.get("data"), "log.data")
        parse.hash32(fields.get("blockHash"), "log.blockHash")
        parse.quantity(fields.get("blockNumber"), "log.blockNumber")
        parse.hash32(fields.get("transactionHash"), "log.transactionHash")
        parse.quantity(fields.get("logIndex"), "log.logIndex")
    except NodeGarbage as error:
        return error
    return NodeGarbage("a log is not of the standard's shape")


def parse_receipt(value: object) -> Receipt:
    """One receipt; its logs must name the same block and transaction."""
    fields = parse.table(value, "receipt")
    get = fields.get
    shape = _RECEIPT.fullmatch(
        f"{get('transactionHash')} {get('blockHash')} {get('blockNumber')}"
        f" {get('transactionIndex')} {get('status')} {get('gasUsed')} {get('effectiveGasPrice')}"
    )
    if shape is None:
        raise _odd_receipt(fields)
    tx_hash, block_hash, block_number, tx_index, status, used, price = shape.groups()
    created = get("contractAddress")
    logs = tuple([parse_log(item) for item in parse.items(get("logs"), "receipt.logs")])
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
        _data_fee(fields, gas_used),
    )


def _odd_receipt(fields: Mapping[str, object]) -> NodeGarbage:
    """Which field it is."""
    try:
        for name in ("status", "gasUsed", "blockNumber", "transactionIndex", "effectiveGasPrice"):
            parse.quantity(fields.get(name), f"receipt.{name}")
        for name in ("transactionHash", "blockHash"):
            parse.hash32(fields.get(name), f"receipt.{name}")
    except NodeGarbage as error:
        return error
    return NodeGarbage("a receipt's status is neither 0 nor 1")


def _data_fee(fields: Mapping[str, object], gas_used: int) -> int:
    """`l1Fee` plus `gasUsed × operatorFeeScalar / 10^6 + operatorFeeConstant` (Isthmus)."""

    if not _DATA_FEES & fields.keys():
        return 0

    def told(name: str) -> int:
        value = fields.get(name)
        return 0 if value is None else parse.quantity(value, f"receipt.{name}")

    operator = gas_used * told("operatorFeeScalar") // 10**6 + told("operatorFeeConstant")
    return told("l1Fee") + operator


def _parse_tx(value: object, ref: BlockRef, index: int) -> BlockTx:
    fields = parse.table(value, "transaction")
    get = fields.get
    shape = _TX.fullmatch(
        f"{get('hash')} {get('transactionIndex')} {get('from')} {get('value')} {get('nonce')}"
    )
    if shape is None:
        raise _odd_tx(fields)
    tx_hash, place, sender, amount, nonce = shape.groups()
    to = get("to")
    tx = BlockTx(
        tx_hash,
        int(place, 16),
        sender.lower(),
        None if to is None else parse.address(to, "transaction.to"),
        int(amount, 16),
        int(nonce, 16),
    )
    if tx.index != index or get("blockHash") != ref.hash:
        raise NodeGarbage("a block holds a transaction of another place")
    return tx


def _odd_tx(fields: Mapping[str, object]) -> NodeGarbage:
    """Which field it is."""
    try:
        parse.hash32(fields.get("hash"), "transaction.hash")
        parse.address(fields.get("from"), "transaction.from")
        for name in ("transactionIndex", "value", "nonce"):
            parse.quantity(fields.get(name), f"transaction.{name}")
    except NodeGarbage as error:
        return error
    return NodeGarbage("a transaction is not of the standard's shape")
