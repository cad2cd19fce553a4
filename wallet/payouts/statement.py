"""Reading a bank's statement: every line once, into the books or beside what they already say.

Openings go to capital; incoming transfers are handed to whoever knows whose they are (`Incoming`).
Lines of payouts are held until the payout's last answer, then must agree with it. A bank that did
otherwise than it said is booked against `unattributed:<bank>`, marked and logged: a payment that
has ended stays ended, and nobody is refunded and paid in silence. A line that makes no sense, or
that the books refuse, is kept aside with a case (`lines.py`): no line stops those behind it.
"""

from __future__ import annotations

from typing import Protocol

import structlog
from sqlalchemy import RowMapping
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases, clock, ledger
from wallet.db import Database
from wallet.errors import WalletError
from wallet.ledger import accounts
from wallet.ledger.errors import LedgerError
from wallet.money import AssetBook, Money, UnknownAsset
from wallet.outbox import Notice
from wallet.payouts import lines as sense
from wallet.payouts import repository
from wallet.payouts.rails import Rail, StatementLine
from wallet.payouts.simbank import BANK, SimulatedBank

TICK_SECONDS = 1
# A line of the simulated bank that was not read, or one whose payout has had its last word.
DUE = (
    "EXISTS (SELECT FROM simbank.accounts a WHERE EXISTS (SELECT FROM simbank.statement s"
    " WHERE s.asset = a.asset AND s.id > greatest(0, (SELECT max(l.line_id) FROM bank_lines l"
    f" WHERE l.bank = '{BANK}' AND l.asset = a.asset), (SELECT max(k.line_id)"
    f" FROM bank_lines_aside k WHERE k.bank = '{BANK}' AND k.account = a.asset)))) OR"
    " EXISTS (SELECT FROM bank_lines l LEFT JOIN payouts p ON p.reference = l.reference"
    f" WHERE l.matched_at IS NULL AND l.problem IS NULL AND {repository.HAS_ITS_WORD})"
)
BATCH = 200
# Which lines agree with which last answer; each moves the payout's whole amount.
EXPECTED: dict[str, frozenset[str]] = {
    "settled": frozenset({"payout"}),
    "returned": frozenset({"payout", "return"}),
    "refused": frozenset(),
}
OPENINGS = {"EUR": 5_000_000, "MXN": 100_000_000}  # whole units, at the sandbox's first start
# What is wrong with one line, and not with the database or the process that reads it.
REFUSED = (LedgerError, UnknownAsset, DataError, IntegrityError)

log = structlog.get_logger(__name__)


class Incoming(Protocol):
    """Who knows whose an incoming transfer is. Top-ups do, one floor up."""

    async def take(
        self, session: AsyncSession, bank: str, line: StatementLine, money: Money
    ) -> None:
        """Book one credit of the statement, in the transaction that keeps its line."""
        ...


class StatementReader:
    """Keeps our books beside one bank's statement."""

    def __init__(self, db: Database, rail: Rail, assets: AssetBook, incoming: Incoming) -> None:
        self._db = db
        self._rail = rail
        self._assets = assets
        self._incoming = incoming

    async def tick(self) -> None:
        """Read what is new, then settle what is open. Any number may run; one at a time reads."""
        for asset in await self._rail.assets():
            while await self._read(asset):
                pass
        async with self._db.transaction() as session:
            await repository.lock_statement(session, self._rail.bank)
            for line in await repository.unmatched(session, bank=self._rail.bank, limit=BATCH):
                await self._match_or_leave(session, line)

    async def _read(self, account: str) -> bool:
        """Read a batch. Whether there may be more: it was full and led on."""
        bank = self._rail.bank
        async with self._db.transaction() as session:
            after = await repository.last_line(session, bank=bank, asset=account)
        lines = await self._rail.statement(account, after=after, limit=BATCH)
        if not lines:
            return False
        async with self._db.transaction() as session:
            await repository.lock_statement(session, bank)
            before = await repository.last_line(session, bank=bank, asset=account)
            newest = before
            for line in lines:
                number = line.line_id
                if not sense.is_line_id(number) or before < number <= newest:
                    await sense.open_case(
                        session, line, bank=bank, account=account, name=f"after {newest}",
                        problem="its number is not the next",
                    )  # fmt: skip
                elif number > newest:  # else a rival read it meanwhile
                    newest = number
                    await self._keep(session, account, line)
        return len(lines) == BATCH and newest > before

    async def _keep(self, session: AsyncSession, account: str, line: StatementLine) -> None:
        """Book and keep a line, or keep it aside; never stop at it."""
        now = await clock.now(session)
        problem = sense.problem_of(line, account=account, assets=self._assets, now=now)
        if problem is None:
            try:
                async with session.begin_nested():
                    await self._book_line(session, sense.printable(line))
            except REFUSED as error:
                problem = f"the books refuse it ({_code(error)})"
        if problem is not None:
            await sense.keep_aside(
                session, line, bank=self._rail.bank, account=account, problem=problem
            )

    async def _book_line(self, session: AsyncSession, line: StatementLine) -> None:
        money = Money(line.amount_minor, self._assets.get(line.asset))
        if line.kind == "opening":
            await self._book(session, "bank.opening", line, accounts.capital(line.asset), money)
        elif line.kind == "credit":
            await self._incoming.take(session, self._rail.bank, line, money)
        await repository.insert_line(
            session, line, bank=self._rail.bank, matched=line.kind in ("opening", "credit")
        )

    async def _match_or_leave(self, session: AsyncSession, line: RowMapping) -> None:
        """A line whose contradiction the books refuse waits for a person; the next is matched."""
        try:
            async with session.begin_nested():
                await self._match(session, line)
        except REFUSED as error:
            problem = f"the books refuse it ({_code(error)})"
            await repository.close_line(
                session, bank=line["bank"], line_id=line["line_id"], problem=problem
            )
            await cases.open_case(
                session, kind="statement_line_aside", asset=line["asset"],
                subject=f"{line['bank']} {line['asset']} {sense.name_of(line['line_id'])}",
                what=f"A line of {line['reference']} is not booked: {problem}.",
            )  # fmt: skip

    async def _match(self, session: AsyncSession, line: RowMapping) -> None:
        """A payout's line against the payout's last answer."""
        bank = self._rail.bank
        expected = EXPECTED.get(line["answer"] or "", frozenset())
        amount = int(line["amount_minor"])
        again = await repository.moved_before(session, line)
        if line["kind"] in expected and not again:
            agrees = abs(amount) == int(line["payout_minor"])
            problem = None if agrees else "the amount is not the payout's"
            if problem is not None:
                log.error("bank.wrong_amount", reference=line["reference"], line=line["line_id"])
            await repository.close_line(
                session, bank=bank, line_id=line["line_id"], problem=problem
            )
            return
        log.error(
            "bank.contradicts_itself",
            reference=line["reference"],
            payment=line["ref"],
            answer=line["answer"],
            line_kind=line["kind"],
        )
        money = Money(amount, self._assets.get(line["asset"]))
        await ledger.post(
            session,
            ledger.Command(
                kind="payout.contradicted",
                ref=line["ref"] or line["reference"],
                event_at=line["at"],
                lines=_movement(bank, accounts.unattributed(bank, line["asset"]), money),
                meta={"line_id": line["line_id"], "answer": line["answer"], "kind": line["kind"]},
                notices=[Notice(None, "payout.contradicted", line["reference"])],
            ),
        )
        await repository.mark_contradicted(session, reference=line["reference"])
        await repository.close_line(session, bank=bank, line_id=line["line_id"])

    async def _book(
        self,
        session: AsyncSession,
        kind: str,
        line: StatementLine,
        account: ledger.AccountSpec,
        money: Money,
    ) -> None:
        await ledger.post(
            session,
            ledger.Command(
                kind=kind,
                ref=line.reference,
                event_at=line.at,
                lines=_movement(self._rail.bank, account, money),
                meta={"bank": self._rail.bank, "line_id": line.line_id},
            ),
        )


def _code(error: Exception) -> str:
    return error.code if isinstance(error, WalletError) else type(error).__name__


def _movement(bank: str, account: ledger.AccountSpec, money: Money) -> list[ledger.Line]:
    """`money` onto our bank account (a debit), credited to `account`; negative is the way out."""
    return [
        ledger.Line(accounts.bank(bank, account.asset), Money(-money.minor, money.asset)),
        ledger.Line(account, money),
    ]


async def seed_house(
    db: Database, bank: SimulatedBank, assets: AssetBook, incoming: Incoming
) -> None:
    """Open the house's accounts at the simulated bank with capital. Again changes nothing."""
    for code, units in OPENINGS.items():
        asset = assets.get(code)
        await bank.open_account(Money(units * 10**asset.scale, asset))
    await StatementReader(db, bank, assets, incoming).tick()
