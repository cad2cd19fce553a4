"""BIP-39 mnemonics of 12 to 24 words in every wordlist of the reference library.

Standard: https://github.com/bitcoin/bips/blob/master/bip-0039.mediawiki. Input is normalised as the
standard asks (NFKD) and white space of any kind separates words. The seed depends on the text only,
not on the language, so a phrase whose words are in two lists has one seed.
"""

from __future__ import annotations

import unicodedata

from mnemonic import Mnemonic

from keys.errors import InvalidMnemonic
from keys.secret import Secret, SecretText

WORD_COUNTS = (12, 15, 18, 21, 24)
LANGUAGES: tuple[str, ...] = (
    "english",
    "chinese_simplified",
    "chinese_traditional",
    "czech",
    "french",
    "italian",
    "japanese",
    "korean",
    "portuguese",
    "russian",
    "spanish",
    "turkish",
)
"""In the order `check` prefers when all the words of a phrase are in several lists."""
BITS_PER_WORD_STEP = 32


def generate(words: int = 24, language: str = "english") -> SecretText:
    """A fresh mnemonic from the operating system's random source.

    `words` is one of 12, 15, 18, 21, 24 (128 to 256 bits). Raises `ValueError` for another count
    or an unknown language: both are our own caller's mistakes, not secrets.
    """
    if words not in WORD_COUNTS:
        raise ValueError(f"words must be one of {WORD_COUNTS}")
    return SecretText(_wordlist(language).generate(strength=words // 3 * BITS_PER_WORD_STEP))


def words_of(language: str) -> str:
    """The words of a list, spaced. Raises `ValueError` for an unknown one."""
    return " ".join(_wordlist(language).wordlist)


def check(phrase: SecretText | str) -> str:
    """The language of a valid mnemonic. Raises `InvalidMnemonic` (word, count or checksum)."""
    canonical = _canonical(phrase)
    for language in LANGUAGES:
        if _decomposed(_wordlist(language)).check(canonical.reveal()):
            return language
    raise InvalidMnemonic(word_count=len(canonical.reveal().split()))


def from_entropy(entropy: Secret, language: str = "english") -> SecretText:
    """The mnemonic of 16, 20, 24, 28 or 32 bytes of entropy. Raises `ValueError` for others."""
    if len(entropy.reveal()) not in (16, 20, 24, 28, 32):
        raise ValueError("entropy must be 16, 20, 24, 28 or 32 bytes")
    return SecretText(_wordlist(language).to_mnemonic(entropy.reveal()))


def to_entropy(phrase: SecretText | str, language: str) -> Secret:
    """The 16 to 32 bytes a mnemonic of `language` was made from. Raises `InvalidMnemonic`."""
    canonical = _canonical(phrase)
    wordlist = _decomposed(_wordlist(language))
    if not wordlist.check(canonical.reveal()):
        raise InvalidMnemonic(word_count=len(canonical.reveal().split()))
    return Secret(bytes(wordlist.to_entropy(canonical.reveal())))


def to_seed(phrase: SecretText | str, passphrase: SecretText | str = "") -> Secret:
    """The 64-byte BIP-39 seed. Raises `InvalidMnemonic` when the phrase is not valid.

    `passphrase` is BIP-39's optional extra word, not the vault's passphrase.
    """
    check(phrase)
    return Secret(Mnemonic.to_seed(_canonical(phrase).reveal(), _sealed(passphrase).reveal()))


def _sealed(text: SecretText | str) -> SecretText:
    return text if isinstance(text, SecretText) else SecretText(text)


def _canonical(phrase: SecretText | str) -> SecretText:
    sealed = _sealed(phrase)
    return SecretText(" ".join(_nfkd(sealed.reveal()).split()))


def _nfkd(text: str) -> str:
    return unicodedata.normalize("NFKD", text)


def _decomposed(wordlist: Mnemonic) -> Mnemonic:
    """The list in NFKD. The library normalises what it checks but not its Russian and Turkish
    lists, which are in NFC, and so refuses every phrase with an accent it made itself."""
    return Mnemonic(wordlist.language, wordlist=[_nfkd(word) for word in wordlist.wordlist])


def _wordlist(language: str) -> Mnemonic:
    """Read anew at each call: unlocking is rare, and twelve cached lists would stay in memory."""
    if language not in LANGUAGES:
        raise ValueError(f"unknown wordlist {language!r}")
    return Mnemonic(language)
