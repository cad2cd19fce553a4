"""A line of a statement that makes no sense is kept aside by its name; those behind it are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text

from wallet import cases, ledger, payouts, topups
from wallet.cases import Case
from wallet.ledger import accounts
from wallet.money import Money
from wallet.payouts.rails import StatementLine
from wallet.payouts.reconcile import bank_lines
from wallet.payouts.statement import BATCH, DUE
from wallet.testing.payments import PaymentWorld

BANK = accounts.bank("simbank", "EUR")
ASIDE = accounts.unattributed("simbank", "EUR")


class Garbled:
    """A bank whose adapter reads some lines otherwise than they were written."""

    def __init__(self, bank: payouts.SimulatedBank) -> None:
        self._bank = bank
        self.said: dict[str, dict[str, Any]] = {}
        self.account = "EUR"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bank, name)

    async def statement(self, asset: str, *, after: int, limit: int) -> Sequence[StatementLine]:
        real = "EUR" if asset == self.account else asset
        lines = await self._bank.statement(real, after=after, limit=limit)
        return [replace(line, **self.said.get(line.reference, {})) for line in lines]

    async def assets(self) -> Sequence[str]:
        return [self.account if asset == "EUR" else asset for asset in await self._bank.assets()]


@pytest.fixture
def garbled(world: PaymentWorld) -> Garbled:
    garbled = Garbled(world.bank)
    world.reader = payouts.StatementReader(
        world.db,
        garbled,  # type: ignore[arg-type]  # the rest of a Rail is the bank's own
        world.assets,
        topups.IncomingTransfers(),
    )
    return garbled


async def comes(world: PaymentWorld, reference: str, who: str, amount: str = "5.00") -> None:
    await world.bank.receive(reference=reference, money=world.money(amount, "EUR"), about=who)


async def opened(world: PaymentWorld) -> list[Case]:
    async with world.db.transaction() as session:
        found = await cases.listed(session)
    return [case for case in found if case.kind == "statement_line_aside"]


async def kept(world: PaymentWorld) -> dict[int, str]:
    async with world.db.transaction() as session:
        rows = await session.execute(
            text("SELECT line_id, problem FROM bank_lines_aside ORDER BY line_id")
        )
        return {row.line_id: row.problem for row in rows}


async def line_of(world: PaymentWorld, reference: str) -> int:
    async with world.db.transaction() as session:
        found = await session.scalar(
            text("SELECT max(id) FROM simbank.statement WHERE reference = :r"), {"r": reference}
        )
    return int(found)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"amount_minor": 0}, "its amount is zero"),
        ({"amount_minor": 10**78}, "its amount is beyond the asset's limit"),
        ({"amount_minor": -(10**78)}, "its amount is beyond the asset's limit"),
        ({"amount_minor": 10**5000}, "its amount is beyond the asset's limit"),
        ({"amount_minor": 10**14 + 1}, "its amount is beyond the asset's limit"),
        ({"amount_minor": 5.0}, "its amount is no whole number"),
        ({"amount_minor": True}, "its amount is no whole number"),
        ({"amount_minor": None}, "its amount is no whole number"),
        ({"kind": "payout"}, "its amount has a sign that no payout has"),
        ({"kind": "opening", "amount_minor": -5}, "its amount has a sign that no opening has"),
        ({"kind": "return", "amount_minor": -5}, "its amount has a sign that no return has"),
        ({"kind": "interest"}, "its kind is none that we know"),
        ({"kind": None}, "its kind is none that we know"),
        ({"asset": "XYZ"}, "its asset is none that this house knows"),
        ({"asset": None}, "its asset is none that this house knows"),
        ({"asset": "USD"}, "its asset is not its account's"),
        ({"reference": ""}, "it has no reference"),
        ({"reference": " \t"}, "it has no reference"),
        ({"reference": None}, "it has no reference"),
        ({"reference": "x\0y"}, "its reference cannot be kept"),
        ({"reference": "\ud800"}, "its reference cannot be kept"),
        ({"reference": "x" * 5_000}, "its reference cannot be kept"),
        ({"at": datetime(1, 1, 1, tzinfo=UTC)}, "its date cannot be"),
        ({"at": datetime(9999, 12, 31, tzinfo=UTC)}, "its date cannot be"),
        ({"at": datetime(2126, 1, 1, tzinfo=UTC)}, "its date cannot be"),
        ({"at": datetime(2026, 1, 1)}, "its date cannot be"),  # noqa: DTZ001
        ({"at": None}, "its date cannot be"),
    ],
)
async def test_it_is_named_and_never_credited_and_the_next_is_read(
    world: PaymentWorld, garbled: Garbled, said: dict[str, Any], problem: str
) -> None:
    who = await world.person()
    garbled.said["bad"] = said
    await comes(world, "bad", who)
    await comes(world, "good", who, "1.00")
    for _ in range(2):
        await world.reader.tick()
    assert await world.balance(who, "EUR") == "1.00"
    assert (await world.account(BANK)).amount == "5000001.00"
    line = await line_of(world, "bad")
    assert await kept(world) == {line: problem}
    (case,) = await opened(world)
    assert (case.subject, case.asset) == (f"simbank EUR line {line}", "EUR")
    assert problem in case.what and case.evidence["line_id"] == str(line)
    assert set(await world.bank_is_off_by()) == {BANK.path}  # 5.00 are there and not in the books


@pytest.mark.parametrize("number", [0, -1, 2**63, None, "7", 1.5])
async def test_one_without_a_usable_number_has_a_case(
    world: PaymentWorld, garbled: Garbled, number: Any
) -> None:
    who = await world.person()
    garbled.said["bad"] = {"line_id": number}
    await comes(world, "bad", who)
    await comes(world, "good", who, "1.00")
    for _ in range(2):
        await world.reader.tick()
    assert await world.balance(who, "EUR") == "1.00"
    (case,) = await opened(world)
    assert "its number is not the next" in case.what
    assert case.evidence["reference"] == "'bad'"


async def test_a_number_that_comes_again_is_not_read_as_what_had_it_before(
    world: PaymentWorld, garbled: Garbled
) -> None:
    who = await world.person()
    await comes(world, "first", who)
    await comes(world, "again", who, "2.00")
    garbled.said["again"] = {"line_id": await line_of(world, "first")}
    await world.reader.tick()
    assert await world.balance(who, "EUR") == "5.00"
    (case,) = await opened(world)
    assert case.evidence["reference"] == "'again'"


async def test_a_whole_batch_without_usable_numbers_ends(
    world: PaymentWorld, garbled: Garbled
) -> None:
    """The reader does not ask for the same lines for ever."""
    for number in range(BATCH):
        await comes(world, f"bad-{number}", "nobody", "0.01")
        garbled.said[f"bad-{number}"] = {"line_id": 0}
    await world.reader.tick()
    assert len(await opened(world)) == 1


async def test_an_account_in_an_unknown_asset_is_read_past(
    world: PaymentWorld, garbled: Garbled
) -> None:
    """`DOGE`: every line of it is kept aside, once, and the other accounts are read."""
    garbled.account = "DOGE"
    await comes(world, "bark", "nobody")
    garbled.said["bark"] = {"asset": "DOGE"}
    await world.bank.receive(reference="x", money=world.money("7.00", "MXN"), about="nobody")
    for _ in range(2):
        await world.reader.tick()
    line = await line_of(world, "bark")
    assert (await kept(world))[line] == "its asset is none that this house knows"
    assert (await world.account(accounts.unattributed("simbank", "MXN"))).amount == "7.00"


async def test_words_that_cannot_be_kept_stop_no_transfer(
    world: PaymentWorld, garbled: Garbled
) -> None:
    """Whoever sends writes them: they hold up neither the reader nor the money."""
    garbled.said["odd"] = {"about": "rent \0 \ud800 for me"}
    await comes(world, "odd", "nobody")
    await world.reader.tick()
    assert (await world.account(ASIDE)).amount == "5.00"
    assert await opened(world) == []
    await world.assert_sound()


async def test_what_the_books_refuse_is_kept_aside(world: PaymentWorld, garbled: Garbled) -> None:
    """The savepoint of one line: nothing of it is left, and the next is read."""
    who = await world.person()
    await comes(world, "first", who, "1.00")
    await world.reader.tick()
    await comes(world, "bad", who)
    await comes(world, "good", who, "2.00")
    async with (
        world.db.transaction() as session
    ):  # its number is taken by a line of another account
        await session.execute(
            text(
                "INSERT INTO bank_lines (bank, line_id, asset, kind, reference, amount_minor, at)"
                " VALUES ('simbank', :line, 'USD', 'credit', 'x', 1, bifold_now())"
            ),
            {"line": await line_of(world, "bad")},
        )
    await world.reader.tick()
    assert await world.balance(who, "EUR") == "3.00"
    line = await line_of(world, "bad")
    assert await kept(world) == {line: "the books refuse it (IntegrityError)"}


async def test_one_that_is_the_newest_is_not_read_for_ever(world: PaymentWorld) -> None:
    await comes(world, "", "nobody")
    async with world.db.transaction() as session:
        assert await session.scalar(text(f"SELECT {DUE}"))
    await world.reader.tick()
    async with world.db.transaction() as session:
        assert not await session.scalar(text(f"SELECT {DUE}"))


async def test_a_contradiction_that_cannot_be_booked_holds_up_no_other(
    world: PaymentWorld,
) -> None:
    """An asset that this house listed when the line was read, and lists no more."""
    async with world.db.transaction() as session:
        for line, asset in ((901, "XYZ"), (902, "MXN")):
            await session.execute(
                text(
                    "INSERT INTO bank_lines (bank, line_id, asset, kind, reference, amount_minor,"
                    " at) VALUES ('simbank', :line, :asset, 'payout', 'nobody', -7, bifold_now())"
                ),
                {"line": line, "asset": asset},
            )
    for _ in range(2):
        await world.reader.tick()
    assert (await world.account(accounts.unattributed("simbank", "MXN"))).minor == -7
    (case,) = await opened(world)
    assert case.subject == "simbank XYZ line 901" and "unknown_asset" in case.what


async def test_it_hides_no_difference_of_another_by_its_reference(
    world: PaymentWorld, garbled: Garbled
) -> None:
    """A bank may give a reference again; only what was not read yet is in flight."""
    garbled.said["twice"] = {"at": None}
    await comes(world, "twice", "nobody")
    await world.reader.tick()
    line = await line_of(world, "twice")
    async with world.db.transaction() as session:
        for reference, cents in ((f"line {line}", 500), ("twice", 1), ("other", -1)):
            cent = Money(cents, world.assets.get("EUR"))
            lines = [ledger.Line(BANK, Money(-cents, cent.asset)), ledger.Line(ASIDE, cent)]
            await ledger.post(session, ledger.Command(kind="x", ref=reference, lines=lines))
    (off,) = [one for one in await bank_lines(world.db) if not one.balanced]
    assert "twice is off by -1" in off.note and "line" not in off.note


async def test_an_entry_by_its_name_settles_it(world: PaymentWorld, garbled: Garbled) -> None:
    """What `bifold ledger post` does with the reference `line N`: both sides agree again."""
    garbled.said["bad"] = {"reference": ""}
    await comes(world, "bad", "nobody")
    await world.reader.tick()
    line = await line_of(world, "bad")
    five = world.money("5.00", "EUR")
    async with world.db.transaction() as session:
        await ledger.post(
            session,
            ledger.Command(
                kind="correction",
                ref=f"line {line}",
                lines=[ledger.Line(BANK, Money(-five.minor, five.asset)), ledger.Line(ASIDE, five)],
            ),
        )
    await world.assert_sound()
