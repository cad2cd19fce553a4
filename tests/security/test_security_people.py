"""Guessing passwords, and showing people other words than were written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import text

from api.server import check_bind
from chain.registry import dump_networks
from tests.api.conftest import local_network
from wallet import clock, identity
from wallet.bootstrap import RefusedToStart, build
from wallet.db import Database
from wallet.errors import InvalidField, RateLimited
from wallet.identity.sessions import SIGN_INS_PER_ADDRESS
from wallet.notes import clean_note
from wallet.settings import Settings
from wallet.testing.databases import ScratchDatabase

ADDRESS = "abcdefgh@example.org"
FULL_WIDTH = {letter: chr(ord(letter) - ord("a") + 0xFF41) for letter in "abcdefgh"}


def _spelling(number: int) -> str:
    """The same address with some of its letters full-width: 256 ways."""
    local, _, domain = ADDRESS.partition("@")
    letters = (FULL_WIDTH[c] if number >> place & 1 else c for place, c in enumerate(local))
    return f"{''.join(letters)}@{domain}"


async def test_another_spelling_of_an_address_is_no_fresh_set_of_tries(
    database: ScratchDatabase,
) -> None:
    db = Database(database.app_url)
    tries = 0
    try:
        with pytest.raises(RateLimited):
            for number in range(SIGN_INS_PER_ADDRESS + 1):
                spelled = _spelling(number)
                assert identity.users.normal_email(spelled)[1] == ADDRESS  # it opens the account
                async with db.transaction() as session:
                    await identity.count_try(session, email=spelled, client=f"10.0.0.{number}")
                tries += 1
    finally:
        await db.dispose()
    assert tries == SIGN_INS_PER_ADDRESS


@pytest.mark.parametrize("mark", ["\u202a", "\u202b", "\u202d", "\u202e", "\u2066", "\u2067"])
def test_a_note_cannot_be_shown_in_another_order_than_it_is_written(mark: str) -> None:
    with pytest.raises(InvalidField):
        clean_note(f"paid {mark}00.1 RUE")


def test_a_note_in_arabic_or_hebrew_or_with_joined_emoji_is_fine() -> None:
    for words in ("شكرا ٥", "תודה רבה", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "می‌خواهم"):
        assert clean_note(words) == words


async def test_the_sandbox_clock_never_leaves_the_calendar(database: ScratchDatabase) -> None:
    """Beyond year 9999 no query that reads a time would answer again."""
    db = Database(database.app_url)
    try:
        for _ in range(3):
            async with db.transaction() as session:
                offset = await clock.advance(session, seconds=5_000 * 366 * 86_400)
        async with db.transaction() as session:
            assert offset == clock.MAX_OFFSET_SECONDS
            assert (await clock.now(session)).year < 2200
            await session.execute(text("SELECT bifold_now()"))
    finally:
        await db.dispose()


def test_a_sandbox_behind_a_proxy_is_open_to_everybody_and_needs_its_token() -> None:
    """It listens on loopback, and its public name says that others are let in."""
    settings = Settings(
        mode="sandbox",
        database_url="postgresql+psycopg://x/x",
        host="127.0.0.1",
        public_url="https://play.example",
    )
    with pytest.raises(RefusedToStart):
        check_bind(settings)
    check_bind(settings.model_copy(update={"sandbox_token": "a token"}))
    for own in ("http://localhost:8000", "http://127.0.0.1:8000", "http://[::1]:8000"):
        check_bind(settings.model_copy(update={"public_url": own}))


@pytest.mark.parametrize("role", ["api", "worker"])
@pytest.mark.parametrize("whose", ["operator", "audit"])
def test_no_service_of_production_may_know_the_operators_or_the_auditors_address(
    tmp_path: Path, role: Literal["api", "worker"], whose: str
) -> None:
    settings = Settings(
        mode="production",
        database_url="postgresql+psycopg://x/x",
        public_url="https://bifold.example",
        data_dir=tmp_path,
    ).model_copy(update={f"{whose}_database_url": "y"})
    with pytest.raises(RefusedToStart, match=f"BIFOLD_{whose.upper()}_DATABASE_URL"):
        build(settings, role=role)


def test_production_refuses_a_chain_whose_coins_are_made_from_nothing(tmp_path: Path) -> None:
    settings = Settings(
        mode="production",
        database_url="postgresql+psycopg://x/x",
        public_url="https://bifold.example",
        data_dir=tmp_path,
    )
    anvil = local_network()
    for network in (
        anvil,
        replace(anvil, chain_id=1337),
        replace(anvil, chain_id=5, local_snapshots=True),
    ):
        dump_networks(settings.networks_path, {"local": network})
        with pytest.raises(RefusedToStart, match="development chain"):
            build(settings, role="worker")
