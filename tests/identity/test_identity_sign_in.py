"""Passwords and sessions."""

from __future__ import annotations

import statistics
import time
from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace
from typing import Literal, cast

import pytest
from sqlalchemy import text

from wallet import identity, worker
from wallet.bootstrap import Services
from wallet.db import Database
from wallet.errors import NotFound, RateLimited
from wallet.identity.errors import InvalidCredentials, PasswordTooWeak, Unauthenticated
from wallet.identity.passwords import (
    MAX_LENGTH,
    MIN_LENGTH,
    check_strength,
    hash_password,
    verify_password,
)
from wallet.identity.sessions import SIGN_INS_PER_ADDRESS, SIGN_INS_PER_CLIENT, SignedIn

PASSWORD = "correct horse battery staple"


class TestStrength:
    @pytest.mark.parametrize(
        "password",
        [
            "",
            "short",
            "x7$kQ9!mPq2",
            "123456789012",
            "password1234",
            "Password1234!",
            "qwertyuiop12",
            "aaaaaaaaaaaa",
            "abababababab",
            "ｐａｓｓｗｏｒｄ１２３４",
            "ﷺ",
            "ﬃﬃﬃﬃ",
            "            ",
            "x" * (MAX_LENGTH + 1),
        ],
    )
    def test_what_is_guessed_first_is_refused(self, password: str) -> None:
        with pytest.raises(PasswordTooWeak):
            check_strength(password)

    @pytest.mark.parametrize(
        "password",
        [
            PASSWORD,
            "x7$kQ9!mPq2z",
            "Пароль для кошелька",
            "我的錢包密碼要夠長才行喔",
            "🦊🐙🦉🐳🦋🐢🦔🐝🦀🐌🦖🐧",
            "ab12" * 16 + "tail",
            "long enough " * 80,
        ],
    )
    def test_any_script_and_any_length_passes(self, password: str) -> None:
        assert len(password) >= MIN_LENGTH
        check_strength(password)

    def test_the_persons_own_name_is_refused(self) -> None:
        with pytest.raises(PasswordTooWeak):
            check_strength("Ada Lovelace King", about=("ada lovelace king",))


class TestHash:
    async def test_forms_of_the_same_letters_are_one_password(self) -> None:
        encoded = await hash_password("Zürich am Ufer 12")
        assert encoded.startswith("$argon2id$")
        assert await verify_password(encoded, "Zu\u0308rich am Ufer 12")
        assert await verify_password(encoded, "Ｚürich am Ufer 12")
        assert not await verify_password(encoded, "Zurich am Ufer 12")

    async def test_every_byte_counts_far_beyond_the_72nd(self) -> None:
        long = "correct horse " * 20
        encoded = await hash_password(long + "a")
        assert await verify_password(encoded, long + "a")
        assert not await verify_password(encoded, long + "b")
        assert not await verify_password(encoded, long)

    async def test_a_zero_byte_ends_nothing(self) -> None:
        encoded = await hash_password("before the zero\x00after")
        assert not await verify_password(encoded, "before the zero")
        assert not await verify_password(encoded, "before the zero\x00other")

    async def test_nobodys_password_is_never_right(self) -> None:
        assert not await verify_password(None, "a password that nobody has")
        assert not await verify_password("not a hash", PASSWORD)

    async def test_two_hashes_of_one_password_differ(self) -> None:
        assert await hash_password(PASSWORD) != await hash_password(PASSWORD)


async def person(db: Database, email: str = "ada@example.com") -> str:
    async with db.transaction() as session:
        user = await identity.register(
            session,
            email=email,
            password=PASSWORD,
            display_name="Ada",
            country="GB",
            sandbox=True,
        )
    return user.id


async def sign_in(db: Database, principal: str) -> SignedIn:
    async with db.transaction() as session:
        return await identity.open_session(
            session, principal_id=principal, kind="api", user_agent="test"
        )


async def resolves(db: Database, token: str, kind: Literal["api", "web"] = "api") -> bool:
    """Whether it opens anything; alone and beside others it is the same."""
    alone: SignedIn | None = None
    with suppress(Unauthenticated):
        async with db.transaction() as session:
            alone = await identity.resolve(session, token, kind=kind)
    together = (await resolve_many(db, token, "bfs_nobody", kind=kind)).get(token)
    assert (alone and alone.id) == (together and together.id)
    return alone is not None


async def resolve_many(
    db: Database, *tokens: str, kind: Literal["api", "web"] = "api"
) -> dict[str, SignedIn]:
    async with db.driver_transaction() as hot:
        return await identity.resolve_many(hot, tokens, kind=kind)


class TestAuthenticate:
    async def test_the_right_pair_is_the_person(self, db: Database) -> None:
        principal = await person(db)
        for email in ("ada@example.com", "ADA@example.com"):
            user = await identity.authenticate(db, email=email, password=PASSWORD)
            assert user.id == principal

    @pytest.mark.parametrize(
        ("email", "password"),
        [
            ("ada@example.com", "correct horse battery stapl"),
            ("ada@example.com", ""),
            ("ada@example.com", PASSWORD.upper()),
            ("bob@example.com", PASSWORD),
            ("not an address", PASSWORD),
            ("", PASSWORD),
        ],
    )
    async def test_any_other_pair_is_refused_alike(
        self, db: Database, email: str, password: str
    ) -> None:
        await person(db)
        with pytest.raises(InvalidCredentials) as refused:
            await identity.authenticate(db, email=email, password=password)
        assert refused.value.detail == "E-mail or password is wrong."

    async def test_an_unknown_address_takes_as_long_as_a_wrong_password(self, db: Database) -> None:
        await person(db)
        taken: dict[str, list[float]] = {"ada@example.com": [], "bob@example.com": []}
        for _ in range(25):
            for email, times in taken.items():
                started = time.perf_counter()
                with pytest.raises(InvalidCredentials):
                    await identity.authenticate(db, email=email, password="wrong one 123")
                times.append(time.perf_counter() - started)
        known, unknown = (statistics.median(times) for times in taken.values())
        assert abs(known - unknown) < 0.3 * known, (known, unknown)

    async def test_tries_are_counted_by_address_and_by_client(self, db: Database) -> None:
        async def one(email: str, client: str) -> bool:
            try:
                async with db.transaction() as session:
                    await identity.count_try(session, email=email, client=client)
            except RateLimited:
                return False
            return True

        allowed = [await one("ada@example.com", f"10.0.0.{n}") for n in range(15)]
        # A window may end in between; then a few more pass, never fewer.
        assert SIGN_INS_PER_ADDRESS <= sum(allowed) <= 15
        assert sum(allowed[:SIGN_INS_PER_ADDRESS]) == SIGN_INS_PER_ADDRESS
        assert not await one(" ADA@example.com", "10.0.1.1") or all(allowed)
        many = [await one(f"p{n}@example.com", "10.9.9.9") for n in range(SIGN_INS_PER_CLIENT)]
        assert all(many)
        assert not await one("q@example.com", "10.9.9.9")


class TestSessions:
    async def test_a_token_opens_its_own_kind_until_revoked(self, db: Database) -> None:
        principal = await person(db)
        made = await sign_in(db, principal)
        assert made.token is not None
        assert await resolves(db, made.token)
        assert not await resolves(db, made.token, kind="web")
        async with db.transaction() as session:
            await identity.revoke(session, principal_id=principal, session_id=made.id)
        assert not await resolves(db, made.token)
        with pytest.raises(NotFound):
            async with db.transaction() as session:
                await identity.revoke(session, principal_id=principal, session_id=made.id)

    async def test_the_token_is_stored_nowhere(self, db: Database) -> None:
        made = await sign_in(db, await person(db))
        assert made.token is not None
        async with db.transaction() as session:
            row = await session.scalar(text("SELECT to_jsonb(s)::text FROM sessions s"))
        assert made.token not in str(row)
        assert made.token.removeprefix("bfs_") not in str(row)

    @pytest.mark.parametrize(
        ("change", "alive"),
        [
            ("expires_at = clock_timestamp() + interval '5 s'", True),
            ("expires_at = clock_timestamp()", False),
            ("last_seen_at = clock_timestamp() - interval '59 min 50 s'", True),
            ("last_seen_at = clock_timestamp() - interval '1 hour'", False),
            ("revoked_at = clock_timestamp()", False),
            ("token_hash = '\\x00'", False),
        ],
    )
    async def test_ends_by_age_idleness_or_word(
        self, db: Database, change: str, alive: bool
    ) -> None:
        principal = await person(db)
        made = await sign_in(db, principal)
        assert made.token is not None
        async with db.transaction() as session:
            await session.execute(text(f"UPDATE sessions SET {change}"))
        assert await resolves(db, made.token) is alive
        if "token_hash" not in change:
            async with db.transaction() as session:
                living = await identity.live_sessions(session, principal_id=principal)
            assert bool(living) is alive

    async def test_use_keeps_it_from_idling(self, db: Database) -> None:
        made = await sign_in(db, await person(db))
        assert made.token is not None
        async with db.transaction() as session:
            await session.execute(
                text("UPDATE sessions SET last_seen_at = clock_timestamp() - interval '50 min'")
            )
        assert await resolves(db, made.token)
        async with db.transaction() as session:
            idle = await session.scalar(
                text("SELECT extract(epoch FROM clock_timestamp() - last_seen_at) FROM sessions")
            )
        assert idle is not None
        assert float(idle) < 30

    async def test_many_are_looked_up_together(self, db: Database) -> None:
        owners = [await person(db, f"p{n}@example.com") for n in range(3)]
        made = [await sign_in(db, owner) for owner in owners]
        tokens = [str(one.token) for one in made]
        async with db.transaction() as session:
            await session.execute(
                text("UPDATE sessions SET last_seen_at = clock_timestamp() - :age WHERE id = :id"),
                {"id": made[0].id, "age": timedelta(minutes=50)},
            )
            await identity.revoke(session, principal_id=owners[2], session_id=made[2].id)
        found = await resolve_many(db, *tokens, "bfs_x", "")
        assert {token: one.principal_id for token, one in found.items()} == {
            tokens[0]: owners[0],
            tokens[1]: owners[1],
        }
        again = await resolve_many(db, tokens[0])
        assert again[tokens[0]].last_seen_at - found[tokens[0]].last_seen_at > timedelta(minutes=49)

    async def test_the_sandbox_clock_does_not_move_them(self, db: Database) -> None:
        made = await sign_in(db, await person(db))
        assert made.token is not None
        async with db.transaction() as session:
            await session.execute(text("UPDATE sandbox_clock SET offset_seconds = 900000"))
        assert await resolves(db, made.token)

    @pytest.mark.parametrize("token", ["", "bfs_", "bfs_x", "Bearer x", "bfs_" + "x" * 5000])
    async def test_an_unknown_token_opens_nothing(self, db: Database, token: str) -> None:
        assert not await resolves(db, token)

    async def test_nobody_elses_can_be_ended(self, db: Database) -> None:
        ada, bob = await person(db), await person(db, "bob@example.com")
        made = await sign_in(db, ada)
        with pytest.raises(NotFound):
            async with db.transaction() as session:
                await identity.revoke(session, principal_id=bob, session_id=made.id)
        assert made.token is not None
        assert await resolves(db, made.token)


async def test_sessions_that_ended_long_ago_are_dropped(db: Database) -> None:
    """By the worker, some at a time; what ended lately can still be looked at."""
    ada = await person(db)
    async with db.transaction() as session:
        for days in (31, 31, 29, -1):
            made = await identity.open_session(session, principal_id=ada, kind="api")
            await session.execute(
                text(
                    "UPDATE sessions SET user_agent = :days,"
                    " expires_at = clock_timestamp() - :ago WHERE id = :id"
                ),
                {"id": made.id, "days": str(days), "ago": timedelta(days=days)},
            )
    keeper = worker._Keeper(cast(Services, SimpleNamespace(db=db)))
    await keeper.forget()
    async with db.transaction() as session:
        left = await session.scalars(text("SELECT user_agent FROM sessions ORDER BY expires_at"))
        assert left.all() == ["29", "-1"]
