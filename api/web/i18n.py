"""Two languages from gettext catalogues, compiled in memory when the process starts.

The `.po` files are the only truth: nothing compiled is committed, so nothing can be stale.
`python -m api.web.catalogues` brings them up to date with the sources.
"""

from __future__ import annotations

import gettext
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LOCALE_DIR = Path(__file__).resolve().parent.parent / "locale"
DEFAULT = "en"


def N_(message: str) -> str:
    """Mark a message of a table for the catalogues; it is translated where it is shown."""
    return message


@dataclass(frozen=True, slots=True)
class Language:
    """One language: `tag` for HTML and cookies, `name` in its own words."""

    tag: str
    folder: str
    name: str
    translations: gettext.NullTranslations
    babel: Locale

    def gettext(self, message: str) -> str:
        """The message in this language."""
        return self.translations.gettext(message)

    def ngettext(self, one: str, many: str, count: int) -> str:
        """The message for `count` things."""
        return self.translations.ngettext(one, many, count)


def catalogue_path(folder: str) -> Path:
    """Where the catalogue of a language lives."""
    return LOCALE_DIR / folder / "LC_MESSAGES" / "messages.po"


def _load(tag: str, folder: str, name: str) -> Language:
    with catalogue_path(folder).open("rb") as source:
        catalogue = read_po(source, locale=folder)
    compiled = io.BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return Language(
        tag=tag,
        folder=folder,
        name=name,
        translations=gettext.GNUTranslations(compiled),
        babel=Locale.parse(folder),
    )


@cache
def load_languages() -> Mapping[str, Language]:
    """Every language by its tag; read once."""
    return {
        "en": _load("en", "en", "English"),
        "zh-Hans": _load("zh-Hans", "zh_Hans", "简体中文"),
    }


def known_tag(value: str | None, languages: Mapping[str, Language]) -> str | None:
    """The tag we speak for something like `zh-CN`, `zh_Hans` or `en-GB`; None for others."""
    if not value:
        return None
    primary = value.replace("_", "-").split("-", 1)[0].strip().lower()
    return next((tag for tag in languages if tag.split("-", 1)[0] == primary), None)


def negotiate(accept_language: str, languages: Mapping[str, Language]) -> str:
    """The first language we speak by the weights of an Accept-Language header."""
    wishes: list[tuple[int, int, str]] = []
    for position, part in enumerate(accept_language[:500].split(",")[:20]):
        tag, _, weight = part.partition(";q=")
        digits = (weight.strip() or "1").ljust(5, "0")
        thousandths = 1000 if digits[0] == "1" else _thousandths(digits[2:5])
        wishes.append((-thousandths, position, tag.strip()))
    for order, _position, wish in sorted(wishes):
        found = known_tag(wish, languages)
        if found and order < 0:
            return found
    return DEFAULT


def _thousandths(digits: str) -> int:
    return int(digits) if digits.isascii() and digits.isdigit() else 0
