"""Whether this process lives, whether the instance is ready, and the figures."""

from __future__ import annotations

import asyncio
import hmac
import time

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field
from starlette.responses import Response

from api.authentication import bearer_token
from api.errors import documented
from api.schemas import View
from api.state import ServicesDep, state_of
from wallet.bootstrap import Services
from wallet.errors import Busy, DatabaseUnavailable, NotFound
from wallet.monitor import Vitals, newest_revision, vitals

router = APIRouter(tags=["health"])

NEEDED_REVISION = newest_revision()
LOOK_SECONDS = 0.5
"""So long one look at what is down is told to all who ask: anybody may, and it is not cheap."""


class Alive(View):
    """The process answers."""

    status: str = Field(description="Always `alive`.", examples=["alive"])


class Readiness(View):
    """Whether everything this instance needs is there."""

    status: str = Field(description="`ready` or `not_ready`.", examples=["ready"])
    down: list[str] = Field(
        description="Names of what is down: `database`, `migrations`, `network:…`, `process:…`.",
        examples=[["network:local"]],
    )


@router.get("/livez", response_model=Alive, summary="Is the process alive")
async def livez() -> Alive:
    """Answers as long as the event loop turns; asks nobody else."""
    return Alive(status="alive")


@router.get(
    "/readyz",
    response_model=Readiness,
    summary="Is the instance ready",
    responses={503: {"model": Readiness, "description": "Something named in `down` is missing."}},
)
async def readyz(request: Request) -> Response:
    """200 when all is well; 503 with the names of what is down."""
    down = await state_of(request).readiness.down()
    view = Readiness(status="not_ready" if down else "ready", down=down)
    return Response(
        view.model_dump_json(), status_code=503 if down else 200, media_type="application/json"
    )


class Looks:
    """What is down, by one look at a time, however many ask."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._looking = asyncio.Lock()
        self._until = 0.0
        self._down: list[str] = []

    async def down(self) -> list[str]:
        """As of LOOK_SECONDS ago at most."""
        async with self._looking:
            if time.monotonic() >= self._until:
                self._down = await _what_is_down(self._services)
                self._until = time.monotonic() + LOOK_SECONDS
            return self._down


async def _what_is_down(services: Services) -> list[str]:
    """Names, in a stable order; empty when all is well."""
    try:
        async with services.db.transaction() as session:
            seen = await vitals(session)
    except (DatabaseUnavailable, Busy):
        return ["database"]
    return _missing(seen, services)


def _missing(seen: Vitals, services: Services) -> list[str]:
    down: list[str] = []
    if seen.revision != NEEDED_REVISION:
        down.append("migrations")
    networks = {network.name: network for network in seen.networks}
    down.extend(
        f"network:{name}"
        for name in sorted(services.networks)
        if name not in networks or not networks[name].well
    )
    down.extend(f"process:{process.name}" for process in seen.processes if not process.well)
    return down


@router.get(
    "/metrics",
    response_class=Response,
    summary="Figures for Prometheus",
    responses={
        200: {"content": {"text/plain": {"example": "bifold_outbox_rows 0.0"}}},
        **documented(("not_found",)),
    },
)
async def metrics(request: Request, services: ServicesDep) -> Response:
    """Open in the sandbox; in production behind `BIFOLD_METRICS_TOKEN`, and absent without one."""
    if not services.settings.sandbox:
        wanted = services.settings.metrics_token
        sent = bearer_token(request) or ""
        if wanted is None or not hmac.compare_digest(wanted.encode(), sent.encode()):
            raise NotFound("There is nothing here.")
    async with services.db.transaction() as session:
        seen = await vitals(session)
    return Response(state_of(request).figures.render(seen), media_type=CONTENT_TYPE_LATEST)
