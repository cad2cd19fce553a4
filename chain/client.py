"""Typed access to one chain through one node: what the wallet may ask, and nothing else.

Reads raise `chain.errors`; an absent block or receipt is None, never an error. `send_raw` is the
only way out for signed bytes: one attempt, no retry, no exception.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence
from dataclasses import dataclass

from chain import parse
from chain.abi import DECIMALS
from chain.address import checked
from chain.answerable import answerable, own_word
from chain.arrivals import Arrivals
from chain.balances import GAS, Holding, Pair, balance_call, balance_changes, holdings, said
from chain.blocks import Block, BlockRef, Receipt, parse_block, parse_ref
from chain.errors import ChainError, NodeGarbage, NodeRejected, TooMuchGas, WrongChain
from chain.fees import FEE_HISTORY, FeeQuote, quote
from chain.lanes import in_lanes, split
from chain.observe import ObservedDeposit
from chain.outcomes import SendKind, SendOutcome, classify_rejection
from chain.ranges import Range, with_logs
from chain.receipts import NOTHING_AHEAD, Ahead, BlockReceipts, receipts_of
from chain.registry import Network
from chain.rpc import MAX_BATCH, Call, Rpc
from chain.told import GET_BLOCK
from chain.transactions import MAX_GAS, Authorization, intrinsic_gas, tx_hash

BLOCKS_A_REQUEST = 25
"""Full blocks in one HTTP request; more go in several at once."""
MAX_CLIENT_VERSION = 200


@dataclass(frozen=True, slots=True)
class ChainIdentity:
    """Which chain a node serves. `block1_hash` is None while there is no block 1."""

    chain_id: int
    block1_hash: str | None
    client_version: str


class ChainClient:
    """One network through one transport. Holds no state but how the node is best asked.

    What is `answerable` reads what nodes alone say: garbage there counts against the node. What a
    contract may have a part in does not.
    """

    def __init__(self, network: Network, rpc: Rpc) -> None:
        self.network = network
        self.rpc = rpc
        self._shared = getattr(rpc, "shared", None)  # where several nodes stand behind it
        self._confirmed = getattr(rpc, "confirmed", None)
        self._passed = getattr(rpc, "passed", None)
        self._spread = getattr(rpc, "spread", None)
        self._block_receipts = BlockReceipts(rpc)
        self._arrivals = Arrivals(rpc, network, self._block_receipts)

    async def aclose(self) -> None:
        """Close the transport."""
        await self.rpc.aclose()

    # Identity

    @answerable()
    async def identity(self) -> ChainIdentity:
        """Chain id, hash of block 1 and the node's name for itself, as the node answers them."""
        chain_id, block1, version = await self.rpc.batch(
            [("eth_chainId", ()), (GET_BLOCK, ("0x1", False)), ("web3_clientVersion", ())]
        )
        if not isinstance(version, str):
            raise NodeGarbage("web3_clientVersion is not a text")
        first = None if block1 is None else _numbered(parse_ref(block1), 1)
        return ChainIdentity(
            chain_id=parse.quantity(chain_id, "eth_chainId"),
            block1_hash=None if first is None else first.hash,
            client_version=version[:MAX_CLIENT_VERSION],
        )

    async def verify_identity(self) -> ChainIdentity:
        """The identity, if it is the configured network's. Raises WrongChain.

        Call at start, after every reconnect and before signing. While block 1 does not exist yet
        a pinned hash cannot be compared, which counts as another chain: ours had one.
        """
        identity = await self.identity()
        if identity.chain_id != self.network.chain_id:
            raise WrongChain(
                f"{self.network.name}: the node serves chain {identity.chain_id}, "
                f"not {self.network.chain_id}"
            )
        pinned = self.network.block1_hash
        if pinned is not None and identity.block1_hash != pinned:
            raise WrongChain(f"{self.network.name}: block 1 of this node is another one")
        return identity

    # Blocks

    @answerable()
    async def head(self) -> BlockRef:
        """The newest block the node knows. May be older than an earlier answer's."""
        latest = await own_word(self.rpc, GET_BLOCK, ("latest", False))
        if latest is None:
            raise NodeGarbage("the node has no latest block")
        return parse_ref(latest)

    @answerable()
    async def block_ref(self, number: int) -> BlockRef | None:
        """The canonical block at this height, or None if the node has none there (yet)."""
        answer = await self.rpc.call(GET_BLOCK, (hex(number), False))
        return None if answer is None else _numbered(parse_ref(answer), number)

    @answerable()
    async def block_refs(self, numbers: Sequence[int]) -> list[BlockRef | None]:
        """Like `block_ref` for many heights, in batches."""
        answers = await self.rpc.batch([(GET_BLOCK, (hex(number), False)) for number in numbers])
        return [
            None if answer is None else _numbered(parse_ref(answer), number)
            for number, answer in zip(numbers, answers, strict=True)
        ]

    @answerable()
    async def refs_of_now(
        self, numbers: Sequence[int], *, settled: int = -1
    ) -> tuple[list[BlockRef | None], BlockRef, int]:
        """Like `block_refs`, with the head and the newest final height of the very node that gives
        them: of two nodes one may be far behind, and what is final for one is not for the other.
        Where there are several, final is what is so for all of them: one that claims to be far
        ahead makes nothing final by itself. They are not asked again for what is not above
        `settled`, a height on which they agreed before."""
        heights: list[Call] = [(GET_BLOCK, (hex(number), False)) for number in numbers]
        tags = ["latest"] if self.network.finality == "depth" else ["latest", "finalized"]
        answers = await self.rpc.batch([*heights, *((GET_BLOCK, (tag, False)) for tag in tags)])
        refs = [
            None if answer is None else _numbered(parse_ref(answer), number)
            for number, answer in zip(numbers, answers, strict=False)
        ]
        latest, *finalized = answers[len(numbers) :]
        if latest is None:
            raise NodeGarbage("the node has no latest block")
        head = parse_ref(latest)
        final = self._final(head, *finalized)
        return refs, head, final if final <= settled else await self.agreed(final)

    async def agreed(self, final: int) -> int:
        """So much of it as is final for all nodes; −1 where they hold different blocks there."""
        if self._shared is None or final < 0:
            return final
        height, hashes = await self._shared(final)
        ours = await self.block_ref(height) if hashes else None
        return height if not hashes or (ours and hashes == {ours.hash}) else -1

    async def confirmed(self, receipt: Receipt) -> bool:
        """Whether all nodes say so, before money is booked by it."""
        return self._confirmed is None or bool(await self._confirmed(receipt))

    async def passed(self, address: str, nonce: int) -> bool:
        """Whether a nonce that this node calls used is so for all of them."""
        return self._passed is None or bool(await self._passed(address, nonce))

    async def full_block(self, number: int) -> Block | None:
        """The canonical block at this height with its transactions, or None."""
        return (await self.full_blocks([number]))[0]

    @answerable()
    async def full_blocks(self, numbers: Sequence[int]) -> list[Block | None]:
        """Like `full_block` for many heights, in batches. Their lineage is the caller's check."""
        parts = await in_lanes(split(numbers, BLOCKS_A_REQUEST), self._full_blocks)
        return [block for part in parts for block in part]

    async def _full_blocks(self, numbers: Sequence[int]) -> list[Block | None]:
        answers = await self.rpc.batch([(GET_BLOCK, (hex(number), True)) for number in numbers])
        blocks = [None if answer is None else parse_block(answer) for answer in answers]
        for number, block in zip(numbers, blocks, strict=True):
            if block is not None:
                _numbered(block.ref, number)
        return blocks

    @answerable()
    async def block_range(self, numbers: Sequence[int]) -> Range:
        """Full blocks at neighbouring heights that the chain has passed long ago, with their logs.

        Ends before a height where the node has none. Raises what the node refuses: ask for fewer.
        """
        blocks = await self.full_blocks(numbers)
        there = [block for block in itertools.takewhile(bool, blocks) if block is not None]
        return await with_logs(self.rpc, there, self.network.tokens)

    @answerable()
    async def final_number(self, head: BlockRef) -> int:
        """Height of the newest final block by the network's rule; −1 while nothing is final.

        depth: `head − confirmations + 1`; tag: the node's `finalized`; both: the lower of the two.
        """
        if self.network.finality == "depth":
            return self._final(head)
        return self._final(head, await self.rpc.call(GET_BLOCK, ("finalized", False)))

    def _final(self, head: BlockRef, finalized: object = None) -> int:
        tagged = -1 if finalized is None else parse_ref(finalized).number
        return self.network.final(head.number, tagged)

    # Logs and receipts

    @answerable()
    async def deposits(
        self, block: Block, *, watched: Container[str], ahead: Ahead = NOTHING_AHEAD
    ) -> list[ObservedDeposit]:
        """Everything in the block that arrived at a watched address, from verified receipts.

        Asks the node nothing when neither a transaction pays a watched address nor the bloom
        allows a Transfer of a listed token; else for the block's receipts, whose logs must add
        up to the header (nodes behind balancers have left logs out under a correct block hash).
        Raises NodeGarbage when they do not.
        """
        return (await self._arrivals.in_block(block, watched, ahead))[0]

    @answerable()
    async def checked_deposits(
        self, block: Block, *, watched: Container[str], ahead: Ahead = NOTHING_AHEAD
    ) -> list[tuple[ObservedDeposit, bool]]:
        """Like `deposits`, each with whether the recipient's balance moved as the logs say.

        A token may log what it never moved, keep a fee, or move balances without a log. Where the
        node has no state of the block any more the logs stand alone: listed tokens were looked at
        when they were listed.
        """
        return await self._arrivals.checked_in_block(block, watched, ahead)

    @answerable()
    async def range_deposits(
        self, piece: Range, *, watched: Container[str]
    ) -> dict[str, list[tuple[ObservedDeposit, bool]]]:
        """What `checked_deposits` says of each block where something arrived, by block hash.

        Logs come from the range's one query where they add up to the header; the receipts of
        transactions that pay coins in one batch. Raises what `checked_deposits` raises.
        """
        return await self._arrivals.in_range(piece, watched)

    @answerable()
    async def balance_changes(self, block: Block, pairs: Sequence[Pair]) -> dict[Pair, int | None]:
        """What each (asset, address) gained in a block; see `chain.balances`."""
        wanted = [(block.number, pair) for pair in pairs]
        found = await balance_changes(self.rpc, self.network, wanted, self._arrivals.pairs)
        return dict(zip(pairs, found, strict=True))

    async def decimals(self) -> dict[str, int]:
        """Asset → its contract's `decimals()` now; what is not readable is left out."""
        calls: list[Call] = [
            ("eth_call", ({"to": token.contract, "data": DECIMALS, "gas": GAS}, "latest"))
            for token in self.network.tokens
        ]
        answers = await self.rpc.batch_answers(calls) if calls else []
        return {
            token.code: int(answer, 16)
            for token, answer in zip(self.network.tokens, answers, strict=True)
            if isinstance(answer, str) and len(answer) == 66
        }

    @answerable()
    async def block_receipts(self, block: Block) -> list[Receipt]:
        """All receipts of a block in order, each checked to belong there. Raises NodeGarbage."""
        return await self._block_receipts.of(block)

    async def receipts_ahead(self, blocks: Sequence[Block], *, watched: Container[str]) -> Ahead:
        """What `checked_deposits` of these blocks will ask for, in few requests; by block hash.

        Never raises for the node's sake: a block that is left out is asked for by itself.
        """
        return await self._block_receipts.ahead(
            [block for block in blocks if self._arrivals.may_matter(block, watched)]
        )

    @answerable()
    async def receipts(self, tx_hashes: Sequence[str]) -> list[Receipt | None]:
        """Receipts in the order asked; None for a transaction that is not mined."""
        return await receipts_of(self.rpc, tx_hashes)

    @answerable()
    async def known(self, tx_hashes: Sequence[str]) -> list[bool]:
        """Whether the node knows each transaction, pooled or mined. False proves nothing."""
        calls: list[Call] = [("eth_getTransactionByHash", (item,)) for item in tx_hashes]
        answers = await self.rpc.batch(calls)
        for wanted, answer in zip(tx_hashes, answers, strict=True):
            if answer is not None:
                found = parse.hash32(parse.table(answer, "transaction").get("hash"), "hash")
                if found != wanted.lower():
                    raise NodeGarbage("the node answered another transaction")
        return [answer is not None for answer in answers]

    # Accounts

    @answerable()
    async def nonce(self, address: str) -> int:
        """Transactions mined from this address (`latest`; `pending` lies on several nodes)."""
        asked = (checked(address), "latest")
        answer = await own_word(self.rpc, "eth_getTransactionCount", asked)
        return parse.quantity(answer, "eth_getTransactionCount")

    @answerable()
    async def nonce_in_pool(self, address: str) -> int:
        """The same with what waits in this node's pool without a gap. Proves nothing by itself:
        some nodes leave their pool out, and what is in it may never be mined."""
        answer = await self.rpc.call("eth_getTransactionCount", (checked(address), "pending"))
        return parse.quantity(answer, "eth_getTransactionCount")

    @answerable()
    async def nonce_at(self, address: str, number: int) -> int:
        """Transactions mined from this address up to that block. NodeRejected: no state of it."""
        answer = await self.rpc.call("eth_getTransactionCount", (checked(address), hex(number)))
        return parse.quantity(answer, "eth_getTransactionCount")

    async def balances(self, addresses: Sequence[str], asset: str, block_number: int) -> list[int]:
        """Balances at a block in the asset's smallest unit, in the order asked.

        Raises ValueError for an asset this network does not list, NodeRejected when the node no
        longer has that block's state.
        """
        at = hex(block_number)
        token = self.network.token(asset)
        if asset == self.network.native_asset:
            calls: list[Call] = [("eth_getBalance", (checked(item), at)) for item in addresses]
            answers = await self.rpc.batch(calls)
            return [parse.quantity(answer, "eth_getBalance") for answer in answers]
        if token is None:
            raise ValueError(f"{asset} is not listed on {self.network.name}")
        calls = [balance_call(token.contract, item, at) for item in addresses]
        answers = await self.rpc.batch(calls)
        words = [parse.data(answer, "balanceOf", length=32) for answer in answers]
        return [int.from_bytes(word, "big") for word in words]

    async def said(self, address: str, asset: str, number: int) -> int | None:
        """What lies at an address at a block, if the token says so; see `chain.balances`."""
        return await said(self.rpc, self.network, address, asset, number)

    @answerable()
    async def holdings(self, addresses: Sequence[str], number: int) -> list[Holding]:
        """Nonce, coins and listed tokens of each address at a block; see `chain.balances`."""
        return await holdings(self.rpc, self.network, addresses, number)

    async def is_contract(self, address: str) -> bool:
        """Whether code lives at the address now (a 7702-delegated account counts as code)."""
        return len(await self.code(checked(address))) > 0

    async def code(self, address: str) -> bytes:
        """The code at an address now; `0xef0100 || delegate` where it delegates (EIP-7702)."""
        answer = await self.rpc.call("eth_getCode", (address, "latest"))
        return parse.data(answer, "eth_getCode")

    async def eth_call(self, to: str, data: bytes) -> bytes:
        """What a contract answers to a call now. Raises NodeRejected when it reverts."""
        request = {"to": checked(to), "data": "0x" + data.hex()}
        return parse.data(await self.rpc.call("eth_call", (request, "latest")), "eth_call")

    # Sending

    @answerable()
    async def fees(self) -> FeeQuote:
        """Fees to send with now: median tip of ten blocks, `cap = 2 × next base fee + tip`.

        The tip is at least the network's minimum. Raises FeeCeiling when the cap exceeds the
        network's `max_fee_wei`. Standard: EIP-1559; eth_feeHistory of execution-apis.
        """
        answer = await own_word(self.rpc, *FEE_HISTORY)
        return quote(
            answer, min_tip_wei=self.network.min_tip_wei, max_fee_wei=self.network.max_fee_wei
        )

    async def estimate_gas(
        self,
        from_: str,
        to: str,
        value: int,
        data: bytes,
        authorizations: Sequence[Authorization] = (),
    ) -> int:
        """Gas a call would use now, after these EIP-7702 authorisations. Raises NodeRejected when
        it would revert, and where the node knows no such authorisations and says so; one that
        overlooks them answers less gas than they cost."""
        request: dict[str, object] = {
            "from": checked(from_), "to": checked(to), "value": hex(value),
            "data": "0x" + data.hex(),
        }  # fmt: skip
        if authorizations:
            request["authorizationList"] = [one.json() for one in authorizations]
        gas = parse.quantity(await self.rpc.call("eth_estimateGas", (request,)), "estimateGas")
        # Less than that no node takes: what is sent with it would hold its nonce for ever.
        if gas < intrinsic_gas(data):
            raise NodeGarbage("eth_estimateGas answered less than any such call costs")
        if gas > MAX_GAS:
            raise TooMuchGas("eth_estimateGas answered more gas than is ever signed")
        return gas

    async def send_raw(self, raw: bytes) -> SendOutcome:
        """Hand signed bytes to the node, once. Never raises (but for a task's cancellation).

        Every outcome but ACCEPTED and KNOWN leaves open whether the transaction is out there;
        sending the same bytes again is always safe, other bytes never without the same nonce.
        """
        try:
            answer = await self.rpc.call("eth_sendRawTransaction", ("0x" + raw.hex(),))
        except ChainError as error:
            return _outcome(error, raw)
        return _outcome(answer, raw)

    async def spread(self, raws: Sequence[bytes]) -> None:
        """Hand bytes that were sent to the other nodes, too, where there are any. Never raises."""
        if self._spread is not None:
            await self._spread(raws)

    async def send_many(self, raws: Sequence[bytes]) -> list[SendOutcome]:
        """Like `send_raw` for many, in order, in batches: each handed over once. Never raises: when
        a whole exchange fails nobody knows which of its bytes arrived, and all are UNKNOWN."""
        outcomes: list[SendOutcome] = []
        for start in range(0, len(raws), MAX_BATCH):
            part = raws[start : start + MAX_BATCH]
            calls: list[Call] = [("eth_sendRawTransaction", ("0x" + raw.hex(),)) for raw in part]
            try:
                answers = await self.rpc.batch_answers(calls)
            except ChainError as error:
                outcomes += [_outcome(error, raw) for raw in part]
            else:
                outcomes += [_outcome(a, raw) for a, raw in zip(answers, part, strict=True)]
        return outcomes


def _outcome(answer: object, raw: bytes) -> SendOutcome:
    """What one answer to a submission, or the error in its place, means for these bytes."""
    if isinstance(answer, NodeRejected):
        return classify_rejection(answer.rpc_code, answer.message)
    if isinstance(answer, ChainError):
        return SendOutcome(SendKind.UNKNOWN, str(answer))
    if answer != tx_hash(raw):
        return SendOutcome(SendKind.UNKNOWN, "the node answered another hash than the bytes'")
    return SendOutcome(SendKind.ACCEPTED)


def _numbered(ref: BlockRef, number: int) -> BlockRef:
    if ref.number != number:
        raise NodeGarbage("the node answered another block than the one asked")
    return ref
