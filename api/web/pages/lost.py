"""Paths that lead nowhere."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from api.web.route import WebRoute, refused
from wallet.errors import NotFound

router = APIRouter(route_class=WebRoute, include_in_schema=False)


@router.get("/favicon.ico")
async def favicon() -> Response:
    """Browsers ask for it whatever the page says."""
    return RedirectResponse("/static/mark.svg", status_code=308)


@router.get("/{path:page}")
async def nothing_here(request: Request) -> Response:
    """A page instead of a problem document; the API's own paths never come here."""
    return await refused(request, NotFound("There is nothing here."))
