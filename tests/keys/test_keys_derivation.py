"""The account plan, and deposit addresses from the public half alone."""

from __future__ import annotations

import pytest
from eth_account import Account

from keys.derivation import (
    DEPOSIT_ACCOUNT,
    HOT_ACCOUNT,
    DepositDeriver,
    account_xpub,
    address_of,
    derive_key,
    fingerprint,
    path,
)
from keys.errors import InvalidDerivation
from keys.hd import HdNode
from keys.mnemonic import to_seed
from keys.secret import Secret
from keys.testing import TEST_HOT_ADDRESSES, TEST_MNEMONIC

SEED = to_seed(TEST_MNEMONIC)
DEPOSIT_XPUB = account_xpub(SEED, DEPOSIT_ACCOUNT)


class TestPath:
    def test_the_plan(self) -> None:
        assert path(HOT_ACCOUNT, 0) == "m/44'/60'/0'/0/0"
        assert path(DEPOSIT_ACCOUNT, 2**31 - 1) == "m/44'/60'/1'/0/2147483647"

    @pytest.mark.parametrize(("account", "index"), [(-1, 0), (0, -1), (2**31, 0), (0, 2**31)])
    def test_outside_the_range(self, account: int, index: int) -> None:
        with pytest.raises(InvalidDerivation):
            path(account, index)

    @pytest.mark.parametrize("index", [True, 1.0, "1", None])
    def test_only_whole_numbers(self, index: object) -> None:
        with pytest.raises(InvalidDerivation):
            path(0, index)  # type: ignore[arg-type]


class TestAddresses:
    def test_the_phrase_every_node_knows(self) -> None:
        for index, address in enumerate(TEST_HOT_ADDRESSES):
            assert address_of(derive_key(SEED, path(HOT_ACCOUNT, index))) == address

    def test_eth_account_derives_the_same(self) -> None:
        Account.enable_unaudited_hdwallet_features()
        for account, index in [(0, 5), (1, 0), (1, 999), (1, 2**31 - 1)]:
            theirs = Account.from_mnemonic(TEST_MNEMONIC, account_path=path(account, index))
            assert address_of(derive_key(SEED, path(account, index))) == theirs.address

    @pytest.mark.parametrize("key", [b"", bytes(32), b"\xff" * 32, b"\x01" * 31])
    def test_not_a_private_key(self, key: bytes) -> None:
        with pytest.raises(InvalidDerivation) as caught:
            address_of(Secret(key))
        assert caught.value.__context__ is None


class TestDepositDeriver:
    def test_public_and_private_derivation_agree(self) -> None:
        deriver = DepositDeriver(DEPOSIT_XPUB)
        for index in [*range(20), 1_000_000, 2**31 - 1]:
            private = derive_key(SEED, path(DEPOSIT_ACCOUNT, index))
            assert deriver.address(index) == address_of(private)

    @pytest.mark.parametrize("index", [-1, 2**31, True, "0"])
    def test_indexes_outside_are_refused(self, index: object) -> None:
        with pytest.raises(InvalidDerivation):
            DepositDeriver(DEPOSIT_XPUB).address(index)  # type: ignore[arg-type]

    def test_an_xprv_is_refused_and_not_repeated(self) -> None:
        xprv = HdNode.from_seed(SEED).derive("m/44'/60'/1'").xprv().reveal()
        with pytest.raises(InvalidDerivation) as caught:
            DepositDeriver(xprv)
        assert xprv not in str(caught.value)

    @pytest.mark.parametrize(
        "where", ["m/44'/60'/0'", "m/44'/60'/1'/0", "m/44'/60'", "m/44'/60'/1"]
    )
    def test_another_place_in_the_tree_is_refused(self, where: str) -> None:
        with pytest.raises(InvalidDerivation):
            DepositDeriver(HdNode.from_seed(SEED).derive(where).xpub())

    @pytest.mark.parametrize("text", ["", "xpub", DEPOSIT_XPUB[:-1], DEPOSIT_XPUB + "1", "é" * 111])
    def test_damaged_text_is_refused(self, text: str) -> None:
        with pytest.raises(InvalidDerivation):
            DepositDeriver(text)

    def test_one_changed_letter_is_refused(self) -> None:
        swapped = DEPOSIT_XPUB[:60] + ("x" if DEPOSIT_XPUB[60] != "x" else "y") + DEPOSIT_XPUB[61:]
        with pytest.raises(InvalidDerivation):
            DepositDeriver(swapped)

    def test_it_holds_no_private_key(self) -> None:
        with pytest.raises(InvalidDerivation):
            DepositDeriver(DEPOSIT_XPUB)._parent.child(0).private_key()


class TestFingerprint:
    def test_it_tells_two_xpubs_apart(self) -> None:
        other = account_xpub(SEED, HOT_ACCOUNT)
        assert fingerprint(DEPOSIT_XPUB) == fingerprint(DEPOSIT_XPUB)
        assert fingerprint(DEPOSIT_XPUB) != fingerprint(other)
        assert len(fingerprint(other)) == 32
