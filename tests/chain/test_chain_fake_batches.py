"""The fake node against Anvil where batches lean on it: the payout contract, gas, events."""

from __future__ import annotations

from typing import Any

import pytest
from eth_utils.crypto import keccak

from chain.abi import encode
from chain.client import ChainClient
from chain.dev import DevNode
from chain.dev_contracts import deploy_payout
from chain.errors import NodeGarbage, NodeRejected
from chain.rpc import Rpc
from chain.testing import AnvilProcess, FakeNode
from chain.transactions import TxFields, intrinsic_gas, tx_hash
from contracts.loader import artifact
from tests.chain.benches import OUTSIDER, SIGNER, Bench, sign
from wallet.testing.meddler import Meddler

GWEI = 10**9
UNLIMITED = 2**256 - 1
RETURNS_TRUE = "0x600160005260206000f3"
Payment = tuple[str, int, bytes]


def payees(first: int, count: int, minor: int = 1_500_000) -> list[Payment]:
    return [
        (f"0x{0x5EED_0000_0000_0000 + n:040x}", minor, bytes(keccak(text=str(n))))
        for n in range(first, first + count)
    ]


class Payer:
    """SIGNER on one node, who keeps what every transaction and question came to."""

    def __init__(self, rpc: Rpc, token: str, contract: str) -> None:
        self.rpc, self.dev, self.token, self.contract = rpc, DevNode(rpc), token, contract
        self.nonce, self.told = 0, list[object]()

    async def ask(self, method: str, *params: object) -> object:
        try:
            return await self.rpc.call(method, params)
        except NodeRejected as error:
            return (error.rpc_code, error.message.split(":")[0])

    async def send(self, to: str, data: bytes, gas: int = 400_000) -> None:
        request = {"from": SIGNER, "to": to, "data": "0x" + data.hex()}
        estimate = await self.ask("eth_estimateGas", request)
        fields = TxFields(31337, self.nonce, GWEI, 10 * GWEI, gas, to, 0, data)
        raw = sign(fields)
        await self.rpc.call("eth_sendRawTransaction", ("0x" + raw.hex(),))
        receipt = await self.dev.wait_mined(tx_hash(raw))
        # What our contracts refuse costs other gas on Anvil: only what succeeds is compared by it.
        gas_used = receipt.gas_used if receipt.status == 1 else None
        events = [(log.address, log.topics, log.data, log.log_index) for log in receipt.logs]
        self.told.append((estimate, receipt.status, gas_used, events))
        self.nonce += 1

    async def pay(self, batch: int, payments: list[Payment], gas: int = 400_000) -> None:
        types = ["bytes32", "address", "(address,uint256,bytes32)[]"]
        selector = keccak(text="payToken(bytes32,address,(address,uint256,bytes32)[])")[:4]
        call = encode(types, [batch.to_bytes(32, "big"), self.token, payments])
        await self.send(self.contract, bytes(selector + call), gas)

    async def approve(self, amount: int) -> None:
        call = encode(["address", "uint256"], [self.contract, amount])
        await self.send(self.token, bytes(keccak(text="approve(address,uint256)")[:4] + call))

    async def look(self, *holders: str) -> None:
        owner_spender = encode(["address", "address"], [SIGNER, self.contract])
        questions = [bytes(keccak(text="allowance(address,address)")[:4] + owner_spender)]
        for holder in (SIGNER, self.contract, *holders):
            call = encode(["address"], [holder])
            questions.append(bytes(keccak(text="balanceOf(address)")[:4] + call))
        for data in questions:
            request = {"to": self.token, "data": "0x" + data.hex()}
            self.told.append(await self.ask("eth_call", request, "latest"))


async def furnished(rpc: Rpc) -> Payer:
    """A node with a token and the payout contract, whose operator SIGNER is."""
    dev = DevNode(rpc)
    owner = (await dev.accounts())[0]
    token = await dev.deploy(artifact("TestToken"), ("USD Coin", "USDC", 6, 10**16, owner))
    contract = await deploy_payout(dev, owner=owner, operators=[SIGNER])
    await dev.wait_mined(await dev.send_native(SIGNER, 10**19))
    await dev.wait_mined(await dev.send_token(token, SIGNER, 10**9))
    return Payer(rpc, token, contract)


async def life(rpc: Rpc) -> list[object]:
    """Batches that go through and batches that do not, and what the blocks say of gas and fees."""
    payer = await furnished(rpc)
    await payer.look()
    await payer.pay(1, payees(0, 2))  # nothing is allowed yet
    await payer.approve(2_000_000)
    await payer.pay(1, payees(0, 1))  # and is less then
    await payer.pay(2, payees(0, 1))  # more than is left
    await payer.look(payees(0, 1)[0][0])
    await payer.approve(UNLIMITED)
    for batch, count in enumerate((2, 3, 4, 5, 6), 3):
        await payer.pay(batch, payees(10 * batch, count))
    await payer.pay(8, payees(70, 8))  # all known holders by now, but two
    await payer.pay(8, payees(80, 2))  # twice
    await payer.pay(9, [*payees(90, 1), *payees(90, 1)])  # one payee twice
    await payer.pay(10, payees(100, 2, 0))  # of nothing
    await payer.pay(11, [(payer.contract, 5, bytes(32))])
    await payer.pay(12, [])
    await payer.pay(13, payees(110, 2, 10**9))  # more than there is
    await payer.pay(14, payees(120, 4), gas=150_000)  # too little gas
    await payer.look(*[payee for payee, _, _ in payees(70, 8)], payees(110, 1)[0][0])
    head: Any = await rpc.call("eth_getBlockByNumber", ("latest", False))
    blocks: list[Any] = [
        await rpc.call("eth_getBlockByNumber", (hex(n), False))
        for n in range(int(head["number"], 16) + 1)
    ]
    first_refused = 6  # from there on gas may differ, and with it the base fee
    told = [(block["gasUsed"], block["baseFeePerGas"]) for block in blocks[:first_refused]]
    return [payer.token, payer.contract, told, *payer.told]


async def test_what_the_payout_contract_does_is_anvils_gas_and_events_to_the_unit(
    on_anvil: Bench,
) -> None:
    del on_anvil  # only so that a missing Anvil skips by name
    with AnvilProcess() as process:
        rpc = process.rpc()
        real = await life(rpc)
        await rpc.aclose()
    fake = await life(FakeNode().rpc)
    assert len(fake) == len(real)
    for ours, theirs in zip(fake, real, strict=True):
        assert ours == theirs


async def after_a_fork(rpc: Rpc) -> list[object]:
    """A batch and an allowance that a reorganisation takes back, and the batch once more."""
    payer = await furnished(rpc)
    await payer.approve(UNLIMITED)
    await payer.pay(1, payees(0, 4))
    await payer.dev.reorg(2)
    await payer.look(payees(0, 1)[0][0])
    payer.nonce = 0
    await payer.pay(1, payees(0, 4))
    await payer.approve(UNLIMITED)
    await payer.pay(1, payees(0, 4))
    await payer.look(payees(0, 1)[0][0])
    return payer.told


async def under_a_silent_token(rpc: Rpc) -> list[object]:
    """The contract notices that a token moves nothing."""
    payer = await furnished(rpc)
    await payer.approve(UNLIMITED)
    honest = await rpc.call("eth_getCode", (payer.token, "latest"))
    await rpc.call("anvil_setCode", (payer.token, RETURNS_TRUE))
    await payer.dev.mine(2)
    await payer.pay(1, payees(0, 4))
    await rpc.call("anvil_setCode", (payer.token, honest))
    await payer.dev.mine(2)
    await payer.pay(1, payees(0, 4))
    await payer.look(payees(0, 1)[0][0])
    return payer.told


@pytest.mark.parametrize("story", [after_a_fork, under_a_silent_token])
async def test_stories_of_batches_are_the_same_on_both(on_anvil: Bench, story: Any) -> None:
    del on_anvil
    with AnvilProcess(keep_states=64) as process:
        rpc = process.rpc()
        real = await story(rpc)
        await rpc.aclose()
    assert await story(FakeNode().rpc) == real


class TestTooLittleGas:
    """What no block can have: both nodes take it into the pool, and drop it with what follows."""

    @pytest.mark.parametrize("gas", [21_000, 23_007, 23_008])
    async def test_it_is_dropped(self, bench: Bench, gas: int) -> None:
        await bench.hold_mining()
        data = b"\1" * 50 + bytes(1)  # 16 a byte, and 40 at least (EIP-7623): 23,010 with the zero
        raws = [
            sign(TxFields(31337, nonce, GWEI, 10 * GWEI, limit, OUTSIDER, 0, data))
            for nonce, limit in ((0, gas), (1, 60_000))
        ]
        for raw in raws:
            assert (await bench.client.send_raw(raw)).kind == "accepted"
        await bench.dev.mine(2)
        assert await bench.client.nonce(SIGNER) == 0
        for raw in raws:
            found = await bench.rpc.call("eth_getTransactionByHash", (tx_hash(raw),))
            assert found is None

    async def test_enough_is_enough(self, bench: Bench) -> None:
        await bench.hold_mining()
        data = b"\1" * 50 + bytes(1)
        raw = sign(TxFields(31337, 0, GWEI, 10 * GWEI, intrinsic_gas(data), OUTSIDER, 0, data))
        await bench.client.send_raw(raw)
        await bench.dev.mine(1)
        [receipt] = await bench.client.receipts([tx_hash(raw)])
        assert receipt is not None and receipt.status == 1

    async def test_an_estimate_below_that_is_no_answer(self, bench: Bench) -> None:
        lying = Meddler(bench.rpc)
        lying.alter = lambda method, _params, honest: (
            hex(23_009) if method == "eth_estimateGas" else honest
        )
        client = ChainClient(bench.client.network, lying)
        with pytest.raises(NodeGarbage, match="any such call"):
            await client.estimate_gas(SIGNER, OUTSIDER, 0, b"\1" * 50 + bytes(1))
        assert await client.estimate_gas(SIGNER, OUTSIDER, 0, b"\1" * 49) == 23_009


async def test_only_its_operators_pay() -> None:
    payer = await furnished(FakeNode().rpc)
    call = encode(["address", "bool"], [OUTSIDER, True])
    selector = bytes(keccak(text="setOperator(address,bool)")[:4])
    await payer.send(payer.contract, selector + call)  # SIGNER is not its owner
    assert payer.told == [((3, "execution reverted"), 0, None, [])]
