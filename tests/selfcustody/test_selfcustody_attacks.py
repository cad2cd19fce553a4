"""Whoever carries the boxes of own accounts tries more than one thing at once."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest

from keys.errors import SignerRefused
from keys.journal import JOURNAL_FILE, Journal
from keys.request import GRANT_SECONDS
from keys.selfcustody import WRONG_TRIES
from keys.selfcustody_methods import methods
from keys.testing import (
    LOCAL_CHAIN_ID,
    TEST_JOURNAL_KEY,
    Browser,
)
from tests.selfcustody.own_person import (
    ADA,
    PASSPHRASE,
    PAYEE,
    PAYMENT,
    Person,
    refused,
)


class TestAttacks:
    """Whoever carries the boxes tries more than one thing at once."""

    def at_once(self, calls: list[Callable[[], object]]) -> list[str]:
        def outcome(call: Callable[[], object]) -> str:
            try:
                call()
            except SignerRefused as refusal:
                return refusal.reason
            return "done"

        with ThreadPoolExecutor(max_workers=len(calls)) as pool:
            return sorted(pool.map(outcome, calls))

    def test_one_box_carried_twice_at_once_is_one_grant(self, ada: Person) -> None:
        account = ada.imported()
        browser = Browser(ada.desk.opener.public_key())
        terms = {
            "chain_id": LOCAL_CHAIN_ID, "to": PAYEE, "asset": "native", "amount": "5",
            "max_fee_wei": "1", "passphrase": PASSPHRASE,
        }  # fmt: skip
        box = browser.seal(("grant", ADA, "r1"), terms)
        both, plain_open = Barrier(2), ada.desk.opener.open

        def slowly(*given: Any) -> Any:
            with contextlib.suppress(BrokenBarrierError):
                both.wait(0.5)  # two that came together would both be opened
            return plain_open(*given)

        ada.desk.opener.open = slowly  # type: ignore[method-assign]
        call = lambda: ada.desk.open(  # noqa: E731
            purpose="grant", principal=ADA, request_id="r1", box=box, account=account
        )
        assert self.at_once([call, call]) == ["done", "request_repeated"]

    def test_wrong_passphrases_at_once_are_counted_each(self, ada: Person) -> None:
        account = ada.imported()
        calls = [lambda: ada.grant(account, passphrase="wrong one")] * (WRONG_TRIES + 3)
        told = self.at_once(list(calls))
        assert told == ["account_locked"] * 3 + ["wrong_passphrase"] * WRONG_TRIES

    @pytest.mark.parametrize("intent", ["", "x" * 129, "x" * 5_000, "scs_1\n", "scs_\u00fc"])
    def test_no_name_of_a_payment_keeps_the_journal_from_being_read_again(
        self, ada: Person, tmp_path: Path, intent: str
    ) -> None:
        grant = ada.grant(ada.imported())
        assert refused(lambda: ada.sign(grant, PAYMENT, intent=intent)) == "malformed_intent"
        ada.sign(grant, PAYMENT, intent="x" * 128)
        ada.journal.close()
        assert len(Journal.open(tmp_path / JOURNAL_FILE, TEST_JOURNAL_KEY).book) == 1

    @pytest.mark.parametrize(
        "asked",
        [
            {"words": 13, "language": "english", "passphrase": PASSPHRASE},
            {"words": 12, "language": "klingon", "passphrase": PASSPHRASE},
            {"words": float("inf"), "language": "english", "passphrase": PASSPHRASE},
            {"words": 12, "language": "english", "passphrase": "\ud800 half a surrogate"},
        ],
    )
    def test_every_box_has_an_answer(self, ada: Person, asked: dict[str, Any]) -> None:
        """What raises anything but a refusal would stand before everybody else's requests."""
        assert refused(lambda: ada.ask("create", asked)) == "malformed_request"

    def test_deep_nesting_has_an_answer(self, ada: Person) -> None:
        browser = Browser(ada.desk.opener.public_key())
        context = ("import", ADA, "r1")
        box = browser.seal_bytes(context, b"[" * 4_000 + b"]" * 4_000)
        call = lambda: ada.desk.open(  # noqa: E731
            purpose="import", principal=ADA, request_id="r1", box=box
        )
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(1_000)  # the signer's own; a test runner may have raised it
        try:
            assert refused(call) == "box_not_opened"
        finally:
            sys.setrecursionlimit(limit)

    async def test_a_key_is_gone_when_its_grant_has_ended_though_nobody_asks(
        self, ada: Person
    ) -> None:
        async def durable() -> None:
            ada.journal.flush()

        served = methods(ada.desk, durable)
        ada.grant(ada.imported())
        await served["selfcustody.key"](None)
        assert repr(ada.desk) == "SelfCustodyDesk(1 grants)"
        ada.now[0] += GRANT_SECONDS + 1
        await served["selfcustody.key"](None)  # the worker asks every half second
        assert repr(ada.desk) == "SelfCustodyDesk(0 grants)"

    def test_what_is_remembered_against_repetition_has_an_end(
        self, ada: Person, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("keys.selfcustody.MAX_SEEN", 2)
        first = ada.desk.opener.public_key()
        for _ in range(2):
            ada.imported()
        assert refused(ada.imported) == "box_not_opened"  # sealed for the key that has gone
        assert ada.desk.opener.public_key() != first
        assert ada.imported()
