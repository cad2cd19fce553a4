"""Sign-in with Ethereum (EIP-4361): ask for a message, sign it in a wallet, come back with it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api.authentication import CallerDep, client_of
from api.errors import documented
from api.route import StrictRoute
from api.routes.people import UserView
from api.routes.sessions import SessionMade, agent_of
from api.schemas import MOMENT_EXAMPLE, Moment, Page, Schema, View
from api.state import ReadSession, ServicesDep
from wallet import identity
from wallet.bootstrap import Services
from wallet.db import Session
from wallet.identity import SignedIn, User
from wallet.identity import wallets as linked
from wallet.identity.siwe import MAX_MESSAGE_CHARS, SiweMessage
from wallet.identity.wallets import MAX_SIGNATURE_CHARS, LinkedWallet, Proof, Purpose, Site
from wallet.throttle import hit

public = APIRouter(prefix="/v1", tags=["wallets"], route_class=StrictRoute)
router = APIRouter(prefix="/v1", tags=["wallets"], route_class=StrictRoute)

ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
TRIES_PER_CLIENT = 60
WINDOW_SECONDS = 900
CODES = ("siwe_invalid", "invalid_credentials", "rate_limited", "chain_unavailable")


class SiweAsk(Schema):
    """Who is going to sign."""

    address: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description="The wallet's address.", examples=[ADDRESS]
    )
    chain_id: int | None = Field(
        default=None, ge=1, description="A served chain; the lowest when absent.", examples=[31337]
    )


class SiweView(View):
    """What the wallet shall sign, byte for byte (`personal_sign`)."""

    message: str = Field(description="The text of EIP-4361.", examples=["localhost wants you …"])
    nonce: str = Field(description="In the text; used once.", examples=["8f2a…"])
    expires_at: Moment = Field(
        description="Until when it may come back.", examples=[MOMENT_EXAMPLE]
    )

    @classmethod
    def of(cls, made: SiweMessage) -> SiweView:
        """From the domain."""
        return cls(message=made.text(), nonce=made.nonce, expires_at=made.expires_at)


class SiweSigned(Schema):
    """The message as it was given, and the wallet's signature."""

    message: Annotated[str, StringConstraints(max_length=MAX_MESSAGE_CHARS)] = Field(
        description="Unchanged.", examples=["localhost wants you …"]
    )
    signature: Annotated[str, StringConstraints(max_length=MAX_SIGNATURE_CHARS)] = Field(
        description="`0x` and 65 bytes; of a contract (EIP-1271) up to 1,900.",
        examples=["0x" + "ab" * 65],
    )


class WalletLink(SiweSigned):
    """The signed message, and the password: a new way in is a change of the locks."""

    password: Annotated[str, StringConstraints(max_length=4096)] = Field(
        description="The account's own.", examples=["correct horse battery"]
    )


class WalletView(View):
    """An address that signs its owner in."""

    address: str = Field(description="EIP-55.", examples=[ADDRESS])
    linked_at: Moment = Field(description="Since when.", examples=[MOMENT_EXAMPLE])
    chain_id: int | None = Field(
        description="Of a contract: the only chain it signs in on. Null: a key, on any.",
        examples=[None],
    )

    @classmethod
    def of(cls, wallet: LinkedWallet) -> WalletView:
        """From the domain."""
        return cls(address=wallet.address, linked_at=wallet.linked_at, chain_id=wallet.chain_id)


@public.post(
    "/siwe/nonces",
    status_code=201,
    response_model=SiweView,
    summary="A message to sign in with",
    responses=documented(("siwe_invalid", "rate_limited")),
)
async def ask_sign_in(body: SiweAsk, request: Request, services: ServicesDep) -> SiweView:
    """Valid for five minutes, once. Says nothing about whether the address is known."""
    await _count(request, services)

    async def work(session: Session) -> SiweMessage:
        return await linked.ask(
            session, site=site_of(services), address=body.address, purpose="sign_in",
            chain_id=body.chain_id,
        )  # fmt: skip

    return SiweView.of(await services.db.run(work))


@public.post(
    "/sessions/siwe",
    status_code=201,
    response_model=SessionMade,
    summary="Sign in by a linked wallet",
    responses=documented(CODES),
)
async def sign_in(body: SiweSigned, request: Request, services: ServicesDep) -> Response:
    """A wrong signature, a used nonce and an address linked to nobody are told alike. What no key
    signed is asked of the contract at the address, on the chain the message names (EIP-1271)."""
    await _count(request, services)
    proof = await _proof(body, services, "sign_in")

    async def work(session: Session) -> tuple[User, SignedIn]:
        user = await linked.sign_in(session, proof=proof)
        opened = await identity.open_session(
            session, principal_id=user.id, kind="api", user_agent=agent_of(request)
        )
        return user, opened

    user, opened = await services.db.run(work)
    assert opened.token is not None
    made = SessionMade(token=opened.token, expires_at=opened.expires_at, user=UserView.of(user))
    return Response(
        made.model_dump_json(),
        status_code=201,
        headers={"Location": f"/v1/sessions/{opened.id}"},
        media_type="application/json",
    )


@router.post(
    "/me/wallets/nonces",
    status_code=201,
    response_model=SiweView,
    summary="A message to link a wallet with",
    responses=documented(("unauthenticated", "siwe_invalid", "rate_limited")),
)
async def ask_link(
    body: SiweAsk, caller: CallerDep, request: Request, services: ServicesDep
) -> SiweView:
    """It links to the caller's account and to no other; it does not sign anybody in."""
    await _count(request, services)

    async def work(session: Session) -> SiweMessage:
        return await linked.ask(
            session, site=site_of(services), address=body.address, purpose="link",
            principal_id=caller.principal_id, chain_id=body.chain_id,
        )  # fmt: skip

    return SiweView.of(await services.db.run(work))


@router.post(
    "/me/wallets",
    status_code=201,
    response_model=WalletView,
    summary="Link a wallet",
    responses=documented(("unauthenticated", *CODES, "wallet_taken")),
)
async def link(
    body: WalletLink, caller: CallerDep, request: Request, services: ServicesDep
) -> WalletView:
    """From now on `POST /v1/sessions/siwe` signs the caller in with it."""
    client = client_of(request)
    async with services.db.transaction() as session:
        me = await identity.get_user(session, caller.principal_id)
        await identity.count_try(session, email=me.email, client=client)
    proof = await _proof(body, services, "link", caller.principal_id)
    await identity.authenticate(services.db, email=me.email, password=body.password)

    async def work(session: Session) -> LinkedWallet:
        await identity.forgive_try(session, email=me.email, client=client)
        return await linked.link(session, principal_id=caller.principal_id, proof=proof)

    return WalletView.of(await services.db.run(work))


@router.get(
    "/me/wallets",
    response_model=Page[WalletView],
    summary="Linked wallets",
    responses=documented(("unauthenticated",)),
)
async def page(caller: CallerDep, session: ReadSession) -> Page[WalletView]:
    """Newest first, all on one page."""
    found = await linked.wallets(session, principal_id=caller.principal_id)
    return Page(data=[WalletView.of(one) for one in found], next_cursor=None)


@router.delete(
    "/me/wallets/{address}",
    status_code=204,
    response_class=Response,
    summary="Unlink a wallet",
    responses=documented(("unauthenticated", "not_found")),
)
async def unlink(address: str, caller: CallerDep, services: ServicesDep) -> Response:
    """It signs nobody in any more; sessions it opened go on until they end."""

    async def work(session: Session) -> None:
        await linked.unlink(session, principal_id=caller.principal_id, address=address)

    await services.db.run(work)
    return Response(status_code=204)


def site_of(services: Services) -> Site:
    """This service as a signed message names it."""
    rpcs = {network.chain_id: services.rpcs[name] for name, network in services.networks.items()}
    return Site(services.settings.base_url, rpcs)


async def _proof(
    body: SiweSigned, services: Services, purpose: Purpose, principal_id: str | None = None
) -> Proof:
    return await linked.prove(
        services.db, site=site_of(services), message=body.message, signature=body.signature,
        purpose=purpose, principal_id=principal_id,
    )  # fmt: skip


async def count_try(services: Services, client: str) -> None:
    """In a transaction of its own, so that a refusal does not take the count back."""
    async with services.db.transaction() as session:
        await hit(
            session, f"siwe:from:{client}", limit=TRIES_PER_CLIENT, window_seconds=WINDOW_SECONDS
        )


async def _count(request: Request, services: Services) -> None:
    await count_try(services, client_of(request))
