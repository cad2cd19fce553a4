"""`mount(app, services)`: the web app's pages, its static files and its page for unknown paths."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from api.web.events import Hub
from api.web.i18n import load_languages
from api.web.pages import (
    abroad,
    account,
    activity,
    browser_wallet,
    convert,
    doors,
    hold,
    home,
    live,
    lost,
    own_accounts,
    receive,
    recipients,
    send,
    statements,
    top_up,
    watched,
    withdraw,
)
from api.web.render import STATIC, Renderer
from api.web.security import HEADERS
from api.web.visit import Web
from wallet.bootstrap import Services

FOREVER = "public, max-age=31536000, immutable"
BRIEFLY = "public, max-age=300"


class VersionedFiles(StaticFiles):
    """Static files: for ever under their `?v=` name, briefly without."""

    async def get_response(self, path: str, scope: MutableMapping[str, Any]) -> Response:
        """The file with its caching and the same security headers as pages."""
        response = await super().get_response(path, scope)
        versioned = b"v=" in scope.get("query_string", b"")
        response.headers["Cache-Control"] = FOREVER if versioned else BRIEFLY
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def mount(app: FastAPI, services: Services) -> None:
    """Add every page to the app. Comes after the API's own routers."""
    languages = load_languages()
    app.state.web = Web(
        services=services,
        languages=languages,
        renderer=Renderer(languages, sandbox=services.settings.sandbox),
        hub=Hub(services),
    )
    app.mount("/static", VersionedFiles(directory=STATIC), name="static")
    for page in (
        doors,
        home,
        activity,
        statements,
        receive,
        send,
        hold,
        withdraw,
        convert,
        abroad,
        recipients,
        own_accounts,
        watched,
        account,
        browser_wallet,
        live,
    ):
        app.include_router(page.router)
    if services.settings.sandbox:  # as its routes of the API
        app.include_router(top_up.router)
    app.include_router(lost.last_router())
