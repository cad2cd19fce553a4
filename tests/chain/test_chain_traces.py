"""Frames of call traces: which of them moved coins, and what a node may try to make us believe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from chain.blocks import Block, BlockRef, BlockTx
from chain.client import ChainClient
from chain.errors import AnswerTooLarge, NodeGarbage, NodeRejected, NodeTimeout, NodeUnavailable
from chain.failover import FailoverRpc
from chain.observe import Watched
from chain.rpc import Answer, Call
from chain.traces import (
    GARBAGE_IN_A_ROW,
    MAX_DEPTH,
    MAX_PATH,
    MAX_TRACED_ONE_BY_ONE,
    PAUSE_FIRST_SECONDS,
    TRIES,
    InnerPayments,
    inner_moves,
)
from tests.chain.benches import local_network

PAYER, CONTRACT, ADA, BOB = ("0x" + digit * 40 for digit in "1234")
TX, HERE = "0x" + "01" * 32, "0x" + "aa" * 32
FEE = 30_000 * 10


def frame(kind: str = "CALL", value: Any = 0, **changes: Any) -> dict[str, Any]:
    """A frame from CONTRACT to ADA."""
    made = {"type": kind, "from": CONTRACT, "to": ADA, "gas": "0x1", "gasUsed": "0x1"}
    told = {} if value is None else {"value": hex(value) if type(value) is int else value}
    return {**made, **told, **changes}


def outermost(*calls: Any, **changes: Any) -> dict[str, Any]:
    """The transaction's own frame: PAYER calls CONTRACT with 1,000 wei."""
    own = {"from": PAYER, "to": CONTRACT, "calls": list(calls), "value": hex(1_000)}
    return frame(**{**own, **changes})


def transaction(tx_hash: str = TX, index: int = 0) -> BlockTx:
    return BlockTx(tx_hash, index, PAYER, CONTRACT, 1_000, 0)


def moved(*calls: Any) -> list[tuple[str, int]]:
    return [(move.path, move.wei) for move in inner_moves(transaction(), outermost(*calls))]


class TestWhatMoves:
    def test_calls_creations_and_ends_with_value(self) -> None:
        kinds = ("CALL", "CREATE", "CREATE2", "SELFDESTRUCT")
        assert moved(*(frame(kind, 7) for kind in kinds)) == [(str(n), 7) for n in range(4)]

    @pytest.mark.parametrize("kind", ["DELEGATECALL", "STATICCALL", "CALLCODE", "INVENTED"])
    def test_what_only_borrows_a_value_moves_nothing(self, kind: str) -> None:
        assert moved(frame(kind, 7)) == []

    def test_calls_inside_those_that_borrow_do_move(self) -> None:
        assert moved(frame("DELEGATECALL", 7, calls=[frame(value=5)])) == [("0.0", 5)]

    def test_what_failed_is_undone_with_all_inside_it(self) -> None:
        failed = frame(value=7, error="execution reverted", calls=[frame(value=5)])
        assert moved(failed, frame(value=3)) == [("1", 3)]
        assert moved(frame(calls=[frame(calls=[failed, frame(value=2)])])) == [("0.0.1", 2)]
        assert inner_moves(transaction(), outermost(frame(value=3), error="out of gas")) == []

    def test_nothing_and_to_oneself_moves_nothing(self) -> None:
        assert moved(frame(value=0), frame(value=None), frame(value=7, to=CONTRACT)) == []

    def test_the_transaction_itself_is_not_its_inside(self) -> None:
        assert moved() == []

    def test_paths_count_the_calls_and_the_order_is_that_of_the_calls(self) -> None:
        tree = [frame(value=1, calls=[frame(value=2), frame(value=3)]), frame(value=4)]
        assert moved(*tree) == [("0", 1), ("0.0", 2), ("0.1", 3), ("1", 4)]


class TestHostileTraces:
    @pytest.mark.parametrize(
        "broken",
        [
            None, 7, "0x", [], {}, frame() | {"type": None}, frame(value=7, to=None),
            frame(value=7, to="0x12"), frame(value=7) | {"from": None}, frame(value="7"),
            frame(value="0x-7"), frame(value="0x" + "f" * 65), frame(value=7.5), frame(calls=7),
            frame(calls={"0": frame()}), frame(calls=[None]), frame() | {"type": ["CALL"]},
        ],
    )  # fmt: skip
    def test_a_frame_that_is_none(self, broken: Any) -> None:
        with pytest.raises(NodeGarbage):
            inner_moves(transaction(), outermost(broken))

    def test_a_trace_that_contains_itself(self) -> None:
        cyclic = frame(value=7)
        cyclic["calls"] = [cyclic]
        with pytest.raises(NodeGarbage):
            inner_moves(transaction(), outermost(cyclic))

    def test_two_frames_that_contain_each_other_twice(self) -> None:
        one, two = frame(), frame()
        one["calls"], two["calls"] = [two, two], [one, one]
        with pytest.raises(NodeGarbage):
            inner_moves(transaction(), outermost(one))

    def test_more_frames_than_a_block_can_have(self) -> None:
        with pytest.raises(NodeGarbage):
            inner_moves(transaction(), outermost(*[frame()] * 11), budget=10)
        with pytest.raises(NodeGarbage):
            inner_moves(transaction(), outermost(*[frame(calls=[frame()] * 4)] * 3), budget=10)

    def test_deeper_than_the_machine_allows(self) -> None:
        deep = frame(value=1)
        for _ in range(MAX_DEPTH):
            deep = frame(calls=[deep])
        with pytest.raises(NodeGarbage):
            inner_moves(transaction(), outermost(deep))

    def test_too_deep_for_a_key_is_left_out_and_the_others_stay(self) -> None:
        deep = frame(value=1)
        for _ in range(MAX_PATH // 2 + 1):
            deep = frame(calls=[deep])
        assert moved(deep, frame(value=9)) == [("1", 9)]

    @pytest.mark.parametrize(
        "other", [{"from": BOB}, {"to": BOB}, {"value": "0x3e9"}, {"type": "CREATE"}]
    )
    def test_of_another_transaction(self, other: dict[str, Any]) -> None:
        with pytest.raises(NodeGarbage):
            inner_moves(transaction(), outermost(frame(value=7), **other))


class Node:
    """Answers what it is told: traces by method, receipts that fit, balances."""

    def __init__(self, traces: Any, *, gained: int = 7, status: int = 1) -> None:
        self.traces, self.gained, self.status = traces, gained, status
        self.methods: list[str] = []
        self.single: Any = NodeRejected(-32601, "no such method")

    def answer(self, method: str, params: Sequence[Any]) -> Any:
        self.methods.append(method)
        if method == "debug_traceBlockByHash":
            return self.traces
        if method == "debug_traceTransaction":
            return self.single
        if method == "eth_getBlockReceipts":
            return [
                {
                    "transactionHash": TX, "blockHash": HERE, "blockNumber": "0x5",
                    "transactionIndex": "0x0", "status": hex(self.status), "gasUsed": "0x7530",
                    "effectiveGasPrice": "0xa", "contractAddress": None, "logs": [],
                }
            ]  # fmt: skip
        if method == "eth_getBalance":
            return hex(100 + (self.gained if params[1] == "0x5" else 0))
        raise AssertionError(method)

    async def call(self, method: str, params: Sequence[object] = ()) -> object:
        [answer] = await self.batch_answers([(method, params)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        return [await self.call(*call) for call in calls]

    async def batch_answers(self, calls: Sequence[Call]) -> list[Answer]:
        answers = [self.answer(method, params) for method, params in calls]
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, NodeRejected):
                raise answer
        return answers

    async def aclose(self) -> None:
        return None


def block(**changes: Any) -> Block:
    ref = BlockRef(5, HERE, "0x" + "bb" * 32, 1, 1)
    return Block(ref, bytes(256), (transaction(),), 30_000)._replace(**changes)


def reader(node: Node, **changes: Any) -> InnerPayments:
    chain = ChainClient(local_network(**changes), node)
    return InnerPayments(chain, clock=lambda: NOW[0])


NOW = [0.0]
WATCHED = Watched({ADA})


def traced(*calls: Any, **changes: Any) -> list[dict[str, Any]]:
    return [{"txHash": TX, "result": outermost(*calls)} | changes]


async def seen(node: Node, *, watched: Watched = WATCHED, **changes: Any) -> list[tuple[str, int]]:
    found = await reader(node, **changes).deposits(block(), watched=watched)
    return [(deposit.trace_path, deposit.amount) for deposit in found]


def crowded(node: Node, many: int, gas: Callable[[str], int]) -> Block:
    """A block of so many transactions, TX in its middle, whose receipts the node has."""
    hashes = ["0x" + f"{n:064x}" for n in range(10, 10 + many)]
    hashes[many // 2] = TX
    receipts: list[dict[str, Any]] = [
        {
            "transactionHash": tx_hash, "blockHash": HERE, "blockNumber": "0x5",
            "transactionIndex": hex(n), "status": "0x1", "gasUsed": hex(gas(tx_hash)),
            "effectiveGasPrice": "0xa", "contractAddress": None, "logs": [],
        }
        for n, tx_hash in enumerate(hashes)
    ]  # fmt: skip
    answer = node.answer
    node.answer = lambda method, params: (  # type: ignore[method-assign]
        receipts if method == "eth_getBlockReceipts" else answer(method, params)
    )
    return block(transactions=tuple(transaction(tx_hash, n) for n, tx_hash in enumerate(hashes)))


class TestWhatIsBelieved:
    async def test_paid_and_the_balance_agrees(self) -> None:
        [deposit] = await reader(Node(traced(frame(value=7)))).deposits(block(), watched=WATCHED)
        assert (deposit.tx_hash, deposit.log_index, deposit.trace_path) == (TX, -1, "0")
        assert (deposit.asset, deposit.amount, deposit.from_address.lower()) == ("ETH", 7, CONTRACT)

    async def test_a_balance_that_did_not_move_so_is_worth_more_than_a_trace(self) -> None:
        assert await seen(Node(traced(frame(value=8)))) == []
        assert await seen(Node(traced(frame(value=7), frame(value=7)))) == []
        assert await seen(Node(traced(frame(value=7)), gained=0)) == []

    async def test_what_left_again_in_the_same_transaction_counts(self) -> None:
        out = frame(value=3, **{"from": ADA, "to": BOB})
        assert await seen(Node(traced(frame(value=10), out))) == [("0", 10)]

    async def test_a_reverted_transaction_pays_nothing(self) -> None:
        assert await seen(Node(traced(frame(value=7)), status=0, gained=0)) == []

    async def test_moves_between_our_own_addresses_are_no_deposits(self) -> None:
        node = Node(traced(frame(value=7, **{"from": BOB})))
        assert await seen(node, watched=Watched({ADA, BOB})) == []

    async def test_without_state_of_the_block_nothing_is_believed(self) -> None:
        class Pruned(Node):
            def answer(self, method: str, params: Sequence[Any]) -> Any:
                if method == "eth_getBalance":
                    return NodeRejected(-32000, "missing trie node")
                return super().answer(method, params)

        assert await seen(Pruned(traced(frame(value=7)))) == []

    @pytest.mark.parametrize(
        "traces",
        [
            None, {}, [], "0x", [None], [{}], [{"result": None}], traced() * 2,
            traced(frame(value=7), txHash="0x" + "02" * 32), traced(frame(value=7, to=None)),
            [{"structLogs": []}], [{"result": {"gas": 1, "structLogs": []}}],
            NodeGarbage("larger than 16 MB"), NodeRejected(-32000, "execution timeout"),
        ],
    )  # fmt: skip
    async def test_garbage_neither_credits_nor_raises(self, traces: Any) -> None:
        assert await seen(Node(traces)) == []

    async def test_a_transaction_the_node_could_not_trace_is_left_out(self) -> None:
        assert await seen(Node([{"txHash": TX, "error": "timeout"}])) == []

    async def test_plain_payments_are_not_asked_about(self) -> None:
        node = Node(traced())
        plain = block(gas_used=21_000)
        assert await reader(node).deposits(plain, watched=WATCHED) == []
        assert node.methods == []
        await reader(node, fee_model="op").deposits(plain, watched=WATCHED)
        assert node.methods == ["debug_traceBlockByHash"]


class TestNodesThatTraceOtherwise:
    async def test_one_by_one_where_blocks_cannot_be_traced(self) -> None:
        node = Node(NodeRejected(-32601, "Method not found"))
        node.single = outermost(frame(value=7))
        payments = reader(node)
        for _ in range(2):
            [deposit] = await payments.deposits(block(), watched=WATCHED)
            assert (deposit.trace_path, deposit.amount) == ("0", 7)
        assert node.methods.count("debug_traceBlockByHash") == 1

    async def test_a_stranger_s_trace_that_cannot_be_read_hides_nobody_else_s(self) -> None:
        """Some 3,000,000 gas nest deeper than is read, or make a trace of more than 16 MB."""
        theirs = "0x" + "02" * 32

        class Stuffed(Node):
            def answer(self, method: str, params: Sequence[Any]) -> Any:
                if params[0] == theirs:
                    return NodeGarbage("the node's answer is not JSON")
                told = super().answer(method, params)
                if method == "eth_getBlockReceipts":
                    other = {"transactionHash": theirs, "transactionIndex": "0x1"}
                    told = [*told, {**told[0], **other}]
                return told

        NOW[0] = 0.0
        node = Stuffed(NodeGarbage("the node's answer is not JSON"))
        node.single = outermost(frame(value=7))
        full = block(transactions=(transaction(), transaction(theirs, 1)), gas_used=60_000)
        payments = reader(node)
        for _ in range(GARBAGE_IN_A_ROW + 1):
            [deposit] = await payments.deposits(full, watched=WATCHED)
            assert (deposit.tx_hash, deposit.trace_path, deposit.amount) == (TX, "0", 7)

    @pytest.mark.parametrize("many", [200, MAX_TRACED_ONE_BY_ONE + 100])
    async def test_several_of_theirs_hide_nobody_else_s_either(self, many: int) -> None:
        """Those that used least gas are asked first: it takes gas to be too much."""
        theirs = {"0x" + f"{n:064x}" for n in range(100, 120)}

        class Stuffed(Node):
            def answer(self, method: str, params: Sequence[Any]) -> Any:
                if params[0] in theirs:
                    return AnswerTooLarge(16_000_000)
                if method == "debug_traceTransaction" and params[0] != TX:
                    return outermost()
                return super().answer(method, params)

        NOW[0] = 0.0
        node = Stuffed(AnswerTooLarge(16_000_000))
        node.single = outermost(frame(value=7))
        full = crowded(node, many, lambda tx_hash: 3_000_000 if tx_hash in theirs else 50_000)
        payments = reader(node)
        for _ in range(GARBAGE_IN_A_ROW + 1):
            [deposit] = await payments.deposits(full, watched=WATCHED)
            assert (deposit.tx_hash, deposit.amount) == (TX, 7)

    async def test_a_node_whose_traces_cannot_be_read_is_not_asked_without_end(self) -> None:
        NOW[0] = 0.0
        node = Node(NodeGarbage("not JSON"))
        node.single = NodeGarbage("not JSON")
        full = crowded(node, 300, lambda _: 30_000)
        payments = reader(node)
        for _ in range(GARBAGE_IN_A_ROW + 3):
            assert await payments.deposits(full, watched=WATCHED) == []
        assert node.methods.count("debug_traceBlockByHash") == GARBAGE_IN_A_ROW

    async def test_no_traces_at_all_pause_and_are_asked_for_again_later(self) -> None:
        NOW[0] = 0.0
        node = Node(NodeRejected(-32601, "Method not found"))
        payments = reader(node)
        for _ in range(GARBAGE_IN_A_ROW + 5):
            assert await payments.deposits(block(), watched=WATCHED) == []
        assert node.methods.count("debug_traceTransaction") == GARBAGE_IN_A_ROW
        NOW[0] = PAUSE_FIRST_SECONDS + 1
        node.single = outermost(frame(value=7))
        assert len(await payments.deposits(block(), watched=WATCHED)) == 1

    @pytest.mark.parametrize("away", [NodeTimeout("late"), NodeUnavailable("HTTP 503")])
    async def test_a_node_that_is_away_is_asked_again_and_then_done_without(
        self, away: Exception
    ) -> None:
        NOW[0] = 0.0
        node = Node(away)
        payments = reader(node)
        for _ in range(TRIES - 1):
            with pytest.raises(type(away)):
                await payments.deposits(block(), watched=WATCHED)
        assert await payments.deposits(block(), watched=WATCHED) == []
        node.traces = traced(frame(value=7))
        assert await payments.deposits(block(), watched=WATCHED) == []  # resting
        NOW[0] = PAUSE_FIRST_SECONDS + 1
        assert len(await payments.deposits(block(), watched=WATCHED)) == 1

    async def test_a_failing_trace_does_not_send_the_node_away(self) -> None:
        class Whole(Node):
            def answer(self, method: str, params: Sequence[Any]) -> Any:
                if method == "eth_chainId":
                    return hex(31337)
                if method == "eth_getBlockByNumber":
                    return None
                return super().answer(method, params)

        broken, standby = Whole(NodeTimeout("late")), Whole([])
        failover = FailoverRpc(local_network(), [broken, standby])
        for _ in range(3):
            with pytest.raises(NodeTimeout):
                await failover.call("debug_traceBlockByHash", (HERE, {}))
        assert standby.methods == []
        assert await failover.call("eth_getBalance", (ADA, "0x4")) == hex(100)
        assert standby.methods == []
