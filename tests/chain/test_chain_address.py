"""Addresses people type: EIP-55 vectors, each kind of mistake, EIP-681 links."""

from __future__ import annotations

import pytest
from eth_utils import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st

from chain.address import checked, eip681, from_bytes20, to_bytes20, to_checksum
from chain.errors import InvalidAddress

# The examples of EIP-55 itself.
EIP_55 = [
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]
ALICE = EIP_55[4]


class TestChecked:
    @pytest.mark.parametrize("address", EIP_55)
    def test_the_standards_examples(self, address: str) -> None:
        assert checked(address) == address
        assert checked(address.lower()) == address
        assert checked("0x" + address[2:].upper()) == address

    @given(st.binary(min_size=20, max_size=20).filter(any))
    def test_agrees_with_eth_utils(self, raw: bytes) -> None:
        assert from_bytes20(raw) == to_checksum("0x" + raw.hex()) == to_checksum_address(raw)
        assert to_bytes20(from_bytes20(raw)) == raw

    @given(st.integers(0, 39))
    def test_one_letter_in_the_wrong_case_is_refused(self, at: int) -> None:
        digits = ALICE[2:]
        swapped = "0x" + digits[:at] + digits[at].swapcase() + digits[at + 1 :]
        if swapped != ALICE:
            with pytest.raises(InvalidAddress, match="checksum"):
                checked(swapped)

    @pytest.mark.parametrize(
        "text",
        [
            "", "0x", ALICE[2:], ALICE[:-1], ALICE + "0", "0X" + ALICE[2:], " " + ALICE,
            ALICE + "\n", ALICE.replace("a", "а"), "0x" + "g" * 40, "0x" + "0" * 40,
            "vitalik.eth", "0x" + "１" * 40,
        ],
    )  # fmt: skip
    def test_what_is_no_address(self, text: str) -> None:
        with pytest.raises(InvalidAddress):
            checked(text)


class TestEip681:
    def test_links(self) -> None:
        assert eip681(ALICE, chain_id=1) == f"ethereum:{ALICE}@1"
        assert eip681(ALICE, chain_id=1, amount_minor=5) == f"ethereum:{ALICE}@1?value=5"
        usdc = EIP_55[0]
        token = f"ethereum:{usdc}@31337/transfer?address={ALICE}"
        assert eip681(ALICE, chain_id=31337, contract=usdc) == token
        assert eip681(ALICE, chain_id=31337, contract=usdc, amount_minor=7) == token + "&uint256=7"

    def test_nonsense_is_refused(self) -> None:
        with pytest.raises(InvalidAddress):
            eip681("0x1", chain_id=1)
        with pytest.raises(ValueError, match="chain_id"):
            eip681(ALICE, chain_id=0)
        with pytest.raises(ValueError, match="amount"):
            eip681(ALICE, chain_id=1, amount_minor=0)
