"""SLIP-39: the same words come back from enough shares, and nothing from fewer."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys import mnemonic as bip39
from keys.errors import InvalidMnemonic
from keys.secret import Secret, SecretText
from keys.shares import InvalidShares, combine, split

# Vectors 1, 4 and 17 of https://github.com/trezor/python-shamir-mnemonic (passphrase "TREZOR").
ONE_OF_ONE = (
    "duckling enlarge academic academic agency result length solution fridge kidney coal piece"
    " deal husband erode duke ajar critical decision keyboard"
)
TWO_OF_THREE = (
    "shadow pistol academic always adequate wildlife fancy gross oasis cylinder mustang wrist"
    " rescue view short owner flip making coding armed",
    "shadow pistol academic acid actress prayer class unknown daughter sweater depict flip twice"
    " unkind craft early superior advocate guest smoking",
)
TREZOR = SecretText("TREZOR")


def words(count: int = 24, language: str = "english") -> SecretText:
    return bip39.generate(count, language)


class TestOfficialVectors:
    def test_one_of_one(self) -> None:
        got = combine([SecretText(ONE_OF_ONE)], passphrase=TREZOR)
        assert got == bip39.from_entropy(Secret(bytes.fromhex("bb54aac4b89dc868ba37d9cc21b2cece")))

    def test_two_of_three(self) -> None:
        shares = [SecretText(share) for share in TWO_OF_THREE]
        got = combine(shares, passphrase=TREZOR)
        assert got == bip39.from_entropy(Secret(bytes.fromhex("b43ceb7e57a0ea8766221624d01b0864")))
        with pytest.raises(InvalidShares):
            combine(shares[:1], passphrase=TREZOR)

    def test_a_mistyped_word_is_noticed(self) -> None:
        for at, word in ((0, "academic"), (7, "acid"), (19, "nonsense")):
            mistyped = ONE_OF_ONE.split()
            mistyped[at] = word
            with pytest.raises(InvalidShares) as refused:
                combine([SecretText(" ".join(mistyped))], passphrase=TREZOR)
            assert not any(w in str(refused.value) for w in ("academic", "nonsense", "duckling"))


@pytest.mark.parametrize("count", [12, 15, 18, 21, 24])
def test_every_enough_of_them_brings_the_words_back(count: int) -> None:
    phrase = words(count)
    shares = split(phrase, threshold=2, count=3)
    for some in combinations(shares, 2):
        assert combine(some) == phrase
    for one in shares:
        with pytest.raises(InvalidShares):
            combine([one])


@pytest.mark.parametrize("language", bip39.LANGUAGES)
def test_words_of_every_list(language: str) -> None:
    phrase = words(12, language)
    shares = split(phrase, threshold=2, count=2)
    back = combine(shares, language=language)
    assert bip39.to_seed(back) == bip39.to_seed(phrase)


def test_a_wrong_passphrase_gives_other_words_by_design() -> None:
    phrase = words()
    shares = split(phrase, threshold=2, count=3, passphrase=SecretText("right"))
    assert combine(shares[:2], passphrase=SecretText("right")) == phrase
    assert combine(shares[:2], passphrase=SecretText("wrong")) != phrase


def test_shares_of_two_houses_do_not_mix() -> None:
    one, two = (split(words(), threshold=2, count=2) for _ in range(2))
    with pytest.raises(InvalidShares):
        combine([one[0], two[1]])
    with pytest.raises(InvalidShares):
        combine([])


@pytest.mark.parametrize(("threshold", "count"), [(0, 1), (2, 1), (1, 3), (3, 17), (-1, 2)])
def test_counts_that_cannot_be(threshold: int, count: int) -> None:
    with pytest.raises(ValueError, match="shares are"):
        split(words(), threshold=threshold, count=count)


def test_what_is_no_mnemonic_is_not_split() -> None:
    with pytest.raises(InvalidMnemonic):
        split(SecretText("zoo " * 12), threshold=2, count=3)


@settings(max_examples=15)
@given(st.binary(min_size=16, max_size=32).filter(lambda b: len(b) % 4 == 0), st.data())
def test_any_entropy_round_trips(entropy: bytes, data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 5))
    threshold = data.draw(st.integers(2, count))
    phrase = bip39.from_entropy(Secret(entropy))
    shares = split(phrase, threshold=threshold, count=count)
    chosen = data.draw(st.permutations(shares))[:threshold]
    assert combine(chosen) == phrase
