"""The policy allows what is listed and refuses the rest, each refusal with its reason."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import rlp
from eth_account import Account

from keys import policy_file as policy
from keys.calls import TRANSFER, TRANSFER_SELECTOR, arguments, transfer_in
from keys.errors import InvalidPolicy, SignerRefused
from keys.payload import MAX_NONCE, UnsignedTx, decode_unsigned
from keys.policy import ChainPolicy, Limit, Policy, Spend
from keys.request import Kind
from keys.testing import GWEI, TEST_HOT_ADDRESSES, native_payload, token_payload

TOKEN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
OTHER_TOKEN = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"
PAYEE = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
SENDER = TEST_HOT_ADDRESSES[0]
NATIVE_LIMIT = Limit(per_tx=10 * 10**18, per_day=50 * 10**18)
TOKEN_LIMIT = Limit(per_tx=1_000_000_000, per_day=5_000_000_000)
RULES = Policy(
    {
        31_337: ChainPolicy(100 * GWEI, NATIVE_LIMIT, {TOKEN: TOKEN_LIMIT}),
        1: ChainPolicy(50 * GWEI, None, {}),
    }
)


def _examine(payload: bytes, kind: Kind = "pay") -> Spend | None:
    return RULES.examine(decode_unsigned(payload), sender=bytes.fromhex(SENDER[2:]), kind=kind)


def _refusal(payload: bytes, kind: Kind = "pay") -> str:
    with pytest.raises(SignerRefused) as caught:
        _examine(payload, kind)
    return caught.value.reason


def _transfer(data: bytes, *, to: str = TOKEN, value: int = 0) -> bytes:
    return native_payload(to=to, value=value, gas=100_000, data=data)


def _call(recipient: str, amount: int) -> bytes:
    word = bytes(12) + bytes.fromhex(recipient[2:])
    return TRANSFER_SELECTOR + word + amount.to_bytes(32, "big")


class TestAllowed:
    def test_a_native_payment(self) -> None:
        spend = _examine(native_payload(to=PAYEE, value=5))
        assert spend == Spend("native", 5, NATIVE_LIMIT, largest=5, to=PAYEE)

    def test_a_token_payment(self) -> None:
        spend = _examine(token_payload(contract=TOKEN, to=PAYEE, amount=7))
        assert spend == Spend(TOKEN, 7, TOKEN_LIMIT, largest=7, to=PAYEE)

    def test_exactly_the_limit(self) -> None:
        assert _examine(native_payload(to=PAYEE, value=NATIVE_LIMIT.per_tx, cap=100 * GWEI))
        assert _examine(native_payload(to=PAYEE, value=1, gas=16_000_000))

    @pytest.mark.parametrize("kind", ["cancel", "noop", "bump"])
    def test_nothing_sent_to_oneself(self, kind: Kind) -> None:
        assert _examine(native_payload(to=SENDER, value=0), kind) is None

    def test_a_bump_is_judged_like_its_payment(self) -> None:
        assert _examine(native_payload(to=PAYEE, value=5), "bump") is not None
        assert _refusal(native_payload(to=PAYEE, value=11 * 10**18), "bump") == "above_per_tx_limit"


class TestRefused:
    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            (native_payload(chain_id=0), "chain_not_allowed"),
            (native_payload(chain_id=5), "chain_not_allowed"),
            (native_payload(chain_id=1), "asset_not_allowed"),
            (native_payload(gas=20_999), "gas_outside_limit"),
            (native_payload(gas=16_000_001), "gas_outside_limit"),
            (native_payload(cap=100 * GWEI + 1), "fee_above_ceiling"),
            (native_payload(cap=0, tip=0), "fee_above_ceiling"),
            (native_payload(cap=GWEI, tip=GWEI + 1), "fee_above_ceiling"),
            (native_payload(to="0x"), "recipient_not_allowed"),
            (native_payload(to="0x" + "00" * 20), "recipient_not_allowed"),
            (native_payload(to=TOKEN), "recipient_not_allowed"),
            (native_payload(to="0x" + "11" * 19), "recipient_not_allowed"),
            (native_payload(value=0), "zero_value"),
            (native_payload(value=NATIVE_LIMIT.per_tx + 1), "above_per_tx_limit"),
            (_transfer(_call(PAYEE, TOKEN_LIMIT.per_tx + 1)), "above_per_tx_limit"),
            (_transfer(_call(PAYEE, 0)), "zero_value"),
            (_transfer(_call(PAYEE, 5), to=OTHER_TOKEN), "asset_not_allowed"),
            (_transfer(_call(PAYEE, 5), value=1), "selector_not_allowed"),
            (_transfer(_call(PAYEE, 5)[:-1]), "selector_not_allowed"),
            (_transfer(_call(PAYEE, 5) + b"\0"), "selector_not_allowed"),
            (_transfer(bytes.fromhex("095ea7b3") + _call(PAYEE, 5)[4:]), "recipient_not_allowed"),
            (_transfer(bytes.fromhex("23b872dd") + bytes(96)), "selector_not_allowed"),
            (_transfer(b"\0"), "selector_not_allowed"),
            (_transfer(_call("0x" + "00" * 20, 5)), "recipient_not_allowed"),
            (_transfer(_call(TOKEN, 5)), "recipient_not_allowed"),
            (
                _transfer(_call(PAYEE, 5)[:4] + b"\1" + _call(PAYEE, 5)[5:]),
                "selector_not_allowed",
            ),
        ],
    )
    def test_each_with_its_reason(self, payload: bytes, reason: str) -> None:
        assert _refusal(payload) == reason

    @pytest.mark.parametrize("kind", ["cancel", "noop"])
    @pytest.mark.parametrize(
        "payload",
        [
            native_payload(to=PAYEE, value=0),
            native_payload(to=SENDER, value=1),
            native_payload(to=SENDER, value=0, data=b"\0"),
            token_payload(contract=TOKEN, to=PAYEE, amount=1),
        ],
    )
    def test_a_cancel_that_pays_somebody(self, kind: Kind, payload: bytes) -> None:
        assert _refusal(payload, kind) == "not_a_self_transfer"

    def test_an_empty_policy_allows_nothing(self) -> None:
        tx = decode_unsigned(native_payload())
        with pytest.raises(SignerRefused):
            Policy({}).examine(tx, sender=bytes(20), kind="pay")

    def test_chain_id_zero_even_when_somebody_listed_it(self) -> None:
        rules = Policy({0: ChainPolicy(100 * GWEI, NATIVE_LIMIT, {})})
        with pytest.raises(SignerRefused, match="chain_not_allowed"):
            rules.examine(decode_unsigned(native_payload(chain_id=0)), sender=bytes(20), kind="pay")


class TestPayload:
    def test_it_reads_back_what_it_wrote(self) -> None:
        tx = UnsignedTx(31_337, 7, 1, 2, 21_000, bytes(range(20)), 10**30, b"data")
        assert decode_unsigned(tx.encode()) == tx

    def test_eth_account_hashes_the_same_bytes(self) -> None:
        """Our unsigned bytes are the ones eth-account signs: the sender is recovered from them."""
        key = b"\x01" * 32
        raw = bytes(
            Account.sign_transaction(
                {
                    "type": 2,
                    "chainId": 31_337,
                    "nonce": 3,
                    "maxPriorityFeePerGas": GWEI,
                    "maxFeePerGas": 2 * GWEI,
                    "gas": 21_000,
                    "to": PAYEE,
                    "value": 5,
                    "data": b"",
                },
                key,
            ).raw_transaction
        )
        fields = rlp.decode(raw[1:])
        assert b"\x02" + rlp.encode(fields[:9]) == native_payload(3, to=PAYEE, value=5)

    @pytest.mark.parametrize(
        "payload",
        [
            b"",
            bytes(32),
            b"\x01" + native_payload()[1:],
            b"\x03" + native_payload()[1:],
            native_payload()[1:],
            b"\x19Ethereum Signed Message:\n32" + bytes(32),
        ],
    )
    def test_nothing_but_types_two_and_four(self, payload: bytes) -> None:
        with pytest.raises(SignerRefused) as caught:
            decode_unsigned(payload)
        assert caught.value.reason == "unsupported_type"

    @pytest.mark.parametrize(
        "fields",
        [
            [],
            [b""] * 8,
            [b""] * 9,
            [b"\x01"] * 8 + [[]] + [b""],
            [b"\x01", [b"\x01"], *[b"\x01"] * 6, []],
            [b"\x00\x01", *[b"\x01"] * 7, []],
            [b"\x01", (MAX_NONCE + 1).to_bytes(8, "big"), *[b"\x01"] * 6, []],
            [b"\x01"] * 6 + [b"\x01" * 33, b"", []],
            [b"\x01"] * 8 + [[[bytes(20), []]]],
        ],
    )
    def test_wrong_shapes_and_ranges(self, fields: list[Any]) -> None:
        with pytest.raises(SignerRefused) as caught:
            decode_unsigned(b"\x02" + rlp.encode(fields))
        assert caught.value.reason == "malformed_payload"

    @pytest.mark.parametrize(
        "payload",
        [
            native_payload() + b"\0",
            native_payload()[:-1],
            b"\x02",
            b"\x02\x80",
            b"\x02\xf9\x00" + native_payload()[2:],
            b"\x02" + b"\xc1" * 5000,
            native_payload(data=bytes(28_000)),
            b"\x04" + native_payload()[1:],
        ],
    )
    def test_not_canonical(self, payload: bytes) -> None:
        with pytest.raises(SignerRefused) as caught:
            decode_unsigned(payload)
        assert caught.value.reason == "malformed_payload"

    def test_a_signed_transaction_is_not_an_unsigned_one(self) -> None:
        fields = [*rlp.decode(native_payload()[1:]), b"", b"\x01" * 32, b"\x01" * 32]
        with pytest.raises(SignerRefused):
            decode_unsigned(b"\x02" + rlp.encode(fields))


class TestFile:
    def test_written_and_read_back(self, tmp_path: Path) -> None:
        policy.dump(tmp_path / "policy.json", RULES)
        assert policy.load(tmp_path / "policy.json") == RULES
        assert os.stat(tmp_path / "policy.json").st_mode & 0o777 == 0o600
        document = json.loads((tmp_path / "policy.json").read_text())
        assert document["31337"]["native"] == {
            "per_tx": str(NATIVE_LIMIT.per_tx),
            "per_day": str(NATIVE_LIMIT.per_day),
        }
        assert document["1"]["native"] is None

    def test_whole_json_numbers_are_read_too(self, tmp_path: Path) -> None:
        file = _write(tmp_path, {"1": {"fee_ceiling_wei": 5, "tokens": {}}})
        assert policy.load(file) == Policy({1: ChainPolicy(5, None, {})})

    @pytest.mark.parametrize(
        "document",
        [
            [],
            None,
            {"0": {"fee_ceiling_wei": "1"}},
            {"01": {"fee_ceiling_wei": "1"}},
            {"x": {"fee_ceiling_wei": "1"}},
            {"-1": {"fee_ceiling_wei": "1"}},
            {"1": {}},
            {"1": {"fee_ceiling_wei": "1", "surprise": 1}},
            {"1": {"fee_ceiling_wei": 1.0}},
            {"1": {"fee_ceiling_wei": True}},
            {"1": {"fee_ceiling_wei": "-1"}},
            {"1": {"fee_ceiling_wei": "1e9"}},
            {"1": {"fee_ceiling_wei": "١"}},
            {"1": {"fee_ceiling_wei": str(2**256)}},
            {"1": {"fee_ceiling_wei": "1", "native": {"per_tx": "1"}}},
            {"1": {"fee_ceiling_wei": "1", "native": {"per_tx": "1", "per_day": float("nan")}}},
            {"1": {"fee_ceiling_wei": "1", "fees_per_day": "0"}},
            {"1": {"fee_ceiling_wei": "1", "tokens": []}},
            {"1": {"fee_ceiling_wei": "1", "tokens": {TOKEN.lower(): {}}}},
            {"1": {"fee_ceiling_wei": "1", "tokens": {TOKEN[2:]: {"per_tx": 1, "per_day": 1}}}},
        ],
    )
    def test_malformed_files(self, tmp_path: Path, document: object) -> None:
        with pytest.raises(InvalidPolicy):
            policy.load(_write(tmp_path, document))

    def test_a_mistyped_key_is_named_alone(self, tmp_path: Path) -> None:
        entry = {"fee_ceiling_wei": "1", "fee_per_day": "1", "native": None}
        with pytest.raises(InvalidPolicy, match=r"unknown keys: \['fee_per_day'\]"):
            policy.load(_write(tmp_path, {"1": entry}))
        with pytest.raises(InvalidPolicy, match=r"lacks \['fee_ceiling_wei'\]"):
            policy.load(_write(tmp_path, {"1": {"native": None}}))

    @pytest.mark.parametrize(
        "text", ["", "{", '{"1": {"fee_ceiling_wei": "1"}, "1": {"fee_ceiling_wei": "9"}}']
    )
    def test_broken_json_and_doubled_keys(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "policy.json"
        file.write_text(text)
        file.chmod(0o600)
        with pytest.raises(InvalidPolicy):
            policy.load(file)

    @pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
    def test_a_file_others_may_write_is_refused(self, tmp_path: Path, mode: int) -> None:
        policy.dump(tmp_path / "policy.json", RULES)
        (tmp_path / "policy.json").chmod(mode)
        with pytest.raises(InvalidPolicy, match="writable"):
            policy.load(tmp_path / "policy.json")

    def test_no_file_no_policy(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidPolicy, match=r"^there is no policy file .*/none\.json$"):
            policy.load(tmp_path / "none.json")


def _write(folder: Path, document: object) -> Path:
    file = folder / "policy.json"
    file.write_text(json.dumps(document))
    file.chmod(0o600)
    return file


def test_a_transfer_is_read_as_the_abi_library_reads_it() -> None:
    """The fixed places against eth_abi's strict decoder, whole and with every byte changed."""
    data = _call(PAYEE, 10**30 + 7)
    changed = [data[:n] + bytes([data[n] ^ 1]) + data[n + 1 :] for n in range(len(data))]
    for call in (data, *changed, data[:-1], data + b"\0", data[:4], b""):
        theirs = arguments(call, TRANSFER_SELECTOR, TRANSFER)
        ours = transfer_in(call)
        assert (ours is None) == (theirs is None), call.hex()
        if ours is not None and theirs is not None:
            assert ("0x" + ours[0].hex(), ours[1]) == theirs
    assert transfer_in(data) == (bytes.fromhex(PAYEE[2:]), 10**30 + 7)
