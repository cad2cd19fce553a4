"""What the end of a sweep does to the books: an inner move of the house, gas as its expense.

Called inside the transaction that ends the intent. What was moved is read from the receipt, never
from what was planned: a deposit that came in between went along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import cast

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import Receipt
from chain.registry import Network
from wallet import ledger
from wallet.ledger import accounts
from wallet.ledger.accounts import AccountSpec, Place
from wallet.money import AssetBook, Money
from wallet.onchain import signers
from wallet.onchain.arrived import Arrived, booked
from wallet.onchain.intents import Intent
from wallet.onchain.states import State
from wallet.sweeps import calls, repository
from wallet.sweeps.repository import SweepRow

ENDS = (State.FINAL_OK, State.FINAL_REVERTED, State.CANCELLED, State.FAILED)
FROM_DEPOSIT = ("coin", "token")
"""Kinds whose transaction the deposit address itself sends and pays for."""
log = structlog.get_logger(__name__)

Moves = dict[tuple[str, str], int]
"""(EIP-55 deposit address, asset) → signed minor units."""


class SweepFollower:
    """The follower of purposes `sweep` and `top_up`."""

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
        """Book the end; nothing before it concerns the books."""
        if intent.state not in ENDS:
            return
        sweep = await repository.by_intent(session, intent.id)
        if sweep is None or sweep.state != "open":
            raise AssertionError(f"{intent.id}: no open sweep behind it")
        done = intent.state is State.FINAL_OK
        moved = self._moved(intent, sweep, receipt) if done else {}
        given = _leave_out(moved, sweep, await booked(session, intent))
        gas = intent.gas_fee_wei or 0
        entry_id = await self._book(session, intent, sweep, moved, gas + given, at)
        moves = dict(moved)
        if sweep.kind in FROM_DEPOSIT and gas:
            own = (sweep.addresses[0], self._networks[sweep.network].native_asset)
            moves[own] = moves.get(own, 0) - gas
        if intent.mined_block is not None:
            await repository.add_moves(session, sweep, moves, block_number=intent.mined_block)
        await repository.end(
            session, sweep.id, state="done" if done else "failed", entry_id=entry_id
        )
        log.info("sweep.ended", sweep=sweep.id, kind=sweep.kind, state=str(intent.state))

    async def vouches_for(self, session: AsyncSession, intent: Intent) -> bool:
        """The sweep it belongs to is open, and sends only where sweeps of its kind go: never to an
        address whose key was lost meanwhile, nor to a treasury of before."""
        sweep = await repository.by_intent(session, intent.id)
        if sweep is None or sweep.state != "open" or sweep.id != intent.ref:
            return False
        network = self._networks[sweep.network]
        if intent.mined_tx_hash is None and (
            sweep.treasury != network.contracts.get("treasury")
            or await signers.lost_anywhere(session, address=sweep.treasury)
        ):
            return False
        if sweep.kind == "top_up":
            return [intent.to_address] == list(sweep.addresses) and intent.data is None
        if sweep.kind in FROM_DEPOSIT:
            return (
                intent.to_address == sweep.treasury
                and intent.pinned_address == sweep.addresses[0]
                and intent.data is None
            )
        contract = "sweep_batch" if sweep.kind == "delegated" else "forwarder_factory"
        return intent.to_address == network.contracts.get(contract) and intent.amount_minor == 0

    def _moved(self, intent: Intent, sweep: SweepRow, receipt: Receipt | None) -> Moves:
        """What left (or, for a top-up, reached) each deposit address, without gas."""
        if sweep.kind == "top_up":
            return {(sweep.addresses[0], sweep.asset): intent.amount_minor}
        own: Moves = {}
        if sweep.kind in FROM_DEPOSIT:
            own = {(sweep.addresses[0], sweep.asset): -intent.amount_minor}
        if receipt is None:
            if own:
                return own
            raise AssertionError(f"{intent.id}: an end on chain without its receipt")
        known = {address.lower(): address for address in sweep.addresses}
        network = self._networks[sweep.network]
        found = calls.swept(receipt, network, accounts=known, treasury=sweep.treasury)
        # Beside what an address pays itself, a token's code may have swept its other coins.
        return {(known[lower], asset): -minor for (lower, asset), minor in found.items()} | own

    async def _book(
        self,
        session: AsyncSession,
        intent: Intent,
        sweep: SweepRow,
        moved: Moves,
        gas: int,
        at: datetime | None,
    ) -> str | None:
        """One entry. Its own place grows by a debit, which is a negative posting."""
        native = self._networks[sweep.network].native_asset
        place = cast(Place, sweep.place)
        sums: dict[AccountSpec, tuple[str, int]] = {}

        def add(account: AccountSpec, asset: str, minor: int) -> None:
            sums[account] = (asset, sums.get(account, (asset, 0))[1] + minor)

        for (_, asset), minor in moved.items():
            add(accounts.on_chain(sweep.network, asset, "deposit"), asset, -minor)
            add(accounts.on_chain(sweep.network, asset, place), asset, minor)
        payer: Place = "deposit" if sweep.kind in FROM_DEPOSIT else "hot"
        add(accounts.gas_expense(sweep.network, native), native, -gas)
        add(accounts.on_chain(sweep.network, native, payer), native, gas)
        lines = [
            ledger.Line(account, Money(minor, self._assets.get(asset)))
            for account, (asset, minor) in sums.items()
            if minor
        ]
        if not lines:
            return None
        return await ledger.post(
            session,
            ledger.Command(
                kind="sweep",
                ref=sweep.id,
                event_at=at,
                meta={
                    "network": sweep.network,
                    "kind": sweep.kind,
                    "tx_hash": intent.mined_tx_hash,
                    "block": intent.mined_block,
                },
                lines=lines,
            ),
        )


def _leave_out(moved: Moves, sweep: SweepRow, found: Sequence[Arrived]) -> int:
    """Take from `moved` what is booked as an arrival already: these books had lost the sweep's row.
    Wei of a top-up that its address's owner was credited with then: they cost as gas does."""
    given = 0
    for one in found:
        if one.is_move and one.to_address == sweep.treasury:
            key = (one.from_address, one.asset)
            if key in moved:
                moved[key] = min(moved[key] + one.minor, 0)
        elif one.of_customer and sweep.kind == "top_up":
            key = (one.to_address, one.asset)
            if moved.get(key) == one.minor:
                given += moved.pop(key)
    return given
