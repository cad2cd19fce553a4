"""The state behind FakeNode: accounts, token balances, blocks, a pool. Deterministic, in memory.

It follows Anvil's rules where the two overlap, base fees and gas to the wei; `tests/chain` runs one
suite against both.
"""

from __future__ import annotations

from dataclasses import dataclass

import rlp
from eth_hash.auto import keccak

from chain.blocks import Log
from chain.observe import bloom_of
from chain.testing.fake_calls import (
    CODE_GAS,
    REVERTS,
    Effect,
    FakePayout,
    FakeState,
    FakeToken,
    World,
)
from chain.transactions import PLAIN_TRANSFER_GAS, intrinsic_gas

FIRST_BASE_FEE_WEI = 10**9
BLOCK_GAS = 30_000_000
DEPLOY_GAS = {FakeToken: 556_098, FakePayout: 1_039_747}  # as the seam names and sizes them
GENESIS_TIME = 1_700_000_000
CONTRACT_CODE = b"`"
_ZERO_BYTE_GAS, _BYTE_GAS = 4, 16  # EIP-2028
_REFUNDED_AT_MOST = 5  # EIP-3529: a fifth of the gas


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
    creates: FakeToken | FakePayout | None = None
    """The contract that it deploys; `to` is empty then."""
    raw: bytes = b""
    """Its signed bytes; none where the node's own account sent it."""

    def signed(self) -> dict[str, str]:
        """What its bytes say and the fields above do not, as nodes tell it."""
        if not self.raw:
            return {}
        chain_id, _, tip, cap, gas, _, _, _, _, parity, r, s = rlp.decode(self.raw[1:])
        told = {
            "chainId": chain_id, "maxPriorityFeePerGas": tip, "maxFeePerGas": cap, "gas": gas,
            "yParity": parity, "r": r, "s": s,
        }  # fmt: skip
        return {name: hex(int.from_bytes(value, "big")) for name, value in told.items()}


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
class FakeBlock:
    """A mined block and the state after it."""

    number: int
    hash: str
    parent_hash: str
    timestamp: int
    base_fee: int
    receipts: list[FakeReceipt]
    bloom: bytes
    state: FakeState

    @property
    def gas_used(self) -> int:
        """Gas of all its transactions."""
        return sum(receipt.gas_used for receipt in self.receipts)


class FakeChain:
    """A chain that mines when told. `world`: the contracts that it runs.

    The base fee follows EIP-1559 from block to block. A reorganisation does not take it back, as
    on Anvil; nor a deployment, which Anvil would.
    """

    def __init__(self) -> None:
        self.state = FakeState()
        self.world = World()
        self.pool: dict[tuple[str, int], FakeTx] = {}
        self.next_base_fee = FIRST_BASE_FEE_WEI
        self._forks = 0
        self._mined: dict[str, tuple[FakeBlock, FakeReceipt]] = {}
        genesis = FakeBlock(
            0, _hash("genesis"), "0x" + "0" * 64, GENESIS_TIME, FIRST_BASE_FEE_WEI, [],
            bloom_of(()), FakeState(),
        )  # fmt: skip
        self.blocks = [genesis]

    @property
    def head(self) -> FakeBlock:
        """The newest block."""
        return self.blocks[-1]

    def mine(self, blocks: int = 1) -> None:
        """Mine blocks; the first takes every pooled transaction whose turn it is. What does not
        offer the base fee then, or the gas that any such call costs, is dropped, as Anvil does."""
        for _ in range(blocks):
            below = self.head
            number = below.number + 1
            block_hash = _hash(f"{self._forks}/{number}/{below.hash}")
            receipts = self._execute_ready(block_hash, number)
            logs = [log for receipt in receipts for log in receipt.logs]
            block = FakeBlock(
                number=number,
                hash=block_hash,
                parent_hash=below.hash,
                timestamp=below.timestamp + 1,
                base_fee=self.next_base_fee,
                receipts=receipts,
                bloom=bloom_of(logs) if logs else self.blocks[0].bloom,
                # An empty block shares the state below it; nothing ever writes into a block's.
                state=self.state.copy() if receipts else below.state,
            )
            self.blocks.append(block)
            for receipt in receipts:
                self._mined[receipt.tx.hash] = (block, receipt)
            self.next_base_fee = base_fee_after(block)

    def reorg(self, depth: int, transactions: dict[int, list[FakeTx]] | None = None) -> None:
        """Replace the newest blocks by others that hold the given transactions by place, else
        none; what the old ones held is gone, as with Anvil."""
        for lost in self.blocks[-depth:]:
            for receipt in lost.receipts:
                del self._mined[receipt.tx.hash]
        del self.blocks[-depth:]
        self.state = self.head.state.copy()
        self._forks += 1
        pooled = self.pool
        for place in range(depth):
            listed = (transactions or {}).get(place, [])
            self.pool = {(tx.sender, tx.nonce): tx for tx in listed}
            self.mine()
        self.pool = {
            slot: tx
            for slot, tx in pooled.items()
            if tx.nonce >= self.state.nonces.get(tx.sender, 0)
        }

    def receipt(self, tx_hash: str) -> tuple[FakeBlock, FakeReceipt] | None:
        """Where a transaction was mined, if it was."""
        return self._mined.get(tx_hash)

    def pooled(self, tx_hash: str) -> FakeTx | None:
        """The pooled transaction with this hash, if any."""
        return next((tx for tx in self.pool.values() if tx.hash == tx_hash), None)

    def add_contract(self, contract: FakeToken | FakePayout) -> None:
        """Put it at its address; the whole supply of a token is its owner's."""
        if isinstance(contract, FakePayout):
            self.world.payouts[contract.address] = contract
            return
        self.world.tokens[contract.address] = contract
        self.state.tokens[(contract.address, contract.owner)] = contract.supply

    def seal_genesis(self) -> None:
        """Make balances given so far part of the newest block, so that reorgs keep them."""
        self.head.state = self.state.copy()

    def code(self, address: str) -> bytes:
        """What lies at an address: code that was put there, else a byte that stands for a
        contract's, else nothing."""
        put = self.state.code.get(address)
        if put is not None:
            return put
        there = address in self.world.tokens or address in self.world.payouts
        return CONTRACT_CODE if there else b""

    def call_gas(self, sender: str, to: str, data: bytes, value: int = 0) -> int | None:
        """Gas that a call must bring as the state is now; None when it reverts. Funds are not
        looked at."""
        effect = self.world.call(self.state, sender, to, data, value)
        return None if effect is None else _gas_of(data, effect.gas)

    def drop(self, tx: FakeTx) -> None:
        """Forget a pooled transaction and, as Anvil does, those that were ready only after it.
        What waits above a gap stays."""
        ready = self.state.nonces.get(tx.sender, 0)
        while (tx.sender, ready) in self.pool and ready < tx.nonce:
            ready += 1
        nonce, follows = tx.nonce, ready == tx.nonce
        while self.pool.pop((tx.sender, nonce), None) is not None and follows:
            nonce += 1

    def _execute_ready(self, block_hash: str, number: int) -> list[FakeReceipt]:
        receipts: list[FakeReceipt] = []
        next_log = 0
        while ready := self._next_ready():
            if ready.cap < self.next_base_fee or _never_runs(ready):
                self.drop(ready)
                continue
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
        state, base_fee = self.state, self.next_base_fee
        price = min(tx.cap, base_fee + tx.tip)
        state.nonces[tx.sender] = tx.nonce + 1
        if tx.creates is not None:
            effect: Effect | None = Effect()
            needed = DEPLOY_GAS[type(tx.creates)]
        else:
            effect = self.world.call(state, tx.sender, tx.to, tx.data, tx.value)
            # What our contracts refuse costs something else on Anvil, and is as reverted.
            needed = _gas_of(tx.data, CODE_GAS[REVERTS] if effect is None else effect.gas)
        if effect is not None and needed > tx.gas:
            effect = None
        gas_used = min(tx.gas, needed)
        if effect is not None:
            gas_used -= min(effect.refund, gas_used // _REFUNDED_AT_MOST)
        state.wei[tx.sender] = state.wei.get(tx.sender, 0) - gas_used * price
        if effect is None or state.wei[tx.sender] < tx.value:
            return FakeReceipt(tx, index, 0, gas_used, price, [])
        if tx.creates is not None:
            self.add_contract(tx.creates)
            return FakeReceipt(tx, index, 1, gas_used, price, [])
        state.wei[tx.sender] -= tx.value
        state.wei[tx.to] = state.wei.get(tx.to, 0) + tx.value
        effect.apply(state)
        logs = [
            Log(address, topics, data, block_hash, number, tx.hash, place)
            for place, (address, topics, data) in enumerate(effect.events, log_index)
        ]
        return FakeReceipt(tx, index, 1, gas_used, price, logs)


def _never_runs(tx: FakeTx) -> bool:
    """Whether its gas does not cover what any such call costs; no block can have it."""
    return tx.creates is None and tx.gas < intrinsic_gas(tx.data)


def _gas_of(data: bytes, running: int) -> int:
    paid = sum(_BYTE_GAS if byte else _ZERO_BYTE_GAS for byte in data)
    return max(PLAIN_TRANSFER_GAS + paid + running, intrinsic_gas(data))


def base_fee_after(block: FakeBlock) -> int:
    """The base fee of the block on top of this one. EIP-1559, for blocks below their target, and
    ours all are."""
    target = BLOCK_GAS // 2
    if block.number == 0:
        return block.base_fee
    return block.base_fee - block.base_fee * (target - block.gas_used) // target // 8


def _hash(text: str) -> str:
    return "0x" + keccak(text.encode()).hex()
