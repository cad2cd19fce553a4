"""People's own accounts, on the signer's side: boxes, sealing, grants of one payment."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from keys.journal import JOURNAL_FILE, Journal
from keys.request import GRANT_SECONDS
from keys.selfcustody import LOCKED_SECONDS, WRONG_TRIES, SelfCustodyDesk
from keys.testing import (
    GWEI,
    LOCAL_CHAIN_ID,
    TEST_HOT_ADDRESSES,
    TEST_JOURNAL_KEY,
    TEST_MNEMONIC,
    Browser,
    native_payload,
    open_policy,
    token_payload,
)
from tests.selfcustody.own_person import (
    ADA,
    BOB,
    CHEAP,
    FILE,
    PASSPHRASE,
    PAYEE,
    PAYMENT,
    TOKEN,
    VECTORS,
    Person,
    refused,
)


class TestAccounts:
    @pytest.mark.parametrize("words", [12, 15, 18, 21, 24])
    @pytest.mark.parametrize("language", ["english", "chinese_simplified", "japanese", "spanish"])
    def test_made_here_the_words_go_to_the_browser_only(
        self, ada: Person, words: int, language: str
    ) -> None:
        asked = {"words": words, "language": language, "passphrase": PASSPHRASE}
        answer, read = ada.ask("create", asked)
        told = read()
        assert len(told["mnemonic"].split()) == words
        assert told["address"] == answer["account"]["address"]
        assert told["mnemonic"].split()[0] not in json.dumps(answer, ensure_ascii=False).split()
        again = ada.imported(mnemonic=told["mnemonic"])
        assert again["address"] == told["address"]

    def test_paths_of_common_wallets_and_a_passphrase_of_the_words(self, ada: Person) -> None:
        Account.enable_unaudited_hdwallet_features()
        for scheme, path in (("metamask", "m/44'/60'/0'/0/3"), ("ledger-live", "m/44'/60'/3'/0/0")):
            known = Account.from_mnemonic(TEST_MNEMONIC, passphrase="extra", account_path=path)
            made = ada.imported(scheme=scheme, index=3, extension="extra")
            assert (made["address"], made["path"]) == (known.address, path)

    def test_what_the_caller_keeps_tells_nothing(self, ada: Person) -> None:
        text = json.dumps(ada.imported())
        assert "junk" not in text and PASSPHRASE not in text

    @pytest.mark.parametrize(
        ("asked", "reason"),
        [
            ({"mnemonic": "test test test", "passphrase": PASSPHRASE}, "invalid_mnemonic"),
            ({"mnemonic": TEST_MNEMONIC, "passphrase": "short"}, "passphrase_too_short"),
            ({"mnemonic": TEST_MNEMONIC}, "malformed_request"),
            (
                {"mnemonic": TEST_MNEMONIC, "passphrase": PASSPHRASE, "scheme": "other"},
                "malformed_request",
            ),
            (
                {"mnemonic": TEST_MNEMONIC, "passphrase": PASSPHRASE, "index": -1},
                "malformed_request",
            ),
        ],
    )
    def test_refused(self, ada: Person, asked: dict[str, Any], reason: str) -> None:
        assert refused(lambda: ada.ask("import", asked)) == reason


class TestKeyFiles:
    @pytest.mark.parametrize("name", sorted(VECTORS))
    def test_the_vectors_become_an_account_that_pays(self, ada: Person, name: str) -> None:
        case = VECTORS[name]
        account = ada.brought(case["json"], case["password"])
        assert account["address"] == Account.from_key(case["priv"]).address
        assert account["path"] == ""
        raw = ada.sign(ada.grant(account), PAYMENT)
        assert Account.recover_transaction(raw) == account["address"]
        assert case["priv"] not in json.dumps(account)

    @pytest.mark.parametrize(
        ("change", "password"),
        [
            ({}, "not the password"),
            ({"version": 4}, "testpassword"),
            ({"address": "11" * 20}, "testpassword"),
            ({"crypto": {**FILE["crypto"], "mac": "00" * 32}}, "testpassword"),
        ],
    )
    def test_a_file_that_does_not_open(
        self, ada: Person, change: dict[str, Any], password: str
    ) -> None:
        document = {**FILE, **change}
        assert refused(lambda: ada.brought(document, password)) == "invalid_key_file"

    def test_a_bomb_is_not_lit(self, ada: Person, monkeypatch: pytest.MonkeyPatch) -> None:
        """Work that an operator's command may do is too much for the signer."""
        lit: list[object] = []
        monkeypatch.setattr(Account, "decrypt", lambda *given: lit.append(given))
        for cost in ({"c": 5_000_000}, {"dklen": 10**9}):
            crypto = {**FILE["crypto"], "kdfparams": FILE["crypto"]["kdfparams"] | cost}
            bomb = {**FILE, "crypto": crypto}
            assert refused(lambda b=bomb: ada.brought(b, "testpassword")) == "invalid_key_file"
        assert lit == []

    @pytest.mark.parametrize("text", ["", "[]", "{", "[" * 5_000])
    def test_garbage(self, ada: Person, text: str) -> None:
        asked = {"keystore": text, "password": "x", "passphrase": PASSPHRASE}
        assert refused(lambda: ada.ask("import", asked)) == "invalid_key_file"

    @pytest.mark.parametrize("source", ["words", "file"])
    def test_out_again_for_the_browser_only(self, ada: Person, source: str) -> None:
        account = ada.imported() if source == "words" else ada.brought(FILE, "testpassword")
        answer, read = ada.export(account)
        document = json.loads(read()["keystore"])
        assert set(answer) == {"reply"} and "crypto" not in json.dumps(answer)
        assert document["crypto"]["kdfparams"]["n"] == 262_144
        key = Account.from_key(Account.decrypt(document, "a word for the file"))
        assert key.address == account["address"]

    def test_not_with_another_passphrase_and_tries_are_counted(self, ada: Person) -> None:
        account = ada.imported()
        for _ in range(WRONG_TRIES):
            assert refused(lambda: ada.export(account, passphrase="wrong")) == "wrong_passphrase"
        assert refused(lambda: ada.export(account)) == "account_locked"
        assert refused(lambda: ada.grant(account)) == "account_locked"

    def test_the_caller_cannot_exchange_the_account_or_the_person(self, ada: Person) -> None:
        one, other = ada.imported(), ada.imported(index=1)
        swapped = lambda: ada.export(other, address=one["address"])  # noqa: E731
        assert refused(swapped) == "malformed_request"
        assert refused(lambda: ada.export(one, who=BOB)) == "wrong_passphrase"

    def test_a_file_needs_a_good_password(self, ada: Person) -> None:
        account = ada.imported()
        assert refused(lambda: ada.export(account, password="short")) == "passphrase_too_short"
        short = {"keystore": json.dumps(FILE), "password": "testpassword", "passphrase": "short"}
        assert refused(lambda: ada.ask("import", short)) == "passphrase_too_short"

    def test_a_grant_is_no_export(self, ada: Person) -> None:
        account = ada.imported()
        request = secrets.token_hex(8)
        browser = Browser(ada.desk.opener.public_key())
        box = browser.seal(
            ("grant", ADA, request),
            {"passphrase": PASSPHRASE, "password": "a word for the file",
             "address": account["address"]},
        )  # fmt: skip
        opened = lambda: ada.desk.open(  # noqa: E731
            purpose="export", principal=ADA, request_id=request, box=box, account=account
        )
        assert refused(opened) == "box_not_opened"


class TestBoxes:
    def test_a_box_is_for_one_purpose_person_and_request(self, ada: Person) -> None:
        browser = Browser(ada.desk.opener.public_key())
        asked = {"mnemonic": TEST_MNEMONIC, "passphrase": PASSPHRASE}
        box = browser.seal(("import", ADA, "r1"), asked)
        for purpose, who, request in (
            ("create", ADA, "r1"),
            ("import", BOB, "r1"),
            ("import", ADA, "r2"),
        ):
            assert (
                refused(
                    lambda p=purpose, w=who, r=request: ada.desk.open(
                        purpose=p, principal=w, request_id=r, box=box
                    )
                )
                == "box_not_opened"
            )
        ada.desk.open(purpose="import", principal=ADA, request_id="r1", box=box)
        again = lambda: ada.desk.open(  # noqa: E731
            purpose="import", principal=ADA, request_id="r1", box=box
        )
        assert refused(again) == "request_repeated"

    @pytest.mark.parametrize("box", [{}, {"key": "00", "nonce": "00", "box": "00"}, {"key": 5}])
    def test_garbage(self, ada: Person, box: dict[str, Any]) -> None:
        call = lambda: ada.desk.open(  # noqa: E731
            purpose="import", principal=ADA, request_id="r1", box=box
        )
        assert refused(call) == "box_not_opened"


class TestGrants:
    def test_one_payment_the_same_bytes_again(self, ada: Person) -> None:
        account = ada.imported()
        grant = ada.grant(account)
        raw = ada.sign(grant, PAYMENT)
        assert Account.recover_transaction(raw) == account["address"]
        assert ada.sign(grant, PAYMENT) == raw
        other = native_payload(1, to=PAYEE, value=5)
        assert refused(lambda: ada.sign(grant, other)) == "grant_used"

    @pytest.mark.parametrize(
        "payload",
        [
            native_payload(to=PAYEE, value=6),
            native_payload(to=TEST_HOT_ADDRESSES[0], value=5),
            native_payload(to=PAYEE, value=5, cap=3 * GWEI),
            native_payload(to=PAYEE, value=5, gas=21_001),
            token_payload(contract=TOKEN, to=PAYEE, amount=5, cap=1),
            native_payload(to=PAYEE, value=5, data=b"\1"),
        ],
    )
    def test_nothing_else(self, ada: Person, payload: bytes) -> None:
        grant = ada.grant(ada.imported())
        assert refused(lambda: ada.sign(grant, payload)) in ("outside_grant", "fee_above_ceiling")

    def test_a_token_is_named_by_its_contract(self, ada: Person) -> None:
        account = ada.imported()
        grant = ada.grant(account, asset=TOKEN, max_fee_wei=str(10**15))
        paid = token_payload(contract=TOKEN, to=PAYEE, amount=5)
        assert Account.recover_transaction(ada.sign(grant, paid)) == account["address"]
        other = ada.grant(account, asset=TOKEN, max_fee_wei=str(10**15))
        wrong = token_payload(1, contract=PAYEE, to=PAYEE, amount=5)
        assert refused(lambda: ada.sign(other, wrong)) == "outside_grant"

    def test_two_minutes_and_for_nobody_else(self, ada: Person) -> None:
        grant = ada.grant(ada.imported())
        assert refused(lambda: ada.sign(grant, PAYMENT, who=BOB)) == "grant_expired"
        ada.now[0] += GRANT_SECONDS + 1
        assert refused(lambda: ada.sign(grant, PAYMENT)) == "grant_expired"

    def test_the_caller_cannot_have_another_account_pay(self, ada: Person) -> None:
        """Both open with the same passphrase: the box says which of them it is for."""
        one, other = ada.imported(), ada.imported(index=1)
        swapped = lambda: ada.grant(other, address=one["address"])  # noqa: E731
        assert refused(swapped) == "malformed_request"
        assert ada.grant(one, address=one["address"])

    def test_another_persons_account_does_not_open(self, ada: Person) -> None:
        account = ada.imported()
        terms = {
            "chain_id": LOCAL_CHAIN_ID, "to": PAYEE, "asset": "native", "amount": "5",
            "max_fee_wei": "1", "passphrase": PASSPHRASE,
        }  # fmt: skip
        call = lambda: ada.ask("grant", terms, account=account, who=BOB)  # noqa: E731
        assert refused(call) == "wrong_passphrase"

    def test_wrong_passphrases_are_counted(self, ada: Person) -> None:
        account = ada.imported()
        for _ in range(WRONG_TRIES):
            assert refused(lambda: ada.grant(account, passphrase="wrong one")) == "wrong_passphrase"
        assert refused(lambda: ada.grant(account)) == "account_locked"
        ada.now[0] += LOCKED_SECONDS + 1
        assert ada.grant(account)

    def test_every_signature_is_in_the_journal_and_a_nonce_is_its_owners(
        self, ada: Person, tmp_path: Path
    ) -> None:
        """The bytes of a payment that was lost must not block its nonce for ever."""
        account = ada.imported()
        ada.sign(ada.grant(account), PAYMENT)
        other = native_payload(to=PAYEE, value=7)
        ada.sign(ada.grant(account, amount="7"), other, intent="scs_2")
        ada.journal.close()
        journal = Journal.open(tmp_path / JOURNAL_FILE, TEST_JOURNAL_KEY)
        slot = (LOCAL_CHAIN_ID, account["address"], 0)
        assert journal.book.signed(slot, PAYMENT) and journal.book.signed(slot, other)
        desk = SelfCustodyDesk(
            journal=journal, policy=open_policy(), pepper=TEST_JOURNAL_KEY, cost=CHEAP
        )
        again = Person(desk, journal)  # what the caller kept opens with the next process, too
        assert again.sign(again.grant(account), PAYMENT)
