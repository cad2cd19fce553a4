"""How a treasury move ends in the books: done, failed, or refused by the signer and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import Receipt
from chain.registry import Network
from wallet import custody, ledger
from wallet.ledger import accounts
from wallet.ledger.accounts import AccountSpec
from wallet.money import AssetBook, Money
from wallet.onchain.arrived import booked
from wallet.onchain.intents import Intent
from wallet.onchain.states import State
from wallet.treasury import casework, hot
from wallet.treasury.routes import ROUTES

REFUSED_BY_SIGNER = "signer_"
"""How `wallet.onchain.deliver` begins the reason of what the signer refused for good."""


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
        """Book the end: between tiers of the house, profit to its owners; gas is an expense."""
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
        source, target = ROUTES[row.kind]
        came = (intent.to_address, intent.asset, paid, False)
        if target is None:
            to = accounts.profit_taken(intent.asset)
        elif any(
            (one.to_address, one.asset, one.minor, one.of_customer) == came
            for one in await booked(session, intent)
        ):  # these books had lost its row: it is in them as an arrival, and nobody's until now
            to = accounts.unattributed("house", intent.asset)
        else:
            to = accounts.on_chain(intent.network, intent.asset, target)
        lines = _lines(
            self._assets,
            [
                (to, intent.asset, -paid),
                (accounts.on_chain(intent.network, intent.asset, source), intent.asset, paid),
                (accounts.gas_expense(intent.network, native), native, -gas),
                (accounts.on_chain(intent.network, native, source), native, gas),
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
        await self._end(session, row, intent, entry_id)

    async def _end(
        self, session: AsyncSession, row: Any, intent: Intent, entry_id: str | None
    ) -> None:
        """Keep how it ended and why; what the signer refused is a case that holds back its like."""
        state, reason = ended(intent)
        await session.execute(
            text(
                "UPDATE treasury_moves SET state = :state, reason = :reason, entry_id = :entry,"
                " tx_hash = :hash, ended_at = clock_timestamp() WHERE id = :id"
            ),
            {
                "id": row.id, "entry": entry_id, "state": state, "reason": reason,
                "hash": intent.mined_tx_hash,
            },
        )  # fmt: skip
        if state == "done":
            await casework.went(session, kind=row.kind, intent=intent)
        if state == "refused":
            money = self._assets.money(intent.asset, intent.amount_minor)
            await casework.refused(session, move_id=row.id, kind=row.kind, intent=intent,
                                   money=money, reason=str(reason))  # fmt: skip

    async def vouches_for(self, session: AsyncSession, intent: Intent) -> bool:
        """An approved move says the same, and both its ends lie where its kind says. Nothing goes
        to a hot address that is being emptied, or was."""
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
        source, target = ROUTES[row.kind]
        house = await custody.house_addresses(session, network=intent.network)
        if not same or (target is not None and house.get(intent.to_address) != target):
            return False
        if source == "warm" and house.get(intent.pinned_address or "") != "warm":
            return False
        if target != "hot" or intent.mined_tx_hash is not None:
            return True
        return not await hot.given_up(session, intent.network, intent.to_address)


def ended(intent: Intent) -> tuple[str, str | None]:
    """(state, reason) of the move whose payment ended so. A refusal by the signer is told from a
    failure of the chain: the first comes again until its policy or the move is another one."""
    if intent.state is State.FINAL_OK:
        return "done", None
    if (intent.reason or "").startswith(REFUSED_BY_SIGNER):
        return "refused", (intent.reason or "").removeprefix(REFUSED_BY_SIGNER)
    if intent.state is State.FINAL_REVERTED:
        return "failed", "reverted"
    return "failed", intent.reason or str(intent.state)


def _lines(assets: AssetBook, wanted: list[tuple[AccountSpec, str, int]]) -> list[ledger.Line]:
    sums: dict[AccountSpec, tuple[str, int]] = {}
    for account, asset, minor in wanted:
        sums[account] = (asset, sums.get(account, (asset, 0))[1] + minor)
    return [
        ledger.Line(account, Money(minor, assets.get(asset)))
        for account, (asset, minor) in sums.items()
        if minor
    ]
