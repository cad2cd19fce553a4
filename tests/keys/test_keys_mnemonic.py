"""BIP-39 against the reference vectors of every language, and what must be refused."""

from __future__ import annotations

import json
import traceback
import unicodedata
from pathlib import Path

import pytest
from mnemonic import Mnemonic

from keys import mnemonic
from keys.errors import InvalidMnemonic
from keys.hd import HdNode
from keys.secret import Secret, SecretText

VECTORS: dict[str, list[list[str]]] = json.loads(
    (Path(__file__).parent / "vectors" / "bip39_trezor.json").read_text("utf-8")
)
CASES = [
    pytest.param(language, *case, id=f"{language}-{number}")
    for language, cases in VECTORS.items()
    for number, case in enumerate(cases)
]
VALID = "legal winner thank year wave sausage worth useful legal winner thank yellow"


class TestVectors:
    def test_all_languages_are_there(self) -> None:
        assert set(VECTORS) == set(mnemonic.LANGUAGES) == set(Mnemonic.list_languages())
        assert all(len(cases) == 24 for cases in VECTORS.values())

    @pytest.mark.parametrize(("language", "entropy", "phrase", "seed", "xprv"), CASES)
    def test_entropy_phrase_seed_and_master_key(
        self, language: str, entropy: str, phrase: str, seed: str, xprv: str
    ) -> None:
        made = mnemonic.from_entropy(Secret(bytes.fromhex(entropy)), language)
        assert _nfkd(made.reveal()).split() == _nfkd(phrase).split()
        assert mnemonic.check(phrase) in _languages_of(phrase)
        computed = mnemonic.to_seed(SecretText(phrase), SecretText("TREZOR"))
        assert computed.reveal().hex() == seed
        assert HdNode.from_seed(computed).xprv().reveal() == xprv


class TestGenerate:
    @pytest.mark.parametrize("words", mnemonic.WORD_COUNTS)
    @pytest.mark.parametrize("language", mnemonic.LANGUAGES)
    def test_every_count_in_every_language(self, words: int, language: str) -> None:
        phrase = mnemonic.generate(words, language)
        assert len(phrase.reveal().split()) == words
        assert language in _languages_of(phrase.reveal())
        assert mnemonic.check(phrase) in _languages_of(phrase.reveal())
        assert len(mnemonic.to_seed(phrase).reveal()) == 64

    def test_no_two_are_alike(self) -> None:
        assert len({mnemonic.generate(12).reveal() for _ in range(200)}) == 200

    @pytest.mark.parametrize("words", [0, 11, 13, 25, -12])
    def test_other_counts_are_refused(self, words: int) -> None:
        with pytest.raises(ValueError, match="words must be"):
            mnemonic.generate(words)

    @pytest.mark.parametrize("language", ["klingon", "", "../english"])
    def test_unknown_wordlists_are_refused(self, language: str) -> None:
        with pytest.raises(ValueError, match="unknown wordlist"):
            mnemonic.generate(12, language)


class TestCheck:
    def test_white_space_of_any_kind_separates(self) -> None:
        assert mnemonic.check("  " + VALID.replace(" ", "\u3000 \n\t")) == "english"
        assert mnemonic.to_seed(VALID) == mnemonic.to_seed(f"\n{VALID} ".replace(" ", "  "))

    def test_composed_and_decomposed_accents_are_one(self) -> None:
        phrase = VECTORS["spanish"][0][1]
        composed = SecretText(unicodedata.normalize("NFC", phrase))
        assert mnemonic.check(composed) == "spanish"
        assert mnemonic.to_seed(composed) == mnemonic.to_seed(phrase)

    def test_a_passphrase_changes_the_seed(self) -> None:
        assert mnemonic.to_seed(VALID, "TREZOR") != mnemonic.to_seed(VALID)
        assert mnemonic.to_seed(VALID, "é") == mnemonic.to_seed(VALID, "e\u0301")

    @pytest.mark.parametrize(
        "phrase",
        [
            "",
            "legal",
            VALID.replace("yellow", "thank"),
            VALID.replace("yellow", "yelow"),
            VALID + " legal",
            " ".join(VALID.split()[:-1]),
            VALID.upper(),
            "的 " * 11 + "一",
            VALID.replace("legal", "的"),
        ],
    )
    def test_anything_else_is_refused(self, phrase: str) -> None:
        with pytest.raises(InvalidMnemonic) as caught:
            mnemonic.to_seed(phrase)
        assert caught.value.word_count == len(phrase.split())

    def test_the_refusal_repeats_no_word(self) -> None:
        phrase = SecretText(VALID.replace("yellow", "canaryword"))
        with pytest.raises(InvalidMnemonic) as caught:
            mnemonic.to_seed(phrase)
        report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        library_side = "".join(report.format())
        assert "canaryword" not in library_side
        assert "winner" not in library_side
        assert caught.value.__context__ is None


def _languages_of(phrase: str) -> set[str]:
    """Every list that holds all the words, compared in NFKD."""
    words = set(_nfkd(phrase).split())
    lists = {name: Mnemonic(name).wordlist for name in mnemonic.LANGUAGES}
    return {name for name, known in lists.items() if words <= {_nfkd(word) for word in known}}


def _nfkd(text: str) -> str:
    return unicodedata.normalize("NFKD", text)
