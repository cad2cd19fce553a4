"""Moving card top-ups on: what the gateway says is asked with no transaction open, then booked.

`advance` may run any number of times, at once or after a death anywhere: that the gateway is to be
told is committed before it is told, and ever after it is asked first. Neither silence nor our own
expiry means failed: only the gateway's word does, and a later word that the money came is credited.
"""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import RowMapping, text
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases, jobs, ledger, outbox
from wallet.crashpoints import hit
from wallet.db import Database
from wallet.errors import WalletError
from wallet.ledger import accounts
from wallet.ledger.errors import LedgerError
from wallet.money import AssetBook, Money, UnknownAsset
from wallet.topups import booking, repository
from wallet.topups.gateway import ChargeAnswer, ChargeOrder, Gateway, GatewaySilent, ListLine
from wallet.topups.service import ADVANCE, notice
from wallet.topups.simgate import GATEWAY
from wallet.topups.states import Waiting

TICK_SECONDS = 1
# A line of the simulated gateway that was not read, or a top-up whose time has come.
DUE = (
    "EXISTS (SELECT FROM simgate.balances a WHERE EXISTS (SELECT FROM simgate.list s"
    " WHERE s.asset = a.asset AND s.id > coalesce((SELECT max(l.line_id) FROM gateway_lines l"
    f" WHERE l.gateway = '{GATEWAY}' AND l.asset = a.asset), 0))) OR"
    f" EXISTS (SELECT FROM topups WHERE {repository.DUE})"
)
SWEEP_BATCH = 100
LIST_BATCH = 200
ASK_AGAIN_SECONDS = 2
ASK_SELDOM_SECONDS = 30
PATIENCE_SECONDS = 300  # after this long a silent gateway is asked seldom
NEVER_TOLD = "It was not sent in time; nothing was taken."
NO_TRANSFER = "No transfer of this amount arrived in time."
# What is wrong with one line of the list, and not with the database or whoever reads it.
REFUSED = (LedgerError, UnknownAsset, DataError, IntegrityError, TypeError)

log = structlog.get_logger(__name__)


class TopupTasks:
    """The jobs `topups.advance` and `cards.forget`, the sweep, and the reader of the list."""

    def __init__(self, db: Database, assets: AssetBook, gateway: Gateway) -> None:
        self._db = db
        self._assets = assets
        self._gateway = gateway

    async def advance(self, topup_id: str) -> None:
        """Go on as far as possible now."""
        async with self._db.transaction() as session:
            row = await repository.lock(session, topup_id)
            if row is None:
                return
            late = row["expires_at"] is not None and row["now"] >= row["expires_at"]
            first = row["told_at"] is None
            if row["method"] != "card" or (first and late):
                if row["status"] == "pending" and late:
                    card = row["method"] == "card"
                    await self._fail(session, row, NEVER_TOLD if card else NO_TRANSFER)
                return
            if first and row["status"] != "pending":
                if row["next_at"] is None:
                    return
                first = False  # never told, and its gateway's list has it: only asked
            order = await self._order(session, row)
            await repository.mark_told(session, topup_id)
        answer = await self._ask(order, first=first, late=late)
        await self.hear(topup_id, answer)

    async def called_back(self, reference: str) -> None:
        """The gateway says that something happened: a reason to ask it, and no more than that."""
        async with self._db.transaction() as session:
            await _promise(session, reference)

    async def forget(self, card_id: str) -> None:
        """A removed card's token becomes worthless at the gateway too."""
        async with self._db.transaction() as session:
            token = await session.scalar(
                text("SELECT token FROM cards WHERE id = :id AND removed_at IS NOT NULL"),
                {"id": card_id},
            )
            # A payment that has not been told yet still needs it.
            busy = await session.scalar(
                text("SELECT 1 FROM topups WHERE card_id = :id AND status = 'pending'"),
                {"id": card_id},
            )
        if busy is not None:
            raise GatewaySilent("A payment of this card is under way; later.")
        if token is not None:
            await self._gateway.forget(token)

    async def tick(self) -> None:
        """Read the gateway's list, then promise work on every top-up whose time has come."""
        for asset in await self._gateway.assets():
            while await self._read(asset):
                pass
        async with self._db.transaction() as session:
            due = await repository.take_due(
                session, limit=SWEEP_BATCH, again_in_seconds=ASK_AGAIN_SECONDS
            )
            for topup_id in due:
                await _promise(session, topup_id)

    async def hear(self, topup_id: str, answer: ChargeAnswer | None) -> None:
        """Write down what the gateway said, None for silence. What is booked stays booked."""
        async with self._db.transaction() as session:
            row = await repository.lock(session, topup_id)
            if row is None:
                return
            resolved = await repository.resolved(session, topup_id)
            if "adjust" in resolved:
                return
            if answer is None:
                await self._wait(session, row, "gateway_answer")
            elif answer.status == "processing":
                await self._wait(session, row, "gateway_settlement")
            elif answer.status == "action_needed":
                await self._wait(session, row, "three_d_secure", action_url=answer.action_url)
            elif answer.status in ("declined", "cancelled"):
                await self._refused(session, row, answer, known=bool(resolved))
            else:
                await self._taken(session, row, answer)
            await repository.look_again(session, topup_id, again_in_seconds=ASK_SELDOM_SECONDS)
            hit("topup.before_commit_heard")

    async def _ask(self, order: ChargeOrder, *, first: bool, late: bool) -> ChargeAnswer | None:
        """Tell the gateway the first time; later ask, and tell again only what it never heard of.

        Past our own expiry it is told to stop, and what it then says is what happened.
        """
        answer: ChargeAnswer | None = None
        try:
            if not first:
                hit("topup.before_query")
                answer = await self._gateway.query(order.reference)
                hit("topup.after_query")
            unended = answer is None or answer.status in ("processing", "action_needed")
            if late and unended:
                hit("topup.before_cancel")
                answer = await self._gateway.cancel(order.reference)
                hit("topup.after_cancel")
            elif answer is None:
                hit("topup.before_charge")
                answer = await self._gateway.charge(order)
                hit("topup.after_charge")
        except GatewaySilent:
            log.info("topup.gateway_silent", topup=order.reference)
            return None
        return answer

    async def _refused(
        self, session: AsyncSession, row: RowMapping, answer: ChargeAnswer, *, known: bool
    ) -> None:
        if row["status"] == "pending":
            await self._fail(session, row, answer.reason or answer.status)
        elif row["entry_id"] is not None and not known:
            await self._doubt(session, row, "The gateway refuses what it had taken.", answer)

    async def _taken(self, session: AsyncSession, row: RowMapping, answer: ChargeAnswer) -> None:
        """It has the money, or had it: credit what is not credited, then take back."""
        asked = self._assets.money(row["asset"], int(row["amount_minor"]))
        if answer.money != asked:
            await self._doubt(session, row, f"The gateway took {answer.money}.", answer)
            return
        current: RowMapping | None = row
        if row["entry_id"] is None:
            await booking.credit(session, row, asked, gateway=self._gateway.name, at=answer.at)
            current = await repository.lock(session, row["id"])
        assert current is not None
        if answer.status == "charged_back" and current["charge_back_entry_id"] is None:
            await booking.charge_back(
                session, current, asked, gateway=self._gateway.name, at=answer.at
            )

    async def _fail(self, session: AsyncSession, row: RowMapping, reason: str) -> None:
        await repository.end(session, row, "failed", reason=reason)
        money = self._assets.money(row["asset"], int(row["amount_minor"]))
        await outbox.put(
            session,
            notice(row["principal_id"], row["id"], money, row["method"], "failed", reason=reason),
        )

    async def _wait(
        self,
        session: AsyncSession,
        row: RowMapping,
        waiting: Waiting,
        action_url: str | None = None,
    ) -> None:
        if row["status"] != "pending":
            return
        young = (row["now"] - row["created_at"]).total_seconds() < PATIENCE_SECONDS
        await repository.wait(
            session, row["id"], waiting_for=waiting, action_url=action_url,
            again_in_seconds=ASK_AGAIN_SECONDS if young else ASK_SELDOM_SECONDS,
        )  # fmt: skip
        if waiting == "three_d_secure" and row["waiting_for"] != waiting:
            money = self._assets.money(row["asset"], int(row["amount_minor"]))
            await outbox.put(
                session,
                notice(row["principal_id"], row["id"], money, row["method"], "action_needed"),
            )

    async def _doubt(
        self, session: AsyncSession, row: RowMapping, what: str, answer: ChargeAnswer
    ) -> None:
        """Nothing is booked on a word that does not fit: a person looks."""
        if row["status"] == "pending":
            await repository.wait(
                session, row["id"], waiting_for="review", again_in_seconds=ASK_SELDOM_SECONDS
            )
        await cases.open_case(
            session, kind="topup_in_doubt", subject=row["id"], asset=row["asset"], what=what,
            evidence={"asked_minor": str(int(row["amount_minor"])), "answer": answer.status},
        )  # fmt: skip

    async def _order(self, session: AsyncSession, row: RowMapping) -> ChargeOrder:
        """The order as the gateway gets it: the same for ever."""
        token: Any = await session.scalar(
            text("SELECT token FROM cards WHERE id = :id"), {"id": row["card_id"]}
        )
        money = self._assets.money(row["asset"], int(row["amount_minor"]))
        return ChargeOrder(reference=row["id"], token=str(token), money=money)

    # The gateway's own list

    async def _read(self, asset: str) -> bool:
        """Read a batch. Whether there may be more: it was full and led on."""
        name = self._gateway.name
        async with self._db.transaction() as session:
            after = await repository.last_line(session, gateway=name, asset=asset)
        lines = await self._gateway.lines(asset, after=after, limit=LIST_BATCH)
        if not lines:
            return False
        async with self._db.transaction() as session:
            await repository.lock_list(session, name)
            after = await repository.last_line(session, gateway=name, asset=asset)
            for line in lines:
                if line.line_id > after:  # else a rival read it meanwhile
                    await self._keep_or_leave(session, asset, line)
            led_on = await repository.last_line(session, gateway=name, asset=asset) > after
        return len(lines) == LIST_BATCH and led_on

    async def _keep_or_leave(self, session: AsyncSession, asset: str, line: ListLine) -> None:
        """A line that makes no sense, or that the books refuse, is a person's: those behind it are
        read, and the auditor names the one that is missing."""
        try:
            async with session.begin_nested():
                await self._keep(session, line)
        except REFUSED as error:
            problem = error.code if isinstance(error, WalletError) else type(error).__name__
            await cases.open_case(
                session, kind="statement_line_aside", asset=asset,
                subject=f"{self._gateway.name} {asset} line {line.line_id}",
                what=f"The list of {self._gateway.name} in {asset} has a line that cannot be kept.",
                evidence={"problem": problem, "line": ascii(line)[:600]},
            )  # fmt: skip

    async def _keep(self, session: AsyncSession, line: ListLine) -> None:
        """A line of a top-up is a reason to ask about it; one of nobody's is booked as such."""
        entry_id = None
        ours = await repository.exists(session, line.reference)
        if not ours:
            money = Money(line.amount_minor, self._assets.get(line.asset))
            name = self._gateway.name
            entry_id = await booking.post(
                session,
                ledger.Command(
                    kind="gateway.unattributed", ref=line.reference, event_at=line.at,
                    meta={"gateway": name, "line_id": line.line_id},
                    lines=booking.movement(
                        accounts.gateway(name, line.asset),
                        accounts.unattributed(name, line.asset),
                        money,
                    ),
                ),
            )  # fmt: skip
            await cases.open_case(
                session, kind="topup_in_doubt", subject=line.reference, asset=line.asset,
                what=f"The gateway lists {money} for a reference that is not ours.",
                evidence={"amount_minor": str(line.amount_minor), "line": line.line_id},
            )  # fmt: skip
        await repository.insert_line(session, line, gateway=self._gateway.name, entry_id=entry_id)
        if ours and "adjust" in await repository.resolved(session, line.reference):
            await cases.open_case(
                session, kind="topup_in_doubt", subject=line.reference, asset=line.asset,
                what="The gateway lists more for a top-up that operators have resolved.",
                evidence={"amount_minor": str(line.amount_minor), "line": line.line_id},
            )  # fmt: skip
        elif ours:  # the line is read this once: whoever is silent now is asked again
            await repository.look_again(
                session, line.reference, again_in_seconds=ASK_SELDOM_SECONDS
            )
            await _promise(session, line.reference)


async def _promise(session: AsyncSession, topup_id: str) -> None:
    await jobs.enqueue(session, ADVANCE, once=f"{ADVANCE}:{topup_id}", topup_id=topup_id)
