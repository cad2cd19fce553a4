"""Public keys derive what their owner's wallet derives; secrets are recognised, names are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys import derivation
from keys.errors import InvalidDerivation
from keys.hd import HdNode
from keys.mnemonic import LANGUAGES, from_entropy
from keys.secret import Secret
from keys.testing import test_seed
from keys.watching import GAP_LIMIT, AccountXpub, looks_secret

VECTORS = Path(__file__).resolve().parents[1] / "keys" / "vectors"
BIP32 = json.loads((VECTORS / "bip32.json").read_text("utf-8"))
TREZOR = json.loads((VECTORS / "bip39_trezor.json").read_text("utf-8"))
NODES = [
    node
    for case in BIP32["valid"]
    if case["network"] == "bitcoin"
    for node in [case["master"], *case["children"]]
]


def xpub(account: int = 7) -> str:
    return derivation.account_xpub(test_seed(), account)


class TestDerivation:
    @pytest.mark.parametrize("account", [0, 7, 2**31 - 1])
    def test_addresses_are_those_of_the_private_keys(self, account: int) -> None:
        key = AccountXpub(xpub(account))
        wanted = [
            derivation.address_of(
                derivation.derive_key(test_seed(), derivation.path(account, index))
            )
            for index in range(3, 6)
        ]
        assert key.account == account
        assert key.addresses(3, 3) == wanted

    def test_the_worlds_best_known_phrase(self) -> None:
        """Anvil's and Hardhat's accounts: m/44'/60'/0'/0/i."""
        assert AccountXpub(xpub(0)).addresses(0, 2) == [
            "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
            "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        ]

    def test_only_the_public_key_of_an_account_is_taken(self) -> None:
        master = HdNode.from_seed(test_seed())
        for path in ("m", "m/44'", "m/44'/60'", "m/44'/60'/0'/0", "m/44'/60'/0", "m/1/2/3"):
            with pytest.raises(InvalidDerivation):
                AccountXpub(master.derive(path).xpub())

    def test_the_vectors_of_bip32(self) -> None:
        """What is no account of depth 3, and what is no key at all, is refused."""
        taken = []
        for node in NODES:
            try:
                AccountXpub(node["base58"])
            except InvalidDerivation:
                continue
            taken.append(node["path"])
        assert taken == ["m/0'/1/2'"]  # the one at depth 3 with a hardened index
        for bad in BIP32["invalid"]["fromBase58"]:
            with pytest.raises(InvalidDerivation):
                AccountXpub(bad["string"])

    @pytest.mark.parametrize("place", [1, 5, 30, 60, 110])
    def test_a_mistyped_letter_is_refused(self, place: int) -> None:
        good = xpub()
        bad = good[:place] + ("2" if good[place] != "2" else "3") + good[place + 1 :]
        with pytest.raises(InvalidDerivation):
            AccountXpub(bad)

    def test_the_same_key_under_another_parent_is_the_same(self) -> None:
        """Parent's fingerprint is not part of the key: no way to watch one key twice."""
        from bip_utils.base58 import Base58Decoder, Base58Encoder

        raw = bytearray(Base58Decoder.CheckDecode(xpub()))
        raw[5:9] = b"\x01\x02\x03\x04"
        other = Base58Encoder.CheckEncode(bytes(raw))
        assert other != xpub()
        assert AccountXpub(other).identity == AccountXpub(xpub()).identity
        assert AccountXpub(xpub(8)).identity != AccountXpub(xpub()).identity

    def test_the_gap_is_bip44s(self) -> None:
        assert GAP_LIMIT == 20


class TestSecrets:
    @pytest.mark.parametrize("language", sorted(TREZOR))
    def test_every_phrase_of_the_vectors(self, language: str) -> None:
        for case in TREZOR[language][::4]:
            words = case[1].split()
            assert looks_secret(case[1])
            assert looks_secret("\n".join(f"{n}. {word}" for n, word in enumerate(words, 1)))
            assert looks_secret(", ".join(words).upper())

    @pytest.mark.parametrize("language", LANGUAGES)
    @pytest.mark.parametrize("entropy_bytes", [16, 32])
    def test_every_language_of_ours_also_mistyped(self, language: str, entropy_bytes: int) -> None:
        words = from_entropy(Secret(bytes(range(entropy_bytes))), language).reveal().split()
        assert looks_secret(" ".join(words))
        assert looks_secret(" ".join([*words[:3], "qqq", *words[4:]]))  # a slip: as secret
        assert looks_secret(" ".join(reversed(words)))  # no valid checksum: as secret

    def test_chinese_without_spaces(self) -> None:
        phrase = from_entropy(Secret(bytes(range(16))), "chinese_simplified").reveal()
        assert looks_secret(phrase.replace(" ", ""), unspaced=True)
        assert not looks_secret("我在币安的长期储蓄钱包冷的备用一个")

    def test_every_private_key_of_the_vectors(self) -> None:
        for node in NODES:
            for secret in (node["base58Priv"], node["privKey"], node["wif"]):
                assert looks_secret(secret)
                assert looks_secret(f"my key: {secret} (do not lose)")
                assert not looks_secret(node["base58"])
            assert looks_secret("0x" + node["privKey"].upper())
            assert looks_secret(node["base58Priv"][:60] + "\n" + node["base58Priv"][60:])
            assert looks_secret(node["privKey"][:32] + " " + node["privKey"][32:])

    def test_a_damaged_private_key_is_one_too(self) -> None:
        for bad in BIP32["invalid"]["fromBase58"]:
            if bad["string"].startswith("xprv"):
                assert looks_secret(bad["string"])

    def test_invisible_and_wide_characters_hide_nothing(self) -> None:
        key = NODES[0]["privKey"]
        assert looks_secret("\u200b".join(key))
        assert looks_secret("".join(chr(ord(letter) + 0xFEE0) for letter in key))

    def test_a_keystore_file_and_a_share(self) -> None:
        keystore = json.loads((VECTORS / "keystore_v3.json").read_text("utf-8"))
        assert looks_secret(json.dumps(keystore, indent=1))
        share = (
            "duckling enlarge academic academic agency result length solution fridge kidney coal"
            " piece deal husband erode duke ajar critical decision keyboard"
        )
        assert looks_secret(share)  # SLIP-39, its own first vector

    @pytest.mark.parametrize(
        "name",
        ["Ledger", "my cold wallet that I keep in the old safe at home", "爷爷的冷钱包",
         "savings for the house near the lake where my grandmother used to live, until 2031",
         "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "vitalik.eth"],
    )  # fmt: skip
    def test_a_name_is_no_secret(self, name: str) -> None:
        assert not looks_secret(name)

    @given(st.binary(min_size=32, max_size=32))
    def test_any_raw_key_is_recognised(self, key: bytes) -> None:
        assert looks_secret(key.hex())
        assert looks_secret("0x" + key.hex())

    @given(st.binary(min_size=16, max_size=16))
    def test_no_xpub_is_taken_for_a_secret(self, seed: bytes) -> None:
        node = HdNode.from_seed(Secret(seed))
        text: Any = node.xpub()
        assert not looks_secret(text, unspaced=True)
        assert looks_secret(node.xprv().reveal())
