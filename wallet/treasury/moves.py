"""Moves of the house's own coins: hot to cold, profit to its owners.

Who proposes does not approve. A move out of hot is an ordinary intent; the signer lets it pass its
limits only towards the recipients in its own policy (`treasury_to`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import Receipt
from chain.client import ChainClient
from chain.fee_models import gas_limit
from chain.registry import Network
from wallet import custody, ledger
from wallet.errors import FourEyesRequired, InvalidField, InvalidState, NotFound
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.ledger.accounts import AccountSpec
from wallet.money import AssetBook, Money
from wallet.onchain.intents import Intent, IntentDraft, create_intent
from wallet.onchain.prepare import estimate_gas
from wallet.onchain.states import State

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


async def moves(
    session: AsyncSession, assets: AssetBook, *, network: str, open_only: bool = True
) -> list[Move]:
    """Oldest first."""
    rows = await session.execute(
        text(
            "SELECT * FROM treasury_moves WHERE network = :network"
            " AND (NOT :open OR state IN ('proposed', 'approved')) ORDER BY created_at, id"
        ),
        {"network": network, "open": open_only},
    )
    return [_move(row, assets) for row in rows]


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


class TreasuryFollower:
    """The follower of purpose `treasury`."""

    def __init__(self, assets: AssetBook, networks: Mapping[str, Network]) -> None:
        self._assets = assets
        self._networks = networks

    async def intent_moved(
        self,
        session: AsyncSession,
        *,
        intent: Intent,
        previous: State,
        at: datetime | None,
        receipt: Receipt | None,
    ) -> None:
        """Book the end: hot to cold inside the house, profit to its owners; gas is an expense."""
        if intent.state not in (
            State.FINAL_OK, State.FINAL_REVERTED, State.CANCELLED, State.FAILED
        ):  # fmt: skip
            return
        row = (
            await session.execute(
                text("SELECT * FROM treasury_moves WHERE intent_id = :id FOR UPDATE"),
                {"id": intent.id},
            )
        ).one()
        done = intent.state is State.FINAL_OK
        paid = intent.amount_minor if done else 0
        native = self._networks[intent.network].native_asset
        gas = intent.gas_fee_wei or 0
        target = (
            accounts.profit_taken(intent.asset)
            if row.kind == "profit"
            else accounts.on_chain(intent.network, intent.asset, "cold")
        )
        lines = _lines(
            self._assets,
            [
                (target, intent.asset, -paid),
                (accounts.on_chain(intent.network, intent.asset, "hot"), intent.asset, paid),
                (accounts.gas_expense(intent.network, native), native, -gas),
                (accounts.on_chain(intent.network, native, "hot"), native, gas),
            ],
        )
        entry_id = None
        if lines:
            entry_id = await ledger.post(
                session,
                ledger.Command(
                    kind=f"treasury_{row.kind}",
                    ref=row.id,
                    event_at=at,
                    meta={"network": intent.network, "tx_hash": intent.mined_tx_hash},
                    lines=lines,
                ),
            )
        await session.execute(
            text(
                "UPDATE treasury_moves SET state = :state, entry_id = :entry,"
                " ended_at = clock_timestamp() WHERE id = :id"
            ),
            {"id": row.id, "entry": entry_id, "state": "done" if done else "failed"},
        )

    async def vouches_for(self, session: AsyncSession, intent: Intent) -> bool:
        """An approved move says the same; to cold means an address the house knows as cold."""
        row = (
            await session.execute(
                text("SELECT * FROM treasury_moves WHERE intent_id = :id"), {"id": intent.id}
            )
        ).one_or_none()
        if row is None or row.state != "approved" or row.id != intent.ref:
            return False
        same = (row.network, row.asset, int(row.amount_minor), row.to_address) == (
            intent.network, intent.asset, intent.amount_minor, intent.to_address,
        )  # fmt: skip
        if row.kind == "profit":
            return same
        house = await custody.house_addresses(session, network=intent.network)
        return same and house.get(intent.to_address) == "cold"


async def _demand_cold(session: AsyncSession, network: str, address: str | None) -> None:
    house = await custody.house_addresses(session, network=network)
    if address is None or house.get(address) != "cold":
        raise InvalidField("That is not a cold address of the house; see bifold treasury cold.")


def _lines(assets: AssetBook, wanted: list[tuple[AccountSpec, str, int]]) -> list[ledger.Line]:
    sums: dict[AccountSpec, tuple[str, int]] = {}
    for account, asset, minor in wanted:
        sums[account] = (asset, sums.get(account, (asset, 0))[1] + minor)
    return [
        ledger.Line(account, Money(minor, assets.get(asset)))
        for account, (asset, minor) in sums.items()
        if minor
    ]


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
