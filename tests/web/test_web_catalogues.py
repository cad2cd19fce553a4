"""Both languages say everything that sources and templates use, with the same placeholders."""

from __future__ import annotations

import re

import pytest

from api.web import catalogues
from api.web.i18n import load_languages, negotiate

PLACEHOLDER = re.compile(r"%\((\w+)\)s")


@pytest.mark.parametrize("folder", ["en", "zh_Hans"])
class TestCatalogues:
    def test_is_complete(self, folder: str) -> None:
        assert catalogues.missing(folder) == []

    def test_says_nothing_that_nobody_uses(self, folder: str) -> None:
        used = {message.id for message in catalogues.extract() if message.id}
        assert {m.id for m in catalogues.read(folder) if m.id} == used

    def test_placeholders_are_those_of_the_message(self, folder: str) -> None:
        wrong = [
            message.id
            for message in catalogues.read(folder)
            if isinstance(message.id, str)
            and set(PLACEHOLDER.findall(message.id))
            != set(PLACEHOLDER.findall(str(message.string)))
        ]
        assert wrong == []


def test_chinese_is_chinese() -> None:
    """A message left in English would pass for translated; only these may look the same."""
    said = [m for m in catalogues.read("zh_Hans") if m.id]
    same = [message.id for message in said if message.id == message.string]
    assert same == ["API"]


@pytest.mark.parametrize(
    ("header", "tag"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"),
        ("en-GB,en;q=0.9,zh;q=0.2", "en"),
        ("de-DE,de;q=0.9,zh;q=0.5,en;q=0.4", "zh-Hans"),
        ("fr", "en"),
        ("zh;q=0", "en"),
        ("zh;q=x, en;q=0.1", "en"),
        ("", "en"),
        (",;q=,;;" * 50, "en"),
    ],
)
def test_negotiate_follows_the_weights(header: str, tag: str) -> None:
    assert negotiate(header, load_languages()) == tag
