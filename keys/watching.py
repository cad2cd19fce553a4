"""What a person may give us to look at, and what they must never give: public keys, and secrets.

Watching takes an account's extended public key (BIP-32/BIP-44, m/44'/60'/n', prefix `xpub`) and
derives its receiving addresses (branch 0). Whatever looks like the private side is recognised, so
that it can be refused before anything is kept. Recognising errs on the side of refusing: a
mistyped phrase is as secret as a right one.
Standards: BIP-32, BIP-39, BIP-44 (gap limit), SLIP-39.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

from bip_utils import EthAddrEncoder
from mnemonic import Mnemonic
from shamir_mnemonic.wordlist import WORDLIST as SHARE_WORDS

from keys.derivation import ACCOUNT_DEPTH, EXTERNAL_CHAIN
from keys.errors import InvalidDerivation
from keys.hd import HARDENED, HdNode
from keys.mnemonic import LANGUAGES
from keys.secret import SecretText

GAP_LIMIT: Final = 20
"""BIP-44: unused addresses in a row after which a wallet is taken to have used no more."""
FEWEST_WORDS: Final = 10
"""So many words of one list are taken for a phrase, or most of one."""
MOST_STRANGERS: Final = 0.2
"""The part of a phrase that may be mistyped and still be a phrase."""
ABBREVIATION: Final = 4  # letters that tell the English words apart
_BASE58 = "[1-9A-HJ-NP-Za-km-z]"
_WRAPPED: Final = (  # found also where spaces or line breaks cut them
    re.compile(rf"(?<!{_BASE58})[a-zA-Z]prv{_BASE58}{{20,}}"),  # xprv and its kin, whole or not
    re.compile(r"(?<![0-9a-fA-F])(?:0[xX])?[0-9a-fA-F]{64}(?![0-9a-fA-F])"),  # a raw key
    re.compile(r"[\"']?ciphertext[\"']?:", re.IGNORECASE),  # a keystore file
)
_WIF: Final = re.compile(rf"(?<!{_BASE58})[5KL]{_BASE58}{{50,51}}(?!{_BASE58})")
_WORD = re.compile(r"[^\W\d_]+", re.UNICODE)
_HAN = re.compile(r"[\u3400-\u9fff]+")


class AccountXpub:
    """The public half of one account. Derives addresses; can neither sign nor go upward."""

    def __init__(self, text: str) -> None:
        """Parse. Raises `InvalidDerivation` unless it is a public key of an account (depth 3,
        hardened index); its message tells why and repeats nothing."""
        node = HdNode.from_extended(SecretText(text))
        if not node.is_public_only:
            raise InvalidDerivation("a private extended key has no place here")
        if node.depth != ACCOUNT_DEPTH or node.index < HARDENED:
            raise InvalidDerivation("not the extended public key of an account (m/44'/60'/n')")
        self.account = node.index - HARDENED
        self.text = text
        self._node = node
        self._receiving = node.child(EXTERNAL_CHAIN)

    @property
    def identity(self) -> str:
        """The same for the same key, however its text names parent and index: 64 hex digits."""
        return hashlib.sha256(self._node.chain_code() + self._node.public_key()).hexdigest()

    def addresses(self, start: int, count: int) -> list[str]:
        """EIP-55 addresses 0/start to 0/(start + count - 1)."""
        return [
            str(EthAddrEncoder.EncodeKey(self._receiving.child(index).public_key()))
            for index in range(start, start + count)
        ]


def looks_secret(text: str, *, unspaced: bool = False) -> bool:
    """Whether this may be a private key, an extended private key, a phrase, a share or a keystore.

    `unspaced` also takes Chinese characters without spaces for a phrase; not to be asked of a
    label, where twelve common characters are just a name.
    """
    plain = "".join(
        letter
        for letter in unicodedata.normalize("NFKC", text)
        if unicodedata.category(letter) != "Cf"
    )
    squeezed = "".join(plain.split())
    wrapped = any(known.search(plain) or known.search(squeezed) for known in _WRAPPED)
    if wrapped or _WIF.search(plain):
        return True
    return _phrase(_words(plain)) or (unspaced and _phrase(list("".join(_HAN.findall(squeezed)))))


def _words(plain: str) -> list[str]:
    """Words as they are typed or copied: numbered, with commas, over several lines, any case."""
    return [unicodedata.normalize("NFKD", word.lower()) for word in _marked(plain)]


def _marked(plain: str) -> Iterator[str]:
    for piece in plain.split():
        # Combining marks of some scripts are no letters: NFC has put those of ours together.
        yield from _WORD.findall(piece) or []


def _phrase(words: Sequence[str]) -> bool:
    if len(words) < FEWEST_WORDS:
        return False
    return any(_mostly(words, known) for known in _lists())


def _mostly(words: Sequence[str], known: frozenset[str]) -> bool:
    hits = sum(word in known for word in words)
    return hits >= FEWEST_WORDS and hits >= (1 - MOST_STRANGERS) * len(words)


def _lists() -> Iterator[frozenset[str]]:
    """Every wordlist in NFKD, read when somebody typed that many words: rare."""
    yield frozenset(SHARE_WORDS)
    for language in LANGUAGES:
        words = [unicodedata.normalize("NFKD", word) for word in Mnemonic(language).wordlist]
        short = {word[:ABBREVIATION] for word in words} if language == "english" else set()
        yield frozenset(words) | short
