"""A line of the gateway's list that makes no sense stops none behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import text

from wallet.testing.topups import TopupWorld
from wallet.topups.gateway import ListLine


@pytest.mark.parametrize(
    "senseless",
    [{"amount_minor": 0}, {"kind": "fee"}, {"reference": "\0"}, {"asset": "XXX"},
     {"amount_minor": 10**80}, {"amount_minor": 1.5}],
    ids=str,
)  # fmt: skip
async def test_those_behind_it_are_read(
    world: TopupWorld, monkeypatch: pytest.MonkeyPatch, senseless: dict[str, object]
) -> None:
    who = await world.person()
    made = await world.finish(await world.pay(who, "25.00"))
    assert made.status == "succeeded" and await world.balance(who, "EUR") == "25.00"
    await world.gateway.charge_back(made.id)
    listed = world.gateway.lines

    async def lines(asset: str, *, after: int, limit: int) -> Sequence[ListLine]:
        """What the gateway lists, and before the newest a line of nobody's that is none."""
        known = await listed(asset, after=after, limit=limit)
        moved = [replace(line, line_id=line.line_id + 10) for line in known]
        odd = [replace(one, line_id=one.line_id + 5, reference="else") for one in known[:1]]
        return [*(replace(one, **senseless) for one in odd), *moved]  # type: ignore[arg-type]

    monkeypatch.setattr(world.gateway, "lines", lines)
    await world.tasks.tick()
    for topup_id in await world.jobs():
        await world.tasks.advance(topup_id)
    assert (await world.see(made)).status == "charged_back"
    assert await world.balance(who, "EUR") == "0.00"
    async with world.db.transaction() as session:
        found = await session.execute(text("SELECT kind, subject FROM cases WHERE status = 'open'"))
    ((kind, subject),) = found.all()
    assert kind == "statement_line_aside" and subject.startswith("simgate EUR line ")
