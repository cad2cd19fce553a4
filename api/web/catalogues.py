"""Keeps the catalogues in step with the sources: `python -m api.web.catalogues`.

English is its own source language: its catalogue repeats the messages, so that both are complete in
the same sense and a test can say so.
"""

from __future__ import annotations

import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from api.web.i18n import catalogue_path

API_DIR = Path(__file__).resolve().parent.parent
KEYWORDS: dict[str, tuple[int, ...] | None] = {
    "_": None,
    "N_": None,
    "t": None,
    "gettext": None,
    "ngettext": (1, 2),
}
METHODS = [("web/**.py", "python"), ("templates/**.html", "jinja2")]
OPTIONS = {"templates/**.html": {"silent": "false", "newstyle_gettext": "true"}}


def extract() -> Catalog:
    """Every message that sources and templates use."""
    found = Catalog(project="Bifold", charset="utf-8")
    for path, line, message, comments, context in extract_from_dir(
        str(API_DIR), METHODS, OPTIONS, keywords=KEYWORDS, strip_comment_tags=True
    ):
        found.add(message, None, [(path, line)], auto_comments=comments, context=context)
    return found


def read(folder: str) -> Catalog:
    """The stored catalogue of one language; empty before its first writing."""
    path = catalogue_path(folder)
    if not path.exists():
        return Catalog(locale=folder, charset="utf-8")
    with path.open("rb") as source:
        return read_po(source, locale=folder)


def missing(folder: str) -> list[str]:
    """Messages of the sources that this language does not say yet, plurals included."""
    stored = read(folder)
    absent = []
    for message in extract():
        if not message.id:
            continue
        known = stored.get(message.id, message.context)
        texts = known.string if known and isinstance(known.string, (list, tuple)) else None
        said = all(texts) if texts else bool(known and known.string)
        if not said or (known is not None and known.fuzzy):
            absent.append(message.id if isinstance(message.id, str) else message.id[0])
    return absent


def update(folder: str) -> list[str]:
    """Rewrite one catalogue from the sources; what it said stays. Returns what it still lacks."""
    template, stored = extract(), read(folder)
    fresh = Catalog(locale=folder, project="Bifold", charset="utf-8")
    for message in template:
        if not message.id:
            continue
        known = stored.get(message.id, message.context)
        said = known.string if known else ""
        if folder == "en":
            said = message.id
        fresh.add(message.id, said, context=message.context)
    path = catalogue_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        write_po(target, fresh, omit_header=False, sort_output=True, width=100, no_location=True)
    return missing(folder)


def main() -> int:
    """Update both; name what is not translated."""
    lacking = {folder: update(folder) for folder in ("en", "zh_Hans")}
    for folder, messages in lacking.items():
        for message in messages:
            sys.stdout.write(f"{folder}: {message!r}\n")
    return 1 if any(lacking.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
