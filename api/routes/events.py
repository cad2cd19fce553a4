"""Events: what happened to the caller, in one order that a poller can follow."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from api.authentication import CallerDep
from api.cursors import DEFAULT_LIMIT, CursorText, Limit, decode, next_cursor
from api.errors import InvalidCursor, documented
from api.route import StrictRoute
from api.schemas import MOMENT_EXAMPLE, Moment, View
from api.state import ReadSession
from wallet import events
from wallet.db import Session
from wallet.errors import NotFound
from wallet.events import BEYOND, Event
from wallet.ids import is_id

router = APIRouter(prefix="/v1", tags=["events"], route_class=StrictRoute)

TYPES_MOST = 20
TYPE = r"^[a-z_]{1,40}\.([a-z_]{1,40}|\*)$"


def _event_type(told: str) -> str:
    if re.fullmatch(TYPE, told) is None:
        raise PydanticCustomError(
            "invalid_field", "A type, for example topup.succeeded, or topup.* for all of a kind."
        )
    return told


EventType = Annotated[
    str, AfterValidator(_event_type), WithJsonSchema({"type": "string", "pattern": TYPE})
]


class EventView(View):
    """One event. It never changes."""

    id: str = Field(description="Event id.", examples=["evt_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    type: str = Field(description="What happened: `noun.verb`.", examples=["transfer.completed"])
    ref: str = Field(
        description="The id of what it happened to.", examples=["trf_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"]
    )
    created_at: Moment = Field(
        description="When it happened. Order and progress follow the list, not this.",
        examples=[MOMENT_EXAMPLE],
    )
    data: dict[str, Any] = Field(
        description="The details, by type.",
        examples=[
            {
                "transfer_id": "trf_01JD3VQ4T0Z8Y6X5W4V3T2S1R0",
                "money": {"amount": "12.34", "asset": "EUR"},
                "direction": "in",
            }
        ],
    )

    @classmethod
    def of(cls, event: Event) -> EventView:
        """From the domain."""
        return cls(
            id=event.id,
            type=event.type,
            ref=event.ref,
            created_at=event.created_at,
            data=event.data,
        )


class EventPage(View):
    """One page of events."""

    data: list[EventView] = Field(description="In the order that was asked for.")
    next_cursor: str | None = Field(
        description="Pass as `cursor`, with the same `order` and `after`, for the next page; null"
        " when there is no more now.",
        examples=["MjAyNi0xMS0yMlQyMTowMDowMC4wMDAwMDBafGV2dF8wMUpEM1ZRNFQwWjhZNlg1VzRWM1QyUzFSMA"],
    )


@router.get(
    "/events",
    response_model=EventPage,
    summary="What happened to the caller",
    responses=documented(("unauthenticated", "invalid_cursor", "invalid_field")),
)
async def page(
    caller: CallerDep,
    session: ReadSession,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
    order: Annotated[
        Literal["desc", "asc"],
        Query(
            description="`desc`: newest first. `asc`: oldest first, to follow.", examples=["asc"]
        ),
    ] = "desc",
    after: Annotated[
        str | None,
        Query(
            description="Only what was published behind this event.",
            examples=["evt_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"],
        ),
    ] = None,
    types: Annotated[
        list[EventType] | None,
        Query(
            alias="type",
            max_length=TYPES_MOST,
            description="Only this type, or all of a noun as `topup.*`; may be repeated.",
            examples=[["topup.succeeded", "account.*"]],
        ),
    ] = None,
) -> EventPage:
    """A poller asks with `order=asc` and `after` the last event it has, and misses nothing: what
    commits late is published late. Events come within a second of what they tell."""
    above = 0 if after is None else await _seq(session, caller.principal_id, after, "/query/after")
    below = BEYOND
    stand = decode(cursor)
    if stand is not None:
        seq = await _seq(session, caller.principal_id, stand[1], "/query/cursor")
        if order == "asc":
            above = max(above, seq)
        else:
            below = seq
    rows = await events.page(
        session,
        principal_id=caller.principal_id,
        limit=limit,
        oldest_first=order == "asc",
        above=above,
        below=below,
        types=types or (),
    )
    shown, behind = next_cursor(rows, limit, lambda row: (row.created_at, row.id))
    return EventPage(data=[EventView.of(row) for row in shown], next_cursor=behind)


@router.get(
    "/events/{event_id}",
    response_model=EventView,
    summary="One event",
    responses=documented(("unauthenticated", "not_found")),
)
async def get(event_id: str, caller: CallerDep, session: ReadSession) -> EventView:
    """The same whenever it is asked for."""
    if not is_id(event_id, "evt"):
        raise NotFound("There is no such event.")
    return EventView.of(
        await events.get(session, principal_id=caller.principal_id, event_id=event_id)
    )


async def _seq(session: Session, principal_id: str, event_id: str, field: str) -> int:
    """Where one of the caller's own events stands. Raises InvalidCursor for any other."""
    try:
        if is_id(event_id, "evt"):
            return (await events.get(session, principal_id=principal_id, event_id=event_id)).seq
    except NotFound:
        pass
    raise InvalidCursor("This is not one of your events.", field=field)
