"""The edge of every page: whatever a flow refuses becomes a page a person can read."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from api.errors import status_of
from api.web.security import ForeignOrigin, FormExpired
from api.web.visit import BadForm, SignInNeeded, Visit, visitor
from chain.errors import ChainError
from keys.errors import KeysError
from wallet.errors import NotFound, WalletError

OWN_STATUS = {FormExpired.code: 403, ForeignOrigin.code: 403, BadForm.code: 400}
log = structlog.get_logger("web")


class WebRoute(APIRoute):
    """APIRoute whose errors are pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual handler inside the net."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            if "\0" in request.scope["path"]:  # no text of ours, and nothing to ask a database
                return await refused(request, NotFound("There is nothing here."))
            try:
                return await handle(request)
            except SignInNeeded:
                return await _sign_in(request)
            except WalletError as error:
                return await refused(request, error)
            except (HTTPException, RequestValidationError):
                return await refused(request, NotFound("There is nothing here."))
            except (ChainError, KeysError) as error:
                log.warning("page.lower_error", code=error.code, exc_info=error)
                return await _broken(request)
            except Exception as error:
                log.error("page.defect", path=request.scope.get("path"), exc_info=error)
                return await _broken(request)

        return guarded


async def _visit(request: Request) -> Visit:
    known = getattr(request.state, "visit", None)
    return known if isinstance(known, Visit) else await visitor(request)


async def _sign_in(request: Request) -> Response:
    visit = await _visit(request)
    wanted = request.url.path if request.method == "GET" else ""
    return visit.go(f"/sign-in?next={quote(wanted)}" if len(wanted) > 1 else "/sign-in")


async def refused(request: Request, error: WalletError) -> Response:
    """The page for a refusal that no form of the page itself shows."""
    status = OWN_STATUS.get(error.code) or status_of(error.code)
    if status >= 500 and status != 503:
        log.error("page.defect", code=error.code, exc_info=error)
        return await _broken(request)
    visit = await _visit(request)
    return visit.page("error.html", status=status, error=error, status_code=status)


async def _broken(request: Request) -> Response:
    """Said without the error's own words, and without the database where that is what broke."""
    try:
        visit = await _visit(request)
    except Exception as error:
        log.error("page.no_visit", exc_info=error)
        return Response("Bifold is not available for a moment.", 503, media_type="text/plain")
    return visit.page("error.html", status=500, error=None, status_code=500)
