"""Wallets elsewhere that a person looks at: imported, shown with their age, removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api import cursors
from api.errors import InvalidCursor
from api.web import drafts
from api.web.once import new_key, once
from api.web.route import WebRoute
from api.web.visit import Visit, member
from wallet import watch
from wallet.db import Session
from wallet.errors import WalletError
from wallet.throttle import hit
from wallet.watch import Held, SecretRefused, WatchDraft, Watched

FLOW = "watched"
ROWS = 50
IMPORTS_PER_HOUR = 60
WINDOW_SECONDS = 3600
OLD_SECONDS = 180  # a figure older than this is marked: the network, or we, are late

router = APIRouter(route_class=WebRoute, include_in_schema=False)
Member = Annotated[Visit, Depends(member)]


@router.get("/watched")
async def listed(visit: Member) -> Response:
    """All of them, newest first, and the form for another."""
    services = visit.services
    try:
        cursor = cursors.decode(visit.request.query_params.get("cursor"))
    except InvalidCursor:
        cursor = None
    async with services.db.snapshot() as session:
        rows = await watch.page(session, principal_id=visit.member.id, limit=ROWS, cursor=cursor)
        shown, following = cursors.next_cursor(
            rows, ROWS, lambda row: (row["created_at"], row["id"])
        )
        items = await watch.overview(
            session, shown, networks=services.networks, assets=services.assets
        )
    return visit.page(
        "watched.html",
        items=[(item, _in_use(item.balances), _oldest(item)) for item in items],
        waiting=any(not item.complete for item in items),
        next_url=f"/watched?cursor={following}" if following else None,
        several=len(services.networks) > 1,
        old_seconds=OLD_SECONDS,
        removed=visit.request.query_params.get("removed") == "1",
        errors=drafts.told(visit),
        values=drafts.recall(visit, FLOW),
        key=new_key(),
        most=watch.MAX_WATCHED,
        label_limit=watch.MAX_LABEL,
    )


@router.post("/watched")
async def add(visit: Member) -> Response:
    """Import one. What looks like a secret is dropped here: not even the draft keeps it."""
    fields = await visit.form()
    draft = WatchDraft(source=fields.get("source", ""), label=fields.get("label", ""))
    try:
        watch.refuse_secrets(draft)
    except SecretRefused as error:
        drafts.forget(visit, FLOW)
        return drafts.tell(visit, "/watched", error, at="")
    drafts.keep(visit, FLOW, {"source": draft.source, "label": draft.label})
    principal_id = visit.member.id

    async def count() -> None:
        async with visit.services.db.transaction() as session:
            await hit(
                session, f"watch:{principal_id}", limit=IMPORTS_PER_HOUR,
                window_seconds=WINDOW_SECONDS,
            )  # fmt: skip

    async def work(session: Session) -> str:
        made = await watch.add(
            session, principal_id=principal_id, draft=draft, deriver=visit.services.deriver
        )
        return f"/watched/{made['id']}"

    try:
        path = await once(visit, fields, work, before=count)
    except WalletError as error:
        return drafts.tell(visit, "/watched", error)
    drafts.forget(visit, FLOW)
    return visit.go(path)


@router.get("/watched/{watched_id}")
async def one(visit: Member, watched_id: str) -> Response:
    """What it holds by network and asset, and address by address for a key."""
    services = visit.services
    async with services.db.snapshot() as session:
        row = await watch.get(session, principal_id=visit.member.id, watched_id=watched_id)
        item = await watch.details(session, row, networks=services.networks, assets=services.assets)
    places = [(one, _in_use(one.balances)) for one in item.addresses]
    return visit.page(
        "watched_one.html",
        item=item,
        in_use=[place for place in places if place[0].used],
        unused=[place[0] for place in places if not place[0].used],
        several=len(services.networks) > 1,
        old_seconds=OLD_SECONDS,
    )


@router.post("/watched/{watched_id}/remove")
async def remove(visit: Member, watched_id: str) -> Response:
    """Watch it no more."""
    await visit.form()

    async def work(session: Session) -> None:
        await watch.remove(session, principal_id=visit.member.id, watched_id=watched_id)

    await visit.services.db.run(work)
    return visit.go("/watched?removed=1")


def _in_use(balances: Sequence[Held]) -> list[Held]:
    """Those that are not zero."""
    return [held for held in balances if held.money.minor]


def _oldest(item: Watched) -> Held | None:
    """The figure that was read longest ago: the age of them all."""
    return max(item.balances, key=lambda held: held.age_seconds, default=None)
