"""The fake node against Anvil where the send campaign leans on it: fees to the wei, gas, the words
of refusals, reorganisations, code and balances from nowhere, and a server that misbehaves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chain.dev import DevNode
from chain.errors import ChainError, NodeRejected
from chain.rpc import JsonRpc
from chain.testing import AnvilProcess, FakeNode, FaultProxy, MemoryProxy
from chain.testing.proxy import ReplyFault
from chain.transactions import bumped, erc20_transfer, transfer_data, tx_hash
from contracts.loader import artifact
from tests.chain.benches import FAKE_CONTRACT, KEY, OUTSIDER, SIGNER, Bench, sign

REVERTS = "0x60006000fd"
RETURNS_TRUE = "0x600160005260206000f3"
SUPPLY = 10**16
GWEI = 10**9


async def words(rpc: Any, method: str, *params: object) -> tuple[int, str]:
    with pytest.raises(NodeRejected) as refusal:
        await rpc.call(method, params)
    return refusal.value.rpc_code, refusal.value.message


async def seam_deploy(rpc: JsonRpc) -> tuple[str, list[object]]:
    """What the seam does first, and what the blocks say of it."""
    dev = DevNode(rpc)
    owner = (await dev.accounts())[0]
    token = await dev.deploy(artifact("TestToken"), ("USD Coin", "USDC", 6, SUPPLY, owner))
    told: list[object] = []
    for to, amount in ((OUTSIDER, 5), (OUTSIDER, 5), (SIGNER, 1_500_000)):
        receipt = await dev.wait_mined(await dev.send_token(token, to, amount))
        told.append((receipt.gas_used, receipt.effective_gas_price))
    receipt = await dev.wait_mined(await dev.send_native(SIGNER, 10**18))
    told.append((receipt.gas_used, receipt.effective_gas_price))
    await dev.mine(3)
    blocks = [await rpc.call("eth_getBlockByNumber", (hex(n), False)) for n in range(9)]
    told += [(block["baseFeePerGas"], block["gasUsed"], block["gasLimit"]) for block in blocks]  # type: ignore[index]
    history: Any = await rpc.call("eth_feeHistory", ("0xa", "latest", [50]))
    told += [history[key] for key in ("oldestBlock", "baseFeePerGas", "reward", "gasUsedRatio")]
    call = {
        "from": owner,
        "to": token,
        "data": "0x" + transfer_data(to=SIGNER, amount_minor=7).hex(),
    }
    told.append(await rpc.call("eth_estimateGas", (call,)))
    told.append(await rpc.call("eth_call", ({"to": token, "data": "0x313ce567"}, "latest")))
    return token, told


async def test_a_deployment_and_its_fees_are_anvils_to_the_wei(on_anvil: Bench) -> None:
    del on_anvil  # only so that a missing Anvil skips by name
    with AnvilProcess() as process:
        rpc = process.rpc()
        real = await seam_deploy(rpc)
        await rpc.aclose()
    assert await seam_deploy(FakeNode().rpc) == real


def payment_of_token(bench: Bench, nonce: int, **changes: int) -> bytes:
    fields = erc20_transfer(
        chain_id=31337, nonce=nonce, tip=GWEI, cap=10 * GWEI, gas=80_000,
        contract=bench.usdc, to=OUTSIDER, amount_minor=20 * 10**6,
    )  # fmt: skip
    return sign(replace(fields, **changes))  # type: ignore[arg-type]


class TestFees:
    async def test_what_cannot_pay_the_base_fee_is_dropped_with_what_follows(
        self, bench: Bench
    ) -> None:
        await bench.hold_mining()
        raw, after, beyond = (sign(bench.payment(nonce)) for nonce in (0, 1, 3))
        for one in (raw, after, beyond):
            await bench.client.send_raw(one)
        await bench.rpc.call("anvil_setNextBlockBaseFeePerGas", (hex(50 * GWEI),))
        await bench.dev.mine()
        assert (await bench.client.head()).base_fee == 50 * GWEI
        assert await bench.client.nonce(SIGNER) == 0
        known = await bench.client.known([tx_hash(one) for one in (raw, after, beyond)])
        assert known == [False, False, True]
        await bench.rpc.call("anvil_setNextBlockBaseFeePerGas", (hex(GWEI),))
        assert (await bench.client.send_raw(raw)).kind == "accepted"
        await bench.dev.mine()
        [receipt] = await bench.client.receipts([tx_hash(raw)])
        assert receipt is not None and receipt.effective_gas_price == 2 * GWEI

    async def test_the_fee_falls_by_an_eighth_and_no_reorg_takes_it_back(
        self, bench: Bench
    ) -> None:
        await bench.rpc.call("anvil_setNextBlockBaseFeePerGas", (hex(8 * GWEI),))
        await bench.dev.mine(3)
        fees = [(await bench.client.block_ref((await bench.client.head()).number - back)).base_fee  # type: ignore[union-attr]
                for back in (2, 1, 0)]  # fmt: skip
        assert fees == [8 * GWEI, 7 * GWEI, 7 * GWEI * 7 // 8]
        await bench.dev.reorg(2)
        head = await bench.client.head()
        below = await bench.client.block_ref(head.number - 1)
        assert below is not None
        assert below.base_fee == 8 * GWEI * 7**3 // 8**3
        assert head.base_fee == below.base_fee - below.base_fee * 15_000_000 // 15_000_000 // 8


class TestWords:
    async def test_refusals_word_for_word(self, bench: Bench) -> None:
        await bench.hold_mining()
        first = sign(bench.payment(0))
        await bench.client.send_raw(first)
        send = "eth_sendRawTransaction"

        async def told(raw: bytes) -> tuple[int, str]:
            return await words(bench.rpc, send, "0x" + raw.hex())

        assert await told(first) == (-32003, "transaction already imported")
        assert await told(sign(bench.payment(0, value=1))) == (
            -32003, "replacement transaction underpriced"
        )  # fmt: skip
        assert await told(sign(bench.payment(1, value=10**30))) == (
            -32003, "Insufficient funds for gas * price + value"
        )  # fmt: skip
        assert await told(sign(bench.payment(1, cap=1, tip=1))) == (
            -32003, "max fee per gas less than block base fee"
        )  # fmt: skip
        assert await told(sign(bench.payment(1, chain_id=1))) == (
            -32003, "invalid chain id for signer"
        )  # fmt: skip
        assert await told(b"") == (-32602, "Empty transaction data")
        assert await told(b"\x02\xc0") == (-32602, "Failed to decode transaction")
        await bench.dev.mine()
        assert await told(first) == (-32003, "nonce too low")

    async def test_questions_that_have_no_answer(self, bench: Bench) -> None:
        head = (await bench.client.head()).number
        far = hex(head + 90)
        told = (
            -32602,
            f"BlockOutOfRangeError: block height is {head} but requested was {head + 90}",
        )
        assert await words(bench.rpc, "eth_getBalance", SIGNER, far) == told
        assert await words(bench.rpc, "eth_getTransactionCount", SIGNER, far) == told
        call = {"to": bench.usdc, "data": "0x12345678"}
        assert await words(bench.rpc, "eth_call", call, "latest") == (3, "execution reverted")
        beyond = {"fromBlock": far, "toBlock": far}
        assert await words(bench.rpc, "eth_getLogs", beyond) == told
        assert await words(bench.rpc, "no_suchMethod") == (-32601, "Method not found")
        assert await words(bench.rpc, "anvil_reorg", head + 5, []) == (
            -32602,
            "Reorg depth must not exceed current chain height: "
            f"current height {head}, depth {head + 5}",
        )
        assert await bench.rpc.call("eth_getBlockReceipts", ("0x" + "ab" * 32,)) is None
        assert await bench.rpc.call("anvil_dropTransaction", ("0x" + "ab" * 32,)) is None


class TestPool:
    async def test_all_are_dropped_and_taken_again(self, bench: Bench) -> None:
        await bench.hold_mining()
        raws = [sign(bench.payment(nonce)) for nonce in range(3)]
        for raw in raws:
            await bench.client.send_raw(raw)
        await bench.rpc.call("anvil_dropAllTransactions")
        assert await bench.client.known([tx_hash(raw) for raw in raws]) == [False] * 3
        await bench.dev.mine()
        assert await bench.client.nonce(SIGNER) == 0
        for raw in raws:
            await bench.client.send_raw(raw)
        await bench.dev.mine()
        assert await bench.client.nonce(SIGNER) == 3

    async def test_one_is_dropped_with_what_follows_and_what_waits_above_a_gap_stays(
        self, bench: Bench
    ) -> None:
        await bench.hold_mining()
        raws = {nonce: sign(bench.payment(nonce)) for nonce in (0, 1, 2, 4)}
        for raw in raws.values():
            await bench.client.send_raw(raw)
        await bench.rpc.call("anvil_dropTransaction", (tx_hash(raws[1]),))
        await bench.dev.mine()
        assert await bench.client.nonce(SIGNER) == 1
        known = await bench.client.known([tx_hash(raw) for raw in raws.values()])
        assert known == [True, False, False, True]
        for nonce in (2, 1):
            await bench.client.send_raw(raws[nonce])
        await bench.dev.mine()
        assert await bench.client.nonce(SIGNER) == 3
        await bench.client.send_raw(sign(bench.payment(3)))
        await bench.dev.mine()
        assert await bench.client.nonce(SIGNER) == 5

    async def test_a_replaced_one_is_forgotten(self, bench: Bench) -> None:
        await bench.hold_mining()
        first = bench.payment(0)
        second = sign(bumped(first, 13))
        await bench.client.send_raw(sign(first))
        await bench.client.send_raw(second)
        assert await bench.client.known([tx_hash(sign(first)), tx_hash(second)]) == [False, True]


class TestFromNowhere:
    async def test_balances(self, bench: Bench) -> None:
        await bench.rpc.call("anvil_setBalance", (SIGNER, hex(12_345)))
        head = (await bench.client.head()).number
        assert await bench.client.balances([SIGNER], "ETH", head) == [12_345]
        raw = sign(bench.payment(0))
        assert (await bench.client.send_raw(raw)).kind == "insufficient_funds"

    async def test_a_recipient_that_reverts(self, bench: Bench) -> None:
        await bench.hold_mining()
        raw = sign(bench.payment(0, gas=30_000))
        await bench.client.send_raw(raw)
        await bench.rpc.call("anvil_setCode", (OUTSIDER, REVERTS))
        assert await bench.client.code(OUTSIDER) == bytes.fromhex(REVERTS[2:])
        call = {"from": SIGNER, "to": OUTSIDER, "value": "0x5", "data": "0x"}
        assert await words(bench.rpc, "eth_estimateGas", call) == (3, "execution reverted")
        head = await bench.dev.mine()
        [receipt] = await bench.client.receipts([tx_hash(raw)])
        assert receipt is not None
        assert (receipt.status, receipt.gas_used, receipt.logs) == (0, 21_006, ())
        assert await bench.client.balances([OUTSIDER], "ETH", head) == [0]

    async def test_too_little_gas_for_that_code_reverts_and_burns_it(self, bench: Bench) -> None:
        await bench.hold_mining()
        raw = sign(bench.payment(0))  # 21,000, and code lies there when it is mined
        await bench.client.send_raw(raw)
        await bench.rpc.call("anvil_setCode", (OUTSIDER, REVERTS))
        await bench.dev.mine()
        [receipt] = await bench.client.receipts([tx_hash(raw)])
        assert receipt is not None and (receipt.status, receipt.gas_used) == (0, 21_000)

    async def test_a_token_that_answers_true_and_does_nothing(self, bench: Bench) -> None:
        await bench.hold_mining()
        honest = await bench.rpc.call("eth_getCode", (bench.usdc, "latest"))
        await bench.rpc.call("anvil_setCode", (bench.usdc, RETURNS_TRUE))
        await bench.dev.mine()
        raw = payment_of_token(bench, 0)
        await bench.client.send_raw(raw)
        await bench.dev.mine(2)
        [receipt] = await bench.client.receipts([tx_hash(raw)])
        assert receipt is not None and (receipt.status, receipt.logs) == (1, ())
        block = await bench.client.full_block(receipt.block_number)
        assert block is not None
        pair = ("USDC", OUTSIDER)
        assert await bench.client.balance_changes(block, [pair]) == {pair: 0}
        await bench.rpc.call("anvil_setCode", (bench.usdc, honest))
        head = (await bench.client.head()).number
        assert await bench.client.balances([OUTSIDER, SIGNER], "USDC", head) == [0, 1_000 * 10**6]


class TestReorgs:
    @pytest.mark.parametrize("depth", [3, 4])
    async def test_another_transaction_takes_the_place(self, bench: Bench, depth: int) -> None:
        await bench.dev.mine(1)
        await bench.submit(sign(bench.payment(0)))
        await bench.dev.mine(2)
        before = (await bench.client.head()).number
        rival = sign(bench.payment(0, value=7))
        await bench.rpc.call("anvil_reorg", (depth, [["0x" + rival.hex(), 0]]))
        head = (await bench.client.head()).number
        assert head == before
        assert await bench.client.receipts([tx_hash(sign(bench.payment(0)))]) == [None]
        [receipt] = await bench.client.receipts([tx_hash(rival)])
        assert receipt is not None
        assert (receipt.block_number, receipt.status) == (head - depth + 1, 1)
        assert await bench.client.balances([OUTSIDER], "ETH", head) == [7]
        assert (await bench.client.send_raw(sign(bench.payment(0)))).kind == "nonce_too_low"

    async def test_what_is_pooled_meanwhile_stays(self, bench: Bench) -> None:
        await bench.dev.mine(2)
        await bench.hold_mining()
        raw = sign(bench.payment(0))
        await bench.client.send_raw(raw)
        await bench.dev.reorg(1)
        assert await bench.client.known([tx_hash(raw)]) == [True]
        assert await bench.client.receipts([tx_hash(raw)]) == [None]
        await bench.dev.mine()
        assert await bench.client.nonce(SIGNER) == 1


METHODS = {"eth_sendRawTransaction"}


@pytest.mark.parametrize("fault", ["drop_reply", "drop_request", "hang", "huge", "redirect"])
async def test_the_proxy_in_memory_fails_in_the_same_words(
    on_anvil: Bench, fault: ReplyFault
) -> None:
    """What the client sees and what the node has seen: over real HTTP, and without."""
    assert on_anvil.url is not None
    fake = FakeNode()
    fake.add_token(FAKE_CONTRACT, owner=SIGNER, supply=1)
    fake.fund(SIGNER, 10**20)

    async def met(proxy: FaultProxy | MemoryProxy, bench_rpc: Any) -> tuple[object, ...]:
        raw = sign(on_anvil.payment(0), KEY)
        async with proxy:
            proxy.fault, proxy.methods = fault, METHODS
            rpc = proxy.rpc(timeout_seconds=1.0)
            honest = await rpc.call("eth_chainId")
            with pytest.raises(ChainError) as failure:
                await rpc.call("eth_sendRawTransaction", ("0x" + raw.hex(),))
            await rpc.aclose()
        known = await bench_rpc.call("eth_getTransactionByHash", (tx_hash(raw),)) is not None
        return (honest, type(failure.value), str(failure.value), known, len(proxy.bodies),
                proxy.seen)  # fmt: skip

    assert await met(fake.proxy(), fake.rpc) == await met(FaultProxy(on_anvil.url), on_anvil.rpc)
