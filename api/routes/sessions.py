"""Signing in and out."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api.authentication import CallerDep, client_of
from api.errors import documented
from api.route import StrictRoute
from api.routes.people import UserView
from api.schemas import MOMENT_EXAMPLE, Moment, Page, Schema, View
from api.state import ReadSession, ServicesDep, state_of
from wallet import identity
from wallet.db import Session
from wallet.errors import NotFound
from wallet.identity import SignedIn
from wallet.ids import is_id

public = APIRouter(prefix="/v1", tags=["sessions"], route_class=StrictRoute)
router = APIRouter(prefix="/v1", tags=["sessions"], route_class=StrictRoute)

MAX_AGENT_CHARS = 200
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class SessionCreate(Schema):
    """E-mail and password."""

    email: Annotated[str, StringConstraints(max_length=320)] = Field(
        description="The address of the account.", examples=["ada@example.org"]
    )
    password: Annotated[str, StringConstraints(max_length=4096)] = Field(
        description="Its password.", examples=["correct horse battery"]
    )


class SessionMade(View):
    """A new session. The token is told here and nowhere else."""

    token: str = Field(description="Send it as `Authorization: Bearer …`.", examples=["bfs_6xUQ…"])
    expires_at: Moment = Field(description="When it ends at the latest.", examples=[MOMENT_EXAMPLE])
    user: UserView = Field(description="Who signed in.")


class SessionView(View):
    """A session that still opens something."""

    id: str = Field(description="Session id.", examples=["ses_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    kind: str = Field(description="`api` or `web`.", examples=["api"])
    user_agent: str = Field(description="What the client called itself.", examples=["curl/8.5.0"])
    current: bool = Field(description="Whether it is the one asking.", examples=[True])
    created_at: Moment = Field(description="When it began.", examples=[MOMENT_EXAMPLE])
    last_seen_at: Moment = Field(
        description="Last use, to the minute; an hour without use ends it.",
        examples=[MOMENT_EXAMPLE],
    )
    expires_at: Moment = Field(description="When it ends at the latest.", examples=[MOMENT_EXAMPLE])


@public.post(
    "/sessions",
    status_code=201,
    response_model=SessionMade,
    summary="Sign in",
    responses=documented(("invalid_credentials", "rate_limited", "unknown_field")),
)
async def sign_in(body: SessionCreate, request: Request, services: ServicesDep) -> Response:
    """Wrong address and wrong password are told alike and take the same time."""
    client = client_of(request)
    async with services.db.transaction() as session:
        await identity.count_try(session, email=body.email, client=client)
    agent = agent_of(request)
    user = await identity.authenticate(services.db, email=body.email, password=body.password)

    async def work(session: Session) -> SignedIn:
        opened = await identity.open_session(
            session, principal_id=user.id, kind="api", user_agent=agent
        )
        await identity.forgive_try(session, email=body.email, client=client)
        return opened

    opened = await services.db.run(work)
    assert opened.token is not None
    made = SessionMade(token=opened.token, expires_at=opened.expires_at, user=UserView.of(user))
    return Response(
        made.model_dump_json(),
        status_code=201,
        headers={"Location": f"/v1/sessions/{opened.id}"},
        media_type="application/json",
    )


def agent_of(request: Request) -> str:
    """What the client calls itself, made safe to show."""
    return _UNPRINTABLE.sub("", request.headers.get("user-agent", ""))[:MAX_AGENT_CHARS]


@router.get(
    "/sessions",
    response_model=Page[SessionView],
    summary="Living sessions of the caller",
    responses=documented(("unauthenticated",)),
)
async def sessions(caller: CallerDep, session: ReadSession) -> Page[SessionView]:
    """Newest first, at most 200, on one page."""
    living = await identity.live_sessions(session, principal_id=caller.principal_id)
    return Page(
        data=[
            SessionView(
                id=one.id,
                kind=one.kind,
                user_agent=one.user_agent,
                current=one.id == caller.session_id,
                created_at=one.created_at,
                last_seen_at=one.last_seen_at,
                expires_at=one.expires_at,
            )
            for one in living
        ],
        next_cursor=None,
    )


@router.delete(
    "/sessions/{session_id}",
    status_code=204,
    response_class=Response,
    summary="Sign out",
    responses=documented(("unauthenticated", "not_found")),
)
async def sign_out(
    session_id: str, caller: CallerDep, services: ServicesDep, request: Request
) -> Response:
    """End one session: an id of the caller's, or `current`."""
    ended = caller.session_id if session_id == "current" else session_id
    if not is_id(ended, "ses"):
        raise NotFound("There is no such session.")

    async def work(session: Session) -> None:
        await identity.revoke(session, principal_id=caller.principal_id, session_id=ended)

    await services.db.run(work)
    state_of(request).callers.forget(ended)
    return Response(status_code=204)
