"""The desk signs what it admits, exactly, and the local signers carry it."""

from __future__ import annotations

import logging
import pickle
import traceback
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
import rlp
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from eth_utils import keccak, to_checksum_address

from keys.derivation import HOT_ACCOUNT, derive_key, path
from keys.desk import SigningDesk, signed_matches
from keys.errors import NonceConflict, SignerRefused, SignerUnavailable
from keys.held import HeldKey
from keys.payload import decode_unsigned
from keys.policy import Limit, Policy
from keys.request import Kind, SignedTx, SignRequest
from keys.secret import Secret
from keys.signer import Signer
from keys.testing import (
    GWEI,
    LOCAL_CHAIN_ID,
    TEST_HOT_ADDRESSES,
    FakeSigner,
    local_signer,
    native_payload,
    open_desk,
    open_policy,
    test_seed,
    token_payload,
)

HOT = TEST_HOT_ADDRESSES[0]
TOKEN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
PAYEE = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
COLD = "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc"


def _sign(desk: SigningDesk, payload: bytes, intent: str = "wdr_1", kind: Kind = "pay") -> SignedTx:
    admitted = desk.admit(SignRequest(HOT, payload, intent, kind))
    desk.journal.flush()
    return desk.sign(admitted)


def _refusal(desk: SigningDesk, request: SignRequest) -> str:
    with pytest.raises(SignerRefused) as caught:
        desk.admit(request)
    return caught.value.reason


class TestSigning:
    def test_bytes_hash_and_sender(self) -> None:
        payload = token_payload(4, contract=TOKEN, to=PAYEE, amount=20_000_000)
        signed = _sign(open_desk(policy=open_policy(tokens=[TOKEN])), payload)
        assert signed.tx_hash == "0x" + keccak(signed.raw).hex()
        assert Account.recover_transaction(signed.raw) == HOT
        assert b"\x02" + rlp.encode(rlp.decode(signed.raw[1:])[:9]) == payload

    def test_a_golden_transaction(self) -> None:
        """The test phrase's first key, nonce 0, 1 ether to its second: the bytes never change."""
        signed = _sign(open_desk(), native_payload())
        assert signed.tx_hash == (
            "0x7d4c13ed95c0cee830d7457ec5a5976db1fc301cfa7a23fef0039a7ccf6aea87"
        )

    def test_the_same_payload_signs_to_the_same_bytes(self) -> None:
        desk = open_desk()
        assert _sign(desk, native_payload()) == _sign(desk, native_payload())
        assert len(desk.journal.book) == 1

    def test_bump_and_cancel_of_the_same_intent(self) -> None:
        desk = open_desk()
        first = _sign(desk, native_payload())
        bumped = _sign(desk, native_payload(cap=3 * GWEI, tip=2 * GWEI), kind="bump")
        cancelled = _sign(desk, native_payload(to=HOT, value=0, cap=4 * GWEI), kind="cancel")
        assert len({first.tx_hash, bumped.tx_hash, cancelled.tx_hash}) == 3
        assert _sign(desk, native_payload()) == first
        higher = native_payload(to=HOT, value=0, cap=5 * GWEI, tip=2 * GWEI)
        assert _sign(desk, higher, kind="bump").raw

    def test_the_address_may_be_lower_case(self) -> None:
        desk = open_desk()
        admitted = desk.admit(SignRequest(HOT.lower(), native_payload(), "wdr_1", "pay"))
        assert admitted.address == HOT


class TestRefusing:
    @pytest.mark.parametrize(
        ("request_", "reason"),
        [
            (SignRequest(PAYEE, native_payload(), "wdr_1", "pay"), "unknown_address"),
            (SignRequest("", native_payload(), "wdr_1", "pay"), "unknown_address"),
            (SignRequest(HOT, native_payload(), "", "pay"), "malformed_intent"),
            (SignRequest(HOT, native_payload(), "x" * 129, "pay"), "malformed_intent"),
            (SignRequest(HOT, native_payload(), "wdr\n1", "pay"), "malformed_intent"),
            (SignRequest(HOT, native_payload(), "wdr_1", "sweep"), "unknown_kind"),  # type: ignore[arg-type]
            (SignRequest(HOT, keccak(b"x"), "wdr_1", "pay"), "unsupported_type"),
            (SignRequest(HOT, native_payload(chain_id=1), "wdr_1", "pay"), "chain_not_allowed"),
        ],
    )
    def test_nothing_reaches_the_journal(self, request_: SignRequest, reason: str) -> None:
        desk = open_desk()
        assert _refusal(desk, request_) == reason
        assert not desk.journal.has_pending
        assert len(desk.journal.book) == 0

    def test_another_payload_at_a_used_nonce(self) -> None:
        desk = open_desk()
        _sign(desk, native_payload())
        with pytest.raises(NonceConflict):
            _sign(desk, native_payload(value=1))
        with pytest.raises(NonceConflict):
            _sign(desk, native_payload(value=1), intent="wdr_2")
        with pytest.raises(NonceConflict):
            _sign(desk, native_payload(1), intent="wdr_1")

    def test_a_tightened_policy_refuses_what_was_signed_before(self, tmp_path: Path) -> None:
        before = open_desk(directory=tmp_path)
        _sign(before, native_payload())
        before.journal.close()
        after = open_desk(directory=tmp_path, policy=open_policy(fee_ceiling_wei=1))
        assert _refusal(after, SignRequest(HOT, native_payload(), "wdr_1", "pay")) == (
            "fee_above_ceiling"
        )
        after.journal.close()


class TestDayLimit:
    LIMIT = Limit(per_tx=10, per_day=25)

    def _desk(self, directory: Path, today: datetime) -> SigningDesk:
        rules = open_policy(tokens={TOKEN: self.LIMIT})
        return open_desk(policy=rules, directory=directory, clock=lambda: today)

    def _pay(self, desk: SigningDesk, nonce: int, amount: int) -> None:
        payload = token_payload(nonce, contract=TOKEN, to=PAYEE, amount=amount)
        _sign(desk, payload, intent=f"wdr_{nonce}")

    def test_the_sum_of_a_day_is_bounded_also_after_a_restart(self, tmp_path: Path) -> None:
        monday, tuesday = datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)
        desk = self._desk(tmp_path, monday)
        self._pay(desk, 0, 10)
        self._pay(desk, 1, 10)
        desk.journal.close()
        desk = self._desk(tmp_path, monday)
        with pytest.raises(SignerRefused, match="day_limit_reached"):
            self._pay(desk, 2, 6)
        self._pay(desk, 2, 5)
        self._pay(desk, 1, 10)  # the identical payload again: counted once
        desk.journal.close()
        desk = self._desk(tmp_path, tuesday)
        self._pay(desk, 3, 10)
        desk.journal.close()
        desk = self._desk(tmp_path, monday)  # a clock set back does not open Monday again
        self._pay(desk, 4, 10)
        with pytest.raises(SignerRefused, match="day_limit_reached"):
            self._pay(desk, 5, 6)
        desk.journal.close()

    def test_assets_have_their_own_sums(self, tmp_path: Path) -> None:
        desk = self._desk(tmp_path, datetime(2026, 11, 23, tzinfo=UTC))
        self._pay(desk, 0, 10)
        self._pay(desk, 1, 10)
        _sign(desk, native_payload(2), intent="wdr_native")
        desk.journal.close()


class TestFeesOfADay:
    MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
    GWEI_AT_21000 = 21_000 * 10**9

    def _desk(self, directory: Path, *, gwei: int | None, today: datetime = MONDAY) -> SigningDesk:
        """`gwei`: so many gwei per gas for a plain payment are all that a day may cost."""
        rules = open_policy()
        [(number, chain)] = rules.chains.items()
        limit = None if gwei is None else gwei * self.GWEI_AT_21000
        return open_desk(
            policy=Policy({number: replace(chain, fees_per_day=limit)}),
            directory=directory,
            clock=lambda: today,
        )

    def _fees(self, desk: SigningDesk) -> int:
        return desk.journal.book.fees(LOCAL_CHAIN_ID, "2026-11-23") // self.GWEI_AT_21000

    def test_gas_of_all_that_was_signed_is_bounded_also_after_a_restart(
        self, tmp_path: Path
    ) -> None:
        desk = self._desk(tmp_path, gwei=100)
        _sign(desk, native_payload(0, cap=30 * 10**9), intent="a")
        _sign(desk, native_payload(0, cap=30 * 10**9), intent="a")  # the same again: counted once
        _sign(desk, native_payload(0, cap=50 * 10**9), intent="a", kind="bump")  # one is mined
        assert self._fees(desk) == 50
        desk.journal.close()
        desk = self._desk(tmp_path, gwei=100)
        with pytest.raises(SignerRefused, match="day_limit_reached"):
            _sign(desk, native_payload(1, cap=51 * 10**9), intent="b")
        with pytest.raises(
            SignerRefused, match="day_limit_reached"
        ):  # a strange contract's appetite
            _sign(desk, native_payload(1, cap=10**9, gas=16_000_000), intent="b")
        _sign(desk, native_payload(1, cap=40 * 10**9), intent="b")
        with pytest.raises(SignerRefused, match="day_limit_reached"):
            _sign(desk, native_payload(0, cap=61 * 10**9), intent="a", kind="bump")
        _sign(desk, native_payload(0, cap=60 * 10**9), intent="a", kind="bump")
        desk.journal.close()
        desk = self._desk(tmp_path, gwei=100, today=self.MONDAY + timedelta(days=1))
        _sign(desk, native_payload(2, cap=100 * 10**9), intent="c")
        desk.journal.close()

    def test_a_nonce_can_always_be_used_up(self, tmp_path: Path) -> None:
        desk = self._desk(tmp_path, gwei=10)
        _sign(desk, native_payload(0, cap=10 * 10**9), intent="a")
        nothing = native_payload(0, to=HOT, value=0, cap=40 * 10**9, gas=16_000_000)
        _sign(desk, nothing, intent="a", kind="cancel")
        _sign(
            desk,
            native_payload(0, to=HOT, value=0, cap=60 * 10**9, gas=16_000_000),
            intent="a",
            kind="bump",
        )
        assert self._fees(desk) == 60
        desk.journal.close()

    def test_an_evacuation_is_not_stopped_by_what_others_used_up(self, tmp_path: Path) -> None:
        """Gas limits of customers' payments use the day's fees up: what is saved waits for none."""
        desk = self._desk(tmp_path, gwei=10)
        [(number, chain)] = desk.policy.chains.items()
        desk.policy = Policy({number: replace(chain, treasury_to=frozenset({COLD}))})
        _sign(desk, native_payload(0, cap=10 * 10**9), intent="a")
        with pytest.raises(SignerRefused, match="day_limit_reached"):
            _sign(desk, native_payload(1, cap=10**9), intent="b")
        all_of_it = {"to": COLD, "value": 10**21}
        _sign(desk, native_payload(1, **all_of_it, cap=40 * 10**9), intent="c")
        _sign(desk, native_payload(1, **all_of_it, cap=50 * 10**9), intent="c", kind="bump")
        assert self._fees(desk) == 60
        desk.journal.close()

    def test_a_journal_of_before_the_limit_and_one_without_it_read_the_same(
        self, tmp_path: Path
    ) -> None:
        desk = self._desk(tmp_path, gwei=None)
        _sign(desk, native_payload(0, cap=30 * 10**9), intent="a")
        desk.journal.close()
        assert "fee" not in (tmp_path / "journal.log").read_text("ascii")
        desk = self._desk(tmp_path, gwei=100)
        _sign(desk, native_payload(0, cap=40 * 10**9), intent="a", kind="bump")
        assert self._fees(desk) == 40
        desk.journal.close()


def _hot_keys() -> list[Secret]:
    """Those of `open_desk`."""
    return [derive_key(test_seed(), path(HOT_ACCOUNT, index)) for index in range(2)]


class TestSameBytesAsEthAccount:
    def test_payments_of_all_sizes(self) -> None:
        chance, desk = Random(7), open_desk()
        key = _hot_keys()[0].reveal()
        for nonce in range(200):
            payload = native_payload(
                nonce,
                to=to_checksum_address(chance.randbytes(20)),
                value=chance.randrange(1, 10 ** chance.randrange(1, 25)),
                cap=chance.randrange(10**9, 10**12),
                tip=chance.randrange(10**9),
                gas=chance.randrange(21_000, 16_000_000),
            )
            tx = decode_unsigned(payload)
            fields = {
                "type": 2, "chainId": tx.chain_id, "nonce": nonce, "maxFeePerGas": tx.cap,
                "maxPriorityFeePerGas": tx.tip, "gas": tx.gas, "value": tx.value,
                "to": to_checksum_address(tx.to), "data": tx.data,
            }  # fmt: skip
            theirs = Account.sign_transaction(fields, key)
            ours = _sign(desk, payload, intent=f"wdr_{nonce}")
            assert ours.raw == bytes(theirs.raw_transaction)
            assert ours.tx_hash == "0x" + bytes(theirs.hash).hex()


class TestReadingBack:
    def test_any_other_bytes_are_noticed(self) -> None:
        payload = native_payload()
        tx, raw = decode_unsigned(payload), _sign(open_desk(), payload).raw
        assert signed_matches(raw, tx, HOT)
        assert not signed_matches(raw, tx, TEST_HOT_ADDRESSES[1])
        for changed in (
            replace(tx, value=tx.value + 1),
            replace(tx, nonce=1),
            replace(tx, to=bytes(20)),
            replace(tx, chain_id=1),
            replace(tx, data=b"\0"),
        ):
            assert not signed_matches(raw, changed, HOT)
        for position in range(len(raw)):
            flipped = bytearray(raw)
            flipped[position] ^= 0x01
            assert not signed_matches(bytes(flipped), tx, HOT)

    def test_a_library_that_signs_something_else_is_caught(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        desk, other = open_desk(), keccak(native_payload(value=7))
        vrs = HeldKey(derive_key(test_seed(), path(HOT_ACCOUNT, 0))).sign_digest(other)
        monkeypatch.setattr(HeldKey, "sign_digest", lambda self, digest: vrs)
        with pytest.raises(SignerRefused, match="signing_failed"):
            _sign(desk, native_payload())

    def test_the_librarys_exception_stops_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def repeat_the_key(key: PrivateKey, digest: bytes) -> None:
            raise ValueError(f"bad key {key!r}")

        monkeypatch.setattr(PrivateKey, "sign_msg_hash", repeat_the_key)
        with pytest.raises(SignerRefused) as caught:
            _sign(open_desk(), native_payload())
        report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert "bad key" not in "".join(report.format())
        assert caught.value.__context__ is None


class TestNothingLeaks:
    def test_repr_pickle_and_log(self, caplog: pytest.LogCaptureFixture) -> None:
        desk = open_desk()
        keys = [key.reveal() for key in _hot_keys()]
        with caplog.at_level(logging.DEBUG):
            logging.getLogger("test").debug("%r %s %r", desk, desk, vars(desk))
            logging.getLogger("test").debug("%r", [str(key) for key in desk._keys.values()])
            _sign(desk, native_payload())
        for key in keys:
            assert key.hex() not in caplog.text
            assert repr(key) not in caplog.text
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match="cannot be pickled"):
                pickle.dumps(list(desk._keys.values()), protocol=protocol)

    def test_the_journal_holds_no_key(self, tmp_path: Path) -> None:
        desk = open_desk(directory=tmp_path)
        _sign(desk, native_payload())
        content = (tmp_path / "journal.log").read_bytes()
        assert b"wdr_1" in content
        for key in _hot_keys():
            assert key.reveal() not in content
            assert key.reveal().hex().encode() not in content
        desk.journal.close()


class TestLocalSigners:
    @pytest.mark.parametrize("make", [local_signer, FakeSigner])
    async def test_they_are_signers(self, make: type[FakeSigner]) -> None:
        signer: Signer = make()
        assert tuple(await signer.hot_addresses()) == TEST_HOT_ADDRESSES
        assert (await signer.deposit_xpub()).startswith("xpub")
        signed = await signer.sign_transaction(
            address=HOT, payload=native_payload(), intent_id="wdr_1", kind="pay"
        )
        assert Account.recover_transaction(signed.raw) == HOT

    async def test_the_fake_fails_on_demand(self) -> None:
        signer = FakeSigner()
        signer.fail_before = SignerUnavailable("away")
        with pytest.raises(SignerUnavailable):
            await _ask(signer)
        signer.fail_before, signer.fail_after = None, SignerUnavailable("answer lost")
        with pytest.raises(SignerUnavailable):
            await _ask(signer)
        signer.fail_after = None
        assert (await _ask(signer)).raw == _sign(open_desk(), native_payload()).raw
        assert [call.intent_id for call in signer.calls] == ["wdr_1"] * 3


async def _ask(signer: Signer) -> SignedTx:
    return await signer.sign_transaction(
        address=HOT, payload=native_payload(), intent_id="wdr_1", kind="pay"
    )
