"""Which logs and transfers are deposits: pure cases, then hostile tokens on a real node."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from chain.blocks import Block, BlockRef, BlockTx, Log, Receipt, parse_receipt
from chain.client import ChainClient
from chain.errors import NodeGarbage
from chain.observe import (
    TRANSFER_TOPIC,
    bloom_may_contain,
    bloom_of,
    deposits_in,
    transfer_in,
    verified_logs,
)
from chain.registry import Token
from contracts.loader import artifact
from tests.chain.benches import OUTSIDER, SIGNER, Bench, local_network

USDC = Token("USDC", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", 6)
HERE, TX = "0x" + "aa" * 32, "0x" + "01" * 32
REF = BlockRef(5, HERE, "0x" + "bb" * 32, 1, 1)


def word(address: str) -> str:
    return "0x" + "0" * 24 + address[2:].lower()


def transfer_log(amount: int = 7, *, to: str = OUTSIDER, **changes: object) -> Log:
    topics = (TRANSFER_TOPIC, word(SIGNER), word(to))
    log = Log(USDC.contract.lower(), topics, amount.to_bytes(32, "big"), HERE, 5, TX, 0)
    return log._replace(**changes)  # type: ignore[arg-type]


def receipt(*logs: Log, status: int = 1, tx_hash: str = TX) -> Receipt:
    return Receipt(tx_hash, HERE, 5, 0, status, 21_000, 1, None, logs)


def block(*logs: Log, value: int = 0, to: str | None = OUTSIDER) -> Block:
    tx = BlockTx(TX, 0, SIGNER.lower(), None if to is None else to.lower(), value, 0)
    return Block(REF, bloom_of(logs), (tx,))


def found(this: Block, receipts: list[Receipt], logs: list[Log]) -> list[tuple[str, int, int]]:
    deposits = deposits_in(
        this, receipts, logs, watched={OUTSIDER}, native_asset="ETH", tokens=[USDC]
    )
    return [(item.asset, item.log_index, item.amount) for item in deposits]


class TestNative:
    def test_counts_only_with_a_successful_receipt(self) -> None:
        assert found(block(value=9), [receipt()], []) == [("ETH", -1, 9)]
        assert found(block(value=9), [receipt(status=0)], []) == []
        with pytest.raises(NodeGarbage):
            found(block(value=9), [], [])
        with pytest.raises(NodeGarbage):
            found(block(value=9), [receipt()._replace(block_hash="0x" + "cc" * 32)], [])

    def test_zero_value_creations_and_strangers_are_nothing(self) -> None:
        assert found(block(value=0), [], []) == []
        assert found(block(value=9, to=None), [], []) == []
        assert found(block(value=9, to=SIGNER), [], []) == []


class TestTokens:
    def test_each_log_counts_once(self) -> None:
        logs = [
            transfer_log(1),
            transfer_log(2, log_index=1),
            transfer_log(2**256 - 1, log_index=2),
        ]
        expected = [("USDC", 0, 1), ("USDC", 1, 2), ("USDC", 2, 2**256 - 1)]
        assert found(block(*logs), [receipt(*logs)], logs[::-1]) == expected
        with pytest.raises(NodeGarbage):
            found(block(*logs), [receipt(*logs)], [*logs, logs[0]])

    @pytest.mark.parametrize(
        "changes",
        [
            {"address": SIGNER.lower()},
            {"topics": ()},
            {"topics": (TRANSFER_TOPIC,)},
            {"topics": (TRANSFER_TOPIC, word(SIGNER))},
            {"topics": (TRANSFER_TOPIC, word(SIGNER), word(OUTSIDER), "0x" + "0" * 64)},
            {"topics": ("0x" + "1" * 64, word(SIGNER), word(OUTSIDER))},
            {
                "topics": (
                    TRANSFER_TOPIC,
                    word(SIGNER),
                    "0x" + "0" * 23 + "1" + OUTSIDER[2:].lower(),
                )
            },
            {"topics": (TRANSFER_TOPIC, "0x1" + "0" * 23 + SIGNER[2:].lower(), word(OUTSIDER))},
            {"topics": (TRANSFER_TOPIC, word(SIGNER), word(SIGNER))},
            {"data": b""},
            {"data": bytes(31)},
            {"data": b"\1" * 33},
            {"data": b"\1" * 64},
            {"data": bytes(32)},
        ],
    )
    def test_other_shapes_are_nothing(self, changes: dict[str, object]) -> None:
        log = transfer_log(**changes)
        assert found(block(log), [receipt(log)], [log]) == []

    def test_parts_of_different_blocks_or_receipts_are_garbage(self) -> None:
        log = transfer_log()
        other_block = transfer_log(block_hash="0x" + "cc" * 32)
        unknown_tx = transfer_log(tx_hash="0x" + "02" * 32)
        cases = [
            ([receipt()], [log]),
            ([], [log]),
            ([receipt(other_block)], [other_block]),
            ([receipt(unknown_tx, tx_hash=unknown_tx.tx_hash)], [unknown_tx]),
            ([receipt(transfer_log(8))], [log]),
        ]
        for receipts, logs in cases:
            with pytest.raises(NodeGarbage):
                found(block(*logs), receipts, logs)

    def test_many_logs_of_one_receipt_are_not_compared_each_with_each(self) -> None:
        """Strangers decide how many there are; nothing else of the process goes on meanwhile."""

        class Counted(Log):
            compared = 0
            __hash__ = Log.__hash__

            def __eq__(self, other: object) -> bool:
                Counted.compared += 1
                return super().__eq__(other)

        logs = [Counted(*transfer_log(log_index=index)) for index in range(300)]
        assert len(found(block(*logs), [receipt(*logs)], list(logs))) == 300
        assert Counted.compared < 3_000


class TestBloom:
    @given(st.lists(st.binary(min_size=20, max_size=20), max_size=20))
    def test_never_denies_what_is_in(self, addresses: list[bytes]) -> None:
        logs = [transfer_log(address="0x" + item.hex()) for item in addresses]
        bloom = bloom_of(logs)
        assert all(bloom_may_contain(bloom, item) for item in addresses)

    def test_denies_nearly_all_that_is_not(self) -> None:
        bloom = bloom_of([transfer_log()])
        strangers = [keccak(bytes([n]))[:20] for n in range(200)]
        assert sum(bloom_may_contain(bloom, item) for item in strangers) < 3

    def test_left_out_logs_are_noticed(self) -> None:
        logs = [transfer_log(1), transfer_log(2, to=USDC.contract, log_index=1)]
        this = block(*logs)
        assert verified_logs(this, [receipt(*logs)]) == logs
        for short in ([], logs[:1], logs[1:]):
            with pytest.raises(NodeGarbage):
                verified_logs(this, [receipt(*short)])


async def deposits_of(bench: Bench, tokens: dict[str, str]) -> list[tuple[str, int]]:
    """Deposits to OUTSIDER in the newest block when these contracts are listed."""
    listed = tuple(Token(code, contract, 6) for code, contract in tokens.items())
    client = ChainClient(replace(local_network(), tokens=listed), bench.rpc)
    newest = await client.full_block((await client.head()).number)
    assert newest is not None
    return [(item.asset, item.amount) for item in await client.deposits(newest, watched={OUTSIDER})]


def call(signature: str, *values: object) -> bytes:
    types = signature[signature.index("(") + 1 : -1].split(",")
    return keccak(text=signature)[:4] + encode(types, list(values))


TRANSFER = "transfer(address,uint256)"


class TestHostileTokensOnAnvil:
    async def send(self, bench: Bench, contract: str, data: bytes, *, wei: int = 0) -> Receipt:
        sent = await bench.dev.call_contract(contract, data, wei=wei, gas=2_000_000)
        return await bench.dev.wait_mined(sent)

    async def test_a_token_without_a_return_value_counts(self, on_anvil: Bench) -> None:
        token = await on_anvil.dev.deploy(artifact("NoReturnToken"), [1000])
        await self.send(on_anvil, token, call(TRANSFER, OUTSIDER, 5))
        assert await deposits_of(on_anvil, {"OLD": token}) == [("OLD", 5)]

    async def test_false_and_reverted_transfers_are_nothing(self, on_anvil: Bench) -> None:
        false = await on_anvil.dev.deploy(artifact("ReturnsFalseToken"))
        done = await self.send(on_anvil, false, call(TRANSFER, OUTSIDER, 5))
        assert done.status == 1 and await deposits_of(on_anvil, {"FLS": false}) == []
        reverting = await on_anvil.dev.deploy(artifact("RevertingToken"))
        done = await self.send(on_anvil, reverting, call(TRANSFER, OUTSIDER, 5))
        assert done.status == 0 and await deposits_of(on_anvil, {"RVT": reverting}) == []

    async def test_an_unlisted_liar_is_nothing_and_a_listed_one_shows_no_balance(
        self, on_anvil: Bench
    ) -> None:
        liar = await on_anvil.dev.deploy(artifact("LyingToken"))
        await self.send(on_anvil, liar, call(TRANSFER, OUTSIDER, 10**12))
        assert await deposits_of(on_anvil, {"USDC": on_anvil.usdc}) == []
        assert await deposits_of(on_anvil, {"LIE": liar}) == [("LIE", 10**12)]
        listed = ChainClient(
            replace(local_network(), tokens=(Token("LIE", liar, 6),)), on_anvil.rpc
        )
        head = await listed.head()
        assert await listed.balances([OUTSIDER], "LIE", head.number) == [0]

    @pytest.mark.parametrize(
        "signature",
        [
            "lieLikeNft(address,uint256)",
            "lieWithDirtyTopic(address,uint256)",
            "lieWithShortData(address,uint256)",
        ],
    )
    async def test_logs_of_another_shape_are_nothing(self, on_anvil: Bench, signature: str) -> None:
        liar = await on_anvil.dev.deploy(artifact("LyingToken"))
        done = await self.send(on_anvil, liar, call(signature, OUTSIDER, 5))
        assert len(done.logs) == 1 and transfer_in(done.logs[0], [Token("LIE", liar, 6)]) is None
        assert await deposits_of(on_anvil, {"LIE": liar}) == []

    async def test_500_transfers_in_one_transaction_are_500_deposits(self, on_anvil: Bench) -> None:
        many = await on_anvil.dev.deploy(artifact("ManyTransfers"))
        await on_anvil.send_token(many, 10**6)
        spray = "spray(address,address,uint256,uint256)"
        sent = await on_anvil.dev.call_contract(
            many, call(spray, on_anvil.usdc, OUTSIDER, 3, 500), gas=15_000_000
        )
        assert (await on_anvil.dev.wait_mined(sent)).status == 1
        assert await deposits_of(on_anvil, {"USDC": on_anvil.usdc}) == [("USDC", 3)] * 500

    async def test_a_payment_inside_a_contract_is_a_balance_without_a_deposit(
        self, on_anvil: Bench
    ) -> None:
        many = await on_anvil.dev.deploy(artifact("ManyTransfers"))
        await self.send(on_anvil, many, call("payInside(address)", OUTSIDER), wei=77)
        assert await deposits_of(on_anvil, {}) == []
        head = await on_anvil.client.head()
        assert await on_anvil.client.balances([OUTSIDER], "ETH", head.number) == [77]


class TestNodesThatLeaveLogsOut:
    async def test_missing_logs_are_garbage_and_never_no_deposit(self, on_anvil: Bench) -> None:
        await on_anvil.send_token(OUTSIDER, 5)
        whole = await on_anvil.client.full_block((await on_anvil.client.head()).number)
        assert whole is not None
        answered = await on_anvil.rpc.call("eth_getBlockReceipts", (whole.hash,))
        assert isinstance(answered, list)

        class Thin:
            """The node's answers with the logs of a block left out."""

            async def call(self, method: str, params: object = ()) -> object:
                assert method == "eth_getBlockReceipts"
                return [{**item, "logs": []} for item in answered]

        thin = ChainClient(on_anvil.client.network, Thin())  # type: ignore[arg-type]
        with pytest.raises(NodeGarbage, match="bloom"):
            await thin.deposits(whole, watched={OUTSIDER})
        assert len(await on_anvil.client.deposits(whole, watched={OUTSIDER})) == 1

    async def test_without_eth_get_block_receipts_a_batch_serves(self, bench: Bench) -> None:
        await bench.send_token(OUTSIDER, 5)
        newest = await bench.client.full_block((await bench.client.head()).number)
        assert newest is not None
        direct = await bench.client.deposits(newest, watched={OUTSIDER})
        bench.client._block_receipts.by_block = False
        assert await bench.client.deposits(newest, watched={OUTSIDER}) == direct != []


def test_a_receipt_that_contradicts_itself_is_garbage() -> None:
    log = {
        "address": USDC.contract, "topics": [TRANSFER_TOPIC], "data": "0x", "blockHash": HERE,
        "blockNumber": "0x5", "transactionHash": TX, "logIndex": "0x0",
    }  # fmt: skip
    good = {
        "transactionHash": TX, "blockHash": HERE, "blockNumber": "0x5", "transactionIndex": "0x0",
        "status": "0x1", "gasUsed": "0x1", "effectiveGasPrice": "0x1", "contractAddress": None,
        "logs": [log],
    }  # fmt: skip
    assert len(parse_receipt(good).logs) == 1
    changes: list[dict[str, object]] = [
        {"status": "0x2"},
        {"status": None},
        {"status": "0x0"},
        {"logs": [{**log, "transactionHash": HERE}]},
        {"logs": [{**log, "removed": True}]},
        {"logs": [{**log, "topics": [TRANSFER_TOPIC] * 5}]},
        {"logs": [{**log, "data": "0x0"}]},
        {"gasUsed": -1},
        {"effectiveGasPrice": "1"},
    ]
    for change in changes:
        with pytest.raises(NodeGarbage):
            parse_receipt({**good, **change})
