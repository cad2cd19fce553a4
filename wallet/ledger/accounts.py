"""The chart of accounts: one path, one account. Accounts are opened where they are first needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet.ids import new_id

Side = Literal["C", "D"]


@dataclass(frozen=True, slots=True)
class AccountSpec:
    """Which account: its path names it; `side` 'D' for what the house owns or spends."""

    path: str
    asset: str
    side: Side
    principal_id: str | None = None

    @property
    def kind(self) -> str:
        """`customer` where somebody owns it, else `system`."""
        return "customer" if self.principal_id else "system"


def customer(principal_id: str, asset: str) -> AccountSpec:
    """What the house owes one principal in one asset."""
    return AccountSpec(f"customer:{principal_id}:{asset}", asset, "C", principal_id)


Place = Literal["deposit", "hot", "warm", "cold"]


def on_chain(network: str, asset: str, place: Place) -> AccountSpec:
    """Coins the house keeps on a chain: deposit addresses, hot, warm, cold wallet."""
    return AccountSpec(f"chain:{network}:{asset}:{place}", asset, "D")


def bank(name: str, asset: str) -> AccountSpec:
    """Money in a bank account of the house."""
    return AccountSpec(f"bank:{name}:{asset}", asset, "D")


def gateway(name: str, asset: str) -> AccountSpec:
    """What a card gateway owes the house: taken from cards, and not paid out to a bank yet."""
    return AccountSpec(f"gateway:{name}:{asset}", asset, "D")


def payments_in_transit(asset: str) -> AccountSpec:
    """Customers' money inside payments that have not ended. Zero once all have."""
    return AccountSpec(f"payments:in_transit:{asset}", asset, "C")


def payout_in_transit(rail: str, asset: str) -> AccountSpec:
    """Payouts handed to a rail and not yet answered for."""
    return AccountSpec(f"payouts:{rail}:in_transit:{asset}", asset, "C")


def fx_position(asset: str) -> AccountSpec:
    """The house's own exposure from conversions."""
    return AccountSpec(f"house:fx_position:{asset}", asset, "C")


def spread_income(asset: str) -> AccountSpec:
    """The margin between mid rate and customer rate."""
    return AccountSpec(f"income:fx_spread:{asset}", asset, "C")


def fee_income(kind: str, asset: str) -> AccountSpec:
    """Fees earned; `kind` such as withdrawal, payment, return."""
    return AccountSpec(f"income:fee:{kind}:{asset}", asset, "C")


def gas_expense(network: str, asset: str) -> AccountSpec:
    """Gas the house burnt, in the network's native coin."""
    return AccountSpec(f"expense:gas:{network}:{asset}", asset, "D")


def capital(asset: str) -> AccountSpec:
    """What the owners put in."""
    return AccountSpec(f"house:capital:{asset}", asset, "C")


def profit_taken(asset: str) -> AccountSpec:
    """What the owners took out of what was earned."""
    return AccountSpec(f"house:profit_taken:{asset}", asset, "C")


def unattributed(scope: str, asset: str) -> AccountSpec:
    """Money that belongs to nobody known yet; `scope` is a network, a bank or `house`."""
    return AccountSpec(f"unattributed:{scope}:{asset}", asset, "C")


def chain_loss(network: str, asset: str) -> AccountSpec:
    """Coins that were credited and that the chain followed now does not hold."""
    return AccountSpec(f"suspense:chain_loss:{network}:{asset}", asset, "D")


def chain_loss_expense(network: str, asset: str) -> AccountSpec:
    """Losses of the kind that the house has agreed to bear."""
    return AccountSpec(f"expense:chain_loss:{network}:{asset}", asset, "D")


def correction_expense(asset: str) -> AccountSpec:
    """What corrections cost the house: goodwill, a difference it bears."""
    return AccountSpec(f"expense:correction:{asset}", asset, "D")


def receivable(principal_id: str, asset: str) -> AccountSpec:
    """What somebody owes the house: charged to them when it was not there any more."""
    return AccountSpec(f"receivable:{principal_id}:{asset}", asset, "D")


async def account_id(session: AsyncSession, spec: AccountSpec) -> str:
    """The id of the account, opened now if it does not exist. Safe against a rival opening it."""
    return (await account_ids(session, [spec]))[spec.path]


async def account_ids(session: AsyncSession, specs: Iterable[AccountSpec]) -> dict[str, str]:
    """Path to id, each opened now if it does not exist.

    Opened in the order of their paths: rivals that open the same accounts cannot deadlock.
    """
    wanted = {spec.path: spec for spec in specs}
    known = await _known(session, list(wanted))
    for path in sorted(wanted.keys() - known.keys()):
        known[path] = await _open(session, wanted[path])
    return known


async def _known(session: AsyncSession, paths: list[str]) -> dict[str, str]:
    rows = await session.execute(
        text("SELECT path, id FROM accounts WHERE path = ANY(:paths)"), {"paths": paths}
    )
    return {row.path: row.id for row in rows}


async def _open(session: AsyncSession, spec: AccountSpec) -> str:
    made = await session.execute(
        text(
            "INSERT INTO accounts (id, path, principal_id, asset, kind, side)"
            " VALUES (:id, :path, :principal, :asset, :kind, :side)"
            " ON CONFLICT DO NOTHING RETURNING id"
        ),
        {
            "id": new_id("acc"),
            "path": spec.path,
            "principal": spec.principal_id,
            "asset": spec.asset,
            "kind": spec.kind,
            "side": spec.side,
        },
    )
    opened = made.scalar_one_or_none()
    if opened is not None:
        return str(opened)
    return (await _known(session, [spec.path]))[spec.path]  # a rival was first
