"""Browser wallets: sign in by a linked one, link and unlink. The page's script asks in JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.authentication import client_of
from api.errors import status_of
from api.routes.wallets import count_try, site_of
from api.web import drafts
from api.web.pages.doors import enter
from api.web.route import OWN_STATUS, WebRoute
from api.web.security import safe_next
from api.web.visit import Visit, member, visitor
from api.web.wallet_words import STRANGER, WRONG_PASSWORD, wallet_refusal
from wallet import identity
from wallet.db import Session
from wallet.errors import WalletError
from wallet.identity import wallets
from wallet.identity.siwe import SiweMessage
from wallet.identity.wallets import LinkedWallet, Proof, Purpose

MAX_CHAIN_DIGITS = 18
AT = "/wallets"

router = APIRouter(route_class=WebRoute, include_in_schema=False)
AnyVisit = Annotated[Visit, Depends(visitor)]
Member = Annotated[Visit, Depends(member)]


@router.post("/sign-in/wallet/message")
async def ask_sign_in(visit: AnyVisit) -> Response:
    """A text to sign, good in this browser only."""
    return await _answered(visit, lambda: _message(visit, "sign_in"))


@router.post("/sign-in/wallet")
async def sign_in(visit: AnyVisit) -> Response:
    """The signed text becomes a session, as a password does."""

    async def work() -> dict[str, str]:
        fields = await visit.form()
        proof = await _proof(visit, fields, "sign_in")

        async def opened(session: Session) -> None:
            user = await wallets.sign_in(session, proof=proof, browser=_browser(visit))
            await enter(visit, session, user.id)

        await visit.services.db.run(opened)
        return {"go": safe_next(fields.get("next")) or "/home"}

    return await _answered(visit, work, invalid=STRANGER)


@router.post("/settings/wallets/message")
async def ask_link(visit: Member) -> Response:
    """A text to sign, good for this person in this session only."""
    return await _answered(visit, lambda: _message(visit, "link"))


@router.post("/settings/wallets")
async def link(visit: Member) -> Response:
    """A new way in: the signed text, and the password."""

    async def work() -> dict[str, str]:
        fields = await visit.form()
        await _count_password(visit)
        proof = await _proof(visit, fields, "link")
        await _password(visit, fields.get("password", ""))

        async def linked(session: Session) -> LinkedWallet:
            await _forgive(visit, session)
            return await wallets.link(
                session, principal_id=visit.member.id, proof=proof, browser=_browser(visit)
            )

        await visit.services.db.run(linked)
        return {"go": "/settings?saved=1#wallets"}

    return await _answered(visit, work)


@router.post("/settings/wallets/unlink")
async def unlink(visit: Member) -> Response:
    """An ordinary form: works without a script, asks for the password too."""
    fields = await visit.form()

    async def work(session: Session) -> None:
        await _forgive(visit, session)
        await wallets.unlink(
            session, principal_id=visit.member.id, address=fields.get("address", "")
        )

    try:
        await _count_password(visit)
        await _password(visit, fields.get("password", ""))
        await visit.services.db.run(work)
    except WalletError as error:
        return drafts.tell(visit, "/settings", error, at=AT)
    return visit.go("/settings?saved=1#wallets")


async def _message(visit: Visit, purpose: Purpose) -> dict[str, str]:
    """The text of EIP-4361 for the address and, where we serve it, the chain of the wallet."""
    fields = await visit.form()
    await count_try(visit.services, client_of(visit.request))
    site = site_of(visit.services)
    given = fields.get("chain_id", "")
    usable = given.isascii() and given.isdecimal() and len(given) <= MAX_CHAIN_DIGITS
    chain = int(given) if usable and int(given) in site.chain_ids else None

    async def work(session: Session) -> SiweMessage:
        return await wallets.ask(
            session, site=site, address=fields.get("address", ""), purpose=purpose,
            principal_id=visit.member.id if purpose == "link" else None, chain_id=chain,
            browser=_browser(visit),
        )  # fmt: skip

    return {"message": (await visit.services.db.run(work)).text()}


async def _proof(visit: Visit, fields: dict[str, str], purpose: Purpose) -> Proof:
    await count_try(visit.services, client_of(visit.request))
    return await wallets.prove(
        visit.services.db, site=site_of(visit.services), message=fields.get("message", ""),
        signature=fields.get("signature", ""), purpose=purpose,
        principal_id=visit.member.id if purpose == "link" else None, browser=_browser(visit),
    )  # fmt: skip


def _browser(visit: Visit) -> bytes:
    """The cookie that asked: the session's when signed in, else the visitor's."""
    return wallets.browser_of(visit.secret)


async def _count_password(visit: Visit) -> None:
    """In a transaction of its own, before the password is looked at."""
    async with visit.services.db.transaction() as session:
        await identity.count_try(session, email=visit.member.email, client=client_of(visit.request))


async def _password(visit: Visit, password: str) -> None:
    await identity.authenticate(visit.services.db, email=visit.member.email, password=password)


async def _forgive(visit: Visit, session: Session) -> None:
    email = visit.member.email
    await identity.forgive_try(session, email=email, client=client_of(visit.request))


async def _answered(
    visit: Visit, work: Callable[[], Awaitable[dict[str, str]]], *, invalid: str = WRONG_PASSWORD
) -> Response:
    """JSON for our own script: what came of it, or the refusal in the visitor's language."""
    try:
        body, status = await work(), 200
    except WalletError as error:
        status = OWN_STATUS.get(error.code) or status_of(error.code)
        if status >= 500 and status != 503:
            raise
        body = {"code": error.code, "detail": wallet_refusal(error, visit, invalid=invalid)}
    return visit.dressed(
        Response(orjson.dumps(body), status_code=status, media_type="application/json")
    )
