"""What an intent's moves do to its withdrawal, and how its end is booked (docs/ledger.md).

Called inside the transaction that moves the intent: the chain's word, the withdrawal's status, the
hold and the entry change together or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from chain.blocks import Receipt
from chain.registry import Network
from wallet import ledger, outbox
from wallet.ledger import accounts
from wallet.ledger.accounts import AccountSpec
from wallet.money import AssetBook, Money
from wallet.onchain.intents import CANCELLED, Intent
from wallet.onchain.states import State
from wallet.receivables import owes
from wallet.risk import limits
from wallet.withdrawals import fees, repository
from wallet.withdrawals.repository import Row
from wallet.withdrawals.service import notice
from wallet.withdrawals.states import TRANSITIONS, Status, status_of

log = structlog.get_logger(__name__)


class WithdrawalFollower:
    """The follower of purpose `withdrawal`."""

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
        receipt: Receipt | None = None,
    ) -> None:
        """Bring the withdrawal to where its intent is; at the end, book it."""
        to = status_of(intent)
        row = await repository.lock_by_intent(session, intent.id)
        if to is None or row is None or (to is row.status is Status.HELD):
            return
        if to not in TRANSITIONS[row.status]:
            raise AssertionError(f"{row.id}: {row.status} does not become {to}")
        changes: dict[str, Any] = {"status": str(to)}
        detail = _detail(intent, previous)
        if intent.state in (State.FINAL_OK, State.FINAL_REVERTED, State.CANCELLED, State.FAILED):
            changes |= self._end(intent, row)
            detail["fee"] = self._assets.money(row.asset, changes["fee_minor"]).json()
        if to is Status.IN_REVIEW:
            changes["failure_code"] = intent.reason
        event = f"withdrawal.{to}"
        if intent.state is State.SENT and previous is State.MINED:
            event = "withdrawal.reorged"
        row = await repository.update(session, row.id, changes)
        await repository.add_event(session, row.id, event, detail)
        told = notice(row, event, detail, self._assets)
        if to in (Status.SETTLED, Status.FAILED, Status.CANCELLED):
            entry_id = await self._book(session, intent, row, told, at)
            await repository.update(session, row.id, {"entry_id": entry_id})
        else:
            await outbox.put(session, told)
        if to in (Status.FAILED, Status.CANCELLED):
            await limits.release_outgoing(session, row.id)

    async def vouches_for(self, session: AsyncSession, intent: Intent) -> bool:
        """A held withdrawal of the same figures, with amount and bound held by its owner, who owes
        the house nothing."""
        owner = await repository.owner_of(session, intent.id)
        if owner is None or await owes(session, owner):
            return False  # one that is owed for ends at the collector's next look
        return await repository.is_backed(session, intent_id=intent.id, ref=intent.ref)

    def _end(self, intent: Intent, row: Row) -> dict[str, Any]:
        """The fee that is due: gas burnt for the payment, or for the cancel its owner asked for.

        What the house's own signer refused costs the customer nothing.
        """
        charged = intent.state in (State.FINAL_OK, State.FINAL_REVERTED) or (
            status_of(intent) is Status.CANCELLED
        )
        gas = (intent.gas_fee_wei or 0) if charged else 0
        due = fees.fee_due(gas, row.gas_rate, bound_minor=row.fee_bound_minor)
        paid_or_taken_back = intent.state is State.FINAL_OK or intent.reason == CANCELLED
        failure = None if paid_or_taken_back else intent.reason or str(intent.state)
        return {"fee_minor": due, "failure_code": failure}

    async def _book(
        self, session: AsyncSession, intent: Intent, row: Row, told: outbox.Notice,
        at: datetime | None,
    ) -> str | None:  # fmt: skip
        """One command: the entry, the hold's capture and release, the notice."""
        paid = row.amount_minor if intent.state is State.FINAL_OK else 0
        fee, gas = row.fee_minor or 0, intent.gas_fee_wei or 0
        held = row.amount_minor + row.fee_bound_minor
        native = self._networks[row.network].native_asset
        asset = row.asset
        lines = self._lines(
            [
                (accounts.customer(row.principal_id, asset), asset, -(paid + fee)),
                (accounts.on_chain(row.network, asset, "hot"), asset, paid),
                (accounts.fee_income("withdrawal", asset), asset, fee),
                (accounts.gas_expense(row.network, native), native, -gas),
                (accounts.on_chain(row.network, native, "hot"), native, gas),
            ]
        )
        return await ledger.post(
            session,
            ledger.Command(
                kind="withdrawal" if paid else f"withdrawal_{row.status}",
                ref=row.id,
                event_at=at,
                meta={
                    "network": row.network,
                    "tx_hash": intent.mined_tx_hash,
                    "block": intent.mined_block,
                },
                lines=lines,
                close=[ledger.HoldClosing(row.hold_id, paid + fee, held - paid - fee)],
                notices=[told],
            ),
        )

    def _lines(self, moves: Sequence[tuple[AccountSpec, str, int]]) -> list[ledger.Line]:
        """One line an account, none of zero: the native coin's hot account may come up twice."""
        sums: dict[AccountSpec, tuple[str, int]] = {}
        for account, asset, minor in moves:
            sums[account] = (asset, sums.get(account, (asset, 0))[1] + minor)
        return [
            ledger.Line(account, Money(minor, self._assets.get(asset)))
            for account, (asset, minor) in sums.items()
            if minor
        ]


def _detail(intent: Intent, previous: State) -> dict[str, Any]:
    detail: dict[str, Any] = {}
    if intent.mined_tx_hash is not None:
        detail |= {"tx_hash": intent.mined_tx_hash, "block_number": intent.mined_block}
    if intent.reason is not None:
        detail["reason"] = intent.reason
    if intent.nonce is not None:
        detail["nonce"] = intent.nonce
    detail["from"] = str(previous)
    return detail
