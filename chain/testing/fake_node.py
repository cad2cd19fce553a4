"""An in-memory node that speaks JSON-RPC bytes, for flow tests that need no process.

Anvil's words and codes where it refuses. The transport is JsonRpc itself with its HTTP exchange
replaced, so answers pass the same checks as a real node's.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson
from eth_hash.auto import keccak

from chain.address import checked
from chain.blocks import Log
from chain.errors import InvalidTransaction, NodeGarbage, NodeUnavailable
from chain.parse import address as parse_address
from chain.parse import data as parse_data
from chain.parse import quantity
from chain.rpc import JsonRpc
from chain.testing.fake_chain import (
    BASE_FEE_WEI,
    TOKEN_GAS,
    FakeBlock,
    FakeChain,
    FakeReceipt,
    FakeTx,
    decode_transfer,
)
from chain.transactions import PLAIN_TRANSFER_GAS, decode_signed, tx_hash

FAUCET = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"  # Anvil's first account, for familiarity.
_FAUCET_WEI = 10_000 * 10**18
_TIP_WEI = 10**9
_BALANCE_OF = bytes.fromhex("70a08231")


class _Refusal(Exception):
    """Becomes a JSON-RPC error object."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


class FakeNode:
    """A chain of its own with one unlocked, funded account (FAUCET).

    `automine`: a block for each accepted transaction, as Anvil does by default. `away`: every
    request fails as if nobody listened. `requests` lists the methods asked, in order. With
    `unlocked` off it has no account of its own to send from, like an ordinary node.
    """

    def __init__(self, *, chain_id: int = 31337, automine: bool = True) -> None:
        self.chain = FakeChain()
        self.chain_id = chain_id
        self.automine = automine
        self.away = False
        self.unlocked = True
        self.requests: list[str] = []
        self.fund(FAUCET, _FAUCET_WEI)
        self.rpc: JsonRpc = _MemoryRpc(self)
        self._methods: dict[str, Callable[[list[object]], object]] = {
            "web3_clientVersion": lambda _: "fake/1",
            "eth_chainId": lambda _: hex(self.chain_id),
            "eth_accounts": lambda _: [FAUCET] if self.unlocked else [],
            "eth_blockNumber": lambda _: hex(self.chain.head.number),
            "eth_feeHistory": self._fee_history,
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockReceipts": self._block_receipts,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionCount": self._nonce,
            "eth_getBalance": self._balance,
            "eth_getCode": self._code,
            "eth_getLogs": self._logs,
            "eth_call": self._call,
            "eth_estimateGas": self._estimate,
            "eth_sendRawTransaction": self._send_raw,
            "eth_sendTransaction": self._send_unlocked,
            "evm_setAutomine": self._set_automine,
            "anvil_mine": self._mine,
            "anvil_reorg": self._reorg,
            "anvil_dropTransaction": self._drop,
        }

    def fund(self, address: str, wei: int) -> None:
        """Give native coin out of nothing, as of the newest block."""
        self.chain.state.wei[address.lower()] = wei
        self.chain.seal_genesis()

    def add_token(self, contract: str, *, owner: str, supply: int) -> str:
        """Put a token at an address; its EIP-55 form. The whole supply belongs to `owner`."""
        self.chain.contracts.add(contract.lower())
        self.chain.state.tokens[(contract.lower(), owner.lower())] = supply
        self.chain.seal_genesis()
        return checked(contract)

    def handle(self, body: bytes) -> bytes:
        """Answer one JSON-RPC request or batch."""
        document = orjson.loads(body)
        if isinstance(document, list):
            return orjson.dumps([self._answer(item) for item in document])
        return orjson.dumps(self._answer(document))

    def _answer(self, request: dict[str, object]) -> dict[str, object]:
        method, params = str(request["method"]), request["params"]
        self.requests.append(method)
        answer: dict[str, object] = {"jsonrpc": "2.0", "id": request["id"]}
        handler = self._methods.get(method)
        try:
            if handler is None:
                raise _Refusal(-32601, "Method not found")
            assert isinstance(params, list)
            answer["result"] = handler(params)
        except NodeGarbage as error:  # Our own strict readers, used here on requests.
            answer["error"] = {"code": -32602, "message": str(error)}
        except _Refusal as refusal:
            answer["error"] = {"code": refusal.code, "message": refusal.message}
        return answer

    # Blocks, logs, receipts

    def _find(self, tag: object) -> FakeBlock | None:
        blocks = self.chain.blocks
        if tag in ("latest", "pending"):
            return blocks[-1]
        if tag in ("safe", "finalized"):
            return blocks[max(0, len(blocks) - 1 - (32 if tag == "safe" else 64))]
        number = quantity(tag, "block number")
        return blocks[number] if number < len(blocks) else None

    def _state_at(self, tag: object) -> FakeBlock:
        block = self._find(tag)
        if block is None:
            raise _Refusal(-32602, "BlockOutOfRangeError: no such block")
        return block

    def _block_by_number(self, params: list[object]) -> object:
        block = self._find(params[0])
        if block is None:
            return None
        transactions: list[object] = [_tx_json(item.tx, block, item) for item in block.receipts]
        if not params[1]:
            transactions = [item.tx.hash for item in block.receipts]
        return {
            "number": hex(block.number), "hash": block.hash, "parentHash": block.parent_hash,
            "timestamp": hex(block.timestamp), "baseFeePerGas": hex(BASE_FEE_WEI),
            "logsBloom": "0x" + block.bloom.hex(), "transactions": transactions,
        }  # fmt: skip

    def _by_hash(self, block_hash: object) -> FakeBlock | None:
        return next((item for item in self.chain.blocks if item.hash == block_hash), None)

    def _block_receipts(self, params: list[object]) -> object:
        block = self._by_hash(params[0])
        return None if block is None else [_receipt_json(item, block) for item in block.receipts]

    def _receipt(self, params: list[object]) -> object:
        found = self.chain.receipt(str(params[0]))
        return None if found is None else _receipt_json(found[1], found[0])

    def _transaction(self, params: list[object]) -> object:
        found = self.chain.receipt(str(params[0]))
        if found is not None:
            return _tx_json(found[1].tx, found[0], found[1])
        pooled = self.chain.pooled(str(params[0]))
        return None if pooled is None else _tx_json(pooled, None, None)

    def _logs(self, params: list[object]) -> object:
        query = params[0]
        assert isinstance(query, dict)
        block = self._by_hash(query["blockHash"])
        if block is None:
            raise _Refusal(-32000, "unknown block")
        return [
            _log_json(log)
            for receipt in block.receipts
            for log in receipt.logs
            if log.address in query["address"] and log.topics[0] in query["topics"]
        ]

    # Accounts and fees

    def _nonce(self, params: list[object]) -> object:
        state = self._state_at(params[1]).state
        return hex(state.nonces.get(parse_address(params[0], "address"), 0))

    def _balance(self, params: list[object]) -> object:
        state = self._state_at(params[1]).state
        return hex(state.wei.get(parse_address(params[0], "address"), 0))

    def _code(self, params: list[object]) -> object:
        return "0x60" if parse_address(params[0], "address") in self.chain.contracts else "0x"

    def _call(self, params: list[object]) -> object:
        request = params[0]
        assert isinstance(request, dict)
        contract, data = parse_address(request["to"], "to"), parse_data(request["data"], "data")
        if contract not in self.chain.contracts:
            return "0x"
        if data[:4] != _BALANCE_OF:
            raise _Refusal(3, "execution reverted")
        state = self._state_at(params[1]).state
        amount = state.tokens.get((contract, "0x" + data[16:36].hex()), 0)
        return "0x" + amount.to_bytes(32, "big").hex()

    def _fee_history(self, params: list[object]) -> object:
        count = min(quantity(params[0], "count"), len(self.chain.blocks))
        return {
            "oldestBlock": hex(len(self.chain.blocks) - count),
            "baseFeePerGas": [hex(BASE_FEE_WEI)] * (count + 1),
            "reward": [[hex(_TIP_WEI)]] * count,
        }

    def _estimate(self, params: list[object]) -> object:
        request = params[0]
        assert isinstance(request, dict)
        if "to" not in request:
            raise _Refusal(-32000, "this fake node deploys nothing: use add_token")
        to, sender = parse_address(request["to"], "to"), parse_address(request["from"], "from")
        if to not in self.chain.contracts:
            if self.chain.state.wei.get(sender, 0) < quantity(request.get("value", "0x0"), "value"):
                raise _Refusal(-32003, "Insufficient funds for gas * price + value")
            return hex(PLAIN_TRANSFER_GAS)
        decoded = decode_transfer(parse_data(request["data"], "data"))
        if decoded is None or self.chain.state.tokens.get((to, sender), 0) < decoded[1]:
            raise _Refusal(3, "execution reverted")
        return hex(TOKEN_GAS)

    # Sending and mining

    def _send_raw(self, params: list[object]) -> object:
        raw = parse_data(params[0], "transaction")
        if not raw:
            raise _Refusal(-32602, "Empty transaction data")
        try:
            fields, sender = decode_signed(raw)
        except InvalidTransaction:
            raise _Refusal(-32602, "Failed to decode transaction") from None
        if fields.chain_id != self.chain_id:
            raise _Refusal(-32003, "invalid chain id for signer")
        tx = FakeTx(
            tx_hash(raw), sender.lower(), fields.to.lower(), fields.value, fields.nonce,
            fields.gas, fields.tip, fields.cap, fields.data,
        )  # fmt: skip
        return self._admit(tx)

    def _send_unlocked(self, params: list[object]) -> object:
        request = params[0]
        assert isinstance(request, dict)
        sender = parse_address(request["from"], "from")
        if sender != FAUCET:
            raise _Refusal(-32000, "No Signer available")
        if "to" not in request:
            raise _Refusal(-32000, "this fake node deploys nothing: use add_token")
        pooled = [nonce for owner, nonce in self.chain.pool if owner == sender]
        nonce = max([self.chain.state.nonces.get(sender, 0), *(item + 1 for item in pooled)])
        salt = f"{sender}/{nonce}/{self.chain.head.hash}"
        tx = FakeTx(
            "0x" + keccak(salt.encode()).hex(), sender, parse_address(request["to"], "to"),
            quantity(request.get("value", "0x0"), "value"), nonce,
            quantity(request.get("gas", "0x186a0"), "gas"), _TIP_WEI,
            2 * BASE_FEE_WEI + _TIP_WEI, parse_data(request.get("data", "0x"), "data"),
        )  # fmt: skip
        return self._admit(tx)

    def _admit(self, tx: FakeTx) -> str:
        """Into the pool, or a refusal in Anvil's words and order."""
        state, slot = self.chain.state, (tx.sender, tx.nonce)
        if self.chain.pooled(tx.hash) is not None:
            raise _Refusal(-32003, "transaction already imported")
        if tx.nonce < state.nonces.get(tx.sender, 0):
            raise _Refusal(-32003, "nonce too low")
        if tx.cap < BASE_FEE_WEI:
            raise _Refusal(-32003, "max fee per gas less than block base fee")
        if tx.gas * tx.cap + tx.value > state.wei.get(tx.sender, 0):
            raise _Refusal(-32003, "Insufficient funds for gas * price + value")
        holder = self.chain.pool.get(slot)
        if holder is not None and tx.cap <= holder.cap:
            raise _Refusal(-32003, "replacement transaction underpriced")
        self.chain.pool[slot] = tx
        if self.automine:
            self.chain.mine()
        return tx.hash

    def _set_automine(self, params: list[object]) -> object:
        self.automine = bool(params[0])
        return None

    def _mine(self, params: list[object]) -> object:
        self.chain.mine(quantity(params[0], "blocks"))
        return None

    def _reorg(self, params: list[object]) -> object:
        depth = params[0]
        if type(depth) is not int or not 0 < depth < len(self.chain.blocks):
            raise _Refusal(-32602, "reorg depth is out of range")
        self.chain.reorg(depth)
        return None

    def _drop(self, params: list[object]) -> object:
        tx = self.chain.pooled(str(params[0]))
        if tx is None:
            return None
        del self.chain.pool[(tx.sender, tx.nonce)]
        return tx.hash


class _MemoryRpc(JsonRpc):
    """JsonRpc whose exchange is a function call."""

    def __init__(self, node: FakeNode) -> None:
        super().__init__("http://fake.invalid")
        self._node = node

    async def _exchange(self, body: bytes) -> bytes:
        if self._node.away:
            raise NodeUnavailable("the node cannot be reached")
        return self._node.handle(body)


def _tx_json(tx: FakeTx, block: FakeBlock | None, receipt: FakeReceipt | None) -> object:
    return {
        "hash": tx.hash, "from": tx.sender, "to": tx.to, "value": hex(tx.value),
        "nonce": hex(tx.nonce), "blockHash": None if block is None else block.hash,
        "transactionIndex": None if receipt is None else hex(receipt.index),
    }  # fmt: skip


def _log_json(log: Log) -> object:
    return {
        "address": log.address, "topics": list(log.topics), "data": "0x" + log.data.hex(),
        "blockHash": log.block_hash, "blockNumber": hex(log.block_number),
        "transactionHash": log.tx_hash, "logIndex": hex(log.log_index), "removed": False,
    }  # fmt: skip


def _receipt_json(receipt: FakeReceipt, block: FakeBlock) -> object:
    return {
        "transactionHash": receipt.tx.hash, "blockHash": block.hash,
        "blockNumber": hex(block.number), "transactionIndex": hex(receipt.index),
        "status": hex(receipt.status), "gasUsed": hex(receipt.gas_used),
        "effectiveGasPrice": hex(receipt.price), "contractAddress": None,
        "logs": [_log_json(log) for log in receipt.logs],
    }  # fmt: skip
