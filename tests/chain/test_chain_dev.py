"""Development nodes: unlocked sends, deployment, and snapshots that can be trusted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from chain.client import ChainClient
from chain.dev import DevNode
from chain.errors import DevNodeFailed, InvalidTransaction, NodeGarbage, NoUnlockedAccount
from chain.rpc import Call, Rpc
from chain.snapshot import normalised
from chain.testing import AnvilMissing, AnvilProcess, FakeNode, anvil_binary
from chain.testing.anvil import AnvilDidNotStart
from contracts.loader import artifact
from tests.chain.benches import OUTSIDER, SIGNER, Bench, local_network


class Losing:
    """A node that after so many reorganisations still has no block of this number."""

    def __init__(self, rpc: Rpc, *, times: int, number: int) -> None:
        self._rpc = rpc
        self._times = times
        self._number = number
        self.reorgs: list[object] = []

    async def call(self, method: str, params: Sequence[object] = ()) -> object:
        if method == "anvil_reorg":
            self.reorgs.append(params[0])
        return await self._rpc.call(method, params)

    async def batch(self, calls: Sequence[Call]) -> list[object]:
        answers = await self._rpc.batch(calls)
        if len(self.reorgs) > self._times:
            return answers
        lost = ("eth_getBlockByNumber", (hex(self._number), False))
        return [None if call == lost else one for call, one in zip(calls, answers, strict=True)]


class TestSending:
    async def test_a_node_without_unlocked_accounts_says_so(self) -> None:
        node = FakeNode()
        node.unlocked = False
        dev = DevNode(node.rpc)
        assert await dev.accounts() == []
        with pytest.raises(NoUnlockedAccount):
            await dev.send_native(OUTSIDER, 1)

    async def test_amounts_and_heights_are_checked(self, bench: Bench) -> None:
        with pytest.raises(InvalidTransaction):
            await bench.dev.send_native(OUTSIDER, 0)
        with pytest.raises(ValueError, match="blocks"):
            await bench.dev.mine(0)
        with pytest.raises(DevNodeFailed):
            await bench.dev.reorg(100)
        with pytest.raises(DevNodeFailed):
            await bench.dev.reorg(0)

    async def test_blocks_a_reorganisation_loses_are_replaced_as_well(self, bench: Bench) -> None:
        """Anvil that mines at that moment answers null for blocks under its head."""
        head = await bench.dev.mine(5)
        losing = Losing(bench.rpc, times=2, number=head - 1)
        assert await DevNode(losing).reorg(3) == head  # type: ignore[arg-type]
        assert losing.reorgs == [3, 3, 3]
        with pytest.raises(DevNodeFailed, match=f"lost blocks from {head - 2} to {head}"):
            await DevNode(Losing(bench.rpc, times=99, number=head - 1)).reorg(3)  # type: ignore[arg-type]

    async def test_deployment_checks_its_arguments_and_its_receipt(self, on_anvil: Bench) -> None:
        token = artifact("TestToken")
        for wrong in ([], ["USD Coin", "USDC", "six", 1, SIGNER]):
            with pytest.raises(DevNodeFailed):
                await on_anvil.dev.deploy(token, wrong)
        contract = await on_anvil.dev.deploy(token, ["Second", "SEC", 18, 10**24, SIGNER])
        client = ChainClient(local_network(contract), on_anvil.rpc)
        head = await client.head()
        assert await client.balances([SIGNER], "USDC", head.number) == [10**24]


class TestAnvilProcess:
    async def test_many_calls_do_not_fill_its_output_pipe(self, on_anvil: Bench) -> None:
        """Anvil logs every call; unread, it stops answering after some 64 kB."""
        for _ in range(30):
            await on_anvil.rpc.batch([("eth_blockNumber", ())] * 300)
        assert (await on_anvil.client.head()).number > 0

    def test_a_missing_binary_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BIFOLD_ANVIL_BIN", "/nonexistent/anvil")
        with pytest.raises(AnvilMissing, match="npm install"):
            anvil_binary()

    def test_one_that_ends_at_once_shows_its_words(self) -> None:
        process = AnvilProcess(extra=["--no-such-option"])
        with pytest.raises(AnvilDidNotStart, match="no-such-option"):
            process.start()
        assert not process.running

    def test_stop_and_kill_leave_nothing_running(self) -> None:
        for end in ("stop", "kill"):
            process = AnvilProcess().start()
            assert process.running and process.url.startswith("http://127.0.0.1:")
            getattr(process, end)()
            assert not process.running


def reloaded(state: bytes, folder: Path) -> AnvilProcess:
    path = folder / "state.json"
    path.write_bytes(state)
    return AnvilProcess(load_state=path)


class TestSnapshot:
    async def test_a_reloaded_node_is_the_same_chain(self, on_anvil: Bench, tmp_path: Path) -> None:
        for amount in range(1, 13):
            await on_anvil.send_native(OUTSIDER, amount)
        client = on_anvil.client
        head, identity = await client.head(), await client.identity()
        numbers = range(head.number - 12, head.number + 1)
        past = [(await client.balances([OUTSIDER], "ETH", number))[0] for number in numbers]
        refs = await client.block_refs(range(1, head.number + 1))
        async with reloaded(await on_anvil.dev.dump_state(), tmp_path) as process:
            rpc = process.rpc()
            again = ChainClient(local_network(on_anvil.usdc), rpc)
            assert await again.identity() == identity
            assert await again.block_refs(range(1, head.number + 1)) == refs
            answers = [(await again.balances([OUTSIDER], "ETH", n))[0] for n in numbers]
            assert answers == past and past[-1] == sum(range(1, 13))
            assert (await DevNode(rpc).accounts())[0]
            await DevNode(rpc).send_native(OUTSIDER, 1)
            await rpc.aclose()

    async def test_reorgs_of_depth_1_to_6_work_after_a_reload(
        self, on_anvil: Bench, tmp_path: Path
    ) -> None:
        """Raw snapshots fail here about once in 30 tries (at 32 states kept); ours never may."""
        await on_anvil.dev.mine(60)
        async with reloaded(await on_anvil.dev.dump_state(), tmp_path) as process:
            rpc = process.rpc()
            dev, client = DevNode(rpc), ChainClient(local_network(), rpc)
            for depth in [*range(1, 7)] * 4:
                head = await client.head()
                below = await client.block_ref(head.number - depth)
                assert await dev.reorg(depth) == head.number
                after = await client.head()
                assert after.hash != head.hash
                assert await client.block_ref(head.number - depth) == below
            await rpc.aclose()

    async def test_no_reorg_takes_back_what_was_there_when_the_node_was_loaded(
        self, on_anvil: Bench, tmp_path: Path
    ) -> None:
        """Anvil 1.7.1 would go there and lose the code of every contract."""
        await on_anvil.dev.mine(5)
        async with reloaded(await on_anvil.dev.dump_state(), tmp_path) as process:
            rpc = process.rpc()
            dev, client = DevNode(rpc), ChainClient(local_network(on_anvil.usdc), rpc)
            assert await dev.deepest() == (await client.head()).number
            await rpc.call("evm_snapshot")
            assert await dev.deepest() == 0
            await dev.mine(3)
            with pytest.raises(DevNodeFailed, match="impossible"):
                await dev.reorg(4)
            code = await rpc.call("eth_getCode", (on_anvil.usdc, "latest"))
            await dev.reorg(3)
            assert len(str(code)) > 2
            assert await rpc.call("eth_getCode", (on_anvil.usdc, "latest")) == code
            await rpc.aclose()

    async def test_only_order_and_old_hashes_differ_from_anvils_own(self, on_anvil: Bench) -> None:
        await on_anvil.dev.mine(300)
        raw_answer = await on_anvil.rpc.call("anvil_dumpState", (True,))
        ours = json.loads(await on_anvil.dev.dump_state())
        assert isinstance(raw_answer, str)
        raw = json.loads(gzip.decompress(bytes.fromhex(raw_answer[2:])))
        own_states = dict(map(tuple, ours.pop("historical_states")))
        raw_states = dict(map(tuple, raw.pop("historical_states")))
        assert ours == raw
        assert own_states.keys() == raw_states.keys() and len(own_states) == 32
        for block_hash, state in raw_states.items():
            kept = own_states[block_hash].pop("block_hashes")
            every = state.pop("block_hashes")
            assert own_states[block_hash] == state
            newest = sorted(int(number, 16) for number in every)[-256:]
            assert {int(number, 16): value for number, value in kept.items()} == {
                number: every[hex(number)] for number in newest
            }

    def test_states_are_sorted_by_block(self) -> None:
        blocks = [
            {"header": {"number": hex(n), "parentHash": f"h{n - 1}"}} for n in (3, 1, 4, 2, 5)
        ]
        states = [[name, {"block_hashes": {}}] for name in ("h4", "h2", "gone", "h3", "h1")]
        text = json.dumps({"blocks": blocks, "historical_states": states}).encode()
        order = [name for name, _ in json.loads(normalised(text))["historical_states"]]
        assert order == ["gone", "h1", "h2", "h3", "h4"]
        without = b'{"blocks": []}'
        assert normalised(without) == without

    @pytest.mark.parametrize("text", [b"", b"[]", b'{"historical_states": [1]}', b"\x1f\x8b"])
    def test_what_is_no_snapshot_is_garbage(self, text: bytes) -> None:
        with pytest.raises(NodeGarbage):
            normalised(text)

    async def test_a_node_that_dumps_nothing_says_so(self) -> None:
        with pytest.raises(DevNodeFailed):
            await DevNode(FakeNode().rpc).dump_state()
