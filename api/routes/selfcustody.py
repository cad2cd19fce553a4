"""People's own accounts. Secrets travel in boxes that the browser seals for the signer: what passes
here cannot be opened here (docs/custody.md)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api import idempotency
from api.authentication import Caller, CallerDep
from api.errors import documented
from api.idempotency import OnceDep, answer
from api.route import StrictRoute
from api.schemas import MOMENT_EXAMPLE, Moment, MoneyIn, MoneyOut, Page, Schema, View
from api.state import ReadSession, ServicesDep
from chain.address import checked
from chain.errors import InvalidAddress as ChainInvalidAddress
from wallet import selfcustody
from wallet.bootstrap import Services
from wallet.custody import InvalidAddress
from wallet.db import Session
from wallet.errors import InvalidField, NotFound
from wallet.idempotency import Answer
from wallet.ids import is_id
from wallet.selfcustody import AskDraft, SendDraft
from wallet.throttle import hit

router = APIRouter(prefix="/v1/self-custody", tags=["self-custody"], route_class=StrictRoute)

ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
ASKS_PER_HOUR = 60
WINDOW_SECONDS = 3600
Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2,20000}$")]
Nonce = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16,64}$")]
NONCE = "Fresh random hex of the browser; bound into the box."


class Box(Schema):
    """Sealed by the browser: X25519, HKDF-SHA256, AES-256-GCM."""

    key: Hex = Field(description="The browser's fresh public key, 32 bytes.", examples=["00" * 32])
    nonce: Hex = Field(description="Of AES-GCM, 12 bytes.", examples=["00" * 12])
    box: Hex = Field(description="The ciphertext.", examples=["00" * 48])


class Ask(Schema):
    """Make an account, or import one."""

    purpose: Literal["create", "import"] = Field(description="Which of both.", examples=["create"])
    label: Annotated[str, StringConstraints(min_length=1, max_length=60)] = Field(
        description="What the person calls it.", examples=["My own"]
    )
    nonce: Nonce = Field(description=NONCE, examples=["00" * 16])
    box: Box = Field(description="What is asked.")


class ExportAsk(Schema):
    """Give an account out as a key file. The box holds its address, its passphrase, and the
    password of the file."""

    nonce: Nonce = Field(description=NONCE, examples=["00" * 16])
    box: Box = Field(description="What is asked.")


class SendCreate(Schema):
    """Pay out of an own account. The box grants exactly this payment."""

    account_id: str = Field(
        description="Out of which account.", examples=["sca_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"]
    )
    network: str = Field(description="On which network.", examples=["local"])
    money: MoneyIn = Field(description="What the recipient gets.")
    to_address: str = Field(description="EIP-55.", examples=[ADDRESS])
    max_fee: MoneyIn = Field(description="Highest fee, in the network's coin.")
    nonce: Nonce = Field(description=NONCE, examples=["00" * 16])
    box: Box = Field(description="The grant.")


class KeyView(View):
    """What boxes are sealed for."""

    public_key: str = Field(
        description="The signer's X25519 key, hex. It changes when the signer restarts.",
        examples=["00" * 32],
    )


class AccountView(View):
    """An own account: its words are its owner's."""

    id: str = Field(description="Its id.", examples=["sca_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    label: str = Field(description="As its owner calls it.", examples=["My own"])
    address: str = Field(description="EIP-55.", examples=[ADDRESS])
    path: str | None = Field(
        description="Where wallets find it; null when it came as a key file.",
        examples=["m/44'/60'/0'/0/0"],
    )
    held_here: bool = Field(
        default=False, description="Always false: in no balance here.", examples=[False]
    )
    created_at: Moment = Field(description="Since when.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, one: selfcustody.Account) -> AccountView:
        """From the domain."""
        return cls(
            id=one.id, label=one.label, address=one.address, path=one.path,
            created_at=one.created_at,
        )  # fmt: skip


class RequestView(View):
    """A question to the signer."""

    id: str = Field(description="Its id.", examples=["scr_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    purpose: str = Field(
        description="`create`, `import`, `grant` or `export`.", examples=["create"]
    )
    state: str = Field(description="`queued`, `done` or `refused`.", examples=["done"])
    reason: str | None = Field(description="Why it was refused.", examples=[None])
    account_id: str | None = Field(description="The account it made or gave out.", examples=[None])
    reply: dict[str, str] | None = Field(
        description="Sealed for the browser that asked (`nonce`, `box`); null without one, and"
        " ten minutes later.",
        examples=[None],
    )

    @classmethod
    def of(cls, one: selfcustody.Request) -> RequestView:
        """From the domain."""
        return cls(
            id=one.id, purpose=one.purpose, state=one.state, reason=one.reason,
            account_id=one.account_id, reply=None if one.reply is None else dict(one.reply),
        )  # fmt: skip


class SendView(View):
    """A payment out of an own account."""

    id: str = Field(description="Its id.", examples=["scs_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    account_id: str = Field(description="Out of which account.", examples=["sca_…"])
    network: str = Field(description="On which network.", examples=["local"])
    money: MoneyOut = Field(description="What the recipient gets.")
    to_address: str = Field(description="To whom.", examples=[ADDRESS])
    max_fee_wei: str = Field(description="The granted fee, in wei.", examples=["42000000000000"])
    status: str = Field(
        description="`queued`, `allocated`, `signed`, `sent`, `mined`, `settled` or `failed`.",
        examples=["sent"],
    )
    reason: str | None = Field(description="Why it failed.", examples=[None])
    tx_hash: str | None = Field(description="Once it is signed.", examples=[None])
    gas_fee_wei: str | None = Field(description="What it burnt, once mined.", examples=[None])
    created_at: Moment = Field(description="When it was asked for.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, one: selfcustody.Send) -> SendView:
        """From the domain."""
        return cls(
            id=one.id, account_id=one.account_id, network=one.network,
            money=MoneyOut.of(one.money), to_address=one.to_address,
            max_fee_wei=str(one.max_fee_wei), status=one.state, reason=one.reason,
            tx_hash=one.tx_hash,
            gas_fee_wei=None if one.gas_fee_wei is None else str(one.gas_fee_wei),
            created_at=one.created_at,
        )  # fmt: skip


@router.get(
    "/key",
    response_model=KeyView,
    summary="What boxes are sealed for",
    responses=documented(("unauthenticated", "self_custody_unavailable")),
)
async def key(_caller: CallerDep, session: ReadSession) -> KeyView:
    """The signer's public key."""
    return KeyView(public_key=await selfcustody.public_key(session))


@router.get(
    "/accounts",
    response_model=Page[AccountView],
    summary="The caller's own accounts",
    responses=documented(("unauthenticated",)),
)
async def accounts(caller: CallerDep, session: ReadSession) -> Page[AccountView]:
    """Newest first; all of them."""
    found = await selfcustody.accounts(session, principal_id=caller.principal_id)
    return Page(data=[AccountView.of(one) for one in found], next_cursor=None)


@router.post(
    "/accounts",
    status_code=202,
    response_model=RequestView,
    summary="Make or import an own account",
    responses=documented(
        (*idempotency.CODES, "unauthenticated", "invalid_field", "self_custody_unavailable",
         "too_many_accounts", "rate_limited")
    ),
)  # fmt: skip
async def create(body: Ask, caller: CallerDep, services: ServicesDep, once: OnceDep) -> Response:
    """The signer answers within a second or two: ask for the request until it is not queued. New
    words come back in its `reply`, sealed for the browser; nobody else can read them."""

    async def work(session: Session) -> Answer:
        request_id = await selfcustody.ask(
            session,
            principal_id=caller.principal_id,
            draft=AskDraft(body.purpose, body.nonce, body.box.model_dump(), body.label),
        )
        made = await selfcustody.get_request(
            session, principal_id=caller.principal_id, request_id=request_id
        )
        return answer(202, RequestView.of(made), location=f"/v1/self-custody/requests/{request_id}")

    return await once(work, before=_count(services, caller))


@router.get(
    "/requests/{request_id}",
    response_model=RequestView,
    summary="How a question to the signer stands",
    responses=documented(("unauthenticated", "not_found")),
)
async def request(request_id: str, caller: CallerDep, session: ReadSession) -> RequestView:
    """Its reply stays sealed."""
    if not is_id(request_id, "scr"):
        raise NotFound("There is no such request.")
    return RequestView.of(
        await selfcustody.get_request(
            session, principal_id=caller.principal_id, request_id=request_id
        )
    )


@router.post(
    "/accounts/{account_id}/export",
    status_code=202,
    response_model=RequestView,
    summary="An own account as a Web3 key file, for its owner",
    responses=documented(
        (*idempotency.CODES, "unauthenticated", "not_found", "invalid_field",
         "self_custody_unavailable", "rate_limited")
    ),
)  # fmt: skip
async def export(
    account_id: str, body: ExportAsk, caller: CallerDep, services: ServicesDep, once: OnceDep
) -> Response:
    """The file (version 3, scrypt) comes back in the request's `reply`, sealed for the browser."""
    if not is_id(account_id, "sca"):
        raise NotFound("There is no such account.")

    async def work(session: Session) -> Answer:
        request_id = await selfcustody.ask_export(
            session, principal_id=caller.principal_id, account_id=account_id, nonce=body.nonce,
            box=body.box.model_dump(),
        )  # fmt: skip
        made = await selfcustody.get_request(
            session, principal_id=caller.principal_id, request_id=request_id
        )
        return answer(202, RequestView.of(made), location=f"/v1/self-custody/requests/{request_id}")

    return await once(work, before=_count(services, caller))


@router.delete(
    "/accounts/{account_id}",
    status_code=204,
    response_class=Response,
    summary="Forget an own account here",
    responses=documented(("unauthenticated", "not_found")),
)
async def remove(account_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    """Whoever has the words still has the account; what is under way goes on."""
    if not is_id(account_id, "sca"):
        raise NotFound("There is no such account.")

    async def work(session: Session) -> None:
        await selfcustody.remove(session, principal_id=caller.principal_id, account_id=account_id)

    await services.db.run(work)
    return Response(status_code=204)


@router.post(
    "/sends",
    status_code=202,
    response_model=SendView,
    summary="Pay out of an own account",
    responses=documented(
        (*idempotency.CODES, "unauthenticated", "not_found", "invalid_field", "invalid_address",
         "unknown_asset", "amount_precision",
         "amount_too_large", "amount_not_positive", "self_custody_unavailable", "send_in_progress",
         "rate_limited")
    ),
)  # fmt: skip
async def send(
    body: SendCreate, caller: CallerDep, services: ServicesDep, once: OnceDep
) -> Response:
    """The signer opens the account for exactly this payment, for two minutes."""
    money = body.money.money(services.assets)
    max_fee = body.max_fee.money(services.assets, at="/max_fee")
    network = services.networks.get(body.network)
    if network is not None and max_fee.asset.code != network.native_asset:
        raise InvalidField("Fees are in the network's own coin.", field="/max_fee/asset")
    try:
        to = checked(body.to_address)
    except ChainInvalidAddress as error:
        raise InvalidAddress(f"Check the address: {error}.", field="/to_address") from None
    draft = SendDraft(
        body.account_id, body.network, money, to, max_fee.minor, body.nonce, body.box.model_dump()
    )

    async def work(session: Session) -> Answer:
        made = await selfcustody.begin_send(
            session,
            principal_id=caller.principal_id,
            draft=draft,
            networks=services.networks,
            assets=services.assets,
        )
        return answer(202, SendView.of(made), location=f"/v1/self-custody/sends/{made.id}")

    return await once(work, before=_count(services, caller))


@router.get(
    "/sends",
    response_model=Page[SendView],
    summary="Payments of the caller's own accounts",
    responses=documented(("unauthenticated",)),
)
async def sends(caller: CallerDep, services: ServicesDep, session: ReadSession) -> Page[SendView]:
    """The newest fifty."""
    found = await selfcustody.sends(
        session, principal_id=caller.principal_id, assets=services.assets
    )
    return Page(data=[SendView.of(one) for one in found], next_cursor=None)


@router.get(
    "/sends/{send_id}",
    response_model=SendView,
    summary="One payment of an own account",
    responses=documented(("unauthenticated", "not_found")),
)
async def get_send(
    send_id: str, caller: CallerDep, services: ServicesDep, session: ReadSession
) -> SendView:
    """As it stands now."""
    if not is_id(send_id, "scs"):
        raise NotFound("There is no such payment.")
    return SendView.of(
        await selfcustody.get_send(
            session, principal_id=caller.principal_id, send_id=send_id, assets=services.assets
        )
    )


def _count(services: Services, caller: Caller) -> Callable[[], Awaitable[None]]:
    """Each question costs the signer an argon2id."""

    async def count() -> None:
        async with services.db.transaction() as session:
            await hit(
                session, f"selfcustody:{caller.principal_id}", limit=ASKS_PER_HOUR,
                window_seconds=WINDOW_SECONDS,
            )  # fmt: skip

    return count
