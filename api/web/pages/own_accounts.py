"""Accounts whose words belong to a person. The page's script seals every secret for the signer
before anything leaves the browser; what is posted here cannot be opened here."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import JSONResponse, Response

from api.web import drafts
from api.web.route import WebRoute
from api.web.visit import Visit, member
from api.web.words import own_reasons, refusal
from chain.address import checked
from chain.errors import InvalidAddress as ChainInvalidAddress
from wallet import selfcustody
from wallet.custody import InvalidAddress
from wallet.db import Session
from wallet.errors import InvalidField, NotFound, WalletError
from wallet.ids import is_id
from wallet.money import parse_amount
from wallet.selfcustody import AskDraft, SelfCustodyAway, SendDraft
from wallet.throttle import hit

ASKS_PER_HOUR = 60
WINDOW_SECONDS = 3600
BOX_FIELDS = {"key", "nonce", "box"}
PURPOSES = ("create", "import")
_HEX = re.compile(r"[0-9a-f]{2,20000}", re.ASCII)

router = APIRouter(route_class=WebRoute, include_in_schema=False)
Member = Annotated[Visit, Depends(member)]


@router.get("/own-accounts")
async def listed(visit: Member) -> Response:
    """All of them, their payments, and the forms."""
    services = visit.services
    key = None
    async with services.db.snapshot() as session:
        found = await selfcustody.accounts(session, principal_id=visit.member.id)
        paid = await selfcustody.sends(
            session, principal_id=visit.member.id, assets=services.assets
        )
        try:
            key = await selfcustody.public_key(session)
        except SelfCustodyAway:
            key = None
    carried = {
        name: {
            "chain_id": network.chain_id,
            "native": network.native_asset,
            "tokens": {token.code: token.contract for token in network.tokens},
            "scales": {
                code: services.assets.get(code).scale
                for code in (network.native_asset, *(t.code for t in network.tokens))
            },
        }
        for name, network in services.networks.items()
    }
    return visit.page(
        "own_accounts.html",
        accounts=found,
        sends=paid,
        public_key=key,
        networks=json.dumps(carried),
        chains=services.networks,
        person=visit.member.id,
        errors=drafts.told(visit),
        reasons=own_reasons(visit.language),
        open=any(one.state not in ("settled", "failed") for one in paid),
    )


@router.post("/own-accounts")
async def ask(visit: Member) -> Response:
    """Make or import one; the script asks for the answer."""
    fields = await visit.form()
    purpose = fields.get("purpose", "")

    async def work(session: Session) -> str:
        if purpose not in PURPOSES:
            raise InvalidField("Make one or import one.", field="/purpose")
        return await selfcustody.ask(
            session,
            principal_id=visit.member.id,
            draft=AskDraft(
                "create" if purpose == "create" else "import",
                _nonce(fields.get("nonce", "")),
                _box(fields.get("box", "")),
                fields.get("label", "").strip(),
            ),
        )

    return await _answer(visit, work, "request")


@router.get("/own-accounts/requests/{request_id}")
async def request(visit: Member, request_id: str) -> Response:
    """How a question to the signer stands; its reply is sealed for the browser that asked."""
    if not is_id(request_id, "scr"):
        raise NotFound("There is no such request.")
    async with visit.services.db.snapshot() as session:
        found = await selfcustody.get_request(
            session, principal_id=visit.member.id, request_id=request_id
        )
    document = {"state": found.state, "reason": found.reason, "reply": found.reply}
    return visit.dressed(JSONResponse(document))


@router.post("/own-accounts/sends")
async def send(visit: Member) -> Response:
    """Pay out of one; the grant lies in the box."""
    fields = await visit.form()
    services = visit.services

    async def work(session: Session) -> str:
        network = services.networks.get(fields.get("network", ""))
        if network is None:
            raise InvalidField("Choose a network.", field="/network")
        try:
            to = checked(fields.get("to", ""))
        except ChainInvalidAddress as error:
            raise InvalidAddress(f"Check the address: {error}.", field="/to") from None
        native = services.assets.get(network.native_asset)
        made = await selfcustody.begin_send(
            session,
            principal_id=visit.member.id,
            draft=SendDraft(
                fields.get("account", ""),
                network.name,
                parse_amount(fields.get("amount", ""), services.assets.get(fields.get("asset"))),
                to,
                parse_amount(fields.get("max_fee", ""), native).minor,
                _nonce(fields.get("nonce", "")),
                _box(fields.get("box", "")),
            ),
            networks=services.networks,
            assets=services.assets,
        )
        return made.id

    return await _answer(visit, work, "send")


@router.post("/own-accounts/{account_id}/export")
async def export(visit: Member, account_id: str) -> Response:
    """As a key file, sealed for the page that asked."""
    fields = await visit.form()
    if not is_id(account_id, "sca"):
        raise NotFound("There is no such account.")

    async def work(session: Session) -> str:
        return await selfcustody.ask_export(
            session,
            principal_id=visit.member.id,
            account_id=account_id,
            nonce=_nonce(fields.get("nonce", "")),
            box=_box(fields.get("box", "")),
        )

    return await _answer(visit, work, "request")


@router.post("/own-accounts/{account_id}/remove")
async def remove(visit: Member, account_id: str) -> Response:
    """Forget it here; its owner's words keep it."""
    await visit.form()
    if not is_id(account_id, "sca"):
        raise NotFound("There is no such account.")

    async def work(session: Session) -> None:
        await selfcustody.remove(session, principal_id=visit.member.id, account_id=account_id)

    await visit.services.db.run(work)
    return visit.go("/own-accounts")


async def _answer(visit: Visit, work: Callable[[Session], Awaitable[str]], name: str) -> Response:
    """`{name: id}`, or the refusal in the person's language."""
    principal_id = visit.member.id
    try:
        async with visit.services.db.transaction() as session:
            await hit(
                session, f"selfcustody:{principal_id}", limit=ASKS_PER_HOUR,
                window_seconds=WINDOW_SECONDS,
            )  # fmt: skip
        made = await visit.services.db.run(work)
    except WalletError as error:
        return visit.dressed(
            JSONResponse({"error": refusal(error, visit.language)}, status_code=422)
        )
    return visit.dressed(JSONResponse({name: made}, status_code=202))


def _nonce(text: str) -> str:
    if not 16 <= len(text) <= 64 or set(text) - set("0123456789abcdef"):
        raise InvalidField("The page was damaged; load it again.", field="/nonce")
    return text


def _box(text: str) -> dict[str, str]:
    """The box as its own fields. Raises InvalidField."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if (
        not isinstance(document, dict)
        or set(document) != BOX_FIELDS
        or any(not isinstance(v, str) or not _HEX.fullmatch(v) for v in document.values())
    ):
        raise InvalidField("The page was damaged; load it again.", field="/box")
    return document
