"""Registering, handles that are never given again, and who may be found."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from wallet import identity
from wallet.db import Database, Session
from wallet.errors import InvalidField, NotFound, RateLimited
from wallet.identity import users
from wallet.identity.errors import (
    EmailTaken,
    HandleUnavailable,
    InvalidEmail,
    PasswordTooWeak,
    RecipientNotFound,
)
from wallet.identity.users import User
from wallet.ids import is_id

PASSWORD = "correct horse battery staple"


async def register(
    session: Session,
    email: str = "ada@example.com",
    *,
    name: str = "Ada Lovelace",
    password: str = PASSWORD,
    country: str = "GB",
    sandbox: bool = True,
) -> User:
    return await identity.register(
        session,
        email=email,
        password=password,
        display_name=name,
        country=country,
        sandbox=sandbox,
    )


class TestRegister:
    async def test_makes_a_person_with_a_handle(self, db: Database) -> None:
        async with db.transaction() as session:
            user = await register(session)
        assert is_id(user.id, "usr")
        assert users.HANDLE.fullmatch(user.handle)
        assert user.handle.startswith("adalovelace")
        assert (user.email, user.kyc_tier, user.frozen) == ("ada@example.com", "sandbox", False)

    @pytest.mark.parametrize("name", ["李小龍", "123", "🙂", "Æ", "O'Neil-Ørsted the 3rd, of Köln"])
    async def test_any_name_gets_a_proper_handle(self, db: Database, name: str) -> None:
        async with db.transaction() as session:
            user = await register(session, name=name)
        assert users.HANDLE.fullmatch(user.handle)

    @pytest.mark.parametrize("again", ["ada@example.com", "ADA@example.com", "Ada@EXAMPLE.com"])
    async def test_an_address_has_one_account(self, db: Database, again: str) -> None:
        async with db.transaction() as session:
            await register(session)
        with pytest.raises(EmailTaken):
            async with db.transaction() as session:
                await register(session, again)

    async def test_two_at_once_with_one_address_are_one_account(self, db: Database) -> None:
        async def one() -> bool:
            try:
                async with db.transaction() as session:
                    await register(session)
            except EmailTaken:
                return False
            return True

        assert sum(await asyncio.gather(*(one() for _ in range(6)))) == 1
        async with db.transaction() as session:
            people = await session.scalar(
                text("SELECT count(*) FROM principals WHERE kind = 'user'")
            )
        assert people == 1

    @pytest.mark.parametrize(
        "email", ["", "ada", "ada@", "@example.com", "a b@example.com", "a@b@c.com", "a\n@b.com"]
    )
    async def test_what_is_no_address_is_refused(self, db: Database, email: str) -> None:
        async with db.transaction() as session:
            with pytest.raises(InvalidEmail):
                await register(session, email)

    @pytest.mark.parametrize("name", ["", "   ", "a\u202eb", "a\x00b", "a\u200bb", "x" * 81])
    async def test_a_name_is_visible_and_short(self, db: Database, name: str) -> None:
        async with db.transaction() as session:
            with pytest.raises(InvalidField):
                await register(session, name=name)

    @pytest.mark.parametrize("country", ["", "gb", "GBR", "XX", "G1", "419"])
    async def test_a_country_is_a_real_one(self, db: Database, country: str) -> None:
        async with db.transaction() as session:
            with pytest.raises(InvalidField):
                await register(session, country=country)

    @pytest.mark.parametrize("password", ["ada@example.com", "Ada@Example.com"])
    async def test_the_password_is_not_the_address(self, db: Database, password: str) -> None:
        async with db.transaction() as session:
            with pytest.raises(PasswordTooWeak):
                await register(session, password=password)


class TestHandles:
    async def test_a_handle_once_left_is_never_given_again(self, db: Database) -> None:
        async with db.transaction() as session:
            ada = await register(session)
            bob = await register(session, "bob@example.com", name="Bob")
            first = ada.handle
            ada = await identity.change_user(session, user_id=ada.id, handle="countess")
            assert ada.handle == "countess"
            for person in (ada, bob):
                with pytest.raises(HandleUnavailable):
                    await identity.change_user(session, user_id=person.id, handle=first)
            with pytest.raises(RecipientNotFound):
                await identity.find_recipient(session, f"@{first}")

    async def test_one_person_does_not_use_them_up(self, db: Database) -> None:
        async with db.transaction() as session:
            ada, bob = await register(session), await register(session, "bob@example.com")
            for number in range(users.HANDLE_CHANGES):
                await identity.change_user(session, user_id=ada.id, handle=f"countess_{number}")
            with pytest.raises(RateLimited):
                await identity.change_user(session, user_id=ada.id, handle="one_too_many")
            await identity.change_user(session, user_id=bob.id, handle="one_too_many")

    async def test_a_proposed_handle_that_somebody_had_is_passed_over(
        self, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with db.transaction() as session:
            ada = await register(session)
            await identity.change_user(session, user_id=ada.id, handle="countess")
            proposals = iter([ada.handle, "countess", "ada_2000"])
            monkeypatch.setattr(users, "_propose", lambda name: next(proposals))
            other = await register(session, "ada2@example.com")
        assert other.handle == "ada_2000"

    async def test_a_handle_being_left_is_not_caught_by_a_newcomer(
        self, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with db.transaction() as session:
            ada = await register(session)
        proposals = iter([ada.handle, "ada_2000"])

        async def newcomer() -> User:
            async with db.transaction() as session:
                return await register(session, "ada2@example.com")

        async with db.transaction() as session:
            await identity.change_user(session, user_id=ada.id, handle="countess")
            monkeypatch.setattr(users, "_propose", lambda name: next(proposals))
            task = asyncio.create_task(newcomer())
            done, _ = await asyncio.wait([task], timeout=0.5)
            assert not done
        assert (await task).handle == "ada_2000"

    async def test_two_who_want_one_handle_are_one_owner_and_one_refusal(
        self, db: Database
    ) -> None:
        async with db.transaction() as session:
            people = [await register(session, f"p{n}@example.com") for n in range(4)]

        async def want(user: User) -> bool:
            try:
                async with db.transaction() as session:
                    await identity.change_user(session, user_id=user.id, handle="countess")
            except HandleUnavailable:
                return False
            return True

        assert sum(await asyncio.gather(*map(want, people))) == 1

    @pytest.mark.parametrize(
        "handle", ["", "ab", "a" * 31, "Ada", "1ada", "_ada", "a da", "adá", "ada-l", "ada\n"]
    )
    async def test_of_the_wrong_form_are_refused(self, db: Database, handle: str) -> None:
        async with db.transaction() as session:
            ada = await register(session)
            with pytest.raises(HandleUnavailable):
                await identity.change_user(session, user_id=ada.id, handle=handle)

    async def test_one_keeps_ones_own(self, db: Database) -> None:
        async with db.transaction() as session:
            ada = await register(session)
            same = await identity.change_user(session, user_id=ada.id, handle="@" + ada.handle)
        assert same.handle == ada.handle


class TestFindRecipient:
    async def test_by_handle_address_or_id(self, db: Database) -> None:
        async with db.transaction() as session:
            ada = await register(session)
            for to in (
                f"@{ada.handle}",
                f"@{ada.handle.upper()}",
                f" @{ada.handle} ",
                ada.email,
                "ADA@example.com",
                ada.id,
            ):
                assert (await identity.find_recipient(session, to)).id == ada.id

    async def test_an_address_counts_only_once_verified(self, db: Database) -> None:
        async with db.transaction() as session:
            ada = await register(session, sandbox=False)
            assert ada.kyc_tier == "none"
            with pytest.raises(RecipientNotFound):
                await identity.find_recipient(session, ada.email)
            await session.execute(text("UPDATE users SET email_verified_at = clock_timestamp()"))
            assert (await identity.find_recipient(session, ada.email)).id == ada.id

    @pytest.mark.parametrize(
        "to", ["", "@", "@nobody", "nobody@example.com", "usr_", "prn_house", "ada", "%", "@%"]
    )
    async def test_nobody_is_not_found(self, db: Database, to: str) -> None:
        async with db.transaction() as session:
            await register(session)
            with pytest.raises(RecipientNotFound):
                await identity.find_recipient(session, to)


async def test_changing_nobody_is_not_found(db: Database) -> None:
    async with db.transaction() as session:
        with pytest.raises(NotFound):
            await identity.change_user(session, user_id="usr_none", display_name="X")
        with pytest.raises(NotFound):
            await identity.change_user(session, user_id="usr_none", handle="countess")
