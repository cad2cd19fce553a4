"""An in-memory node that speaks JSON-RPC bytes, for flow tests that need no process.

Anvil's words and codes where it refuses. The transport is JsonRpc itself with its HTTP exchange
replaced, so answers pass the same checks as a real node's.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson
from eth_hash.auto import keccak

from chain.address import checked
from chain.errors import InvalidTransaction, NodeGarbage, NodeUnavailable
from chain.parse import address as parse_address
from chain.parse import data as parse_data
from chain.parse import quantity
from chain.rpc import JsonRpc
from chain.testing.fake_calls import CODE_GAS, FakePayout, FakeToken
from chain.testing.fake_chain import (
    BLOCK_GAS,
    CONTRACT_CODE,
    DEPLOY_GAS,
    FakeBlock,
    FakeChain,
    FakeTx,
)
from chain.testing.fake_deploy import deployed
from chain.testing.fake_json import log_json, median_tip, receipt_json, tx_json
from chain.testing.proxy import MemoryProxy
from chain.transactions import decode_signed, tx_hash

FAUCET = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"  # Anvil's first account, for familiarity.
_FAUCET_WEI = 10_000 * 10**18
_TIP_WEI = 10**9
Observer = Callable[[bytes, bytes], None]


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
    `unlocked` off it has no account of its own to send from, like an ordinary node. `observer`
    hears the bytes of every request and of its answer.
    """

    def __init__(self, *, chain_id: int = 31337, automine: bool = True) -> None:
        self.chain = FakeChain()
        self.chain_id = chain_id
        self.automine = automine
        self.away = False
        self.unlocked = True
        self.requests: list[str] = []
        self.observer: Observer | None = None
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
            "anvil_dropAllTransactions": self._drop_all,
            "anvil_setBalance": self._set_balance,
            "anvil_setCode": self._set_code,
            "anvil_setNextBlockBaseFeePerGas": self._set_base_fee,
        }

    def fund(self, address: str, wei: int) -> None:
        """Give native coin out of nothing, as of the newest block."""
        self.chain.state.wei[address.lower()] = wei
        self.chain.seal_genesis()

    def add_token(self, contract: str, *, owner: str, supply: int, decimals: int = 6) -> str:
        """Put a token at an address; its EIP-55 form. The whole supply belongs to `owner`."""
        self.chain.add_contract(FakeToken(contract.lower(), decimals, supply, owner.lower()))
        self.chain.seal_genesis()
        return checked(contract)

    def transport(self) -> JsonRpc:
        """Another transport to this node, with request ids of its own."""
        return _MemoryRpc(self)

    def proxy(self) -> MemoryProxy:
        """What FaultProxy is in front of a real node."""
        return MemoryProxy(self.exchange)

    async def exchange(self, body: bytes) -> bytes:
        """What an HTTP exchange with a real node is. Raises NodeUnavailable while `away`."""
        if self.away:
            raise NodeUnavailable("the node cannot be reached")
        return self.handle(body)

    def handle(self, body: bytes) -> bytes:
        """Answer one JSON-RPC request or batch."""
        document = orjson.loads(body)
        if isinstance(document, list):
            answer = orjson.dumps([self._answer(item) for item in document])
        else:
            answer = orjson.dumps(self._answer(document))
        if self.observer is not None:
            self.observer(body, answer)
        return answer

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
            raise self._beyond(quantity(tag, "block number"))
        return block

    def _beyond(self, number: int) -> _Refusal:
        return _Refusal(
            -32602,
            f"BlockOutOfRangeError: block height is {self.chain.head.number}"
            f" but requested was {number}",
        )

    def _block_by_number(self, params: list[object]) -> object:
        block = self._find(params[0])
        if block is None:
            return None
        transactions: list[object] = [tx_json(item.tx, block, item) for item in block.receipts]
        if not params[1]:
            transactions = [item.tx.hash for item in block.receipts]
        return {
            "number": hex(block.number), "hash": block.hash, "parentHash": block.parent_hash,
            "timestamp": hex(block.timestamp), "baseFeePerGas": hex(block.base_fee),
            "gasLimit": hex(BLOCK_GAS), "gasUsed": hex(block.gas_used),
            "logsBloom": "0x" + block.bloom.hex(), "transactions": transactions,
        }  # fmt: skip

    def _by_hash(self, block_hash: object) -> FakeBlock | None:
        return next((item for item in self.chain.blocks if item.hash == block_hash), None)

    def _block_receipts(self, params: list[object]) -> object:
        block = self._by_hash(params[0])
        return None if block is None else [receipt_json(item, block) for item in block.receipts]

    def _receipt(self, params: list[object]) -> object:
        found = self.chain.receipt(str(params[0]))
        return None if found is None else receipt_json(found[1], found[0])

    def _transaction(self, params: list[object]) -> object:
        found = self.chain.receipt(str(params[0]))
        if found is not None:
            return tx_json(found[1].tx, found[0], found[1])
        pooled = self.chain.pooled(str(params[0]))
        return None if pooled is None else tx_json(pooled, None, None)

    def _logs(self, params: list[object]) -> object:
        query = params[0]
        assert isinstance(query, dict) and query.keys() == {"fromBlock", "toBlock"}
        first, last = (quantity(query[name], name) for name in ("fromBlock", "toBlock"))
        if first > self.chain.head.number:
            raise self._beyond(first)
        blocks = self.chain.blocks[first : last + 1]
        return [
            log_json(log) for block in blocks for receipt in block.receipts for log in receipt.logs
        ]

    # Accounts and fees

    def _nonce(self, params: list[object]) -> object:
        state = self._state_at(params[1]).state
        return hex(state.nonces.get(parse_address(params[0], "address"), 0))

    def _balance(self, params: list[object]) -> object:
        state = self._state_at(params[1]).state
        return hex(state.wei.get(parse_address(params[0], "address"), 0))

    def _code(self, params: list[object]) -> object:
        return "0x" + self.chain.code(parse_address(params[0], "address")).hex()

    def _call(self, params: list[object]) -> object:
        request = params[0]
        assert isinstance(request, dict)
        contract, data = parse_address(request["to"], "to"), parse_data(request["data"], "data")
        answer = self.chain.world.view(self._state_at(params[1]).state, contract, data)
        if answer is None:
            raise _Refusal(3, "execution reverted")
        return "0x" + answer.hex()

    def _fee_history(self, params: list[object]) -> object:
        count = min(quantity(params[0], "count"), len(self.chain.blocks))
        blocks = self.chain.blocks[-count:]
        return {
            "oldestBlock": hex(blocks[0].number),
            "baseFeePerGas": [
                *(hex(block.base_fee) for block in blocks),
                hex(self.chain.next_base_fee),
            ],
            "gasUsedRatio": [block.gas_used / BLOCK_GAS for block in blocks],
            "reward": [[hex(median_tip(block))] for block in blocks],
        }

    def _estimate(self, params: list[object]) -> object:
        request = params[0]
        assert isinstance(request, dict)
        data = parse_data(request.get("data", "0x"), "data")
        if "to" not in request:
            return hex(DEPLOY_GAS[type(self._deployed(data, "0x" + "0" * 40, 0))])
        to, sender = parse_address(request["to"], "to"), parse_address(request["from"], "from")
        gas = self.chain.call_gas(sender, to, data, quantity(request.get("value", "0x0"), "value"))
        if gas is None:
            raise _Refusal(3, "execution reverted")
        return hex(gas)

    def _deployed(self, data: bytes, sender: str, nonce: int) -> FakeToken | FakePayout:
        made = deployed(data, sender=sender, nonce=nonce)
        if made is None:
            raise _Refusal(-32000, "this fake node deploys TestToken and BatchPayout, nothing else")
        return made

    # Sending and mining

    def _send_raw(self, params: list[object]) -> object:
        return self._admit(self._signed(params[0]))

    def _signed(self, value: object) -> FakeTx:
        raw = parse_data(value, "transaction")
        if not raw:
            raise _Refusal(-32602, "Empty transaction data")
        try:
            fields, sender = decode_signed(raw)
        except InvalidTransaction:
            raise _Refusal(-32602, "Failed to decode transaction") from None
        if fields.chain_id != self.chain_id:
            raise _Refusal(-32003, "invalid chain id for signer")
        return FakeTx(
            tx_hash(raw), sender.lower(), fields.to.lower(), fields.value, fields.nonce,
            fields.gas, fields.tip, fields.cap, fields.data, raw=raw,
        )  # fmt: skip

    def _send_unlocked(self, params: list[object]) -> object:
        request = params[0]
        assert isinstance(request, dict)
        sender = parse_address(request["from"], "from")
        if sender != FAUCET:
            raise _Refusal(-32000, "No Signer available")
        pooled = [nonce for owner, nonce in self.chain.pool if owner == sender]
        nonce = max([self.chain.state.nonces.get(sender, 0), *(item + 1 for item in pooled)])
        data = parse_data(request.get("data", "0x"), "data")
        made = None if "to" in request else self._deployed(data, sender, nonce)
        salt = f"{sender}/{nonce}/{self.chain.head.hash}"
        tx = FakeTx(
            "0x" + keccak(salt.encode()).hex(), sender,
            "" if made else parse_address(request["to"], "to"),
            quantity(request.get("value", "0x0"), "value"), nonce,
            quantity(request.get("gas", hex(BLOCK_GAS)), "gas"), _TIP_WEI,
            self.chain.next_base_fee + _TIP_WEI, data, made,
        )  # fmt: skip
        return self._admit(tx)

    def _admit(self, tx: FakeTx) -> str:
        """Into the pool, or a refusal in Anvil's words and order."""
        state, slot = self.chain.state, (tx.sender, tx.nonce)
        if self.chain.pooled(tx.hash) is not None:
            raise _Refusal(-32003, "transaction already imported")
        if tx.nonce < state.nonces.get(tx.sender, 0):
            raise _Refusal(-32003, "nonce too low")
        if tx.cap < self.chain.next_base_fee:
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
        depth, listed = params[0], params[1]
        height = self.chain.head.number
        if type(depth) is not int or depth < 0 or not isinstance(listed, list):
            raise _Refusal(-32602, "invalid reorg")
        if depth > height:
            raise _Refusal(
                -32602,
                "Reorg depth must not exceed current chain height: "
                f"current height {height}, depth {depth}",
            )
        placed: dict[int, list[FakeTx]] = {}
        for raw, place in listed:
            placed.setdefault(place, []).append(self._signed(raw))
        self.chain.reorg(depth, placed)
        return None

    def _drop(self, params: list[object]) -> object:
        tx = self.chain.pooled(str(params[0]))
        if tx is None:
            return None
        self.chain.drop(tx)
        return tx.hash

    def _drop_all(self, _: list[object]) -> object:
        self.chain.pool.clear()
        return None

    def _set_balance(self, params: list[object]) -> object:
        self.fund(parse_address(params[0], "address"), quantity(params[1], "balance"))
        return None

    def _set_code(self, params: list[object]) -> object:
        address, code = parse_address(params[0], "address"), parse_data(params[1], "code")
        back = address in self.chain.world.tokens and code == CONTRACT_CODE
        if code and code not in CODE_GAS and not back:
            raise _Refusal(-32000, "this fake node runs no such code")
        self.chain.state.code.pop(address, None)
        if code and not back:
            self.chain.state.code[address] = code
        self.chain.seal_genesis()
        return None

    def _set_base_fee(self, params: list[object]) -> object:
        self.chain.next_base_fee = quantity(params[0], "base fee")
        return None


class _MemoryRpc(JsonRpc):
    """JsonRpc whose exchange is a function call."""

    def __init__(self, node: FakeNode) -> None:
        super().__init__("http://fake.invalid")
        self._node = node

    async def _exchange(self, body: bytes, most: int) -> bytes:
        return await self._node.exchange(body)
