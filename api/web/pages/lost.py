"""Paths that lead nowhere."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import RedirectResponse, Response

from api.web.route import WebRoute, refused
from wallet.errors import NotFound


class PagePath(Convertor[str]):
    """Any path that is not the API's: those answer with problem documents."""

    regex = r"(?!(?:v1|sandbox|static|livez|readyz|metrics|openapi\.json)(?:/|$)).*"

    def convert(self, value: str) -> str:
        """As it is."""
        return value

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


def last_router() -> APIRouter:
    """Takes whatever no other route took; included after all others."""
    register_url_convertor("page", PagePath())
    router = APIRouter(route_class=WebRoute, include_in_schema=False)
    router.add_api_route("/favicon.ico", favicon, methods=["GET"])
    router.add_api_route("/{path:page}", nothing_here, methods=["GET"])
    return router


async def favicon() -> Response:
    """Browsers ask for it whatever the page says."""
    return RedirectResponse("/static/mark.svg", status_code=308)


async def nothing_here(request: Request) -> Response:
    """A page instead of a problem document; the API's own paths never come here."""
    return await refused(request, NotFound("There is nothing here."))
