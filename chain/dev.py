"""Actions only a development node allows: mine, reorg, dump, send from its unlocked accounts.

For the sandbox and tests; nothing in the path of customers' money uses it. Works on Anvil;
mining, sending and deploying also on Ganache. A node without unlocked accounts raises
NoUnlockedAccount, what it cannot do raises DevNodeFailed.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence

from chain import parse
from chain.abi import encode
from chain.address import checked, to_checksum
from chain.blocks import Receipt, parse_receipt
from chain.errors import (
    DevNodeFailed,
    InvalidTransaction,
    NodeGarbage,
    NodeRejected,
    NoUnlockedAccount,
)
from chain.rpc import Rpc
from chain.snapshot import normalised
from chain.transactions import transfer_data
from contracts.loader import Artifact

MAX_MINED_AT_ONCE = 10_000
MAX_DUMP_BYTES = 1024 * 1024 * 1024  # Unpacked snapshot; Anvil's grows with every block kept.
RECEIPT_TIMEOUT_SECONDS = 15.0
_RECEIPT_POLL_SECONDS = 0.05
_REORG_TRIES = 8
_METHOD_MISSING = (-32601, -32700)


class DevNode:
    """A development node. `sender` is its first unlocked account unless named."""

    def __init__(self, rpc: Rpc, *, sender: str | None = None) -> None:
        self._rpc = rpc
        self._sender = None if sender is None else checked(sender)

    async def mine(self, blocks: int = 1) -> int:
        """Mine so many blocks; the head's number afterwards."""
        if not 1 <= blocks <= MAX_MINED_AT_ONCE:
            raise ValueError(f"blocks must be 1 to {MAX_MINED_AT_ONCE}")
        try:
            await self._rpc.call("anvil_mine", (hex(blocks),))
        except NodeRejected as error:
            if error.rpc_code not in _METHOD_MISSING:
                raise
            await self._rpc.call("evm_mine", ({"blocks": blocks},))
        return await self._height()

    async def reorg(self, depth: int) -> int:
        """Replace the newest `depth` blocks by empty ones; the head's number afterwards.

        Anvil does not put the removed transactions back into its pool (geth would), and one that
        mines while it reorganises loses blocks under its head; they are then replaced as well.
        Raises DevNodeFailed when the node cannot, or the chain is shorter than that.
        """
        head = await self._height()
        if not 1 <= depth <= await self.deepest():
            raise DevNodeFailed(f"a reorg of depth {depth} is impossible at height {head}")
        first = head - depth + 1
        for _ in range(_REORG_TRIES):
            try:
                await self._rpc.call("anvil_reorg", (head - first + 1, []))
            except NodeRejected as error:
                raise DevNodeFailed(f"the node did not reorganise: {error}") from None
            head = await self._height()
            if await self._holds(range(first, head)):
                return head
        raise DevNodeFailed(f"the node lost blocks from {first} to {head} and does not heal")

    async def deepest(self) -> int:
        """How many of the newest blocks `reorg` may replace.

        Anvil 1.7.1 loses the code of every contract when it goes back to a block below the one it
        was loaded at: whoever loads a node marks that block by `evm_snapshot` (`wallet.sandbox`).
        """
        head = await self._height()
        try:
            told = await self._rpc.call("anvil_metadata")
        except NodeRejected:  # no Anvil: it says what it can when it is asked
            return head
        marks = told.get("snapshots") if isinstance(told, dict) else None
        began = [int(number) for number, _ in marks.values()] if isinstance(marks, dict) else []
        return head - min(began, default=0)

    async def _height(self) -> int:
        return parse.quantity(await self._rpc.call("eth_blockNumber"), "eth_blockNumber")

    async def _holds(self, numbers: range) -> bool:
        calls = [("eth_getBlockByNumber", (hex(number), False)) for number in numbers]
        return all(answer is not None for answer in await self._rpc.batch(calls))

    async def dump_state(self, *, with_history: bool = True) -> bytes:
        """The node's whole state, as the JSON text `anvil --load-state FILE` reads.

        With history, past balances and `reorg` work after the reload; without, neither does.
        Time and size grow with (states kept) × (blocks): give AnvilProcess `keep_states`, and this
        object a transport with a high `max_bytes` and time limit. Raises DevNodeFailed.
        """
        try:
            answer = await self._rpc.call("anvil_dumpState", (with_history,))
        except NodeRejected as error:
            raise DevNodeFailed(f"the node does not dump its state: {error}") from None
        if not isinstance(answer, str) or not answer.startswith("0x1f8b"):
            raise NodeGarbage("anvil_dumpState answered no gzip data")
        return await asyncio.to_thread(lambda: normalised(_unpack(answer)))

    async def accounts(self) -> list[str]:
        """The node's unlocked accounts (EIP-55); empty on an ordinary node."""
        try:
            answer = await self._rpc.call("eth_accounts")
        except NodeRejected:
            return []
        listed = parse.items(answer, "eth_accounts")
        return [to_checksum(parse.address(item, "eth_accounts")) for item in listed]

    async def send_native(self, to: str, wei: int) -> str:
        """Send the native coin from the unlocked account; the hash, not yet mined perhaps."""
        if wei <= 0:
            raise InvalidTransaction("wei must be positive")
        return await self._send({"to": checked(to), "value": hex(wei)})

    async def send_token(self, contract: str, to: str, amount_minor: int) -> str:
        """Send a token from the unlocked account, which must hold it; the hash."""
        data = transfer_data(to=to, amount_minor=amount_minor)
        return await self._send({"to": checked(contract), "data": "0x" + data.hex()})

    async def call_contract(
        self, contract: str, data: bytes, *, wei: int = 0, gas: int | None = None
    ) -> str:
        """Send any call from the unlocked account; the hash. A given `gas` skips estimation."""
        request = {"to": checked(contract), "data": "0x" + data.hex(), "value": hex(wei)}
        if gas is not None:
            request["gas"] = hex(gas)
        return await self._send(request)

    async def deploy(self, artifact: Artifact, args: Sequence[object] = ()) -> str:
        """Deploy a contract and wait until it is mined; its EIP-55 address.

        `args` in the constructor's order. Raises DevNodeFailed when it reverts, is not mined in
        RECEIPT_TIMEOUT_SECONDS, or the arguments do not fit.
        """
        data = artifact.bytecode + encode_constructor(artifact, args)
        receipt = await self.wait_mined(await self._send({"data": "0x" + data.hex()}))
        if receipt.status != 1 or receipt.contract_address is None:
            raise DevNodeFailed(f"the deployment of {artifact.name} reverted")
        return to_checksum(receipt.contract_address)

    async def wait_mined(self, tx_hash: str) -> Receipt:
        """The receipt, once there is one. Raises DevNodeFailed after RECEIPT_TIMEOUT_SECONDS."""
        try:
            async with asyncio.timeout(RECEIPT_TIMEOUT_SECONDS):
                while True:
                    answer = await self._rpc.call("eth_getTransactionReceipt", (tx_hash,))
                    if answer is not None:
                        return parse_receipt(answer)
                    await asyncio.sleep(_RECEIPT_POLL_SECONDS)
        except TimeoutError:
            raise DevNodeFailed("the node did not mine a transaction in time") from None

    async def _send(self, request: dict[str, str]) -> str:
        sender = self._sender
        if sender is None:
            unlocked = await self.accounts()
            if not unlocked:
                raise NoUnlockedAccount("the node has no unlocked account to send from")
            sender = self._sender = unlocked[0]
        request = {"from": sender, **request}
        if "gas" not in request:  # Ganache would take 90,000, too little for a deployment.
            estimate = await self._rpc.call("eth_estimateGas", (request,))
            request["gas"] = hex(parse.quantity(estimate, "eth_estimateGas") * 5 // 4)
        answer = await self._rpc.call("eth_sendTransaction", (request,))
        return parse.hash32(answer, "eth_sendTransaction")


def encode_constructor(artifact: Artifact, args: Sequence[object]) -> bytes:
    """Constructor arguments in ABI encoding. Raises DevNodeFailed when they do not fit."""
    constructor = next((item for item in artifact.abi if item.get("type") == "constructor"), {})
    inputs = constructor.get("inputs", [])
    types = [item["type"] for item in inputs] if isinstance(inputs, list) else []
    if len(types) != len(args):
        raise DevNodeFailed(f"{artifact.name} takes {len(types)} arguments, not {len(args)}")
    try:
        return encode(types, list(args))
    except ValueError as error:
        raise DevNodeFailed(f"{artifact.name}: {error}") from None


def _unpack(answer: str) -> bytes:
    """Gunzip with a limit, so that a small answer cannot fill the memory."""
    inflater = zlib.decompressobj(wbits=31)
    try:
        text = inflater.decompress(bytes.fromhex(answer[2:]), MAX_DUMP_BYTES)
    except (ValueError, zlib.error):
        raise NodeGarbage("anvil_dumpState answered broken gzip data") from None
    if not inflater.eof:
        raise DevNodeFailed("the node's state is larger than a snapshot may be")
    return text
