"""What the app holds, and how a route gets at it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from wallet.bootstrap import Services
from wallet.db import Session

if TYPE_CHECKING:
    from api.authentication import CallerCache
    from api.metrics import Figures
    from api.routes.health import Looks
    from wallet.group_commit import GroupWriter
    from wallet.turns import Turns
    from wallet.withdrawals import Planner


@dataclass(frozen=True, slots=True)
class State:
    """Built once in `create_app`."""

    services: Services
    callers: CallerCache
    figures: Figures
    readiness: Looks
    planner: Planner
    writer: GroupWriter
    searches: Turns


def state_of(request: Request) -> State:
    """The app's state."""
    return cast(State, request.app.state.bifold)


async def _services(request: Request) -> Services:
    return state_of(request).services


async def _read(request: Request) -> AsyncIterator[Session]:
    async with state_of(request).services.db.snapshot() as session:
        yield session


ServicesDep = Annotated[Services, Depends(_services)]
# scope="function": the transaction ends before the answer leaves. FastAPI's default would end it
# after, and would keep a connection for as long as a slow client reads.
ReadSession = Annotated[Session, Depends(_read, scope="function")]
