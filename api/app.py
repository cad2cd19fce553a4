"""Puts the HTTP room together."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import structlog
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from api import openapi, problems
from api.authentication import CallerCache
from api.body import BodyLimit
from api.context import RequestContext
from api.lane import LanedApp
from api.metrics import Figures
from api.routes import (
    activity,
    assets,
    balances,
    cards,
    deposits,
    events,
    exchange,
    health,
    holds,
    payments,
    people,
    recipients,
    selfcustody,
    sessions,
    statements,
    topups,
    transfers,
    wallets,
    watch,
    withdrawals,
)
from api.sandbox import chain, gateway, house
from api.state import State
from api.web.router import mount as mount_web
from wallet.bootstrap import RefusedToStart, Services
from wallet.errors import WalletError
from wallet.group_commit import GroupWriter
from wallet.turns import Turns
from wallet.withdrawals import Planner

FAULTS_REFRESH_SECONDS = 1.0
LEARN_SECONDS = 1.0
# A search by words reads all that somebody ever did, and holds a connection meanwhile.
SEARCHES_AT_ONCE = 2  # of one person
log = structlog.get_logger("api")


def create_app(services: Services) -> FastAPI:
    """The app over built services; its lifespan closes them."""
    state = State(
        services=services,
        callers=CallerCache(services.db),
        figures=Figures(),
        readiness=health.Looks(services),
        planner=Planner(services.db, services.chains, services.assets),
        writer=GroupWriter(services.db),
        searches=Turns(SEARCHES_AT_ONCE),
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with _learning(services), _background(services):
            yield
        await state.writer.aclose()
        await services.aclose()

    telemetry = _telemetry()
    app = LanedApp(
        title="Bifold",
        version="1",
        summary="One wallet for fiat and crypto.",
        description=openapi.DESCRIPTION,
        docs_url=None,  # Swagger UI would load its script from another host
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry=telemetry,
    )
    app.state.bifold = state
    problems.install(app)
    _routes(app, services)
    openapi.install(app)
    mount_web(app, services)
    context = partial(
        RequestContext,
        figures=state.figures,
        https=services.settings.base_url.startswith("https://"),
    )
    app.add_middleware(BodyLimit)
    app.add_middleware(context)
    if not telemetry["tracing"]:  # who measures by OpenTelemetry sees every request
        hot = [*transfers.hot.routes, *holds.hot.routes]
        app.lane(hot, around=lambda inner: context(BodyLimit(inner)))
    return app


def _telemetry() -> TelemetryConfig:
    """FastAPI's OpenTelemetry, for those who set it up: it looks for exporters at each request."""
    wanted = any(name.startswith("OTEL_") for name in os.environ)
    return {"tracing": wanted, "metrics": wanted, "logs": wanted}


def _routes(app: FastAPI, services: Services) -> None:
    for router in (
        health.router,
        sessions.public,
        sessions.router,
        wallets.public,
        wallets.router,
        people.router,
        assets.router,
        balances.router,
        activity.router,
        statements.router,
        events.router,
        deposits.router,
        transfers.hot,
        transfers.router,
        holds.hot,
        holds.router,
        exchange.router,
        exchange.public,
        withdrawals.router,
        recipients.router,
        selfcustody.router,
        watch.router,
        payments.router,
    ):
        app.include_router(router)
    if services.settings.sandbox:
        # Production registration is finished by a mailed code; it comes with the mail room.
        app.include_router(people.public)
        app.include_router(chain.router)
        app.include_router(house.router)
        # Cards and transfers in need a gateway and a bank; the simulated ones are all there are.
        app.include_router(topups.router)
        app.include_router(cards.router)
        app.include_router(gateway.router)


@asynccontextmanager
async def _learning(services: Services) -> AsyncIterator[None]:
    """What was listed once is known before anything is served; where the database is away, or not
    migrated yet (/readyz says so), as soon as it can be read."""
    task = None
    try:
        await services.learn_assets()
    except RefusedToStart:
        raise
    except WalletError:
        task = asyncio.create_task(_learn(services))
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _learn(services: Services) -> None:
    while True:
        await asyncio.sleep(LEARN_SECONDS)
        try:
            await services.learn_assets()
        except RefusedToStart as error:
            log.error("assets.terms_changed", why=str(error))
            signal.raise_signal(signal.SIGTERM)
        except WalletError:
            continue
        except Exception as error:  # noqa: BLE001 - the task's edge: told, tried again
            log.error("assets.not_learned", error=type(error).__name__, detail=str(error)[:300])
            continue
        return


@asynccontextmanager
async def _background(services: Services) -> AsyncIterator[None]:
    """Sandbox: keep this process's faulty node in step with the switches."""
    if not services.settings.sandbox:
        yield
        return
    task = asyncio.create_task(_follow_faults(services))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _follow_faults(services: Services) -> None:
    while True:
        try:
            await services.refresh_faults()
        except WalletError as error:
            log.warning("faults.refresh_failed", code=error.code)
        await asyncio.sleep(FAULTS_REFRESH_SECONDS)
