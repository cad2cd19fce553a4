"""Our encoding against eth-account's, byte for byte; bumps; what never matches."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from chain.errors import FeeCeiling, InvalidAddress, InvalidTransaction
from chain.transactions import (
    TxFields,
    bumped,
    decode_signed,
    decode_unsigned,
    encode_unsigned,
    erc20_transfer,
    native_transfer,
    self_cancel,
    signed_matches,
    transfer_data,
    tx_hash,
)
from tests.chain.benches import KEY, OUTSIDER, SIGNER, sign

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"

# Made once with eth-account 0.14.0 from the public test key of 32 times 0x46 (EIP-155's own).
GOLDEN_KEY = bytes([0x46]) * 32
GOLDEN_FIELDS = TxFields(
    1, 9, 2 * 10**9, 40 * 10**9, 21_000, "0x3535353535353535353535353535353535353535", 10**18
)
GOLDEN_RAW = bytes.fromhex(
    "02f873010984773594008509502f9000825208943535353535353535353535353535353535353535"
    "880de0b6b3a764000080c001a0d96a939aa598b136ef52239a282ac3a5ace24616dd8df06287aa4a"
    "83a327f407a00369d2510bd102b461c552a392bf47d333ed735007e5f0934a09ff3186869a9c"
)
GOLDEN_HASH = "0x95169d68c31273bc5f837dd7e573f476170bcbbb9b98004f166dd99eead850b2"
GOLDEN_SENDER = "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F"

fields_strategy = st.builds(
    lambda chain_id, nonce, fees, gas, to, value, data: TxFields(
        chain_id, nonce, min(fees), max(fees), gas, "0x" + to.hex(), value, data
    ),
    st.integers(1, 2**53),
    st.integers(0, 2**64 - 2),
    st.tuples(st.integers(0, 2**100), st.integers(0, 2**100)),
    st.integers(21_000, 16_000_000),
    st.binary(min_size=20, max_size=20).filter(any),
    st.integers(0, 2**256 - 1),
    st.binary(max_size=200),
)


class TestGolden:
    def test_encoding_hash_and_sender_are_the_recorded_ones(self) -> None:
        assert decode_signed(GOLDEN_RAW) == (GOLDEN_FIELDS, GOLDEN_SENDER)
        assert tx_hash(GOLDEN_RAW) == GOLDEN_HASH
        assert sign(GOLDEN_FIELDS, GOLDEN_KEY) == GOLDEN_RAW
        assert encode_unsigned(GOLDEN_FIELDS).hex() == (
            "02f00109847735940085095"
            "02f900082520894353535353535353535353535353535353535353588"
            "0de0b6b3a764000080c0"
        )

    @given(fields_strategy)
    def test_eth_account_signs_the_same_fields(self, fields: TxFields) -> None:
        raw = sign(fields)
        assert decode_signed(raw) == (fields, SIGNER)
        assert signed_matches(raw, fields, SIGNER)
        assert tx_hash(raw) == Account.from_key(KEY).sign_transaction(
            {
                "type": 2, "chainId": fields.chain_id, "nonce": fields.nonce, "gas": fields.gas,
                "maxPriorityFeePerGas": fields.tip, "maxFeePerGas": fields.cap,
                "to": fields.to, "value": fields.value, "data": fields.data,
            }
        ).hash.to_0x_hex()  # fmt: skip

    @given(fields_strategy)
    def test_unsigned_bytes_decode_to_themselves(self, fields: TxFields) -> None:
        assert decode_unsigned(encode_unsigned(fields)) == fields


class TestRefusals:
    @pytest.mark.parametrize(
        "changes",
        [
            {"chain_id": 0},
            {"nonce": -1},
            {"nonce": 2**64 - 1},
            {"tip": 41 * 10**9},
            {"tip": -1},
            {"gas": 20_999},
            {"gas": 16_000_001},
            {"value": -1},
            {"value": 2**256},
            {"value": 1.0},
            {"value": True},
            {"to": "0x" + "0" * 40},
            {"to": "0x3535"},
            {"data": "0x"},
            {"data": b"x" * 131_073},
        ],
    )
    def test_fields_out_of_range(self, changes: dict[str, object]) -> None:
        with pytest.raises(InvalidTransaction):
            replace(GOLDEN_FIELDS, **changes)  # type: ignore[arg-type]

    @given(st.integers(0, 7), st.data())
    def test_any_changed_field_or_signer_does_not_match(
        self, which: int, data: st.DataObject
    ) -> None:
        changed: dict[str, object] = [
            {"chain_id": 5}, {"nonce": 10}, {"tip": 1}, {"cap": 10**12}, {"gas": 21_001},
            {"to": ALICE}, {"value": 10**18 + 1}, {"data": b"\x00"},
        ][which]  # fmt: skip
        assert not signed_matches(GOLDEN_RAW, replace(GOLDEN_FIELDS, **changed), GOLDEN_SENDER)  # type: ignore[arg-type]
        assert not signed_matches(GOLDEN_RAW, GOLDEN_FIELDS, ALICE)
        at = data.draw(st.integers(0, len(GOLDEN_RAW) - 1))
        bit = 1 << data.draw(st.integers(0, 7))
        broken = GOLDEN_RAW[:at] + bytes([GOLDEN_RAW[at] ^ bit]) + GOLDEN_RAW[at + 1 :]
        assert not signed_matches(broken, GOLDEN_FIELDS, GOLDEN_SENDER)

    @given(st.binary(max_size=300))
    def test_random_bytes_are_refused_and_nothing_else_is_raised(self, noise: bytes) -> None:
        for raw in (noise, b"\x02" + noise):
            assert not signed_matches(raw, GOLDEN_FIELDS, GOLDEN_SENDER)

    def test_a_high_s_signature_is_refused(self) -> None:
        """EIP-2: the mirrored signature recovers the same sender and would be a second hash."""
        order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
        s = int.from_bytes(GOLDEN_RAW[-32:], "big")
        mirrored = bytearray(GOLDEN_RAW[:-32] + (order - s).to_bytes(32, "big"))
        parity_at = len(GOLDEN_RAW) - 67
        assert mirrored[parity_at] in (0x80, 0x01)
        mirrored[parity_at] = 0x01 if mirrored[parity_at] == 0x80 else 0x80
        with pytest.raises(InvalidTransaction, match="EIP-2"):
            decode_signed(bytes(mirrored))

    def test_trailing_bytes_longer_numbers_and_access_lists_are_refused(self) -> None:
        payload = encode_unsigned(GOLDEN_FIELDS)
        with_access_list = b"\x02\xf1" + payload[2:-1] + b"\xc1\xc0"
        for odd in (payload + b"\x00", payload[1:], b"\x01" + payload[1:], with_access_list):
            with pytest.raises(InvalidTransaction):
                decode_unsigned(odd)


class TestBuilders:
    def test_native(self) -> None:
        fields = native_transfer(
            chain_id=1, nonce=2, tip=3, cap=4, gas=21_000, to=ALICE.lower(), value_wei=5
        )
        assert fields == TxFields(1, 2, 3, 4, 21_000, ALICE, 5, b"")
        with pytest.raises(InvalidTransaction):
            native_transfer(chain_id=1, nonce=2, tip=3, cap=4, gas=21_000, to=ALICE, value_wei=0)

    def test_token_call_data_is_the_abi_encoding(self) -> None:
        assert transfer_data(to=ALICE, amount_minor=258).hex() == (
            "a9059cbb"
            + "000000000000000000000000" + ALICE[2:].lower()
            + "0" * 61 + "102"
        )  # fmt: skip
        for amount in (0, -1, 2**256, True, 1.5):
            with pytest.raises(InvalidTransaction):
                transfer_data(to=ALICE, amount_minor=amount)  # type: ignore[arg-type]
        with pytest.raises(InvalidAddress):
            transfer_data(to="0x" + "0" * 40, amount_minor=1)

    def test_a_token_is_not_sent_to_its_own_contract(self) -> None:
        with pytest.raises(InvalidTransaction):
            erc20_transfer(
                chain_id=1, nonce=0, tip=1, cap=1, gas=60_000,
                contract=ALICE, to=ALICE.lower(), amount_minor=1,
            )  # fmt: skip

    def test_cancel_pays_nothing_to_oneself_at_the_same_nonce(self) -> None:
        cancel = self_cancel(GOLDEN_FIELDS, sender=OUTSIDER, percent=13)
        assert (cancel.to, cancel.value, cancel.data) == (OUTSIDER, 0, b"")
        assert (cancel.nonce, cancel.chain_id) == (GOLDEN_FIELDS.nonce, GOLDEN_FIELDS.chain_id)
        assert cancel.tip > GOLDEN_FIELDS.tip and cancel.cap > GOLDEN_FIELDS.cap


class TestBumped:
    @given(st.tuples(st.integers(0, 2**80), st.integers(0, 2**80)), st.integers(0, 100))
    def test_both_fees_rise_by_an_eighth_at_least(
        self, fees: tuple[int, int], percent: int
    ) -> None:
        old = replace(GOLDEN_FIELDS, tip=min(fees), cap=max(fees))
        new = bumped(old, percent)
        for before, after in ((old.tip, new.tip), (old.cap, new.cap)):
            wanted = max(Fraction(1125, 1000), 1 + Fraction(percent, 100)) * before
            assert after >= wanted and after > before
            assert after < wanted + 1 or after == before + 1
        assert replace(new, tip=old.tip, cap=old.cap) == old

    def test_known_figures(self) -> None:
        old = replace(GOLDEN_FIELDS, tip=8, cap=1001)
        assert (bumped(old, 0).tip, bumped(old, 0).cap) == (9, 1127)
        assert (bumped(old, 13).tip, bumped(old, 13).cap) == (10, 1132)
        zero = bumped(replace(old, tip=0, cap=0), 13)
        assert (zero.tip, zero.cap) == (1, 1)

    def test_the_ceiling_stops_it(self) -> None:
        old = replace(GOLDEN_FIELDS, cap=1000, tip=1)
        assert bumped(old, 13, ceiling_wei=1130).cap == 1130
        with pytest.raises(FeeCeiling):
            bumped(old, 13, ceiling_wei=1129)
