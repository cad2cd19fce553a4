"""What somebody holds, as pages show it: figures by asset, the ≈ total, what is still coming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_FLOOR

from wallet import deposits, ledger
from wallet.bootstrap import Services
from wallet.db import Session
from wallet.fx import rates
from wallet.fx.errors import RateStale
from wallet.money import Asset, Money

PENDING_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Pending:
    """A deposit that is seen and not spendable yet."""

    id: str
    money: Money
    confirmations: int
    required: int


@dataclass(frozen=True, slots=True)
class Holding:
    """One asset of one person."""

    asset: Asset
    available: Money
    held: Money
    pending: tuple[Pending, ...] = ()

    @property
    def total(self) -> Money:
        """What is theirs, spendable or held; pending stays outside."""
        return self.available + self.held


@dataclass(frozen=True, slots=True)
class Total:
    """Σ total × mid. `as_of` is the oldest rate used; None when none was needed."""

    money: Money
    as_of: datetime | None
    simulated: bool
    left_out: tuple[str, ...]


async def holdings(session: Session, services: Services, principal_id: str) -> list[Holding]:
    """Every asset with anything in it or on its way, fiat first, then by code."""
    coming = await pending(session, services, principal_id)
    found: dict[str, Holding] = {}
    for one in await ledger.balances(session, principal_id=principal_id):
        asset = services.assets.known(one.asset)
        found[one.asset] = Holding(
            asset,
            Money(one.available_minor, asset),
            Money(one.held_minor, asset),
            tuple(p for p in coming if p.money.asset.code == one.asset),
        )
    for one_pending in coming:
        asset = one_pending.money.asset
        if asset.code not in found:
            nothing = Money(0, asset)
            same = tuple(p for p in coming if p.money.asset.code == asset.code)
            found[asset.code] = Holding(asset, nothing, nothing, same)
    shown = [one for one in found.values() if one.total.minor or one.pending]
    return sorted(shown, key=lambda one: (one.asset.kind != "fiat", one.asset.code))


async def pending(session: Session, services: Services, principal_id: str) -> list[Pending]:
    """Deposits that are counting confirmations, oldest last."""
    newest = await deposits.page(
        session,
        principal_id=principal_id,
        limit=PENDING_SHOWN,
        cursor=None,
        assets=services.assets,
        networks=services.networks,
    )
    return [
        Pending(
            one.id,
            one.money,
            min(one.confirmations, one.required_confirmations),
            one.required_confirmations,
        )
        for one in newest
        if one.status in ("seen", "confirmed")
    ]


async def total_of(session: Session, held: Sequence[Holding], display: Asset) -> Total:
    """The one figure of the home page: for looking at, never for deciding (decision 11)."""
    minor, as_of, simulated = 0, None, False
    left_out: list[str] = []
    for one in held:
        if not one.total.minor:
            continue
        try:
            mid = await rates.mid(session, source=one.asset, target=display)
        except RateStale:
            left_out.append(one.asset.code)
            continue
        worth = rates.at_rate(
            one.total.minor,
            source_scale=one.asset.scale,
            target_scale=display.scale,
            rate=mid.mid,
        )
        minor += int(worth.to_integral_value(rounding=ROUND_FLOOR))
        if one.asset.code != display.code:
            as_of = mid.as_of if as_of is None else min(as_of, mid.as_of)
            simulated = simulated or mid.simulated
    return Total(Money(minor, display), as_of, simulated, tuple(left_out))


async def spendable(session: Session, services: Services, principal_id: str) -> list[Holding]:
    """What a form may offer: assets with something available."""
    everything = await holdings(session, services, principal_id)
    listed = services.assets
    return [one for one in everything if one.available.minor > 0 and one.asset.code in listed]
