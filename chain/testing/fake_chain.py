"""The state behind FakeNode: accounts, token balances, blocks, a pool. Deterministic, in memory.

It follows Anvil's rules where the two overlap; `tests/chain` runs one suite against both.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from eth_hash.auto import keccak

from chain.blocks import Log
from chain.observe import TRANSFER_TOPIC, bloom_of
from chain.transactions import PLAIN_TRANSFER_GAS, TRANSFER_SELECTOR

BASE_FEE_WEI = 10**9
TOKEN_GAS = 51_436
GENESIS_TIME = 1_700_000_000
_WORD = 32
_PAD = "0x" + "0" * 24


@dataclass(frozen=True, slots=True)
class FakeTx:
    """A transaction as the fake keeps it. Addresses lower-case."""

    hash: str
    sender: str
    to: str
    value: int
    nonce: int
    gas: int
    tip: int
    cap: int
    data: bytes


@dataclass(slots=True)
class FakeReceipt:
    """What executing a transaction did."""

    tx: FakeTx
    index: int
    status: int
    gas_used: int
    price: int
    logs: list[Log]


@dataclass(slots=True)
class FakeState:
    """Accounts at one block: wei, mined nonces, and token balances by (contract, holder)."""

    wei: dict[str, int] = field(default_factory=dict)
    nonces: dict[str, int] = field(default_factory=dict)
    tokens: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass(slots=True)
class FakeBlock:
    """A mined block and the state after it."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    receipts: list[FakeReceipt]
    state: FakeState

    @property
    def bloom(self) -> bytes:
        """The logs bloom of the header."""
        return bloom_of(log for receipt in self.receipts for log in receipt.logs)


class FakeChain:
    """A chain that mines when told. `contracts` are token addresses with a plain `transfer`."""

    def __init__(self) -> None:
        self.state = FakeState()
        self.contracts: set[str] = set()
        self.pool: dict[tuple[str, int], FakeTx] = {}
        self._forks = 0
        self.blocks = [
            FakeBlock(0, _hash("genesis"), "0x" + "0" * 64, GENESIS_TIME, [], FakeState())
        ]

    @property
    def head(self) -> FakeBlock:
        """The newest block."""
        return self.blocks[-1]

    def mine(self, blocks: int = 1) -> None:
        """Mine blocks; the first takes every pooled transaction whose turn it is."""
        for _ in range(blocks):
            number = self.head.number + 1
            block_hash = _hash(f"{self._forks}/{number}/{self.head.hash}")
            receipts = self._execute_ready(block_hash, number)
            self.blocks.append(
                FakeBlock(
                    number=number,
                    hash=block_hash,
                    parent_hash=self.head.hash,
                    timestamp=self.head.timestamp + 1,
                    receipts=receipts,
                    state=copy.deepcopy(self.state),
                )
            )

    def reorg(self, depth: int) -> None:
        """Replace the newest blocks by empty ones; their transactions are gone, as with Anvil."""
        del self.blocks[-depth:]
        self.state = copy.deepcopy(self.head.state)
        self._forks += 1
        pooled, self.pool = self.pool, {}
        self.mine(depth)
        self.pool = pooled

    def receipt(self, tx_hash: str) -> tuple[FakeBlock, FakeReceipt] | None:
        """Where a transaction was mined, if it was."""
        for block in reversed(self.blocks):
            for receipt in block.receipts:
                if receipt.tx.hash == tx_hash:
                    return block, receipt
        return None

    def pooled(self, tx_hash: str) -> FakeTx | None:
        """The pooled transaction with this hash, if any."""
        return next((tx for tx in self.pool.values() if tx.hash == tx_hash), None)

    def seal_genesis(self) -> None:
        """Make balances given so far part of the newest block, so that reorgs keep them."""
        self.head.state = copy.deepcopy(self.state)

    def _execute_ready(self, block_hash: str, number: int) -> list[FakeReceipt]:
        receipts: list[FakeReceipt] = []
        next_log = 0
        while ready := self._next_ready():
            del self.pool[(ready.sender, ready.nonce)]
            receipt = self._execute(ready, len(receipts), next_log, block_hash, number)
            next_log += len(receipt.logs)
            receipts.append(receipt)
        return receipts

    def _next_ready(self) -> FakeTx | None:
        for tx in self.pool.values():
            if tx.nonce == self.state.nonces.get(tx.sender, 0):
                return tx
        return None

    def _execute(
        self, tx: FakeTx, index: int, log_index: int, block_hash: str, number: int
    ) -> FakeReceipt:
        state = self.state
        price = min(tx.cap, BASE_FEE_WEI + tx.tip)
        is_token = tx.to in self.contracts
        gas_used = min(tx.gas, TOKEN_GAS if is_token else PLAIN_TRANSFER_GAS)
        state.nonces[tx.sender] = tx.nonce + 1
        state.wei[tx.sender] = state.wei.get(tx.sender, 0) - gas_used * price
        logs: list[Log] = []
        succeeded = True
        if is_token:
            moved = self._move_token(tx)
            succeeded = moved is not None
            if moved is not None:
                topics = (TRANSFER_TOPIC, _PAD + tx.sender[2:], _PAD + moved[0][2:])
                data = moved[1].to_bytes(_WORD, "big")
                logs = [Log(tx.to, topics, data, block_hash, number, tx.hash, log_index)]
        elif state.wei[tx.sender] >= tx.value:
            state.wei[tx.sender] -= tx.value
            state.wei[tx.to] = state.wei.get(tx.to, 0) + tx.value
        else:
            succeeded = False
        return FakeReceipt(tx, index, int(succeeded), gas_used, price, logs)

    def _move_token(self, tx: FakeTx) -> tuple[str, int] | None:
        """Recipient and amount of an ERC-20 transfer that the balance covers, else None."""
        decoded = decode_transfer(tx.data)
        if decoded is None or tx.value or tx.gas < TOKEN_GAS:
            return None
        recipient, amount = decoded
        held = self.state.tokens.get((tx.to, tx.sender), 0)
        if held < amount:
            return None
        self.state.tokens[(tx.to, tx.sender)] = held - amount
        key = (tx.to, recipient)
        self.state.tokens[key] = self.state.tokens.get(key, 0) + amount
        return recipient, amount


def decode_transfer(data: bytes) -> tuple[str, int] | None:
    """Recipient and amount of `transfer(address,uint256)` call data, or None."""
    if len(data) != 4 + 2 * _WORD or data[:4] != TRANSFER_SELECTOR or any(data[4:16]):
        return None
    return "0x" + data[16:36].hex(), int.from_bytes(data[36:], "big")


def _hash(text: str) -> str:
    return "0x" + keccak(text.encode()).hex()
