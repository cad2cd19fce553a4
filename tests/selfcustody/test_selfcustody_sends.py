"""From a box to the chain: the worker carries what it cannot open, a payment leaves once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account as EthAccount
from sqlalchemy import text

from keys.errors import SignerRefused, SignerUnavailable
from keys.testing import TEST_MNEMONIC
from tests.selfcustody.own_stage import MAX_FEE, OUTSIDE, PASSPHRASE, Stage
from wallet import selfcustody
from wallet.db import Database
from wallet.errors import InvalidField, NotFound
from wallet.selfcustody import AskDraft, SelfCustodyWorker, SendDraft, SendOpen
from wallet.testing.databases import ScratchDatabase

FILE_WORD = "a word for the file"
VECTOR: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "keys" / "vectors" / "keystore_v3.json").read_text("utf-8")
)["test2"]


async def funded(stage: Stage) -> tuple[str, selfcustody.Account]:
    ada = await stage.seam.person()
    account = await stage.imported(ada)
    await stage.seam.pay_in(account.address, "100", "USDC")
    return ada, account


async def test_a_payment_leaves_once_and_touches_no_books(stage: Stage) -> None:
    ada, account = await funded(stage)
    for amount, asset in (("2", "ETH"), ("30", "USDC")):
        made = await stage.begin(ada, account, amount, asset)
        await stage.finish()
        done = await stage.send(ada, made.id)
        assert (done.state, done.reason) == ("settled", None)
        assert done.tx_hash is not None and done.gas_fee_wei
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 2 * 10**18
    assert await stage.seam.on_chain(OUTSIDE, "USDC") == 30 * 10**6
    assert await stage.seam.differences() == []
    assert (await stage.seam.balance(ada, "ETH")).available_minor == 0


async def test_a_clock_that_was_set_back_holds_up_no_payment(stage: Stage) -> None:
    """What a node has forgotten goes again, though it was sent, by the clock, after now."""
    ada, account = await funded(stage)
    await stage.seam.automine(False)
    made = await stage.begin(ada, account, "2", "ETH")
    for _ in range(2):
        await stage.worker.tick()
    sent = await stage.send(ada, made.id)
    assert sent.state == "sent"
    await stage.seam.node("anvil_dropAllTransactions")
    await stage.seam.rows(
        "UPDATE selfcustody_sends SET sent_at = sent_at + interval '2 hours' RETURNING 1"
    )
    await stage.worker.tick()
    assert await stage.seam.node("eth_getTransactionByHash", sent.tx_hash) is not None
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 2 * 10**18


async def test_new_words_come_back_to_the_browser_and_lie_nowhere(
    stage: Stage, database: ScratchDatabase
) -> None:
    """Neither database nor worker ever sees words or passphrase."""
    ada = await stage.seam.person()
    asked = {"words": 12, "language": "english", "passphrase": PASSPHRASE}
    nonce, box, browser = await stage.box("create", ada, asked)
    async with stage.seam.db.transaction() as session:
        request = await selfcustody.ask(
            session, principal_id=ada, draft=AskDraft("create", nonce, box, "Mine")
        )
    await stage.worker.tick()
    async with stage.seam.db.transaction() as session:
        answered = await selfcustody.get_request(session, principal_id=ada, request_id=request)
    assert answered.state == "done" and answered.reply is not None
    told = browser.read(("create", ada, nonce), answered.reply)
    words = told["mnemonic"]
    owner = Database(database.owner_url)
    async with owner.transaction() as session:
        dump = ""
        for table in ("selfcustody_requests", "selfcustody_accounts", "selfcustody_sends"):
            rows = await session.execute(text(f"SELECT t::text FROM {table} t"))
            dump += "".join(rows.scalars())
    await owner.dispose()
    carried = dump + "".join(stage.relay.seen)
    for secret in (words, " ".join(words.split()[:3]), PASSPHRASE):
        assert secret not in carried
    assert box["box"] not in dump  # and the box is gone with its answer


async def test_a_key_file_comes_in_pays_and_goes_out(
    stage: Stage, database: ScratchDatabase
) -> None:
    """Neither database nor worker ever sees key, file or passwords; replies are forgotten."""
    ada, bob = await stage.seam.person(), await stage.seam.person()
    asked = {
        "keystore": json.dumps(VECTOR["json"]), "password": VECTOR["password"],
        "passphrase": PASSPHRASE,
    }  # fmt: skip
    nonce, box, _ = await stage.box("import", ada, asked)
    async with stage.seam.db.transaction() as session:
        draft = AskDraft("import", nonce, box, "From a file")
        await selfcustody.ask(session, principal_id=ada, draft=draft)
    await stage.worker.tick()
    async with stage.seam.db.transaction() as session:
        [account] = await selfcustody.accounts(session, principal_id=ada)
    assert account.path is None
    await stage.seam.pay_in(account.address, "2", "ETH")
    made = await stage.begin(ada, account, "1", "ETH")
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"

    asked = {"passphrase": PASSPHRASE, "password": FILE_WORD, "address": account.address}
    nonce, box, browser = await stage.box("export", ada, asked)
    with pytest.raises(NotFound):
        async with stage.seam.db.transaction() as session:
            await selfcustody.ask_export(
                session, principal_id=bob, account_id=account.id, nonce=nonce, box=box
            )
    async with stage.seam.db.transaction() as session:
        request = await selfcustody.ask_export(
            session, principal_id=ada, account_id=account.id, nonce=nonce, box=box
        )
    await stage.worker.tick()
    async with stage.seam.db.transaction() as session:
        answered = await selfcustody.get_request(session, principal_id=ada, request_id=request)
    assert (answered.state, answered.account_id) == ("done", account.id)
    assert answered.reply is not None
    document = json.loads(browser.read(("export", ada, nonce), answered.reply)["keystore"])
    assert EthAccount.decrypt(document, FILE_WORD).hex() == VECTOR["priv"]
    owner = Database(database.owner_url)
    async with owner.transaction() as session:
        rows = await session.execute(text("SELECT t::text FROM selfcustody_requests t"))
        carried = "".join(rows.scalars()) + "".join(stage.relay.seen)
        await session.execute(
            text("UPDATE selfcustody_requests SET created_at = created_at - interval '11 minutes'")
        )
    await owner.dispose()
    for secret in (VECTOR["priv"], VECTOR["password"], PASSPHRASE, FILE_WORD, "ciphertext"):
        assert secret not in carried
    await stage.worker.tick()
    async with stage.seam.db.transaction() as session:
        later = await selfcustody.get_request(session, principal_id=ada, request_id=request)
    assert (later.state, later.reply) == ("done", None)


async def test_a_wrong_passphrase_and_another_payment_pay_nothing(stage: Stage) -> None:
    ada, account = await funded(stage)
    wrong = await stage.begin(ada, account, "1", "ETH", {"passphrase": "another passphrase"})
    await stage.finish()
    assert (await stage.send(ada, wrong.id)).reason == "wrong_passphrase"
    other = await stage.begin(ada, account, "1", "ETH", {"amount": "5"})  # the box grants 5 wei
    await stage.finish()
    assert (await stage.send(ada, other.id)).reason == "outside_grant"
    dear = await stage.begin(ada, account, "1", "ETH", {"max_fee_wei": "1"})
    await stage.finish()
    assert (await stage.send(ada, dear.id)).reason == "outside_grant"
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 0


@pytest.mark.parametrize(
    ("money", "asset", "reason"),
    [("1", "ETH", "too_little"), ("30", "USDC", "would_revert")],
)
async def test_nothing_is_signed_for_an_account_that_cannot_pay(
    stage: Stage, money: str, asset: str, reason: str
) -> None:
    """Bytes that wait for money would leave the day it arrives, long after they were granted."""
    ada = await stage.seam.person()
    account = await stage.imported(ada)
    await stage.seam.opened[0].call("anvil_setBalance", (account.address, "0x0"))
    made = await stage.begin(ada, account, money, asset)
    await stage.finish()
    ended = await stage.send(ada, made.id)
    assert (ended.state, ended.reason, ended.tx_hash) == ("failed", reason, None)


async def test_a_lost_answer_signs_to_the_same_bytes(stage: Stage) -> None:
    ada, account = await funded(stage)
    made = await stage.begin(ada, account, "1", "ETH")
    stage.relay.lose = "sign"
    for _ in range(4):
        await stage.worker.tick()
    stage.relay.lose = ""
    await stage.finish()
    assert (await stage.send(ada, made.id)).state == "settled"
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 10**18


async def test_a_signer_that_restarts_forgets_grants_and_the_next_payment_goes(
    stage: Stage,
) -> None:
    ada, account = await funded(stage)
    made = await stage.begin(ada, account, "1", "ETH")
    stage.relay.lose = "sign"
    for _ in range(3):
        await stage.worker.tick()
    stage.restart()
    await stage.finish()
    assert (await stage.send(ada, made.id)).reason == "grant_expired"
    again = await stage.begin(ada, account, "3", "ETH")
    await stage.finish()
    assert (await stage.send(ada, again.id)).state == "settled"
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 3 * 10**18


async def test_the_same_words_in_another_wallet_may_be_faster(stage: Stage) -> None:
    ada, account = await funded(stage)
    made = await stage.begin(ada, account, "1", "ETH")
    await stage.worker.tick()  # it has its nonce
    assert (await stage.send(ada, made.id)).state == "allocated"
    await stage.seam.opened[0].call(
        "eth_sendTransaction",
        ({"from": account.address, "to": stage.seam.faucet, "value": "0x1"},),
    )
    await stage.finish()
    ended = await stage.send(ada, made.id)
    assert (ended.state, ended.reason) == ("failed", "nonce_used_elsewhere")
    assert await stage.seam.on_chain(OUTSIDE, "ETH") == 0


async def test_one_at_a_time_and_ones_own_only(stage: Stage) -> None:
    ada, account = await funded(stage)
    bob = await stage.seam.person()
    await stage.begin(ada, account, "1", "ETH")
    with pytest.raises(SendOpen):
        await stage.begin(ada, account, "1", "ETH")
    with pytest.raises(NotFound):
        await stage.begin(bob, account, "1", "ETH")
    with pytest.raises(InvalidField):
        async with stage.seam.db.transaction() as session:
            draft = AskDraft("import", "ab" * 8, {}, "")
            await selfcustody.ask(session, principal_id=ada, draft=draft)


async def test_a_signer_without_own_accounts_says_nothing(stage: Stage) -> None:
    class Bare:
        async def selfcustody(self, method: str, **params: Any) -> dict[str, Any]:
            raise SignerRefused("unknown_method")

    await SelfCustodyWorker(stage.seam.db, {}, Bare()).tick()
    async with stage.seam.db.transaction() as session:
        with pytest.raises(selfcustody.SelfCustodyAway):
            await selfcustody.public_key(session)


async def test_a_box_without_an_answer_stands_before_nobody_for_long(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that no frame can hold, one at which the signer never answers."""
    eve, ada = await stage.seam.person(), await stage.seam.person()
    nonce, _, _ = await stage.box("import", eve, {})
    async with stage.seam.db.transaction() as session:
        huge = await selfcustody.ask(
            session, principal_id=eve, draft=AskDraft("import", nonce, {"key": "00"}, "Huge")
        )
        silent = await selfcustody.ask(
            session, principal_id=eve, draft=AskDraft("import", "ab" * 16, {"key": "11"}, "Silent")
        )
    carry = stage.relay.selfcustody

    async def fails(method: str, **params: Any) -> dict[str, Any]:
        if method == "open" and params["box"] == {"key": "00"}:
            raise ValueError("message too long for one frame")
        if method == "open" and params["box"] == {"key": "11"}:
            raise SignerUnavailable("no answer in 5 s")
        return await carry(method, **params)

    monkeypatch.setattr(stage.relay, "selfcustody", fails)
    asked = {"mnemonic": TEST_MNEMONIC, "passphrase": PASSPHRASE, "index": 7}
    nonce, box, _ = await stage.box("import", ada, asked)
    async with stage.seam.db.transaction() as session:
        await selfcustody.ask(
            session, principal_id=ada, draft=AskDraft("import", nonce, box, "My own")
        )
    await stage.worker.tick()
    monkeypatch.setattr("wallet.selfcustody.boxes.REQUEST_SECONDS", 0.0)
    await stage.worker.tick()
    told = {}
    async with stage.seam.db.transaction() as session:
        for name, request in (("huge", huge), ("silent", silent)):
            found = await selfcustody.get_request(session, principal_id=eve, request_id=request)
            told[name] = (found.state, found.reason)
        rows = await session.execute(text("SELECT count(*) FROM selfcustody_requests"
                                          " WHERE state = 'queued'"))  # fmt: skip
    assert told == {
        "huge": ("refused", "malformed_request"),
        "silent": ("refused", "not_answered"),
    }
    assert rows.scalar_one() == 0


@pytest.mark.parametrize("what", ["more than a word", "to the token itself"])
async def test_what_no_transaction_can_say_ends(stage: Stage, what: str) -> None:
    """It would block its account for ever: nobody else ends it."""
    ada, account = await funded(stage)
    token = stage.seam.network.token("USDC")
    assert token is not None
    minor, to = (2**256, OUTSIDE) if what == "more than a word" else (5, token.contract)
    terms = {
        "chain_id": 31337, "to": to, "asset": token.contract, "amount": str(minor),
        "max_fee_wei": str(MAX_FEE), "passphrase": PASSPHRASE,
    }  # fmt: skip
    nonce, box, _ = await stage.box("grant", ada, terms)
    money = stage.seam.assets.money("USDC", minor)
    draft = SendDraft(account.id, "local", money, to, MAX_FEE, nonce, box)
    async with stage.seam.db.transaction() as session:
        made = await selfcustody.begin_send(
            session, principal_id=ada, draft=draft, networks={"local": stage.seam.network},
            assets=stage.seam.assets,
        )  # fmt: skip
    await stage.finish()
    ended = await stage.send(ada, made.id)
    assert (ended.state, ended.reason) == ("failed", "not_payable")
    again = await stage.begin(ada, account, "1", "USDC")
    await stage.finish()
    assert (await stage.send(ada, again.id)).state == "settled"
