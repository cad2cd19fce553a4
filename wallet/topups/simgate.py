"""The simulated gateway: another company's computer, in its own schema, with its own commits.

It takes a charge once by reference, asks for 3-D Secure, declines, answers late, takes money back
after it was spent, and keeps its own list of all it owes us. Faults make it do so for every card:
`card_declined`, `card_late`, `card_three_d_secure`, `card_silent`, `card_charged_back`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import faults
from wallet.db import Database
from wallet.errors import InvalidField, InvalidState, NotFound
from wallet.money import AssetBook, Money
from wallet.topups.gateway import (
    CardFacts,
    ChargeAnswer,
    ChargeOrder,
    ChargeReferenceReused,
    GatewaySilent,
    ListKind,
    ListLine,
)
from wallet.topups.simgate_cards import EXPIRES, TEST_CARDS

GATEWAY = "simgate"
TICK_SECONDS = 1
DUE = (
    "EXISTS (SELECT FROM simgate.charges WHERE status = 'processing' AND due_at <= bifold_now())"
    " OR EXISTS (SELECT FROM simgate.charges WHERE status = 'succeeded'"
    " AND charge_back_at <= bifold_now())"
)
DUE_BATCH = 200
LETTERS = "abcdefghijkmnpqrstuvwxyz"  # none of its tokens can look like a number
TOKEN_LETTERS = 24
LATE_SECONDS = 20
CHARGE_BACK_SECONDS = 60
DECLINED = "The card's bank declined it."
REFUSED_BY_HOLDER = "The card's holder did not confirm it."
CANCELLED = "It was stopped before it ended."


class SimulatedGateway:
    """One gateway. Every method is one transaction of its own. `action_base`: where its page is."""

    name = GATEWAY
    simulated = True

    def __init__(self, db: Database, assets: AssetBook, *, action_base: str = "") -> None:
        self._db = db
        self._assets = assets
        self._action_base = action_base.rstrip("/")

    async def tokenise(self, test_card: str) -> CardFacts:
        """A new token for a test card: what a real gateway's own form does. Raises InvalidField."""
        if test_card not in TEST_CARDS:
            raise InvalidField(f"Test cards: {', '.join(TEST_CARDS)}.", field="/test_card")
        token = "tok_sim_" + "".join(secrets.choice(LETTERS) for _ in range(TOKEN_LETTERS))
        async with self._db.transaction() as session:
            await session.execute(
                text("INSERT INTO simgate.tokens (token, test_card) VALUES (:token, :card)"),
                {"token": token, "card": test_card},
            )
        return _facts(token, test_card)

    async def card(self, token: str) -> CardFacts | None:
        """See `Gateway.card`."""
        async with self._db.transaction() as session:
            await _speak(session)
            known = await _card(session, token)
        return _facts(token, known) if known is not None else None

    async def forget(self, token: str) -> None:
        """See `Gateway.forget`."""
        async with self._db.transaction() as session:
            await session.execute(
                text(
                    "UPDATE simgate.tokens SET forgotten_at = coalesce(forgotten_at, bifold_now())"
                    " WHERE token = :token"
                ),
                {"token": token},
            )

    async def charge(self, order: ChargeOrder) -> ChargeAnswer:
        """See `Gateway.charge`. The answer may be withheld after the money was taken."""
        async with self._db.transaction() as session:
            known = await _charge(session, order.reference, lock=True)
            if known is None:
                known = await self._take(session, order)
            elif known["token"] is not None and not _same(known, order):
                raise ChargeReferenceReused("The gateway has another charge by this reference.")
            silent = await faults.enabled(session, "card_silent")
        if silent:
            raise GatewaySilent("The gateway does not answer.")
        return self._answer(known)

    async def query(self, reference: str) -> ChargeAnswer | None:
        """See `Gateway.query`."""
        async with self._db.transaction() as session:
            await _speak(session)
            await self._finish_due(session)
            known = await _charge(session, reference)
        return self._answer(known) if known is not None else None

    async def cancel(self, reference: str) -> ChargeAnswer:
        """See `Gateway.cancel`: an unknown reference is kept, and cannot be charged later."""
        async with self._db.transaction() as session:
            await _speak(session)
            known = await _charge(session, reference, lock=True)
            if known is None:
                await session.execute(
                    text(
                        "INSERT INTO simgate.charges (reference, status, fate, reason, ended_at)"
                        " VALUES (:reference, 'cancelled', 'declined', :reason, bifold_now())"
                    ),
                    {"reference": reference, "reason": CANCELLED},
                )
            elif known["status"] in ("processing", "action_needed"):
                await _end(session, reference, "cancelled", CANCELLED)
            known = await _charge(session, reference)
        assert known is not None
        return self._answer(known)

    async def lines(self, asset: str, *, after: int, limit: int) -> Sequence[ListLine]:
        """See `Gateway.lines`. The list speaks even when the gateway's people do not."""
        async with self._db.transaction() as session:
            return await read_list(session, asset, after=after, limit=limit)

    async def assets(self) -> Sequence[str]:
        """See `Gateway.assets`."""
        async with self._db.transaction() as session:
            rows = await session.execute(text("SELECT asset FROM simgate.balances ORDER BY asset"))
            return list(rows.scalars())

    async def tick(self) -> None:
        """The gateway at work: what is due is taken, declined or charged back."""
        async with self._db.transaction() as session:
            await self._finish_due(session)

    async def confirm(self, reference: str, *, agreed: bool) -> None:
        """The card's holder answers 3-D Secure. Raises NotFound, InvalidState."""
        async with self._db.transaction() as session:
            known = await _charge(session, reference, lock=True)
            if known is None:
                raise NotFound("There is no such charge.")
            if known["status"] != "action_needed":
                raise InvalidState("Nothing is asked here.", extra={"state": known["status"]})
            if agreed:
                await _capture(session, known)
            else:
                await _end(session, reference, "declined", REFUSED_BY_HOLDER)

    async def charge_back(self, reference: str) -> None:
        """The card's holder has their bank take it back. Again changes nothing.

        Raises NotFound, InvalidState (nothing was taken).
        """
        async with self._db.transaction() as session:
            known = await _charge(session, reference, lock=True)
            if known is None:
                raise NotFound("There is no such charge.")
            if known["status"] == "succeeded":
                await _take_back(session, known)
            elif known["status"] != "charged_back":
                raise InvalidState("Nothing was taken.", extra={"state": known["status"]})

    async def change_mind(self, reference: str) -> None:
        """A charge that was declined or cancelled is taken after all, as happens (tests)."""
        async with self._db.transaction() as session:
            known = await _charge(session, reference, lock=True)
            if known is None or known["status"] not in ("declined", "cancelled"):
                raise InvalidState("It has not ended that way.")
            await _capture(session, known)

    async def misreport(self, reference: str, money: Money, kind: ListKind) -> None:
        """Its list says what its answers do not, as happens (tests and drills). Negative: back."""
        known = {"asset": money.asset.code, "reference": reference}
        async with self._db.transaction() as session:
            await _move(session, known, kind, money.minor)

    async def _take(self, session: AsyncSession, order: ChargeOrder) -> RowMapping:
        """Decide at the door what becomes of it."""
        known = await _card(session, order.token)
        door = TEST_CARDS[known].door if known is not None else "decline"

        async def plays(fault: str, behaviour: str) -> bool:
            return door == behaviour or await faults.enabled(session, fault)

        declines = await plays("card_declined", "decline")
        asks = await plays("card_three_d_secure", "three_d_secure")
        late = await plays("card_late", "late")
        back = await plays("card_charged_back", "charge_back")
        await session.execute(
            text(
                "INSERT INTO simgate.charges (reference, token, asset, amount_minor, status, fate,"
                " reason, due_at, charge_back_seconds) VALUES (:reference, :token, :asset, :amount,"
                " :status, :fate, :reason, bifold_now() + :wait * interval '1 second', :back)"
            ),
            {
                "reference": order.reference,
                "token": order.token,
                "asset": order.money.asset.code,
                "amount": order.money.minor,
                "status": "action_needed" if asks and not declines else "processing",
                "fate": "declined" if declines else "succeeded",
                "reason": DECLINED if declines else None,
                "wait": LATE_SECONDS if late else 0,
                "back": CHARGE_BACK_SECONDS if back else None,
            },
        )
        taken = await _charge(session, order.reference)
        assert taken is not None
        if taken["status"] == "processing" and not late:
            await _finish(session, taken)
            taken = await _charge(session, order.reference)
            assert taken is not None
        return taken

    async def _finish_due(self, session: AsyncSession) -> None:
        rows = await session.execute(
            text(
                "SELECT * FROM simgate.charges WHERE (status = 'processing'"
                " AND due_at <= bifold_now()) OR (status = 'succeeded'"
                " AND charge_back_at <= bifold_now())"
                " ORDER BY asset, reference LIMIT :batch FOR UPDATE SKIP LOCKED"
            ),
            {"batch": DUE_BATCH},
        )
        for known in rows.mappings().all():
            if known["status"] == "processing":
                await _finish(session, known)
            else:
                await _take_back(session, known)

    def _answer(self, known: RowMapping) -> ChargeAnswer:
        status = known["status"]
        money = None
        if status in ("succeeded", "charged_back"):
            money = self._assets.money(known["asset"], int(known["amount_minor"]))
        asks = status == "action_needed"
        return ChargeAnswer(
            status=status,
            at=known["ended_at"] or known["received_at"],
            money=money,
            reason=known["reason"],
            action_url=f"{self._action_base}/top-up/{known['reference']}/check" if asks else None,
        )


async def read_list(
    session: AsyncSession, asset: str, *, after: int = 0, limit: int | None = None
) -> list[ListLine]:
    """The gateway's list as of the caller's snapshot."""
    rows = await session.execute(
        text(
            "SELECT id, asset, kind, reference, amount_minor, balance_after_minor, at"
            " FROM simgate.list WHERE asset = :asset AND id > :after ORDER BY id LIMIT :limit"
        ),
        {"asset": asset, "after": after, "limit": limit},
    )
    return [
        ListLine(
            row.id, row.asset, row.kind, row.reference, int(row.amount_minor),
            int(row.balance_after_minor), row.at,
        )
        for row in rows
    ]  # fmt: skip


async def gateway_balances(session: AsyncSession) -> dict[str, int]:
    """What the gateway says it owes us, by asset, in minor units, as of the caller's snapshot."""
    rows = await session.execute(text("SELECT asset, balance_minor FROM simgate.balances"))
    return {row.asset: int(row.balance_minor) for row in rows}


async def _speak(session: AsyncSession) -> None:
    if await faults.enabled(session, "card_silent"):
        raise GatewaySilent("The gateway does not answer.")


async def _finish(session: AsyncSession, known: RowMapping) -> None:
    if known["fate"] == "declined":
        await _end(session, known["reference"], "declined", known["reason"] or DECLINED)
    else:
        await _capture(session, known)


async def _capture(session: AsyncSession, known: RowMapping) -> None:
    """Take the money: status, balance and line in one."""
    await session.execute(
        text(
            "UPDATE simgate.charges SET charge_back_at ="
            " bifold_now() + charge_back_seconds * interval '1 second' WHERE reference = :reference"
        ),
        {"reference": known["reference"]},
    )
    await _end(session, known["reference"], "succeeded", None)
    await _move(session, known, "charge", int(known["amount_minor"]))


async def _take_back(session: AsyncSession, known: RowMapping) -> None:
    await _end(session, known["reference"], "charged_back", None)
    await _move(session, known, "charge_back", -int(known["amount_minor"]))


async def _move(
    session: AsyncSession, known: Mapping[Any, Any], kind: str, amount_minor: int
) -> None:
    """Change what we are owed and write the line that says so. The balance's row orders the ids."""
    await session.execute(
        text("INSERT INTO simgate.balances (asset) VALUES (:asset) ON CONFLICT DO NOTHING"),
        {"asset": known["asset"]},
    )
    values: dict[str, Any] = {
        "asset": known["asset"],
        "kind": kind,
        "reference": known["reference"],
        "amount": amount_minor,
    }
    await session.execute(
        text(
            "UPDATE simgate.balances SET balance_minor = balance_minor + :amount"
            " WHERE asset = :asset"
        ),
        values,
    )
    await session.execute(
        text(
            "INSERT INTO simgate.list (asset, kind, reference, amount_minor, balance_after_minor)"
            " SELECT asset, :kind, :reference, :amount, balance_minor FROM simgate.balances"
            " WHERE asset = :asset"
        ),
        values,
    )


async def _card(session: AsyncSession, token: str) -> str | None:
    found = await session.execute(
        text("SELECT test_card FROM simgate.tokens WHERE token = :token AND forgotten_at IS NULL"),
        {"token": token},
    )
    return found.scalar_one_or_none()


async def _charge(
    session: AsyncSession, reference: str, *, lock: bool = False
) -> RowMapping | None:
    if lock:  # two deliveries of one charge queue here; the second finds the first's row
        await session.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended('simgate/' || :reference, 0))"),
            {"reference": reference},
        )
    row = await session.execute(
        text(
            "SELECT * FROM simgate.charges WHERE reference = :reference"
            + (" FOR UPDATE" if lock else "")
        ),
        {"reference": reference},
    )
    return row.mappings().one_or_none()


async def _end(session: AsyncSession, reference: str, status: str, reason: str | None) -> None:
    await session.execute(
        text(
            "UPDATE simgate.charges SET status = :status, reason = :reason, ended_at = bifold_now()"
            " WHERE reference = :reference"
        ),
        {"reference": reference, "status": status, "reason": reason},
    )


def _same(known: RowMapping, order: ChargeOrder) -> bool:
    return (
        known["token"] == order.token
        and known["asset"] == order.money.asset.code
        and int(known["amount_minor"]) == order.money.minor
    )


def _facts(token: str, test_card: str) -> CardFacts:
    card = TEST_CARDS[test_card]
    return CardFacts(token, card.brand, card.last4, *EXPIRES)
