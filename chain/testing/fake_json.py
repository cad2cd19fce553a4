"""Blocks, transactions, logs and receipts of the fake chain as a node tells them."""

from __future__ import annotations

from chain.blocks import Log
from chain.testing.fake_chain import FakeBlock, FakeReceipt, FakeTx


def median_tip(block: FakeBlock) -> int:
    """What half of the block's gas paid beside the base fee, at most; 0 when it is empty."""
    left = block.gas_used / 2
    for receipt in sorted(block.receipts, key=lambda item: item.price):
        left -= receipt.gas_used
        if left <= 0:
            return receipt.price - block.base_fee
    return 0


def tx_json(tx: FakeTx, block: FakeBlock | None, receipt: FakeReceipt | None) -> object:
    """A transaction: without a block while it waits in the pool."""
    return {
        "hash": tx.hash, "from": tx.sender, "to": tx.to or None, "value": hex(tx.value),
        "nonce": hex(tx.nonce), "blockHash": None if block is None else block.hash,
        "transactionIndex": None if receipt is None else hex(receipt.index),
        "input": "0x" + tx.data.hex(), **tx.signed(),
    }  # fmt: skip


def log_json(log: Log) -> object:
    """One event."""
    return {
        "address": log.address, "topics": list(log.topics), "data": "0x" + log.data.hex(),
        "blockHash": log.block_hash, "blockNumber": hex(log.block_number),
        "transactionHash": log.tx_hash, "logIndex": hex(log.log_index), "removed": False,
    }  # fmt: skip


def receipt_json(receipt: FakeReceipt, block: FakeBlock) -> object:
    """What a transaction did."""
    created = receipt.tx.creates if receipt.status else None
    return {
        "transactionHash": receipt.tx.hash, "blockHash": block.hash,
        "blockNumber": hex(block.number), "transactionIndex": hex(receipt.index),
        "status": hex(receipt.status), "gasUsed": hex(receipt.gas_used),
        "effectiveGasPrice": hex(receipt.price),
        "contractAddress": None if created is None else created.address,
        "logs": [log_json(log) for log in receipt.logs],
    }  # fmt: skip
