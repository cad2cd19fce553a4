"""Quotes: a price locked for a while, used once. Limits are per principal, positions per asset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import clock
from wallet.errors import InvalidField, LimitExceeded, NotFound, RateLimited
from wallet.fx import pricing, rates, repository
from wallet.fx.corridors import Corridor, corridor, corridors
from wallet.fx.errors import (
    AmountOutsideLimit,
    LiquidityUnavailable,
    QuoteExpired,
    QuoteUsed,
)
from wallet.fx.positions import check_liquidity
from wallet.ids import new_id
from wallet.money import AmountError, Asset, AssetBook, Money, format_amount, parse_amount
from wallet.pauses import any_halted

QuoteKind = Literal["conversion", "payment"]

LIFE_SECONDS: dict[QuoteKind, int] = {"conversion": 60, "payment": 30 * 60}
LIVE_LIMIT = 5
NOTIONAL_WINDOW_SECONDS = 24 * 60 * 60
NOTIONAL_LIMIT_EUR_MINOR = 500_000_00
CONVERSION_LIMIT_EUR_MINOR = 100_000_00
REFUND_RULE = "original_rate"


@dataclass(frozen=True, slots=True)
class Fee:
    """One fee inside the source amount."""

    kind: str
    money: Money


@dataclass(frozen=True, slots=True)
class QuoteDraft:
    """What is asked for. Exactly one of the two amounts is given; it is the one kept exact."""

    source: Asset
    target: Asset
    kind: QuoteKind
    source_amount: Money | None = None
    target_amount: Money | None = None
    corridor: str | None = None

    @classmethod
    def parse(
        cls,
        assets: AssetBook,
        *,
        source_asset: object,
        target_asset: object,
        kind: QuoteKind,
        source_amount: object = None,
        target_amount: object = None,
        corridor: str | None = None,
    ) -> QuoteDraft:
        """From border values. Raises UnknownAsset, AmountError, each with its field."""
        source = assets.get(source_asset, field="/source_asset")
        target = assets.get(target_asset, field="/target_asset")
        return cls(
            source=source,
            target=target,
            kind=kind,
            source_amount=_amount(source_amount, source, "/source_amount"),
            target_amount=_amount(target_amount, target, "/target_amount"),
            corridor=corridor,
        )


@dataclass(frozen=True, slots=True)
class Quote:
    """A locked price. `source` is the whole debit, fees and spread inside; rates are strings."""

    id: str
    principal_id: str
    kind: str
    corridor: str | None
    source: Money
    target: Money
    rate: str
    mid_rate: str
    spread: str
    spread_money: Money
    fees: tuple[Fee, ...]
    total_cost: Money
    rounding: str
    refund_rule: str | None
    eta_seconds: int
    rate_as_of: datetime
    created_at: datetime
    expires_at: datetime
    simulated: bool
    used_at: datetime | None
    eur_minor: int

    @property
    def fee_minor(self) -> int:
        """The sum of the fees, in the source asset."""
        return sum(fee.money.minor for fee in self.fees)

    @property
    def position_minor(self) -> int:
        """What the house's position takes of the source: without fees and spread."""
        return self.source.minor - self.fee_minor - self.spread_money.minor


def _amount(value: object, asset: Asset, field: str) -> Money | None:
    if value is None:
        return None
    try:
        return parse_amount(value, asset)
    except AmountError as error:
        error.field = field
        raise


def rate_text(value: Decimal) -> str:
    """A plain decimal string without padding zeros."""
    whole = format(value, "f")
    return whole.rstrip("0").rstrip(".") if "." in whole else whole


def _route(draft: QuoteDraft, assets: AssetBook) -> Corridor | None:
    if draft.source.code == draft.target.code:
        raise InvalidField("Source and target are the same asset.", field="/target_asset")
    if (draft.source_amount is None) == (draft.target_amount is None):
        raise InvalidField(
            "Give exactly one of source_amount and target_amount.", field="/source_amount"
        )
    if draft.kind == "conversion":
        if draft.corridor is not None:
            raise InvalidField("A conversion has no corridor.", field="/corridor")
        return None
    pair = (draft.source.code, draft.target.code)
    if draft.corridor is not None:
        chosen = corridor(assets, draft.corridor, field="/corridor")
        if (chosen.source_asset, chosen.target_asset) != pair:
            raise InvalidField("This corridor is for other assets.", field="/corridor")
        return chosen
    for known in corridors(assets):
        if (known.source_asset, known.target_asset) == pair:
            return known
    raise InvalidField("No corridor leads from this asset to that one.", field="/corridor")


async def create(
    session: AsyncSession, *, assets: AssetBook, principal_id: str, draft: QuoteDraft
) -> Quote:
    """Lock a price.

    Raises InvalidField, AmountOutsideLimit, RateStale, LiquidityUnavailable, RateLimited (too many
    live quotes), LimitExceeded (the day's notional).
    """
    route = _route(draft, assets)
    if await any_halted(session, {draft.source.code, draft.target.code}):
        raise LiquidityUnavailable("This token was halted; it is not exchanged until it goes on.")
    mid = await rates.mid(session, source=draft.source, target=draft.target)
    spread = pricing.spread_of(draft.source, draft.target)
    fee_minor = route.fee.minor if route else 0
    price = await _price(session, draft, route, mid.mid, spread, fee_minor)
    eur_minor = await rates.eur_minor(session, money=Money(price.source_minor, draft.source))
    await check_liquidity(
        session,
        taken=Money(price.position_minor, draft.source),
        given=Money(price.target_minor, draft.target),
        bank=route.bank if route else None,
        rail=route.rail if route else None,
    )
    await _check_principal(session, principal_id, eur_minor)
    side: pricing.Side = "source" if draft.source_amount is not None else "target"
    row = await repository.insert(
        session,
        {
            "id": new_id("quo"),
            "principal_id": principal_id,
            "kind": draft.kind,
            "corridor": route.id if route else None,
            "fixed_side": side,
            "source_asset": draft.source.code,
            "source_minor": price.source_minor,
            "target_asset": draft.target.code,
            "target_minor": price.target_minor,
            "fee_minor": fee_minor,
            "spread_minor": price.spread_minor,
            "mid_rate": mid.mid,
            "spread": spread,
            "rate": price.rate,
            "rate_as_of": mid.as_of,
            "simulated": mid.simulated or (route is not None and route.simulated),
            "rounding": pricing.ROUNDING[side],
            "refund_rule": REFUND_RULE if route else None,
            "eta_seconds": route.eta_seconds if route else 0,
            "eur_minor": eur_minor,
        },
        life_seconds=LIFE_SECONDS[draft.kind],
    )
    return view(row, assets)


async def _price(
    session: AsyncSession,
    draft: QuoteDraft,
    route: Corridor | None,
    mid: Decimal,
    spread: Decimal,
    fee_minor: int,
) -> pricing.Price:
    """The price, within the limits of corridor or conversion. Raises AmountOutsideLimit."""
    source, target = draft.source, draft.target
    given, make = (
        (draft.source_amount, pricing.from_source)
        if draft.source_amount is not None
        else (draft.target_amount, pricing.from_target)
    )
    assert given is not None  # _route saw to it
    price = make(
        given.minor, source=source, target=target, mid=mid, spread=spread, fee_minor=fee_minor
    )
    least = pricing.least_source(
        source=source, target=target, mid=mid, spread=spread, fee_minor=fee_minor
    )
    if route is not None:
        least, most = max(least, route.min.minor), route.max.minor
    else:
        one = await rates.eur_minor(session, money=Money(10**source.scale, source))
        most = max(least, CONVERSION_LIMIT_EUR_MINOR * 10**source.scale // max(one, 1))
    if not least <= price.source_minor <= most or price.target_minor <= 0:
        low, high = Money(least, source), Money(most, source)
        raise AmountOutsideLimit(
            f"Between {low} and {high}, please.",
            field="/source_amount" if draft.source_amount is not None else "/target_amount",
            extra={"min": low.json(), "max": high.json()},
        )
    return price


async def _check_principal(session: AsyncSession, principal_id: str, eur_minor: int) -> None:
    """Few live quotes, and a bounded notional a day: a quote is an option that costs nothing."""
    if not await repository.lock_principal(session, principal_id):
        raise NotFound("There is no such principal.")
    known = await repository.exposure(session, principal_id, window_seconds=NOTIONAL_WINDOW_SECONDS)
    if known.live >= LIVE_LIMIT:
        assert known.first_expiry is not None
        now = await clock.now(session)
        wait = max(1, int((known.first_expiry - now).total_seconds()) + 1)
        raise RateLimited(
            f"You have {LIVE_LIMIT} open quotes; use one, or wait for one to expire.",
            extra={"retry_after": wait},
        )
    if known.notional_eur_minor + eur_minor > NOTIONAL_LIMIT_EUR_MINOR:
        limit = format_amount(NOTIONAL_LIMIT_EUR_MINOR, 2)
        raise LimitExceeded(f"At most {limit} EUR worth of exchange in 24 hours.")


def view(row: RowMapping, assets: AssetBook) -> Quote:
    """The stored row as people see it."""
    source, target = assets.known(row["source_asset"]), assets.known(row["target_asset"])
    fee = Money(int(row["fee_minor"]), source)
    spread = Money(int(row["spread_minor"]), source)
    return Quote(
        id=row["id"],
        principal_id=row["principal_id"],
        kind=row["kind"],
        corridor=row["corridor"],
        source=Money(int(row["source_minor"]), source),
        target=Money(int(row["target_minor"]), target),
        rate=rate_text(row["rate"]),
        mid_rate=rate_text(row["mid_rate"]),
        spread=rate_text(row["spread"]),
        spread_money=spread,
        fees=(Fee(row["kind"], fee),) if fee.minor else (),
        total_cost=spread + fee,
        rounding=row["rounding"],
        refund_rule=row["refund_rule"],
        eta_seconds=row["eta_seconds"],
        rate_as_of=row["rate_as_of"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        simulated=row["simulated"],
        used_at=row["used_at"],
        eur_minor=int(row["eur_minor"]),
    )


async def get(
    session: AsyncSession, *, assets: AssetBook, principal_id: str, quote_id: str
) -> Quote:
    """One quote of this principal. Raises NotFound."""
    row = await repository.find(session, principal_id=principal_id, quote_id=quote_id)
    if row is None:
        raise NotFound("There is no such quote.")
    return view(row, assets)


async def take(
    session: AsyncSession,
    *,
    assets: AssetBook,
    principal_id: str,
    quote_id: str,
    kind: QuoteKind,
    used_by: str,
) -> Quote:
    """Spend a quote for `used_by`, once. Its row stays locked until the commit.

    Raises NotFound, InvalidField (another kind), UnknownAsset, QuoteUsed, QuoteExpired.
    """
    row = await repository.find(session, principal_id=principal_id, quote_id=quote_id, lock=True)
    if row is None:
        raise NotFound("There is no such quote.", field="/quote_id")
    if row["kind"] != kind:
        raise InvalidField(f"This quote is for a {row['kind']}.", field="/quote_id")
    pair = (row["source_asset"], row["target_asset"])
    for code in pair:
        assets.get(code, field="/quote_id")
    if row["used_at"] is not None:
        raise QuoteUsed("This quote has been used.", field="/quote_id")
    if await any_halted(session, pair):
        raise QuoteExpired("This price is not good any more.", field="/quote_id")
    if not await repository.mark_used(session, quote_id=quote_id, used_by=used_by):
        raise QuoteExpired("This quote has expired; ask for a new one.", field="/quote_id")
    return view(row, assets)


async def discard(session: AsyncSession, *, principal_id: str, quote_id: str) -> None:
    """Give an unused quote back: it no longer counts. Again, or too late, changes nothing."""
    await repository.expire(session, principal_id=principal_id, quote_id=quote_id)
