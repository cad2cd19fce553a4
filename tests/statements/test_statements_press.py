"""The press is shared: one person's files wait for each other, and others have their turn."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.web import statement_files
from api.web.i18n import load_languages, negotiate
from api.web.statement_files import ONE_PERSON_PRINTS, Made
from wallet.errors import Busy
from wallet.money import Money
from wallet.statements import Statement


async def test_nobody_fills_the_queue_that_all_stand_in(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = world.services.assets.get("EUR")
    today = datetime(2026, 1, 2, tzinfo=UTC)
    none = Money(0, asset)
    empty = Statement(asset, today - timedelta(days=1), today, none, none, ())
    gate, languages = threading.Event(), load_languages()

    def slow(_statement: Statement) -> bytes:
        assert gate.wait(20)
        return b"printed"

    monkeypatch.setattr(statement_files.statements, "as_csv", slow)

    def ask(who: str) -> asyncio.Task[Any]:
        made = Made(empty, who, None)
        language = languages[negotiate("en", languages)]
        return asyncio.ensure_future(
            statement_files.answer(world.services, made, form="csv", language=language)
        )

    try:
        first = [ask("usr_a") for _ in range(ONE_PERSON_PRINTS)]
        await asyncio.sleep(0)
        first[-1].cancel()  # leaving makes no room: the press goes on
        with pytest.raises(Busy):
            await ask("usr_a")
        other = ask("usr_b")
        await asyncio.sleep(0)
        assert not other.done()
    finally:
        gate.set()
    assert (await first[0]).body == b"printed"
    assert (await other).body == b"printed"
    assert (await ask("usr_a")).body == b"printed"
    assert not statement_files._printing
