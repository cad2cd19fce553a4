"""A payment fails by what used its nonce, never by a receipt that a node does not show."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from eth_account import Account
from sqlalchemy.exc import OperationalError

from chain.blocks import Block, Receipt
from chain.client import ChainClient
from chain.errors import NodeRejected
from chain.testing.delegation import authorize
from keys.testing import TEST_MNEMONIC
from tests.selfcustody.own_stage import OUTSIDE, Stage
from tests.selfcustody.test_selfcustody_sends import funded
from wallet.selfcustody import SelfCustodyWorker
from wallet.testing.databases import ScratchDatabase

END_LEADERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND pid <> pg_backend_pid()"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _no_index(patched: pytest.MonkeyPatch) -> None:
    async def null(_: ChainClient, hashes: Sequence[str]) -> list[None]:
        return [None for _ in hashes]

    patched.setattr(ChainClient, "receipts", null)


async def test_a_node_without_an_index_settles_it_by_its_block(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    _no_index(monkeypatch)
    ada, account = await funded(stage)
    made = await stage.begin(ada, account, "1", "ETH")
    await stage.finish()
    ended = await stage.send(ada, made.id)
    assert (ended.state, ended.reason) == ("settled", None)
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 10**18


async def test_what_a_node_does_not_show_stays_open(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pruned(_: ChainClient, block: Block) -> list[Receipt]:
        raise NodeRejected(-32000, "history has been pruned")

    ada, account = await funded(stage)
    made = await stage.begin(ada, account, "1", "ETH")
    with monkeypatch.context() as patched:
        _no_index(patched)
        patched.setattr(ChainClient, "block_receipts", pruned)
        await stage.finish()
        assert (await stage.send(ada, made.id)).state == "sent"
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"


async def test_what_a_rival_ended_while_it_was_signed_is_never_sent(
    stage: Stage, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rival asks a signer that has started anew, and is told that there is no such grant."""
    ada, account = await funded(stage)
    made = await stage.begin(ada, account, "1", "ETH")
    await stage.worker.tick()  # it has its nonce
    first, relay = stage.worker, stage.relay
    stage.restart()
    rival = stage.worker
    real = relay.selfcustody

    async def slow(method: str, **params: Any) -> dict[str, Any]:
        answer = await real(method, **params)
        if method == "sign":
            where = database.server.conninfo(database=database.name)
            with psycopg.connect(where, autocommit=True) as connection:
                connection.execute(END_LEADERS)  # a failover, an idle cut
            await rival.tick()
        return answer

    monkeypatch.setattr(relay, "selfcustody", slow)
    with contextlib.suppress(OperationalError):  # its lock's connection is gone
        await first.tick()
    await stage.finish()
    assert (await stage.send(ada, made.id)).reason == "grant_expired"
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 0


async def test_a_copy_that_lost_the_bytes_finds_the_payment(
    stage: Stage, database: ScratchDatabase
) -> None:
    """Mined, and the row is as it was before the signature; the signer has started anew."""
    ada, account = await funded(stage)
    made = await stage.begin(ada, account, "1", "ETH")
    for _ in range(2):
        await stage.worker.tick()
    sent = await stage.send(ada, made.id)
    assert sent.state == "sent"
    await stage.seam.dev.mine(1)
    where = database.server.conninfo(database=database.name)
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE selfcustody_sends SET state = 'allocated', raw = NULL, tx_hash = NULL"
        )
    stage.restart()
    await stage.finish()
    ended = await stage.send(ada, made.id)
    assert (ended.state, ended.reason, ended.tx_hash) == ("settled", None, sent.tx_hash)
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 10**18


async def test_a_copy_that_lost_the_bytes_waits_for_those_in_the_pool(
    stage: Stage, database: ScratchDatabase
) -> None:
    """Who is told "failed" pays again."""
    ada, account = await funded(stage)
    await stage.seam.automine(False)
    made = await stage.begin(ada, account, "1", "ETH")
    for _ in range(2):
        await stage.worker.tick()
    where = database.server.conninfo(database=database.name)
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE selfcustody_sends SET state = 'allocated', raw = NULL, tx_hash = NULL"
        )
    stage.restart()
    await stage.worker.tick()
    assert (await stage.send(ada, made.id)).state == "allocated"
    await stage.seam.automine(True)
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 10**18


async def test_a_copy_that_lost_the_bytes_waits_for_those_that_no_node_shows(
    stage: Stage, database: ScratchDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its grant has ended, and what is asked shows no pool. It got its nonce in a database that was
    dumped, or that a replica followed, and PostgreSQL here was not started since."""
    ada, account = await funded(stage)
    await stage.seam.automine(False)
    made = await stage.begin(ada, account, "1", "ETH")
    for _ in range(2):
        await stage.worker.tick()
    where = database.server.conninfo(database=database.name)
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE selfcustody_sends SET state = 'allocated', raw = NULL, tx_hash = NULL,"
            " given_in = given_in || '0'"
        )

    async def nothing_of_it(_: str) -> int:
        raise NodeRejected(-32000, "no pending state")

    monkeypatch.setattr(stage.seam.chain, "nonce_in_pool", nothing_of_it)
    stage.restart()
    await stage.worker.tick()
    assert (await stage.send(ada, made.id)).state == "allocated"
    await stage.seam.automine(True)
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 10**18


async def test_a_late_rival_fails_nothing_that_was_sent_meanwhile(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took its rows before; its signer knows no grant any more, and its node shows no pool."""
    ada, account = await funded(stage)
    await stage.seam.automine(False)
    made = await stage.begin(ada, account, "1", "ETH")
    await stage.worker.tick()  # it has its nonce
    async with stage.seam.db.transaction() as session:
        [late] = await stage.worker._turns.take(session, ["local"])
    await stage.worker.tick()
    assert (await stage.send(ada, made.id)).state == "sent"

    async def nothing_of_it(_: str) -> int:
        raise NodeRejected(-32000, "no pending state")

    monkeypatch.setattr(stage.seam.chain, "nonce_in_pool", nothing_of_it)
    stage.restart()
    await stage.worker._move(late)
    assert (await stage.send(ada, made.id)).state == "sent"
    await stage.seam.automine(True)
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"


async def test_a_late_rival_refuses_no_box_that_was_answered_meanwhile(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signer answers each once."""
    ada, account = await funded(stage)
    made = await stage.begin(ada, account, "1", "ETH")
    async with stage.seam.db.transaction() as session:
        late = await stage.worker._turns.boxes(session, late_seconds=180.0)
    assert len(late) == 1
    await stage.worker.tick()
    rival = SelfCustodyWorker(stage.seam.db, {"local": stage.seam.chain}, stage.relay)

    async def before(*_: object, **__: object) -> list[Any]:
        return late

    monkeypatch.setattr(rival._turns, "boxes", before)
    await rival._boxes.answer()
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"


async def test_a_nonce_that_an_authorisation_used_up_fails_it_and_frees_the_account(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction has that nonce (EIP-7702, sent by somebody else): its block says so."""
    Account.enable_unaudited_hdwallet_features()
    seam, ada = stage.seam, await stage.seam.person()
    account = await stage.imported(ada)
    key = bytes(Account.from_mnemonic(TEST_MNEMONIC, account_path="m/44'/60'/0'/0/7").key)
    made = await stage.begin(ada, account, "1", "ETH")
    await stage.worker.tick()
    relayer = Account.from_key(bytes([0xBE]) * 32)
    await seam.node("anvil_setBalance", relayer.address, hex(10**18))
    nonce = await seam.chain.nonce(account.address)
    wish = authorize(key, chain_id=31337, delegate=seam.network.tokens[0].contract, nonce=nonce)
    raw = relayer.sign_transaction(
        {
            "chainId": 31337, "nonce": 0, "gas": 200_000, "maxFeePerGas": 10**11,
            "maxPriorityFeePerGas": 10**9, "to": relayer.address, "value": 0, "data": b"",
            "authorizationList": [wish],
        }
    ).raw_transaction  # fmt: skip
    sent = await seam.node("eth_sendRawTransaction", "0x" + bytes(raw).hex())
    await seam.dev.wait_mined(str(sent))
    assert await seam.chain.nonce(account.address) == nonce + 1
    monkeypatch.setattr("wallet.selfcustody.turns.ASK_AGAIN_SECONDS", 0.0)
    await stage.finish()
    ended = await stage.send(ada, made.id)
    assert (ended.state, ended.reason) == ("failed", "nonce_used_elsewhere")
    await stage.begin(ada, account, "1", "ETH")


@pytest.mark.parametrize("grant", ["lives", "forgotten", "ended"])
async def test_a_copy_in_which_it_was_still_queued_finds_the_payment(
    stage: Stage, database: ScratchDatabase, grant: str
) -> None:
    """It got another nonce, for which there was no grant: "failed", and its owner paid again."""
    ada, account = await funded(stage)
    made = await stage.begin(ada, account, "1", "ETH")
    for _ in range(2):
        await stage.worker.tick()
    sent = await stage.send(ada, made.id)
    assert sent.state == "sent"
    await stage.seam.dev.mine(1)
    where = database.server.conninfo(database=database.name)
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE selfcustody_sends SET state = 'queued', nonce = NULL, unsigned = NULL,"
            " raw = NULL, tx_hash = NULL, sent_at = NULL,"
            " updated_at = updated_at - make_interval(secs => %s)",
            (121 if grant == "ended" else 0,),
        )
    if grant != "lives":
        stage.restart()
    await stage.finish()
    ended = await stage.send(ada, made.id)
    assert (ended.state, ended.reason, ended.tx_hash) == ("settled", None, sent.tx_hash)
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 10**18


async def test_what_a_copy_may_have_paid_stays_open_while_nobody_shows_it(
    stage: Stage, database: ScratchDatabase
) -> None:
    """Its bytes are in no pool that is asked, and may be in another."""
    ada, account = await funded(stage)
    made = await stage.begin(ada, account, "1", "ETH")
    await stage.worker.tick()
    stage.relay.lose = "sign"
    await stage.worker.tick()
    where = database.server.conninfo(database=database.name)
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE selfcustody_sends SET state = 'queued', nonce = NULL, unsigned = NULL,"
            " updated_at = updated_at - interval '121 s'"
        )
    stage.restart()
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "queued"


@pytest.mark.parametrize("signer", ["lives", "anew", "late"])
async def test_a_copy_in_which_its_box_was_not_opened_yet_finds_the_payment(
    stage: Stage, database: ScratchDatabase, signer: str
) -> None:
    """The signer opens each box once, and one that has started anew opens none of before."""
    ada, account = await funded(stage)
    made = await stage.begin(ada, account, "1", "ETH")
    async with stage.seam.db.transaction() as session:
        [asked] = await stage.worker._turns.boxes(session, late_seconds=180.0)
    for _ in range(2):
        await stage.worker.tick()
    sent = await stage.send(ada, made.id)
    assert sent.state == "sent"
    await stage.seam.dev.mine(1)
    where = database.server.conninfo(database=database.name)
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE selfcustody_sends SET state = 'queued', nonce = NULL, unsigned = NULL,"
            " raw = NULL, tx_hash = NULL, sent_at = NULL, grant_name = NULL"
        )
        connection.execute(
            "UPDATE selfcustody_requests SET state = 'queued', box = %s, reply = NULL,"
            " created_at = created_at - make_interval(secs => %s) WHERE id = %s",
            (json.dumps(asked.box), 181 if signer == "late" else 0, asked.id),
        )
    if signer == "anew":
        stage.restart()
    await stage.finish()
    ended = await stage.send(ada, made.id)
    assert (ended.state, ended.reason, ended.tx_hash) == ("settled", None, sent.tx_hash)
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 10**18
