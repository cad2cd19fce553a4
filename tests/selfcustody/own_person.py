"""Ada at her browser, for the tests of the signer's side of own accounts."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from keys.errors import SignerRefused
from keys.journal import JOURNAL_FILE, Journal
from keys.kdf import KdfCost
from keys.selfcustody import SelfCustodyDesk
from keys.testing import (
    GWEI,
    LOCAL_CHAIN_ID,
    TEST_HOT_ADDRESSES,
    TEST_JOURNAL_KEY,
    TEST_MNEMONIC,
    Browser,
    native_payload,
    open_policy,
)

ADA, BOB = "usr_ada", "usr_bob"
PASSPHRASE = "nine horses and a lamp"
TOKEN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
PAYEE = TEST_HOT_ADDRESSES[1]
VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "keys" / "vectors" / "keystore_v3.json").read_text("utf-8")
)
FILE = VECTORS["test1"]["json"]
CHEAP = KdfCost(memory_kib=8 * 1024, passes=1, lanes=1)


@dataclass
class Person:
    """Ada at her browser, and what the caller keeps for her."""

    desk: SelfCustodyDesk
    journal: Journal
    now: list[float] = field(default_factory=lambda: [1_000.0])

    def ask(
        self, purpose: str, document: dict[str, Any], *, account: Any = None, who: str = ADA
    ) -> tuple[dict[str, Any], Callable[[], dict[str, str]]]:
        request = secrets.token_hex(8)
        browser = Browser(self.desk.opener.public_key())
        context = (purpose, who, request)
        answer = self.desk.open(
            purpose=purpose,
            principal=who,
            request_id=request,
            box=browser.seal(context, document),
            account=account,
        )
        return answer, lambda: browser.read(context, answer["reply"])

    def imported(self, **more: Any) -> dict[str, Any]:
        asked = {"mnemonic": TEST_MNEMONIC, "passphrase": PASSPHRASE} | more
        account: dict[str, Any] = self.ask("import", asked)[0]["account"]
        return account

    def brought(self, document: dict[str, Any], password: str) -> dict[str, Any]:
        asked = {
            "keystore": json.dumps(document), "password": password, "passphrase": PASSPHRASE,
        }  # fmt: skip
        account: dict[str, Any] = self.ask("import", asked)[0]["account"]
        return account

    def export(
        self, account: dict[str, Any], *, who: str = ADA, **more: str
    ) -> tuple[dict[str, Any], Callable[[], dict[str, str]]]:
        asked = {
            "passphrase": PASSPHRASE, "password": "a word for the file",
            "address": account["address"],
        }  # fmt: skip
        return self.ask("export", asked | more, account=account, who=who)

    def grant(self, account: Any, *, passphrase: str = PASSPHRASE, **more: Any) -> str:
        terms = {
            "chain_id": LOCAL_CHAIN_ID,
            "to": PAYEE,
            "asset": "native",
            "amount": "5",
            "max_fee_wei": str(21_000 * 2 * GWEI),
            "passphrase": passphrase,
        } | more
        return str(self.ask("grant", terms, account=account)[0]["grant"])

    def sign(self, grant: str, payload: bytes, *, who: str = ADA, intent: str = "scs_1") -> bytes:
        signed, _ = self.desk.sign(principal=who, grant=grant, payload=payload, intent_id=intent)
        self.journal.flush()
        return signed.raw


@pytest.fixture
def ada(tmp_path: Path) -> Person:
    journal = Journal.create(tmp_path / JOURNAL_FILE, TEST_JOURNAL_KEY)
    now = [1_000.0]
    desk = SelfCustodyDesk(
        journal=journal,
        policy=open_policy(tokens=[TOKEN]),
        pepper=TEST_JOURNAL_KEY,
        cost=CHEAP,
        clock=lambda: now[0],
    )
    return Person(desk, journal, now)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(SignerRefused) as caught:
        call()
    return caught.value.reason


PAYMENT = native_payload(to=PAYEE, value=5)
