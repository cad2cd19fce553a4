"""Moves of the house's own coins: between hot, warm and cold, profit to its owners.

Who proposes does not approve. A move out of hot is an ordinary intent; the signer lets it pass its
limits only towards the recipients in its own policy (`treasury_to`) and towards warm. One out of
warm waits until as many operators as that policy asks for have signed (`approvals.approve`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.client import ChainClient
from chain.errors import ChainError, NodeRejected, TooMuchGas
from chain.fee_models import gas_limit
from chain.outcomes import code_fails
from wallet import custody, ledger
from wallet.crashpoints import hit
from wallet.errors import FourEyesRequired, InvalidField, InvalidState, NotFound
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.money import AssetBook, Money
from wallet.onchain import signers
from wallet.onchain.burn import must_burn
from wallet.onchain.counts import used_for_all
from wallet.onchain.freeze import emptying
from wallet.onchain.intents import IntentDraft, cancel_queued, create_intent
from wallet.onchain.prepare import estimate_gas
from wallet.treasury import hot
from wallet.treasury.routes import SHEETS, Kind, source, target

TREASURY = "treasury"
HOUSE = "bifold"
"""Who proposes when a bound is crossed: any one operator may approve that."""
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
            "SELECT m.*, concat_ws(', ', i.state, i.waiting_for, i.reason, CASE WHEN i.waiting_for"
            "  = 'approval' THEN (SELECT count(*) || ' signed' FROM chain_approvals a"
            "  WHERE a.intent_id = i.id) END) AS payment"
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

    Raises InvalidField (not such an address of the house), InvalidState (one is open).
    """
    if kind not in SHEETS:
        await _demand(session, network, kind, to_address)
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
    """Take a move off the list: a proposal, or one whose payment uses no nonce yet; not before a
    worker has looked what the signer has signed: these books may be an old copy.

    Raises NotFound, InvalidState.
    """
    row = (
        await session.execute(
            text(
                "SELECT state, intent_id, network FROM treasury_moves WHERE id = :id"
                " AND state IN ('proposed', 'approved') FOR UPDATE"
            ),
            {"id": move_id},
        )
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such proposal.")
    if row.state == "approved":
        if not await signers.were_compared(session, row.network):
            raise InvalidState("No worker has held these books against the signer yet.")
        state = await cancel_queued(session, row.intent_id)
        if state is not None:
            raise InvalidState("Its payment is under way.", extra={"state": str(state)})
    await session.execute(
        text(
            "UPDATE treasury_moves SET state = 'dismissed', ended_at = clock_timestamp(),"
            " reason = :reason WHERE id = :id"
        ),
        {"id": move_id, "reason": f"dismissed by {by}" if row.state == "approved" else None},
    )


async def approve(
    session: AsyncSession,
    move_id: str,
    *,
    by: str,
    chain: ChainClient,
    sender: str,
    assets: AssetBook,
) -> Move:
    """Agree with a proposal: the worker sends it from the hot address `sender`, or, out of warm,
    from the warm one once operators have signed for it.

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
    if row.kind in SHEETS:
        raise InvalidState("A refill comes from cold: see bifold treasury unsigned.")
    move = _move(row, assets)
    await _demand(session, move.network, move.kind, move.to_address)
    await _demand_kept(session, move, sender)
    if source(move.kind) == "warm":
        warm = await custody.warm_address(session, network=move.network)
        if warm is None:
            raise InvalidState("The house has no warm address any more.")
        sender = warm
    if move.kind == "profit":
        # One approval at a time: what another one takes on any network is on its way for this one.
        await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('profit', 11))"))
        earned = await profit(session, move.money.asset.code)
        earned -= await _on_its_way(session, move.money.asset.code)
        if move.money.minor > earned:
            raise InvalidField(f"Only {Money(max(earned, 0), move.money.asset)} was earned.")
    intent_id = await _promise(session, move, chain=chain, sender=sender)
    await session.execute(
        text(
            "UPDATE treasury_moves SET state = 'approved', approved_by = :by, intent_id = :intent"
            " WHERE id = :id"
        ),
        {"id": move.id, "by": by, "intent": intent_id},
    )
    hit("treasury.before_commit_approved")
    return move


async def evacuate(
    session: AsyncSession,
    move: Move,
    *,
    chain: ChainClient,
    sender: str,
    by: str,
    exact: tuple[int, int] | None = None,
) -> None:
    """Promise a move of an evacuation that `by` has ordered. `exact`: gas and wei per gas of a
    transfer that leaves nothing over."""
    intent_id = await _promise(session, move, chain=chain, sender=sender, exact=exact)
    await session.execute(
        text(
            "INSERT INTO treasury_moves (id, network, asset, kind, to_address, amount_minor,"
            " state, proposed_by, approved_by, intent_id) VALUES (:id, :network, :asset, :kind,"
            " :to, :minor, 'approved', :house, :by, :intent)"
        ),
        {
            "id": move.id, "network": move.network, "asset": move.money.asset.code,
            "kind": move.kind, "to": move.to_address, "minor": move.money.minor, "house": HOUSE,
            "by": by, "intent": intent_id,
        },
    )  # fmt: skip


async def _promise(
    session: AsyncSession,
    move: Move,
    *,
    chain: ChainClient,
    sender: str,
    exact: tuple[int, int] | None = None,
) -> str:
    """Promise the payment; its intent's id."""
    assert move.to_address is not None
    if source(move.kind) == "warm":
        await _introduce(session, chain, sender)
    gas, ceiling = exact or await bound(chain, sender=sender, to=move.to_address, money=move.money)
    return await create_intent(
        session,
        IntentDraft(
            purpose=TREASURY,
            ref=move.id,
            network=chain.network.name,
            asset=move.money.asset.code,
            to_address=move.to_address,
            amount_minor=move.money.minor,
            gas_limit=gas,
            fee_ceiling_wei=ceiling,
            pinned_address=sender,
            exact_fee=exact is not None,
        ),
    )


async def profit(session: AsyncSession, asset: str) -> int:
    """Earned in this asset and not taken yet, minor units: income less everything the house bore
    (gas and losses on any network, what corrections cost), since income has no network either."""
    found = await session.scalar(
        text(
            "SELECT coalesce(sum(p.amount_minor), 0) FROM postings p JOIN accounts a"
            " ON a.id = p.account_id WHERE p.asset = :asset AND (a.path LIKE 'income:%'"
            " OR a.path LIKE 'expense:%' OR a.path = :taken)"
        ),
        {"asset": asset, "taken": accounts.profit_taken(asset).path},
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

    Raises InvalidField when less than that is unattributed, InvalidState when part of that came
    from the house itself.
    """
    source = accounts.unattributed("house", money.asset.code)
    # One at a time: what another one tells now is told already.
    await session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('fund', 11))"))
    waiting = await ledger.balance_of(session, source)
    if waiting < money.minor:
        raise InvalidField("Not so much is waiting to be told; see bifold treasury status.")
    ours = await _sent_by_house(session, money.asset.code)
    if waiting - ours < money.minor:
        raise InvalidState(
            "Some of it came from a hot or warm address of the house, by a payment that these books"
            " have lost: its end takes that back. What never ends two people book: ledger post."
        )
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


async def _sent_by_house(session: AsyncSession, asset: str) -> int:
    """Of what is booked as nobody's: what the house's own addresses sent, and no payment of these
    books has ended by, nor two people have booked away since."""
    found = await session.scalar(
        text(
            "WITH ours AS (SELECT d.amount_minor, d.entry_id FROM deposits d"
            "  JOIN house_addresses h ON h.network = d.network AND h.address = d.from_address"
            "   AND h.place IN ('hot', 'warm')"
            "  WHERE d.asset = :asset AND d.principal_id IS NULL AND NOT d.is_move"
            "  AND d.entry_id IS NOT NULL AND d.status = 'credited'"
            "  AND NOT EXISTS (SELECT FROM chain_intents i WHERE i.network = d.network"
            "   AND i.mined_tx_hash = d.tx_hash AND i.state = 'final_ok'))"
            " SELECT coalesce((SELECT sum(amount_minor) FROM ours), 0) + coalesce(("
            "  SELECT sum(p.amount_minor) FROM postings p JOIN accounts a ON a.id = p.account_id"
            "  JOIN entries e ON e.id = p.entry_id WHERE a.path = :path AND p.amount_minor < 0"
            "  AND e.kind IN ('correction', 'reversal') AND e.created_at >= (SELECT"
            "   min(o.created_at) FROM ours JOIN entries o ON o.id = ours.entry_id)), 0)"
        ),
        {"asset": asset, "path": accounts.unattributed("house", asset).path},
    )
    return max(int(found or 0), 0)


async def bound(chain: ChainClient, *, sender: str, to: str, money: Money) -> tuple[int, int]:
    """Gas and wei per gas that this payment may cost at most. Raises ChainError, FeeCeiling."""
    fees = await chain.fees()
    estimate = await estimate_gas(
        chain, sender=sender, asset=money.asset.code, to_address=to, amount_minor=money.minor
    )
    gas = gas_limit(estimate, chain.network.fee_model)
    return gas, min(chain.network.max_fee_wei, CEILING_FACTOR * fees.cap)


def its_code_fails(error: ChainError) -> bool:
    """Whether a token that was tried out says so itself, or takes more gas than is ever signed."""
    if not isinstance(error, NodeRejected):
        return isinstance(error, TooMuchGas)
    return code_fails(error.rpc_code, error.message)


async def _introduce(session: AsyncSession, chain: ChainClient, warm: str) -> None:
    """Know the warm address as a signer; its nonce starts where the chain stands. Again changes
    nothing. Raises InvalidState where a node's first nonce runs twice (`wallet.onchain.burn`), or
    where nodes differ about it."""
    identity, nonce = await chain.identity(), await used_for_all(chain, warm)
    if nonce == 0 and must_burn(identity.client_version):
        raise InvalidState("This node takes a first payment twice: nothing leaves warm here.")
    await signers.add_signer(
        session, network=chain.network.name, address=warm, next_nonce=nonce, role="warm"
    )


async def _demand(session: AsyncSession, network: str, kind: Kind, address: str | None) -> None:
    """The recipient lies where this kind of move goes; nothing goes to a hot key given up."""
    wanted = target(kind)
    if wanted is None:
        if await custody.is_house_address(session, network=network, address=address or ""):
            raise InvalidField("Profit leaves the house: that address is somebody's here.")
        return
    house = await custody.house_addresses(session, network=network)
    if address is None or house.get(address) != wanted:
        raise InvalidField(
            f"That is not a {wanted} address of the house; see bifold treasury status."
        )
    if wanted == "hot" and (
        address in await _halted(session, network)
        or await signers.lost_anywhere(session, address=address)
    ):
        raise InvalidField("That hot address is halted: see bifold chain status.")


async def _demand_kept(session: AsyncSession, move: Move, sender: str) -> None:
    """An evacuation takes all that lies hot: nothing else leaves or comes, then or later."""
    if source(move.kind) == "hot" and await hot.given_up(session, move.network, sender):
        raise InvalidState(
            f"{sender} is being emptied, or its key may be in other hands: see bifold chain status."
        )
    if target(move.kind) == "hot" and await emptying(session, move.network):
        raise InvalidState("Hot addresses are being emptied: see bifold treasury status.")


async def _halted(session: AsyncSession, network: str) -> set[str]:
    rows = await signers.all_signers(session, network)
    return {row.address for row in rows if row.halted_reason is not None}


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
