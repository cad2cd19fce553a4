"""What arrives is seen, confirmed and credited once, whatever the chain and the process do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from sqlalchemy import text

from chain.blocks import Block, BlockRef
from chain.client import ChainClient, ChainIdentity
from chain.dev import DevNode
from chain.rpc import JsonRpc
from chain.testing import AnvilProcess
from contracts.loader import artifact
from wallet import crashpoints, deposits, ledger
from wallet.db import Database
from wallet.deposits import Deposit, Scanner
from wallet.ledger import accounts
from wallet.testing.databases import ScratchDatabase
from wallet.testing.seam import Seam


class Crash(BaseException):
    """The process dies here."""


async def _listed(seam: Seam, principal_id: str) -> list[Deposit]:
    async with seam.db.transaction() as session:
        return await deposits.page(
            session,
            principal_id=principal_id,
            limit=200,
            cursor=None,
            assets=seam.assets,
            networks={"local": seam.network},
        )


async def _pending(seam: Seam, principal_id: str) -> dict[str, int]:
    async with seam.db.transaction() as session:
        return await deposits.pending(session, principal_id=principal_id)


async def _raw(seam: Seam, tx_hash: str) -> str:
    raw = await seam.node("eth_getRawTransactionByHash", tx_hash)
    assert isinstance(raw, str)
    return raw


class TestLifeOfADeposit:
    async def test_seen_then_confirmed_and_credited_at_finality(self, seam: Seam) -> None:
        ada = await seam.person()
        address = await seam.address(ada)
        await seam.pay_in(address, "1.5", "ETH")
        await seam.pay_in(address, "100.000001", "USDC")
        await seam.pass_once()
        assert [(d.status, d.confirmations) for d in await _listed(seam, ada)] == [
            ("seen", 1),
            ("seen", 2),
        ]
        assert await _pending(seam, ada) == {"ETH": 15 * 10**17, "USDC": 100_000_001}
        assert (await seam.balance(ada, "ETH")).total_minor == 0
        await seam.mine(6)
        tokens, coins = await _listed(seam, ada)
        assert (tokens.status, tokens.confirmations) == ("seen", 7)
        assert (coins.status, coins.confirmations) == ("credited", 8)
        await seam.mine(1)
        assert [d.status for d in await _listed(seam, ada)] == ["credited", "credited"]
        assert await _pending(seam, ada) == {}
        assert (await seam.balance(ada, "USDC")).available_minor == 100_000_001
        assert (coins.log_index, coins.required_confirmations) == (-1, 8)
        types = [r.type for r in await seam.rows("SELECT type FROM outbox ORDER BY id")]
        assert types.count("deposit.seen") == types.count("deposit.credited") == 2
        assert await seam.differences() == []

    async def test_every_log_of_one_transaction_is_credited(self, seam: Seam) -> None:
        ada, bob = await seam.person(), await seam.person()
        sprayer = await seam.dev.deploy(artifact("ManyTransfers"), ())
        await seam.pay_in(sprayer, "1000", "USDC")
        token = seam.network.tokens[0].contract
        for person, times in ((ada, 7), (bob, 3)):
            data = _call(
                "spray(address,address,uint256,uint256)",
                ["address", "address", "uint256", "uint256"],
                [token, await seam.address(person), 1_000_000, times],
            )
            await seam.dev.wait_mined(await seam.dev.call_contract(sprayer, data))
        await seam.finish()
        assert (await seam.balance(ada, "USDC")).total_minor == 7_000_000
        assert (await seam.balance(bob, "USDC")).total_minor == 3_000_000
        assert len({d.log_index for d in await _listed(seam, ada)}) == 7

    async def test_other_tokens_and_reverted_transfers_credit_nothing(self, seam: Seam) -> None:
        ada = await seam.person()
        address = await seam.address(ada)
        fake = await seam.dev.deploy(
            artifact("TestToken"), ("USD Coin", "USDC", 6, 10**12, seam.faucet)
        )
        await seam.dev.wait_mined(await seam.dev.send_token(fake, address, 5_000_000))
        reverting = await seam.dev.deploy(artifact("RevertingToken"), ())
        data = _call("transfer(address,uint256)", ["address", "uint256"], [address, 9])
        tx = await seam.dev.call_contract(reverting, data, gas=100_000)
        assert (await seam.dev.wait_mined(tx)).status == 0
        await seam.finish()
        assert await _listed(seam, ada) == []

    async def test_a_retired_address_still_receives(self, seam: Seam) -> None:
        ada = await seam.person()
        old = await seam.address(ada)
        new = await seam.address(ada, fresh=True)
        assert old != new
        await seam.pay_in(old, "1", "USDC")
        await seam.finish()
        assert (await seam.balance(ada, "USDC")).total_minor == 1_000_000

    async def test_a_closed_account_sends_the_money_to_unattributed(self, seam: Seam) -> None:
        ada = await seam.funded_person(eth="1", usdc="1")
        await seam.rows(
            "SELECT ledger_set_status(id, 'closed') FROM accounts WHERE principal_id = :p", p=ada
        )
        await seam.pay_in(await seam.address(ada), "2", "USDC")
        await seam.finish()
        assert (await _listed(seam, ada))[0].status == "quarantined"
        async with seam.db.transaction() as session:
            late = await ledger.balance_of(session, accounts.unattributed("local", "USDC"))
        assert late == 2_000_000
        assert await seam.differences() == []


class TestReorgs:
    @pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6])
    async def test_a_deposit_that_is_mined_again_is_one_deposit(
        self, seam: Seam, depth: int
    ) -> None:
        ada = await seam.person()
        address = await seam.address(ada)
        coins = await seam.pay_in(address, "3", "ETH")
        tokens = await seam.pay_in(address, "70", "USDC")
        raws = [await _raw(seam, coins.tx_hash), await _raw(seam, tokens.tx_hash)]
        await seam.pass_once()
        if depth > 2:
            await seam.mine(depth - 2)
        before = {d.id: d.block_number for d in await _listed(seam, ada)}
        await seam.dev.reorg(depth)
        await seam.mine(1)
        lost = [d for d in await _listed(seam, ada) if d.status == "orphaned"]
        assert len(lost) == min(depth, 2)
        for raw in raws[-len(lost) :]:
            await seam.node("eth_sendRawTransaction", raw)
        await seam.finish()
        after = await _listed(seam, ada)
        assert {d.id for d in after} == set(before)
        assert {d.status for d in after} == {"credited"}
        assert (await seam.balance(ada, "ETH")).total_minor == 3 * 10**18
        assert (await seam.balance(ada, "USDC")).total_minor == 70 * 10**6
        assert await seam.differences() == []

    async def test_a_deposit_that_never_comes_back_is_never_credited(self, seam: Seam) -> None:
        ada = await seam.person()
        await seam.pay_in(await seam.address(ada), "3", "ETH")
        await seam.pass_once()
        await seam.dev.reorg(1)
        await seam.finish()
        assert [d.status for d in await _listed(seam, ada)] == ["orphaned"]
        assert await _pending(seam, ada) == {}
        assert (await seam.balance(ada, "ETH")).total_minor == 0
        assert await seam.differences() == []

    async def test_a_fork_below_finality_halts_the_network(self, seam: Seam) -> None:
        ada = await seam.funded_person(eth="2", usdc="5")
        await seam.dev.reorg(20)
        await seam.mine(1)
        [row] = await seam.rows("SELECT halted_reason FROM network_state")
        assert "reorganised" in row.halted_reason
        assert (await seam.balance(ada, "ETH")).total_minor == 2 * 10**18
        late = await seam.pay_in(await seam.address(ada), "1", "ETH")
        await seam.finish()
        assert late.tx_hash not in {d.tx_hash for d in await _listed(seam, ada)}

    async def test_a_node_that_falls_behind_unlearns_nothing(self, seam: Seam) -> None:
        ada = await seam.person()
        await seam.pay_in(await seam.address(ada), "1", "ETH")
        await seam.mine(3)
        [before] = await seam.rows("SELECT tip_number FROM scan_state")

        class Behind(ChainClient):
            async def head(self) -> BlockRef:
                ref = await self.block_ref(before.tip_number - 2)
                assert ref is not None
                return ref

        behind = Behind(seam.network, seam.opened[0])
        await Scanner(seam.db, behind, seam.assets).tick()
        [after] = await seam.rows("SELECT tip_number FROM scan_state")
        assert after.tip_number == before.tip_number
        assert [d.status for d in await _listed(seam, ada)] == ["seen"]

    @pytest.mark.parametrize("blocks", [4, 40])  # next to the head; so deep that ranges are read
    async def test_a_block_the_node_lost_is_waited_for_and_told(
        self, seam: Seam, blocks: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        ada = await seam.person()
        address = await seam.address(ada)
        await seam.mine()
        lost = (await seam.pay_in(address, "1", "ETH")).block_number
        await seam.dev.mine(blocks)

        class Holed(ChainClient):
            async def full_blocks(self, numbers: Sequence[int]) -> list[Block | None]:
                found = await super().full_blocks(numbers)
                return [None if block and block.number == lost else block for block in found]

        scanner = Scanner(seam.db, Holed(seam.network, seam.opened[0]), seam.assets)
        for _ in range(3):
            await scanner.tick()
        [stands] = await seam.rows("SELECT tip_number FROM scan_state")
        assert (stands.tip_number, await _listed(seam, ada)) == (lost - 1, [])
        told = [line for line in capsys.readouterr().out.splitlines() if "scanner.waits" in line]
        assert told and all(f"block={lost}" in line and "why=missing" in line for line in told)
        await seam.finish()
        assert [d.status for d in await _listed(seam, ada)] == ["credited"]


class TestCrashes:
    async def test_a_crash_at_every_point_loses_and_doubles_nothing(self, seam: Seam) -> None:
        expected = 0
        ada = await seam.person()
        address = await seam.address(ada)
        for nth in range(1, 16):
            left = nth

            def die(name: str) -> None:
                nonlocal left
                left -= name.startswith(("scanner.", "deposit."))
                if left == 0:
                    raise Crash(name)

            await seam.pay_in(address, "0.25", "ETH")
            await seam.dev.mine(1)
            expected += 25 * 10**16
            crashpoints.install(die)
            try:
                for _ in range(4):
                    await seam.mine(3)
            except Crash:
                pass
            finally:
                crashpoints.install(None)
            seam.restart_worker()
            await seam.finish()
            assert (await seam.balance(ada, "ETH")).total_minor == expected
        gaps = await seam.rows(
            "SELECT b.number FROM chain_blocks b JOIN chain_blocks a ON a.number = b.number - 1"
            " WHERE a.hash <> b.parent_hash"
        )
        assert gaps == []
        assert await seam.differences() == []

    async def test_a_scan_from_the_start_again_changes_nothing(
        self, seam: Seam, database: ScratchDatabase
    ) -> None:
        ada = await seam.funded_person()
        before = await seam.rows("SELECT id, status, entry_id FROM deposits ORDER BY id")
        owner = Database(database.owner_url)
        async with owner.transaction() as session:
            for table in ("scan_state", "chain_blocks"):
                await session.execute(text(f"DELETE FROM {table}"))
        await owner.dispose()
        seam.restart_worker()
        await seam.finish()
        after = await seam.rows("SELECT id, status, entry_id FROM deposits ORDER BY id")
        assert after == before
        assert (await seam.balance(ada, "ETH")).total_minor == 10 * 10**18

    async def test_two_scanners_at_once_credit_once(self, seam: Seam) -> None:
        ada = await seam.person()
        address = await seam.address(ada)
        rival = Scanner(seam.db, seam.client(seam.url), seam.assets)
        for _ in range(6):
            await seam.pay_in(address, "1", "USDC")
            await seam.dev.mine(3)
            await asyncio.gather(seam.scanner.tick(), rival.tick(), return_exceptions=False)
        await seam.dev.mine(8)
        await asyncio.gather(seam.scanner.tick(), rival.tick())
        assert (await seam.balance(ada, "USDC")).total_minor == 6_000_000
        assert len(await _listed(seam, ada)) == 6


class TestTheHouse:
    async def test_capital_and_strangers_gifts_are_told_apart(self, seam: Seam) -> None:
        [hot] = await seam.signer.hot_addresses()
        accounts_of_node = await seam.dev.accounts()
        await seam.node(
            "eth_sendTransaction",
            {"from": accounts_of_node[3], "to": hot, "value": hex(10**18)},
        )
        await seam.finish()
        async with seam.db.transaction() as session:
            capital = await ledger.balance_of(session, accounts.capital("ETH"))
            gift = await ledger.balance_of(session, accounts.unattributed("house", "ETH"))
        assert (capital, gift) == (100 * 10**18, 10**18)
        assert await seam.differences() == []

    async def test_a_payment_inside_a_contract_shows_in_the_reconciliation(
        self, seam: Seam
    ) -> None:
        ada = await seam.person()
        payer = await seam.dev.deploy(artifact("ManyTransfers"), ())
        data = _call("payInside(address)", ["address"], [await seam.address(ada)])
        await seam.dev.wait_mined(await seam.dev.call_contract(payer, data, wei=777))
        await seam.finish()
        assert (await seam.balance(ada, "ETH")).total_minor == 0
        assert await seam.differences() == ["chain:local:ETH:deposit 777"]


class TestSnapshots:
    async def test_nothing_above_the_last_snapshot_is_final(
        self, db: Database, anvil: AnvilProcess, tmp_path: Path
    ) -> None:
        """A node restarted from its snapshot takes back what came later, and nothing credited."""
        seam = await Seam.open(db, anvil.url, tmp_path / "signer", local_snapshots=True)
        ada = await seam.person()
        address = await seam.address(ada)
        first = await seam.pay_in(address, "1", "ETH")
        await seam.mine(10)
        assert [d.status for d in await _listed(seam, ada)] == ["confirmed"]
        state = tmp_path / "state.json"
        head = await seam.chain.head()
        state.write_bytes(await seam.dev.dump_state())
        await _snapshot(seam, head)
        await seam.pass_once()
        assert [d.status for d in await _listed(seam, ada)] == ["credited"]
        second = await seam.pay_in(address, "2", "ETH")
        raw = await _raw(seam, second.tx_hash)
        await seam.mine(10)
        assert [d.status for d in await _listed(seam, ada)] == ["confirmed", "credited"]
        anvil.kill()
        await seam.close()

        with AnvilProcess(load_state=state) as again:
            seam = await _reopened(seam, again.url)
            await seam.mine(1)
            statuses = {d.tx_hash: d.status for d in await _listed(seam, ada)}
            assert statuses == {first.tx_hash: "credited", second.tx_hash: "orphaned"}
            await seam.node("eth_sendRawTransaction", raw)
            await seam.mine(9)
            await _snapshot(seam, await seam.chain.head())
            await seam.finish()
            assert {d.status for d in await _listed(seam, ada)} == {"credited"}
            assert (await seam.balance(ada, "ETH")).total_minor == 3 * 10**18
            assert await seam.differences() == []
            await seam.close()

    async def test_a_snapshot_of_another_fork_makes_nothing_final(
        self, db: Database, anvil: AnvilProcess, tmp_path: Path
    ) -> None:
        seam = await Seam.open(db, anvil.url, tmp_path / "signer", local_snapshots=True)
        ada = await seam.person()
        await seam.mine(3)
        await _snapshot(seam, await seam.chain.head())
        await seam.dev.reorg(2)
        await seam.pay_in(await seam.address(ada), "1", "ETH")
        await seam.mine(20)
        assert [d.status for d in await _listed(seam, ada)] == ["confirmed"]
        await _snapshot(seam, await seam.chain.head())
        await seam.mine(1)
        assert [d.status for d in await _listed(seam, ada)] == ["credited"]
        await seam.close()


def _call(signature: str, types: list[str], values: list[object]) -> bytes:
    return keccak(signature.encode())[:4] + encode(types, values)


async def _snapshot(seam: Seam, head: BlockRef) -> None:
    await seam.rows(
        "UPDATE network_state SET snapshot_block = :n, snapshot_hash = :h RETURNING 1",
        n=head.number,
        h=head.hash,
    )


async def _reopened(seam: Seam, url: str) -> Seam:
    """The same house and books over a node at another address."""
    rpc = JsonRpc(url)
    seam.opened = [rpc]
    seam.dev = DevNode(rpc)
    seam.restart_worker(url=url)
    return seam


class TestQuiet:
    """Where nothing is new a pass asks for the head and no more."""

    async def test_it_asks_for_the_head_until_something_is_new(
        self, seam: Seam, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ada = await seam.person()
        address = await seam.address(ada)
        await seam.mine(seam.network.confirmations)
        await seam.pass_once()
        asked: list[str] = []
        verify, head = seam.chain.verify_identity, seam.chain.head

        async def counted_identity() -> ChainIdentity:
            asked.append("identity")
            return await verify()

        async def counted_head() -> BlockRef:
            asked.append("head")
            return await head()

        monkeypatch.setattr(seam.chain, "verify_identity", counted_identity)
        monkeypatch.setattr(seam.chain, "head", counted_head)
        for _ in range(3):
            await seam.scanner.tick()
        assert asked[-2:] == ["head", "head"]
        asked.clear()
        await seam.pay_in(address, "1", "ETH")
        await seam.scanner.tick()
        assert "identity" in asked
        assert await _pending(seam, ada) == {"ETH": 10**18}
        await seam.finish()
        assert (await seam.balance(ada, "ETH")).total_minor == 10**18

    async def test_what_waits_in_the_books_is_looked_at_though_the_head_stays(
        self, seam: Seam, database: ScratchDatabase
    ) -> None:
        """A deposit that becomes creditable again is credited without a new block."""
        ada = await seam.person()
        await seam.pay_in(await seam.address(ada), "1", "ETH")
        await seam.finish()
        await seam.scanner.tick()
        await seam.scanner.tick()
        with psycopg.connect(database.server.conninfo(database=database.name)) as root:
            root.execute("SET session_replication_role = replica")  # nobody else may
            root.execute("UPDATE scan_state SET final_number = final_number - 1")
        before = (await seam.rows("SELECT final_number FROM scan_state"))[0].final_number
        await seam.scanner.tick()
        assert (await seam.rows("SELECT final_number FROM scan_state"))[0].final_number > before
