"""Which transaction used a nonce up: read from its block, whole, never looked up by its hash.

"No such transaction" proves nothing: a node may keep no index of transactions, and a hash of ours
may be in no row. The block in which the sender's count passed the nonce says what passed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chain import parse
from chain.address import checked
from chain.blocks import Block, BlockTx, parse_block
from chain.client import BLOCKS_A_REQUEST, ChainClient
from chain.errors import InvalidAddress, InvalidTransaction, NodeGarbage, NodeRejected
from chain.told import GET_RECEIPT
from chain.transactions import Authorization, TxFields, signed_bytes, signed_matches, tx_hash

SEARCH_BLOCKS = 1_000
"""Read where there is no state: three hours of Ethereum."""


@dataclass(frozen=True, slots=True)
class Spent:
    """A mined transaction and its block. `data` is what it calls with; `raw` its signed bytes:
    they hash to its hash and its sender signed them. None where we build no such transaction."""

    tx: BlockTx
    block: Block
    data: bytes
    raw: bytes | None

    def pays_as(self, fields: TxFields) -> bool:
        """Whether it does what these fields do, at whatever fees."""
        return (self.tx.to, self.tx.value, self.data) == (
            fields.to.lower(), fields.value, fields.data,
        )  # fmt: skip


async def spender(
    chain: ChainClient, address: str, nonce: int, *, final: int, near: int | None = None
) -> Spent | None:
    """The transaction of `address` with this nonce, in a block up to `final`. `near`: a height at
    which it was seen to be used; for nodes whose state does not go back that far.

    None: it is not used there, the node does not show it, or no transaction has it (an EIP-7702
    authorisation uses one up, too). Raises ChainError.
    """
    sender = address.lower()
    after, found = await _passed_by(chain, address, nonce, final)
    if after is None:
        return None
    number = after if found else await _searched(chain, sender, nonce, min(after, near or after))
    if number is None:
        return None
    # Not by GET_BLOCK: its shape leaves out what a transaction calls with.
    answer = await chain.rpc.call("eth_getBlockByNumber", (hex(number), True))
    if answer is None:
        return None
    block = parse_block(answer)
    if block.number != number:
        raise NodeGarbage("the node answered another block than the one asked")
    told = parse.items(parse.table(answer, "block").get("transactions"), "block.transactions")
    for tx in block.transactions:
        if (tx.from_address, tx.nonce) == (sender, nonce):
            fields = parse.table(told[tx.index], "transaction")
            data = parse.data(fields.get("input"), "transaction.input")
            return Spent(tx, block, data, _raw(fields, tx, data))
    return None


async def shown_by_all(chain: ChainClient, spent: Spent) -> bool:
    """Whether it is no single word of one of several nodes that this transaction used the nonce:
    another one shows the same receipt. True where there is one node. Raises ChainError."""
    if getattr(chain.rpc, "confirmed", None) is None:
        return True
    return await chain.confirmed((await chain.block_receipts(spent.block))[spent.tx.index])


async def shown_elsewhere(chain: ChainClient, tx_hash: str) -> bool:
    """Whether another one of several nodes shows a receipt of it (of three and more: half of all):
    then the serving one alone does not say that it was never mined."""
    ask, weigh = getattr(chain.rpc, "others", None), getattr(chain.rpc, "same", None)
    if ask is None or weigh is None:
        return False
    told = await ask(GET_RECEIPT, (tx_hash,), lambda answer: int(answer is not None))
    return not weigh(f"receipts/{tx_hash}", 0, told)


async def by_no_transaction(chain: ChainClient, address: str, nonce: int, *, final: int) -> bool:
    """Whether the block that took the sender's count past `nonce` has no transaction of theirs with
    it: an EIP-7702 authorisation used it up, in somebody's transaction.

    False also where the node does not show that block. Raises ChainError.
    """
    number, found = await _passed_by(chain, address, nonce, final)
    if number is None or not found:
        return False
    block = await chain.full_block(number)
    if block is None:
        return False
    # Both heights again, behind the block: a node that took over may stand on another chain.
    before = 0 if number == 0 else await chain.nonce_at(address, number - 1)
    after, ref = await chain.nonce_at(address, number), await chain.block_ref(number)
    return (
        before <= nonce < after
        and ref is not None
        and ref.hash == block.ref.hash
        and all(
            (tx.from_address, tx.nonce) != (address.lower(), nonce) for tx in block.transactions
        )
    )


async def _passed_by(
    chain: ChainClient, address: str, nonce: int, final: int
) -> tuple[int | None, bool]:
    """The lowest block known to have the sender's count past `nonce` (None: not even `final`), and
    whether that is the one that took it past.

    From `final` down in growing steps, then by halves: most nodes keep young states only.
    """

    async def past(number: int) -> bool:
        return await chain.nonce_at(address, number) > nonce

    if final < 0 or not await past(final):
        return None, False
    after, step = final, 1
    before = max(after - step, -1)
    try:
        while before >= 0 and await past(before):
            after, step = before, 2 * step
            before = max(after - step, -1)
        while after - before > 1:
            middle = (before + after) // 2
            if await past(middle):
                after = middle
            else:
                before = middle
    except NodeRejected:
        return after, False
    return after, True


async def _searched(chain: ChainClient, sender: str, nonce: int, top: int) -> int | None:
    """The block at or below `top` that has the transaction, by reading blocks; None: not there."""
    last = max(top - SEARCH_BLOCKS, -1)
    for first in range(top, last, -BLOCKS_A_REQUEST):
        numbers = range(first, max(first - BLOCKS_A_REQUEST, last), -1)
        for block in await chain.full_blocks(numbers):
            if block is None:
                return None
            used = [tx.nonce for tx in block.transactions if tx.from_address == sender]
            if nonce in used:
                return block.number
            if any(one < nonce for one in used):
                return None  # what came before it is here, and it was not above
    return None


def _raw(told: Mapping[str, object], tx: BlockTx, data: bytes) -> bytes | None:
    """The signed bytes, put together from the block's fields and proved."""
    try:
        fields = TxFields(
            chain_id=parse.quantity(told.get("chainId"), "chainId"),
            nonce=tx.nonce,
            tip=parse.quantity(told.get("maxPriorityFeePerGas"), "maxPriorityFeePerGas"),
            cap=parse.quantity(told.get("maxFeePerGas"), "maxFeePerGas"),
            gas=parse.quantity(told.get("gas"), "gas"),
            to=checked(tx.to or ""),
            value=tx.value,
            data=data,
            authorizations=tuple(_authorization(item) for item in _listed(told)),
        )
        raw = signed_bytes(fields, *_signature(told))
    except (InvalidTransaction, InvalidAddress, NodeGarbage):
        return None
    ours = tx_hash(raw) == tx.hash and signed_matches(raw, fields, checked(tx.from_address))
    return raw if ours else None


def _listed(told: Mapping[str, object]) -> list[object]:
    listed = told.get("authorizationList")
    return [] if listed is None else parse.items(listed, "authorizationList")


def _authorization(item: object) -> Authorization:
    told = parse.table(item, "authorization")
    parity, r, s = _signature(told)
    return Authorization(
        chain_id=parse.quantity(told.get("chainId"), "chainId"),
        delegate=checked(parse.address(told.get("address"), "address")),
        nonce=parse.quantity(told.get("nonce"), "nonce"),
        parity=parity,
        r=r,
        s=s,
    )


def _signature(told: Mapping[str, object]) -> tuple[int, int, int]:
    """Parity, r and s. Nodes of before `yParity` say it in `v`; some pad r and s."""
    parity = told.get("yParity", told.get("v"))
    return parse.quantity(parity, "yParity"), _number(told.get("r")), _number(told.get("s"))


def _number(value: object) -> int:
    if not isinstance(value, str) or not value.startswith("0x") or len(value) > 66:
        raise NodeGarbage("a signature is not of two numbers")
    return int.from_bytes(parse.data("0x" + value[2:].rjust(64, "0"), "signature"), "big")
