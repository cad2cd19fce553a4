"""Answers read in their shape: the same as any JSON, or left to it."""

from __future__ import annotations

import orjson
import pytest

from chain.blocks import parse_block, parse_log, parse_receipt
from chain.errors import NodeGarbage, NodeRejected
from chain.rpc import JsonRpc
from chain.told import BLOCK_RECEIPTS, GET_BLOCK, GET_LOGS, GET_RECEIPT, LogTold
from tests.chain.benches import Bench

LOG = {
    "address": "0x" + "ab" * 20, "topics": ["0x" + "11" * 32], "data": "0x01",
    "blockHash": "0x" + "22" * 32, "blockNumber": "0x5", "transactionHash": "0x" + "33" * 32,
    "logIndex": "0x0", "transactionIndex": "0x0", "removed": False, "blockTimestamp": "0x1",
}  # fmt: skip


class Saying(JsonRpc):
    """Answers what it was given, whatever it is asked."""

    def __init__(self, body: bytes) -> None:
        super().__init__("http://node.invalid")
        self.body = body

    async def _exchange(self, body: bytes, most: int) -> bytes:
        return self.body


async def call(body: bytes) -> object:
    return await Saying(body).call(GET_LOGS, ({},))


async def batch(body: bytes) -> object:
    return await Saying(body).batch([(GET_LOGS, ({},)), (GET_LOGS, ({},))])


async def test_what_a_node_answers_is_the_same_in_its_shape_and_as_json(bench: Bench) -> None:
    await bench.send_token("0x" + "12" * 20, 7)
    head = (await bench.client.head()).number
    at = hex(head)
    shaped = await bench.rpc.call(GET_BLOCK, (at, True))
    plain = await bench.rpc.call("eth_getBlockByNumber", (at, True))
    assert isinstance(plain, dict) and not isinstance(shaped, dict)
    block = parse_block(shaped)
    assert block == parse_block(plain) and block.transactions
    tx = block.transactions[0].hash
    receipts = [
        parse_receipt(await bench.rpc.call(method, (tx,)))
        for method in (GET_RECEIPT, "eth_getTransactionReceipt")
    ]
    assert receipts[0] == receipts[1] and receipts[0].logs
    query = {"fromBlock": at, "toBlock": at}
    logs = [await bench.rpc.call(method, (query,)) for method in (GET_LOGS, "eth_getLogs")]
    assert [*map(parse_log, logs[0])] == [*map(parse_log, logs[1])] == list(receipts[0].logs)  # type: ignore[call-overload]
    assert await bench.rpc.call(GET_RECEIPT, ("0x" + "00" * 32,)) is None
    assert await bench.rpc.batch([(GET_BLOCK, (hex(head + 9), False))] * 2) == [None, None]
    assert await bench.rpc.call(BLOCK_RECEIPTS, (block.hash,)) is not None


async def test_a_shape_is_made_of_the_fields_that_are_read() -> None:
    told = await call(orjson.dumps({"jsonrpc": "2.0", "id": 1, "result": [LOG]}))
    assert isinstance(told, list) and type(told[0]) is LogTold
    assert told[0].block_number == "0x5"


async def test_what_has_another_shape_is_read_as_json() -> None:
    odd = {**LOG, "logIndex": 5}
    assert await call(orjson.dumps({"id": 1, "result": [odd]})) == [odd]
    assert await batch(orjson.dumps([{"id": 1, "result": [LOG]}, {"id": 2, "result": [odd]}])) == [
        [LOG],
        [odd],
    ]


async def test_answers_in_another_order_are_put_in_the_order_asked() -> None:
    told = await batch(orjson.dumps([{"id": 2, "result": []}, {"id": 1, "result": [LOG]}]))
    assert told == [[LOG], []]


@pytest.mark.parametrize(
    "answer",
    [
        {"id": 2, "result": []}, {"id": True, "result": []}, {"id": "1", "result": []},
        {"id": None, "result": []}, {"result": []}, {"id": 1}, [], None, "x",
        {"id": 1, "error": "no"}, {"id": 1.0, "result": []},
    ],
)  # fmt: skip
async def test_what_is_no_answer_to_the_call_is_garbage(answer: object) -> None:
    with pytest.raises(NodeGarbage):
        await call(orjson.dumps(answer))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[" * 100_000, b'{"id":1,"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"result":[]}',
        b'{"id":1,"result":[]} and more', b'{"id":1,"result":["\xff"]}', b"\x00",
        b'{"id":1,"result":[',
    ],
)  # fmt: skip
async def test_what_is_no_json_is_garbage(body: bytes) -> None:
    for ask in (call, batch):
        with pytest.raises(NodeGarbage):
            await ask(body)


@pytest.mark.parametrize("beside", [{}, {"result": None}, {"result": [LOG]}])
async def test_an_error_is_a_rejection_whatever_stands_beside_it(beside: dict[str, object]) -> None:
    error = {"code": -32005, "message": "too many"}
    with pytest.raises(NodeRejected):
        await call(orjson.dumps({"id": 1, "error": error, **beside}))
    with pytest.raises(NodeRejected):
        await batch(orjson.dumps([{"id": 1, "result": []}, {"id": 2, "error": error, **beside}]))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("removed", True), ("removed", "no"), ("topics", None), ("topics", ["0x1"]),
        ("data", "0x0"),
        ("address", 5), ("logIndex", "00"), ("blockHash", None), ("topics", ["0x" + "11" * 32] * 5),
    ],
)  # fmt: skip
def test_a_log_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(NodeGarbage):
        parse_log({**LOG, field: value})
    if field != "removed":
        with pytest.raises(NodeGarbage):
            parse_log({name: told for name, told in LOG.items() if name != field})
