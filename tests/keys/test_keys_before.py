"""What the journal tells of the past: to whom its nonces belong, and where an intent was paid."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from keys.errors import SignerRefused
from keys.journal import Journal
from keys.remote import RemoteSigner
from keys.request import MAX_ASKED, SignedBefore
from keys.server import SignerServer
from keys.signer import LocalSigner
from keys.testing import (
    LOCAL_CHAIN_ID,
    TEST_HOT_ADDRESSES,
    native_payload,
    open_desk,
)
from keys.wire import new_capability
from tests.keys.test_keys_journal import BUMP, CANCEL, KEY, NEXT, PAY

HOT = TEST_HOT_ADDRESSES[0]


class TestTheBook:
    def test_what_it_knows(self, tmp_path: Path) -> None:
        journal = Journal.create(tmp_path / "journal.log", KEY)
        for entry in (PAY, BUMP, replace(CANCEL, cap=300, tip=20), replace(NEXT, nonce=5)):
            journal.append(entry)
        first = SignedBefore("wdr_1", 31_337, PAY.address, 0, tip=10, cap=200)
        second = SignedBefore("wdr_2", 31_337, PAY.address, 5, tip=10, cap=200)
        book = journal.book
        assert book.signed_before(["wdr_9", "wdr_2", "wdr_1"]) == [second, first]
        assert book.signed_from(31_337, PAY.address, 0) == [first, second]
        assert book.signed_from(31_337, PAY.address, 1) == [second]
        assert book.signed_from(31_337, PAY.address, 6) == []
        assert book.signed_from(1, PAY.address, 0) == []
        assert book.signed_from(31_337, "0xother", 0) == []
        journal.close()

    def test_what_a_noop_used_up_is_told_by_its_nonce_alone(self, tmp_path: Path) -> None:
        """Nothing was paid there; nor can anything else be."""
        journal = Journal.create(tmp_path / "journal.log", KEY)
        journal.append(replace(CANCEL, kind="noop"))
        assert journal.book.signed_before(["wdr_1"]) == []
        [place] = journal.book.signed_from(31_337, PAY.address, 0)
        assert place.intent_id == "wdr_1"
        journal.close()

    def test_no_more_than_one_answer_holds(self, tmp_path: Path) -> None:
        journal = Journal.create(tmp_path / "journal.log", KEY)
        for nonce in range(MAX_ASKED + 5):
            journal.append(replace(PAY, nonce=nonce, intent_id=f"wdr_{nonce}"))
        told = journal.book.signed_from(31_337, PAY.address, 0)
        assert [one.nonce for one in told] == list(range(MAX_ASKED))
        journal.append(replace(PAY, chain_id=5, nonce=90_000, intent_id="wdr_late"))
        assert [one.nonce for one in journal.book.signed_from(5, PAY.address, 0)] == [90_000]
        journal.close()


@pytest.fixture
async def remote(runtime_dir: Path) -> AsyncIterator[RemoteSigner]:
    capability = new_capability()
    server = SignerServer(open_desk(), capability)
    await server.start(str(runtime_dir / "s"))
    signer = RemoteSigner(runtime_dir / "s", capability)
    yield signer
    await signer.aclose()
    await server.aclose()


class TestTheProcess:
    async def test_it_tells_what_it_signed(self, remote: RemoteSigner) -> None:
        payload = native_payload(nonce=3)
        await remote.sign_transaction(address=HOT, payload=payload, intent_id="wdr_7", kind="pay")
        [place] = await remote.signed_before(["wdr_7", "wdr_8"])
        assert (place.intent_id, place.chain_id, place.address) == ("wdr_7", LOCAL_CHAIN_ID, HOT)
        assert place.nonce == 3 and 0 < place.tip <= place.cap
        told = await remote.signed_from(chain_id=LOCAL_CHAIN_ID, address=HOT, nonce=0)
        assert told == [place]
        assert await remote.signed_from(chain_id=LOCAL_CHAIN_ID, address=HOT, nonce=4) == []

    async def test_a_full_answer_fits(self, remote: RemoteSigner) -> None:
        ids = [f"wdr_{'x' * 120}{n:03}" for n in range(MAX_ASKED)]
        for nonce, intent_id in enumerate(ids):
            await remote.sign_transaction(
                address=HOT, payload=native_payload(nonce=nonce), intent_id=intent_id, kind="pay"
            )
        assert len(await remote.signed_before(ids)) == MAX_ASKED
        told = await remote.signed_from(chain_id=LOCAL_CHAIN_ID, address=HOT, nonce=0)
        assert len(told) == MAX_ASKED

    @pytest.mark.parametrize(
        ("method", "params"),
        [
            ("signed_before", {}),
            ("signed_before", {"intent_ids": "wdr_1"}),
            ("signed_before", {"intent_ids": [1]}),
            ("signed_before", {"intent_ids": ["x" * 129]}),
            ("signed_before", {"intent_ids": ["x"] * (MAX_ASKED + 1)}),
            ("signed_from", {"chain_id": 1, "address": HOT}),
            ("signed_from", {"chain_id": 1, "address": HOT, "nonce": "0"}),
            ("signed_from", {"chain_id": True, "address": HOT, "nonce": 0}),
            ("signed_from", {"chain_id": 1, "address": 5, "nonce": 0}),
        ],
    )
    async def test_it_refuses_what_it_does_not_understand(
        self, remote: RemoteSigner, method: str, params: dict[str, object]
    ) -> None:
        with pytest.raises(SignerRefused) as caught:
            await remote._call(method, **params)
        assert caught.value.reason == "malformed_request"
        assert await remote.signed_before([]) == []  # and goes on

    async def test_one_of_before_knows_nothing_of_it(
        self, remote: RemoteSigner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def unknown(*_: object, **__: object) -> dict[str, object]:
            raise SignerRefused("unknown_method", "signed_before")

        monkeypatch.setattr(remote, "_call", unknown)
        assert await remote.signed_before(["wdr_1"]) == []
        assert await remote.signed_from(chain_id=1, address=HOT, nonce=0) == []


async def test_in_the_same_process() -> None:
    signer = LocalSigner(open_desk())
    await signer.sign_transaction(
        address=HOT, payload=native_payload(nonce=0), intent_id="wdr_7", kind="pay"
    )
    assert [one.nonce for one in await signer.signed_before(["wdr_7"])] == [0]
    assert len(await signer.signed_from(chain_id=LOCAL_CHAIN_ID, address=HOT, nonce=0)) == 1
