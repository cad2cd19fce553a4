"""A statement as a file, for the API and the web app alike."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from starlette.responses import Response

from api.web.i18n import Language
from api.web.statement_words import paper_words
from wallet import identity, statements
from wallet.bootstrap import Services
from wallet.errors import Busy
from wallet.identity import User
from wallet.money import Asset
from wallet.statements import MAX_PAPER_LINES, Holder, Statement

StatementForm = Literal["json", "csv", "pdf", "camt053"]
FileForm = Literal["csv", "pdf", "camt053"]
MEDIA: dict[StatementForm, tuple[str, str]] = {
    "json": ("application/json", "json"),
    "csv": ("text/csv; charset=utf-8", "csv"),
    "pdf": ("application/pdf", "pdf"),
    "camt053": ("application/xml; charset=utf-8", "xml"),
}
# Printing keeps a core busy for up to a second: one at a time, so that other requests have theirs.
_PRESS = ThreadPoolExecutor(max_workers=1, thread_name_prefix="statement")
ONE_PERSON_PRINTS = 2
"""Files of one person at the press and before it: nobody fills the queue that all stand in."""
_printing: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class Made:
    """A statement that adds up, and whose. `owner` is read for what prints a name: files."""

    statement: Statement
    principal_id: str
    owner: User | None


async def read(
    services: Services,
    *,
    principal_id: str,
    asset: Asset,
    since: datetime,
    until: datetime | None,
    form: StatementForm,
) -> Made:
    """Out of the books, in a read that is over before anything is printed.

    Raises InvalidField, NotAcceptable for a form that cannot say it, StatementDefect.
    """
    if form == "camt053":
        statements.fits(asset)
    async with services.db.reading() as reader:
        made = await statements.build(
            reader,
            principal_id=principal_id,
            asset=asset,
            since=since,
            until=until,
            max_lines=MAX_PAPER_LINES if form == "pdf" else None,
        )
    if form not in ("pdf", "camt053"):
        return Made(made, principal_id, None)
    async with services.db.snapshot() as session:
        return Made(made, principal_id, await identity.get_user(session, principal_id))


async def answer(services: Services, made: Made, *, form: FileForm, language: Language) -> Response:
    """The file, printed in a thread, with the name to keep it under.

    Raises Busy while ONE_PERSON_PRINTS of the same person are not ready.
    """
    statement, owner, now = made.statement, made.owner, datetime.now(UTC)
    sandbox = services.settings.sandbox
    work: Callable[[], bytes]
    if owner is None:
        work = partial(statements.as_csv, statement)
    elif form == "camt053":
        holder = Holder(owner.display_name, owner.handle)
        work = partial(
            statements.as_camt053, statement, principal_id=owner.id, holder=holder, made_at=now,
            sandbox=sandbox,
        )  # fmt: skip
    else:
        holder = Holder(owner.display_name, owner.handle)
        words = paper_words(language, sandbox=sandbox)
        work = partial(statements.as_pdf, statement, holder=holder, words=words, made_at=now)
    if _printing[made.principal_id] >= ONE_PERSON_PRINTS:
        raise Busy("Two files of yours are being made; try again in a moment.")
    _printing[made.principal_id] += 1
    printing = _PRESS.submit(work)
    # Who leaves does not stop the press: a file counts until it is out of it.
    loop = asyncio.get_running_loop()
    printing.add_done_callback(lambda _: loop.call_soon_threadsafe(_printed, made.principal_id))
    body = await asyncio.wrap_future(printing)
    file = named(made, body, form)
    if form == "pdf":
        file.headers["Content-Language"] = language.tag
        file.headers["Vary"] = "Accept-Language"
    return file


def _printed(principal_id: str) -> None:
    _printing[principal_id] -= 1
    if not _printing[principal_id]:
        del _printing[principal_id]


def named(made: Made, body: bytes, form: StatementForm) -> Response:
    """The answer that a browser keeps under a name which says asset and period."""
    media, ending = MEDIA[form]
    statement = made.statement
    period = f"{statement.since:%Y%m%d}-{statement.until:%Y%m%d}"
    name = f"statement-{statement.asset.code}-{period}.{ending}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(body, media_type=media, headers=headers)
