"""Which handler serves which job, and which loops run: the whole list in one place."""

from __future__ import annotations

from wallet import fx, outbox
from wallet.bootstrap import Services
from wallet.fx.feed import TICK_SECONDS as RATE_SECONDS
from wallet.fx.feed import RateFeed, SimulatedRates
from wallet.jobs import JobRunner, Loop


def wire(services: Services, runner: JobRunner) -> list[Loop]:
    """Register every job handler with `runner`; returns every loop of the rooms."""
    loops = [Loop("outbox.relay", outbox.Relay(services.db).tick, outbox.TICK_SECONDS)]
    feed = RateFeed(services.db, source=SimulatedRates())
    loops.append(Loop("fx.rates", feed.tick, RATE_SECONDS))
    return loops
