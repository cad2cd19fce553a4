"""One suite, two nodes: what the client promises, on real Anvil and on the fake."""

from __future__ import annotations

from itertools import pairwise

import pytest

from chain.client import ChainClient
from chain.errors import FeeCeiling, NodeGarbage, NodeRejected, WrongChain
from chain.outcomes import SendKind
from chain.transactions import bumped, erc20_transfer, self_cancel, tx_hash
from tests.chain.benches import OUTSIDER, SIGNER, Bench, local_network, sign

UNKNOWN_HASH = "0x" + "ab" * 32


class TestIdentity:
    async def test_names_the_chain_and_pins_block_1(self, bench: Bench) -> None:
        identity = await bench.client.identity()
        first = await bench.client.block_ref(1)
        assert first is not None
        assert (identity.chain_id, identity.block1_hash) == (31337, first.hash)
        assert identity.client_version

    async def test_another_chain_id_or_block_1_is_the_wrong_chain(self, bench: Bench) -> None:
        other_id = ChainClient(local_network(chain_id=1), bench.rpc)
        other_pin = ChainClient(local_network(block1_hash=UNKNOWN_HASH), bench.rpc)
        with pytest.raises(WrongChain):
            await other_id.verify_identity()
        with pytest.raises(WrongChain):
            await other_pin.verify_identity()
        await bench.client.verify_identity()


class TestBlocks:
    async def test_head_and_lineage(self, bench: Bench) -> None:
        before = await bench.client.head()
        assert await bench.dev.mine(3) == before.number + 3
        head = await bench.client.head()
        refs = await bench.client.block_refs(range(before.number, head.number + 1))
        found = [ref for ref in refs if ref is not None]
        assert len(found) == 4 and found[0] == before and found[-1] == head
        for below, above in pairwise(found):
            assert above.parent_hash == below.hash and above.number == below.number + 1

    async def test_a_block_above_the_head_is_none_and_not_an_error(self, bench: Bench) -> None:
        head = await bench.client.head()
        assert await bench.client.block_ref(head.number + 1) is None
        assert await bench.client.full_block(head.number + 1) is None

    async def test_finality_by_depth_and_tag(self, bench: Bench) -> None:
        await bench.dev.mine(80)
        head = await bench.client.head()
        assert await bench.client.final_number(head) == head.number - 7
        both = ChainClient(local_network(finality="both"), bench.rpc)
        assert await both.final_number(head) == head.number - 64
        young = ChainClient(local_network(confirmations=1000), bench.rpc)
        assert await young.final_number(head) == -1


class TestDeposits:
    async def test_native_and_token_arrivals_are_seen_once(self, bench: Bench) -> None:
        native = await bench.send_native(OUTSIDER, 5 * 10**17)
        token = await bench.send_token(OUTSIDER, 1_250_000)
        await bench.send_native(SIGNER, 1)
        head = await bench.client.head()
        found = []
        for number in range(1, head.number + 1):
            block = await bench.client.full_block(number)
            assert block is not None
            found += await bench.client.deposits(block, watched={OUTSIDER})
        assert [(d.tx_hash, d.asset, d.amount) for d in found] == [
            (native, "ETH", 5 * 10**17),
            (token, "USDC", 1_250_000),
        ]
        assert found[0].log_index == -1 and found[0].contract is None
        assert found[1].log_index >= 0 and found[1].contract == bench.usdc
        assert {d.to_address for d in found} == {OUTSIDER}

    async def test_lower_case_watch_lists_work_too(self, bench: Bench) -> None:
        await bench.send_native(OUTSIDER, 7)
        block = await bench.client.full_block((await bench.client.head()).number)
        assert block is not None
        found = await bench.client.deposits(block, watched={OUTSIDER.lower()})
        assert [(d.to_address, d.amount) for d in found] == [(OUTSIDER, 7)]

    async def test_logs_by_hash_agree_with_receipts(self, bench: Bench) -> None:
        sent = await bench.send_token(OUTSIDER, 3)
        block = await bench.client.full_block((await bench.client.head()).number)
        assert block is not None
        receipts = await bench.client.block_receipts(block)
        assert [log.tx_hash for receipt in receipts for log in receipt.logs] == [sent]

    async def test_receipts_of_an_orphaned_block_are_an_error_and_not_empty(
        self, bench: Bench
    ) -> None:
        await bench.send_token(OUTSIDER, 3)
        orphan = await bench.client.full_block((await bench.client.head()).number)
        await bench.dev.reorg(1)
        assert orphan is not None
        with pytest.raises((NodeRejected, NodeGarbage)):
            await bench.client.block_receipts(orphan)


class TestAccounts:
    async def test_balances_now_and_in_the_past(self, bench: Bench) -> None:
        before = (await bench.client.head()).number
        await bench.send_native(OUTSIDER, 9)
        await bench.send_token(OUTSIDER, 11)
        now = (await bench.client.head()).number
        who = [OUTSIDER, SIGNER]
        assert (await bench.client.balances(who, "ETH", before))[0] == 0
        assert await bench.client.balances(who, "ETH", now) == [9, 100 * 10**18]
        assert await bench.client.balances(who, "USDC", before) == [0, 1_000 * 10**6]
        assert await bench.client.balances(who, "USDC", now) == [11, 1_000 * 10**6]

    async def test_an_unlisted_asset_is_the_callers_mistake(self, bench: Bench) -> None:
        with pytest.raises(ValueError, match="not listed"):
            await bench.client.balances([SIGNER], "DAI", 1)

    async def test_contracts_and_people(self, bench: Bench) -> None:
        assert await bench.client.is_contract(bench.usdc)
        assert not await bench.client.is_contract(OUTSIDER)


class TestFees:
    async def test_cap_is_twice_the_base_fee_plus_tip(self, bench: Bench) -> None:
        fees = await bench.client.fees()
        assert fees.cap == 2 * fees.base_fee + fees.tip
        assert fees.tip >= bench.client.network.min_tip_wei

    async def test_above_the_ceiling_is_refused(self, bench: Bench) -> None:
        poor = ChainClient(local_network(max_fee_wei=1, min_tip_wei=1), bench.rpc)
        with pytest.raises(FeeCeiling) as refusal:
            await poor.fees()
        assert refusal.value.ceiling_wei == 1 < refusal.value.needed_wei

    async def test_gas_of_transfers(self, bench: Bench) -> None:
        assert await bench.client.estimate_gas(SIGNER, OUTSIDER, 1, b"") == 21_000
        call = erc20_transfer(
            chain_id=31337, nonce=0, tip=1, cap=1, gas=60_000,
            contract=bench.usdc, to=OUTSIDER, amount_minor=1,
        )  # fmt: skip
        gas = await bench.client.estimate_gas(SIGNER, bench.usdc, 0, call.data)
        assert 30_000 < gas < 70_000

    async def test_a_call_that_would_revert_is_rejected(self, bench: Bench) -> None:
        call = erc20_transfer(
            chain_id=31337, nonce=0, tip=1, cap=1, gas=60_000,
            contract=bench.usdc, to=OUTSIDER, amount_minor=10**12,
        )  # fmt: skip
        with pytest.raises(NodeRejected):
            await bench.client.estimate_gas(SIGNER, bench.usdc, 0, call.data)


class TestSending:
    async def test_accepted_mined_and_paid(self, bench: Bench) -> None:
        raw = sign(bench.payment(0))
        await bench.submit(raw)
        (receipt,) = await bench.client.receipts([tx_hash(raw)])
        assert receipt is not None and receipt.status == 1 and receipt.gas_used == 21_000
        head = (await bench.client.head()).number
        balances = await bench.client.balances([OUTSIDER, SIGNER], "ETH", head)
        assert balances == [10**15, 100 * 10**18 - 10**15 - receipt.fee_wei]
        assert await bench.client.nonce(SIGNER) == 1

    async def test_a_token_payment(self, bench: Bench) -> None:
        fields = erc20_transfer(
            chain_id=31337, nonce=0, tip=10**9, cap=10**10, gas=80_000,
            contract=bench.usdc, to=OUTSIDER, amount_minor=20 * 10**6,
        )  # fmt: skip
        raw = sign(fields)
        await bench.submit(raw)
        (receipt,) = await bench.client.receipts([tx_hash(raw)])
        assert receipt is not None and receipt.status == 1 and len(receipt.logs) == 1

    async def test_same_bytes_twice_in_the_pool_are_known(self, bench: Bench) -> None:
        await bench.hold_mining()
        raw = sign(bench.payment(0))
        assert (await bench.client.send_raw(raw)).kind is SendKind.ACCEPTED
        assert (await bench.client.send_raw(raw)).kind is SendKind.KNOWN
        assert await bench.client.known([tx_hash(raw), UNKNOWN_HASH]) == [True, False]
        assert await bench.client.receipts([tx_hash(raw), UNKNOWN_HASH]) == [None, None]

    async def test_same_bytes_after_mining_are_nonce_too_low(self, bench: Bench) -> None:
        raw = sign(bench.payment(0))
        await bench.submit(raw)
        assert (await bench.client.send_raw(raw)).kind is SendKind.NONCE_TOO_LOW

    async def test_a_cheaper_rival_is_underpriced_and_a_bump_replaces(self, bench: Bench) -> None:
        await bench.hold_mining()
        first = bench.payment(0)
        await bench.client.send_raw(sign(first))
        rival = await bench.client.send_raw(sign(bench.payment(0, value=1)))
        assert rival.kind is SendKind.REPLACEMENT_UNDERPRICED
        second = sign(bumped(first, 13))
        assert (await bench.client.send_raw(second)).kind is SendKind.ACCEPTED
        await bench.dev.mine()
        old, new = await bench.client.receipts([tx_hash(sign(first)), tx_hash(second)])
        assert old is None and new is not None

    async def test_a_cancel_takes_the_nonce(self, bench: Bench) -> None:
        await bench.hold_mining()
        first = bench.payment(0)
        await bench.client.send_raw(sign(first))
        cancel = sign(self_cancel(first, sender=SIGNER, percent=13))
        assert (await bench.client.send_raw(cancel)).kind is SendKind.ACCEPTED
        head = await bench.dev.mine()
        assert await bench.client.balances([OUTSIDER], "ETH", head) == [0]
        assert await bench.client.nonce(SIGNER) == 1

    @pytest.mark.parametrize(
        ("changes", "kind"),
        [
            ({"value": 101 * 10**18}, SendKind.INSUFFICIENT_FUNDS),
            ({"cap": 1, "tip": 1}, SendKind.FEE_TOO_LOW),
            ({"chain_id": 1}, SendKind.MALFORMED),
        ],
    )
    async def test_refusals(self, bench: Bench, changes: dict[str, int], kind: SendKind) -> None:
        outcome = await bench.client.send_raw(sign(bench.payment(0, **changes)))
        assert outcome.kind is kind, outcome

    @pytest.mark.parametrize("raw", [b"", b"\x02\xc0", b"garbage", b"\x02" * 300])
    async def test_garbage_is_malformed(self, bench: Bench, raw: bytes) -> None:
        assert (await bench.client.send_raw(raw)).kind is SendKind.MALFORMED

    async def test_a_nonce_gap_waits_in_the_queue(self, bench: Bench) -> None:
        late, early = sign(bench.payment(1)), sign(bench.payment(0))
        assert (await bench.client.send_raw(late)).kind is SendKind.ACCEPTED
        await bench.dev.mine()
        assert await bench.client.nonce(SIGNER) == 0
        assert (await bench.client.send_raw(early)).kind is SendKind.ACCEPTED
        await bench.dev.mine()
        assert await bench.client.nonce(SIGNER) == 2

    async def test_a_dropped_transaction_is_taken_again(self, bench: Bench) -> None:
        await bench.hold_mining()
        raw = sign(bench.payment(0))
        await bench.client.send_raw(raw)
        await bench.rpc.call("anvil_dropTransaction", (tx_hash(raw),))
        assert await bench.client.known([tx_hash(raw)]) == [False]
        assert (await bench.client.send_raw(raw)).kind is SendKind.ACCEPTED


class TestReorg:
    @pytest.mark.parametrize("depth", range(1, 7))
    async def test_a_removed_payment_is_sent_again_byte_for_byte(
        self, bench: Bench, depth: int
    ) -> None:
        await bench.dev.mine(4)
        fork = await bench.client.head()
        raw = sign(bench.payment(0))
        await bench.submit(raw)
        if depth > 1:
            await bench.dev.mine(depth - 1)
        old = await bench.client.head()
        first = await bench.client.block_ref(1)
        assert await bench.dev.reorg(depth) == old.number
        new = await bench.client.head()
        assert new.hash != old.hash
        assert await bench.client.block_ref(fork.number) == fork
        assert await bench.client.block_ref(1) == first
        assert await bench.client.receipts([tx_hash(raw)]) == [None]
        assert await bench.client.nonce(SIGNER) == 0
        assert await bench.client.balances([OUTSIDER], "ETH", new.number) == [0]
        await bench.submit(raw)
        head = await bench.dev.mine()
        assert await bench.client.balances([OUTSIDER], "ETH", head) == [10**15]
