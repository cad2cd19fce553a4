"""Coming in and going out: landing, sign in, register, sign out, and the browser's preferences."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.authentication import client_of
from api.web import drafts
from api.web.i18n import Language, known_tag
from api.web.route import WebRoute
from api.web.security import check_origin, safe_next
from api.web.visit import PREFERENCE_SECONDS, SESSION_SECONDS, THEMES, Visit, visitor
from api.web.wallet_words import PROVING, spoken
from wallet import identity
from wallet.db import Session
from wallet.errors import NotFound, WalletError
from wallet.throttle import hit

REGISTRATIONS_PER_CLIENT = 600
REGISTRATION_WINDOW_SECONDS = 600
DRAFTS = ("sign_in", "register", "send", "withdraw", "convert", "abroad", "recipient", "settings")

router = APIRouter(route_class=WebRoute, include_in_schema=False)
AnyVisit = Annotated[Visit, Depends(visitor)]


@router.get("/")
async def landing(visit: AnyVisit) -> Response:
    """Home for those who are in, the door for all others."""
    if visit.user:
        return visit.go("/home")
    return _door(visit, {}, {}, None)


@router.get("/sign-in")
async def sign_in_page(visit: AnyVisit) -> Response:
    """The door, with where to go afterwards."""
    asked = visit.request.query_params.get("next") or unquote(visit.read_cookie("next"))
    wanted = safe_next(asked)
    if visit.user:
        return visit.go(wanted or "/home")
    values, errors = drafts.recall(visit, "sign_in"), drafts.told(visit)
    return _door(visit, values, errors, wanted)


@router.post("/sign-in")
async def sign_in(visit: AnyVisit) -> Response:
    """E-mail and password become a session of kind `web`, in a cookie no script can read."""
    fields = await visit.form()
    wanted = safe_next(fields.get("next"))
    email, password = fields.get("email", ""), fields.get("password", "")
    try:
        async with visit.services.db.transaction() as session:
            await identity.count_try(session, email=email, client=client_of(visit.request))
        user = await identity.authenticate(visit.services.db, email=email, password=password)
        async with visit.services.db.transaction() as session:
            await enter(visit, session, user.id)
            await identity.forgive_try(session, email=email, client=client_of(visit.request))
    except WalletError as error:
        drafts.keep(visit, "sign_in", {"email": email})
        visit.set_cookie("next", quote(wanted or ""), drafts.NOTICE_SECONDS)
        return drafts.tell(visit, "/sign-in", error, at="")
    drafts.forget(visit, "sign_in")
    return visit.go(wanted or "/home")


@router.get("/register")
async def register_page(visit: AnyVisit) -> Response:
    """The form for new people."""
    _only_here(visit)
    if visit.user:
        return visit.go("/home")
    kept = drafts.recall(visit, "register")
    values = {"country": "CN" if visit.language.tag == "zh-Hans" else "", **kept}
    territories = visit.language.babel.territories
    countries = sorted(
        ((code, name) for code, name in territories.items() if len(code) == 2 and code.isalpha()),
        key=lambda pair: pair[1],
    )
    return visit.page(
        "register.html",
        values=values,
        errors=drafts.told(visit),
        countries=[("", visit.t("Choose a country")), *countries],
    )


@router.post("/register")
async def register(visit: AnyVisit) -> Response:
    """A new person, signed in at once. The sandbox only: production finishes by a mailed code."""
    _only_here(visit)
    fields = await visit.form()
    try:
        async with visit.services.db.transaction() as session:
            await hit(
                session,
                f"register:web:{client_of(visit.request)}",
                limit=REGISTRATIONS_PER_CLIENT,
                window_seconds=REGISTRATION_WINDOW_SECONDS,
            )
        async with visit.services.db.transaction() as session:
            user = await identity.register(
                session,
                email=fields.get("email", ""),
                password=fields.get("password", ""),
                display_name=fields.get("display_name", ""),
                country=fields.get("country", ""),
                sandbox=visit.services.settings.sandbox,
            )
            await identity.change_user(session, user_id=user.id, locale=short_tag(visit.language))
            await enter(visit, session, user.id)
    except WalletError as error:
        at = "/password" if error.code == "password_too_weak" else error.field or ""
        kept = {name: fields.get(name, "") for name in ("display_name", "email", "country")}
        drafts.keep(visit, "register", kept)
        return drafts.tell(visit, "/register", error, at=at)
    drafts.forget(visit, "register")
    return visit.go("/home")


@router.post("/sign-out")
async def sign_out(visit: AnyVisit) -> Response:
    """End this session here and in the database."""
    await visit.form()
    if visit.session:
        async with visit.services.db.transaction() as session:
            await identity.revoke(
                session, principal_id=visit.session.principal_id, session_id=visit.session.id
            )
    visit.set_cookie("session", "", 0)
    for flow in DRAFTS:
        visit.set_cookie(f"draft_{flow}", "", 0)
    answer = visit.go("/")
    answer.headers["Clear-Site-Data"] = '"cache"'
    return answer


@router.post("/preferences")
async def preferences(visit: AnyVisit) -> Response:
    """Language and theme, for this browser, and the language for this person."""
    fields = await visit.form()
    check_origin(visit.request, visit.services.settings)
    tag = known_tag(fields.get("language"), visit.web.languages)
    if tag:
        visit.set_cookie("language", tag, PREFERENCE_SECONDS)
        if visit.user:
            async with visit.services.db.transaction() as session:
                await identity.change_user(
                    session, user_id=visit.user.id, locale=tag.split("-", 1)[0]
                )
    if "theme" in fields:
        known = fields["theme"] in THEMES
        visit.set_cookie("theme", fields["theme"] if known else "", PREFERENCE_SECONDS * known)
    return visit.go(safe_next(fields.get("next")) or "/")


async def enter(visit: Visit, session: Session, principal_id: str) -> None:
    """Open a web session in this transaction and hand its token to the browser."""
    opened = await identity.open_session(
        session,
        principal_id=principal_id,
        kind="web",
        user_agent=visit.request.headers.get("user-agent", ""),
    )
    assert opened.token is not None
    visit.set_cookie("session", opened.token, SESSION_SECONDS)
    visit.set_cookie("visitor", "", 0)


def _door(
    visit: Visit, values: dict[str, str], errors: drafts.Errors, wanted: str | None
) -> Response:
    return visit.page(
        "sign_in.html", values=values, errors=errors, next=wanted, words=spoken(PROVING, visit)
    )


def _only_here(visit: Visit) -> None:
    """Raises NotFound in production: a page that tells taken addresses would give people away."""
    if not visit.services.settings.sandbox:
        raise NotFound("There is nothing here.")


def short_tag(language: Language) -> str:
    """`zh-Hans` as the person's setting: `zh`."""
    return language.tag.split("-", 1)[0]
