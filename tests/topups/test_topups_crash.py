"""Death at every point of a card top-up: a new worker goes on, and the money is credited once."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from wallet import crashpoints, topups
from wallet.ledger import accounts
from wallet.testing.operators import as_operator
from wallet.testing.topups import ROUNDS_LIMIT, TopupWorld
from wallet.topups import strays
from wallet.topups.simgate import CHARGE_BACK_SECONDS, LATE_SECONDS

SAMPLE = 6
# Test card → last status, what the gateway lists, what is left of 25.00 when 20.00 were spent.
SCENES = {
    "visa_ok": ("succeeded", [2500], 2500),
    "visa_declined": ("failed", [], 0),
    "amex_late": ("succeeded", [2500], 2500),
    "visa_charged_back": ("charged_back", [2500, -2500], 0),
}


class Death(BaseException):
    """The process ends here; nothing after this line runs."""


class Reaper:
    """Counts the points of the work it is wrapped around, and kills at the chosen one, once."""

    def __init__(self, at: int | None = None) -> None:
        self.passed: list[str] = []
        self._at = at

    def __call__(self, name: str) -> None:
        self.passed.append(name)
        if self._at is not None and len(self.passed) - 1 == self._at:
            raise Death(name)

    @contextmanager
    def watching(self) -> Iterator[None]:
        crashpoints.install(self)
        try:
            yield
        finally:
            crashpoints.install(None)


def chosen(points: int) -> list[int]:
    """Every point in a campaign; in CI a sample by the run's seed."""
    if os.environ.get("BIFOLD_CAMPAIGN"):
        return list(range(points))
    return sorted(random.sample(range(points), min(SAMPLE, points)))


async def live(world: TopupWorld, reaper: Reaper, who: str, card: str, scene: str) -> topups.Topup:
    """Client, worker and gateway go on through a death until it has ended as it should."""
    expected, listed, _left = SCENES[scene]
    made: topups.Topup | None = None
    for _ in range(ROUNDS_LIMIT):
        try:
            with reaper.watching():
                if made is None:
                    made = await begin_again(world, who, card)
                await world.new_tasks().advance(made.id)
                await world.work()
        except Death:
            continue
        seen = await world.see(made)
        if seen.status == expected and await world.listed(made.id) == listed:
            return seen
        await world.advance(max(LATE_SECONDS, CHARGE_BACK_SECONDS))
    raise AssertionError("the top-up never ended as it should")


async def begin_again(world: TopupWorld, who: str, card: str) -> topups.Topup:
    """What a client does that got no answer: the same request, which was done or was not."""
    async with world.db.transaction() as session:
        known = await topups.page(
            session, assets=world.assets, principal_id=who, limit=1, cursor=None
        )
    return known[0] if known else await world.begin(who, "25.00", source=card)


@pytest.mark.crash
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("scene", list(SCENES))
async def test_a_death_anywhere_loses_and_doubles_nothing(world: TopupWorld, scene: str) -> None:
    expected, listed, left = SCENES[scene]
    who = await world.person()
    whole = Reaper()
    await live(world, whole, who, (await world.card(who, scene)).id, scene)
    assert {
        "topup.stored", "topup.before_charge", "topup.after_charge", "topup.before_commit_heard",
        "db.before_commit", "db.after_commit",
    } <= {*whole.passed}  # fmt: skip
    for at in chosen(len(whole.passed)):
        who = await world.person()
        card = await world.card(who, scene)
        reaper = Reaper(at)
        seen = await live(world, reaper, who, card.id, scene)
        where = f"{at}: {whole.passed[at]}"
        assert len(reaper.passed) > at and seen.status == expected, where
        assert await world.listed(seen.id) == listed, where
        have = await world.account(accounts.customer(who, "EUR"))
        assert have.minor == left, where
        await world.assert_sound()


@pytest.mark.crash
async def test_a_death_while_operators_assign_leaves_all_or_nothing(world: TopupWorld) -> None:
    who = await world.person()
    credited = 0
    for at in range(3):
        await world.transfer("who knows", "5.00")
        async with as_operator(world.db) as session:
            (stray,) = await strays.strays(session, world.assets)
            await strays.propose(
                session, world.assets, stray_id=stray.id, principal_id=who, by="al"
            )
        reaper = Reaper(at)
        with pytest.raises(Death), reaper.watching():
            async with as_operator(world.db) as session:
                await strays.approve(
                    session, world.assets, stray_id=stray.id, principal_id=who, by="bea"
                )
        async with as_operator(world.db) as session:
            left = await strays.strays(session, world.assets)
            for one in left:
                await strays.approve(
                    session, world.assets, stray_id=one.id, principal_id=who, by="bea"
                )
        assert len(left) == (0 if reaper.passed[-1] == "db.after_commit" else 1)
        credited += 500
        have = await world.account(accounts.customer(who, "EUR"))
        assert have.minor == credited, reaper.passed
        await world.assert_sound()
