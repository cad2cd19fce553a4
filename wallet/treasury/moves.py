"""Moves of the house's own coins: hot to cold, profit to its owners.

Who proposes does not approve. A move out of hot is an ordinary intent; the signer lets it pass its
limits only towards the recipients in its own policy (`treasury_to`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.client import ChainClient
from chain.fee_models import gas_limit
from wallet import custody, ledger
from wallet.errors import FourEyesRequired, InvalidField, InvalidState, NotFound
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.money import AssetBook, Money
from wallet.onchain.intents import IntentDraft, create_intent
from wallet.onchain.prepare import estimate_gas

TREASURY = "treasury"
HOUSE = "bifold"
"""Who proposes when a bound is crossed: any one operator may approve that."""
Kind = Literal["to_cold", "profit", "evacuate", "refill"]
CEILING_FACTOR = 2


@dataclass(frozen=True, slots=True)
class Move:
    """One move. `money` is what it carries."""

    id: str
    network: str
    money: Money
    kind: Kind
    to_address: str | None
    state: str
    proposed_by: str
    approved_by: str | None
    reason: str | None = None
    payment: str | None = None
    """How the payment stands while it is under way: its state, and what it waits for."""


async def moves(
    session: AsyncSession, assets: AssetBook, *, network: str, open_only: bool = True
) -> list[Move]:
    """Oldest first. `open_only`: what is open, and what was refused while its case is open."""
    rows = await session.execute(
        text(
            "SELECT m.*, concat_ws(', ', i.state, i.waiting_for, i.reason) AS payment"
            " FROM treasury_moves m LEFT JOIN chain_intents i ON i.id = m.intent_id"
            " WHERE m.network = :network AND (NOT :open OR m.state IN ('proposed', 'approved')"
            "  OR (m.state = 'refused' AND EXISTS (SELECT FROM cases c WHERE c.status = 'open'"
            "   AND c.kind = 'treasury_refused' AND c.evidence->>'move' = m.id)))"
            " ORDER BY m.created_at, m.id"
        ),
        {"network": network, "open": open_only},
    )
    return [
        replace(_move(row, assets), reason=row.reason, payment=row.payment or None) for row in rows
    ]


async def propose(
    session: AsyncSession,
    *,
    network: str,
    money: Money,
    kind: Kind,
    to_address: str | None,
    by: str,
) -> str:
    """Propose a move; one open proposal of a kind and asset at a time. Returns its id.

    Raises InvalidField (not a cold address of the house), InvalidState (one is open).
    """
    if kind in ("to_cold", "evacuate"):
        await _demand_cold(session, network, to_address)
    move_id = new_id("tre")
    made = await session.scalar(
        text(
            "INSERT INTO treasury_moves (id, network, asset, kind, to_address, amount_minor,"
            " state, proposed_by) VALUES (:id, :network, :asset, :kind, :to, :minor, 'proposed',"
            " :by) ON CONFLICT DO NOTHING RETURNING id"
        ),
        {
            "id": move_id, "network": network, "asset": money.asset.code, "kind": kind,
            "to": to_address, "minor": money.minor, "by": by,
        },
    )  # fmt: skip
    if made is None:
        raise InvalidState("A proposal of this kind is open already.", extra={"state": "proposed"})
    return move_id


async def dismiss(session: AsyncSession, move_id: str, *, by: str) -> None:
    """Take a proposal off the list. Raises NotFound."""
    done = await session.scalar(
        text(
            "UPDATE treasury_moves SET state = 'dismissed', ended_at = clock_timestamp()"
            " WHERE id = :id AND state = 'proposed' RETURNING 1"
        ),
        {"id": move_id},
    )
    if done is None:
        raise NotFound("There is no such proposal.")


async def approve(
    session: AsyncSession,
    move_id: str,
    *,
    by: str,
    chain: ChainClient,
    sender: str,
    assets: AssetBook,
) -> Move:
    """Agree with a proposal: the worker sends it from the hot address `sender`.

    Raises NotFound, InvalidState, FourEyesRequired, InvalidField (more profit than was earned),
    ChainError.
    """
    row = (
        await session.execute(
            text("SELECT * FROM treasury_moves WHERE id = :id FOR UPDATE"), {"id": move_id}
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such proposal.")
    if row.state != "proposed":
        raise InvalidState("It is not proposed any more.", extra={"state": row.state})
    if row.proposed_by == by:
        raise FourEyesRequired("Another operator than the one who proposed it must approve it.")
    if row.kind == "refill":
        raise InvalidState("A refill comes from cold: see bifold treasury unsigned.")
    move = _move(row, assets)
    if move.kind == "profit":
        earned = await profit(session, move.network, move.money.asset.code)
        earned -= await _on_its_way(session, move.money.asset.code)
        if move.money.minor > earned:
            raise InvalidField(f"Only {Money(max(earned, 0), move.money.asset)} was earned.")
    await start(session, move, chain=chain, sender=sender, by=by)
    return move


async def start(
    session: AsyncSession,
    move: Move,
    *,
    chain: ChainClient,
    sender: str,
    by: str,
    exact: tuple[int, int] | None = None,
) -> None:
    """Promise the payment. `exact`: gas and wei per gas of a transfer that leaves nothing over."""
    network = chain.network
    assert move.to_address is not None
    if exact is None:
        fees = await chain.fees()
        gas = gas_limit(
            await estimate_gas(
                chain, sender=sender, asset=move.money.asset.code,
                to_address=move.to_address, amount_minor=move.money.minor,
            ),
            network.fee_model,
        )  # fmt: skip
        ceiling = min(network.max_fee_wei, CEILING_FACTOR * fees.cap)
    else:
        gas, ceiling = exact
    intent_id = await create_intent(
        session,
        IntentDraft(
            purpose=TREASURY,
            ref=move.id,
            network=network.name,
            asset=move.money.asset.code,
            to_address=move.to_address,
            amount_minor=move.money.minor,
            gas_limit=gas,
            fee_ceiling_wei=ceiling,
            pinned_address=sender,
            exact_fee=exact is not None,
        ),
    )
    await session.execute(
        text(
            "UPDATE treasury_moves SET state = 'approved', approved_by = :by, intent_id = :intent"
            " WHERE id = :id"
        ),
        {"id": move.id, "by": by, "intent": intent_id},
    )


async def profit(session: AsyncSession, network: str, asset: str) -> int:
    """Earned in this asset and not taken yet, minor units: income less gas and losses borne."""
    found = await session.scalar(
        text(
            "SELECT coalesce(sum(p.amount_minor), 0) FROM postings p JOIN accounts a"
            " ON a.id = p.account_id WHERE p.asset = :asset AND (a.path LIKE 'income:%'"
            " OR a.path = :gas OR a.path = :taken OR a.path = :lost)"
        ),
        {
            "asset": asset,
            "gas": accounts.gas_expense(network, asset).path,
            "taken": accounts.profit_taken(asset).path,
            "lost": accounts.chain_loss_expense(network, asset).path,
        },
    )
    return int(found or 0)


async def _on_its_way(session: AsyncSession, asset: str) -> int:
    """Profit that was approved and is not booked yet: it is not earned a second time."""
    minor = await session.scalar(
        text(
            "SELECT coalesce(sum(amount_minor), 0) FROM treasury_moves"
            " WHERE asset = :asset AND kind = 'profit' AND state = 'approved'"
        ),
        {"asset": asset},
    )
    return int(minor or 0)


async def fund(session: AsyncSession, *, money: Money, by: str) -> str | None:
    """Say that coins which came to a house address from nobody known are the owners' capital.

    Raises InvalidField when less than that is unattributed.
    """
    source = accounts.unattributed("house", money.asset.code)
    if await ledger.balance_of(session, source) < money.minor:
        raise InvalidField("Not so much is waiting to be told; see bifold treasury status.")
    return await ledger.post(
        session,
        ledger.Command(
            kind="treasury_fund",
            ref=new_id("tre"),
            meta={"by": by},
            lines=[
                ledger.Line(source, Money(-money.minor, money.asset)),
                ledger.Line(accounts.capital(money.asset.code), money),
            ],
        ),
    )


async def _demand_cold(session: AsyncSession, network: str, address: str | None) -> None:
    house = await custody.house_addresses(session, network=network)
    if address is None or house.get(address) != "cold":
        raise InvalidField("That is not a cold address of the house; see bifold treasury cold.")


def _move(row: Any, assets: AssetBook) -> Move:
    return Move(
        row.id,
        row.network,
        assets.money(row.asset, int(row.amount_minor)),
        row.kind,
        row.to_address,
        row.state,
        row.proposed_by,
        row.approved_by,
    )
