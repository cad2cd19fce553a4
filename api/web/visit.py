"""One request of one person: who they are, their language and theme, and how a page is answered."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qsl, quote

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.web import security
from api.web.events import Hub
from api.web.i18n import Language, known_tag, negotiate
from api.web.render import Renderer
from wallet import identity
from wallet.bootstrap import Services
from wallet.errors import WalletError
from wallet.identity import SignedIn, User
from wallet.identity.errors import Unauthenticated
from wallet.listener import last_seq

SESSION_SECONDS = 24 * 60 * 60
PREFERENCE_SECONDS = 365 * 24 * 60 * 60
MAX_FORM_FIELDS = 40
MAX_FIELD_CHARS = 4_000
THEMES = ("light", "dark")


class SignInNeeded(Exception):
    """The page is for people who are signed in."""


class BadForm(WalletError):
    """Not a form of ours: another encoding, too many fields, bad characters."""

    code = "bad_form"


@dataclass(frozen=True, slots=True)
class Web:
    """What the room holds; built once in `mount`."""

    services: Services
    languages: Mapping[str, Language]
    renderer: Renderer
    hub: Hub

    @property
    def https(self) -> bool:
        """Whether people reach us over https: decides the cookies' names and flags."""
        return self.services.settings.base_url.startswith("https://")

    def cookie(self, name: str) -> str:
        """`__Host-` binds a cookie to this very host; browsers demand https for it."""
        return f"__Host-bifold_{name}" if self.https else f"bifold_{name}"


@dataclass(slots=True)
class Visit:
    """Made by `visitor` for every page. `secret` keys the form tokens of this browser.

    `seq` is the newest event published before the page's figures were read: the live stream begins
    behind it, so that nothing between page and stream is missed.
    """

    web: Web
    request: Request
    language: Language
    theme: str
    secret: str
    session: SignedIn | None = None
    user: User | None = None
    seq: int = 0
    cookies: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def services(self) -> Services:
        """The same as the API's."""
        return self.web.services

    @property
    def member(self) -> User:
        """The person. Raises SignInNeeded."""
        if self.user is None:
            raise SignInNeeded
        return self.user

    @property
    def csrf(self) -> str:
        """The token every form of this page carries."""
        return security.csrf_token(self.secret)

    def t(self, message: str, **values: object) -> str:
        """`message` in the visitor's language, with `%(name)s` filled in."""
        said = self.language.gettext(message)
        return said % values if values else said

    def set_cookie(self, name: str, value: str, seconds: int) -> None:
        """Send a cookie with whatever answer this visit gets; 0 seconds takes it back."""
        self.cookies.append((self.web.cookie(name), value, seconds))

    def read_cookie(self, name: str) -> str:
        """A cookie of ours, or nothing."""
        return self.request.cookies.get(self.web.cookie(name), "")

    def page(self, template: str, status: int = 200, **context: Any) -> Response:
        """A whole page."""
        html = self.web.renderer.render(template, self, context)
        return self.dressed(HTMLResponse(html, status_code=status))

    def go(self, path: str) -> Response:
        """See there: 303, so that a reload never sends a form twice."""
        return self.dressed(RedirectResponse(quote(path, safe="/?&=%#:@+,._~-"), status_code=303))

    def dressed(self, response: Response) -> Response:
        """Security headers, privacy from caches, cookies."""
        for name, value in security.HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault("Cache-Control", security.PRIVATE)
        response.headers.append("Vary", "Cookie")
        for name, value, seconds in self.cookies:
            response.set_cookie(
                name,
                value,
                max_age=seconds,
                path="/",
                secure=self.web.https,
                httponly=True,
                samesite="lax",
            )
        return response

    async def form(self) -> dict[str, str]:
        """The fields of a form that this visitor's own page sent.

        Raises ForeignOrigin, FormExpired, BadForm.
        """
        security.check_origin(self.request, self.services.settings)
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise BadForm("Send this as an ordinary form.")
        try:
            fields = dict(
                parse_qsl(
                    (await self.request.body()).decode("utf-8"),
                    keep_blank_values=True,
                    max_num_fields=MAX_FORM_FIELDS,
                    errors="strict",
                )
            )
        except ValueError:
            raise BadForm("This form cannot be read.") from None
        if any(len(value) > MAX_FIELD_CHARS or "\0" in value for value in fields.values()):
            raise BadForm("A field of this form is too long or holds a forbidden character.")
        security.check_csrf(secret=self.secret, given=fields.pop("csrf", ""))
        return fields


def web_of(request: Request) -> Web:
    """The room's own state."""
    return cast(Web, request.app.state.web)


async def visitor(request: Request) -> Visit:
    """Who is there, signed in or not. A cookie that no longer opens anything is taken back."""
    web = web_of(request)
    token = request.cookies.get(web.cookie("session"), "")
    signed_in, user, seq = await _resolve(web, token) if token else (None, None, 0)
    secret = token if signed_in else request.cookies.get(web.cookie("visitor"), "")
    visit = Visit(
        web=web,
        request=request,
        language=_language(request, web, user),
        theme=_theme(request, web),
        secret=secret,
        session=signed_in,
        user=user,
        seq=seq,
    )
    if token and signed_in is None:
        visit.set_cookie("session", "", 0)
    if not secret or len(secret) > 200:
        visit.secret = secrets.token_urlsafe(32)
        visit.set_cookie("visitor", visit.secret, SESSION_SECONDS)
    request.state.visit = visit
    return visit


async def member(request: Request) -> Visit:
    """The visit of somebody who is signed in. Raises SignInNeeded."""
    visit = await visitor(request)
    if visit.user is None:
        raise SignInNeeded
    return visit


async def _resolve(web: Web, token: str) -> tuple[SignedIn | None, User | None, int]:
    try:
        async with web.services.db.transaction() as session:
            signed_in = await identity.resolve(session, token, kind="web")
            user = await identity.get_user(session, signed_in.principal_id)
            return signed_in, user, await last_seq(session)
    except Unauthenticated:
        return None, None, 0


def _language(request: Request, web: Web, user: User | None) -> Language:
    """The person's setting, else this browser's choice, else what the browser says it reads."""
    chosen = known_tag(user.locale, web.languages) if user else None
    chosen = chosen or known_tag(request.cookies.get(web.cookie("language")), web.languages)
    tag = chosen or negotiate(request.headers.get("accept-language", ""), web.languages)
    return web.languages[tag]


def _theme(request: Request, web: Web) -> str:
    chosen = request.cookies.get(web.cookie("theme"), "")
    return chosen if chosen in THEMES else ""
