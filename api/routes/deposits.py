"""Where to send coins, and what arrived."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api.authentication import CallerDep
from api.cursors import DEFAULT_LIMIT, CursorText, Limit, decode, next_cursor
from api.errors import documented
from api.route import StrictRoute
from api.schemas import MOMENT_EXAMPLE, Moment, MoneyOut, Page, Schema, View
from api.state import ReadSession, ServicesDep
from chain.address import eip681
from wallet import custody, deposits
from wallet.bootstrap import Services
from wallet.custody import DepositAddress, UnknownNetwork
from wallet.db import Session
from wallet.deposits import Deposit
from wallet.errors import NotFound
from wallet.ids import is_id
from wallet.onchain.network import require_addresses
from wallet.throttle import hit

router = APIRouter(prefix="/v1", tags=["deposits"], route_class=StrictRoute)

FRESH_PER_HOUR = 60  # every address is watched for ever

NetworkName = Annotated[str, StringConstraints(min_length=1, max_length=32)]


class DepositAddressCreate(Schema):
    """On which network."""

    network: NetworkName = Field(description="Name of a network.", examples=["local"])
    fresh: bool = Field(
        default=False,
        description="Make a new one; earlier ones keep receiving.",
        examples=[False],
    )


class DepositAddressView(View):
    """An address that only this person was given."""

    id: str = Field(description="Address id.", examples=["adr_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    network: str = Field(description="Its network.", examples=["local"])
    address: str = Field(
        description="EIP-55 address.", examples=["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]
    )
    uri: str = Field(
        description="EIP-681 link.",
        examples=["ethereum:0x70997970C51812dc3A010C7d01b50e0d17dc79C8@31337"],
    )
    created_at: Moment = Field(description="When it was made.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, issued: DepositAddress, services: Services) -> DepositAddressView:
        """From the domain."""
        chain_id = services.networks[issued.network].chain_id
        return cls(
            id=issued.id,
            network=issued.network,
            address=issued.address,
            uri=eip681(issued.address, chain_id=chain_id),
            created_at=issued.created_at,
        )


class DepositAddressList(View):
    """Every address of the caller."""

    data: list[DepositAddressView] = Field(description="Newest first.")
    next_cursor: str | None = Field(description="Always null: one page.", examples=[None])


class DepositView(View):
    """Coins that arrived."""

    id: str = Field(description="Deposit id.", examples=["dep_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    network: str = Field(description="On which network.", examples=["local"])
    money: MoneyOut = Field(description="What arrived.")
    address: str = Field(
        description="Where it arrived.", examples=["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"]
    )
    from_address: str = Field(
        description="Who sent it.", examples=["0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"]
    )
    tx_hash: str = Field(description="Its transaction.", examples=["0x" + "ab" * 32])
    log_index: int = Field(description="Its log; −1 for the native coin.", examples=[0])
    trace_path: str | None = Field(
        description="Coins paid inside a transaction: which call paid them. Null otherwise.",
        examples=[None],
    )
    block_number: int | None = Field(description="Its block; null once orphaned.", examples=[128])
    confirmations: int = Field(description="Blocks from its own to the head.", examples=[3])
    required_confirmations: int = Field(description="How many it needs.", examples=[8])
    status: str = Field(
        description="`seen`, `confirmed`, `credited`, `orphaned`, `ignored` or `quarantined`.",
        examples=["seen"],
    )
    created_at: Moment = Field(description="When it was first seen.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, deposit: Deposit) -> DepositView:
        """From the domain."""
        return cls(
            id=deposit.id,
            network=deposit.network,
            money=MoneyOut.of(deposit.money),
            address=deposit.address,
            from_address=deposit.from_address,
            tx_hash=deposit.tx_hash,
            log_index=deposit.log_index,
            trace_path=deposit.trace_path,
            block_number=deposit.block_number,
            confirmations=deposit.confirmations,
            required_confirmations=deposit.required_confirmations,
            status=deposit.status,
            created_at=deposit.created_at,
        )


@router.post(
    "/deposit-addresses",
    status_code=201,
    response_model=DepositAddressView,
    summary="Where to send coins",
    responses=documented(
        ("unauthenticated", "unknown_network", "too_many_addresses", "address_mismatch",
         "rate_limited", "chain_unavailable")
    ),
)  # fmt: skip
async def issue(body: DepositAddressCreate, caller: CallerDep, services: ServicesDep) -> Response:
    """The caller's address on this network: the same again, unless `fresh`."""
    if body.network not in services.networks:
        raise UnknownNetwork("This network is not served here.", field="/network")

    async def work(session: Session) -> DepositAddress:
        if body.fresh:
            await hit(
                session,
                f"address:fresh:{caller.principal_id}",
                limit=FRESH_PER_HOUR,
                window_seconds=3600,
            )
        await require_addresses(session, services.networks[body.network])
        return await custody.issue_address(
            session,
            principal_id=caller.principal_id,
            network=body.network,
            deriver=services.deriver_of(body.network),
            fresh=body.fresh,
        )

    view = DepositAddressView.of(await services.db.run(work), services)
    return Response(
        view.model_dump_json(),
        status_code=201,
        headers={"Location": "/v1/deposit-addresses"},
        media_type="application/json",
    )


@router.get(
    "/deposit-addresses",
    response_model=DepositAddressList,
    summary="The caller's addresses",
    responses=documented(("unauthenticated", "address_mismatch")),
)
async def addresses(
    caller: CallerDep, services: ServicesDep, session: ReadSession
) -> DepositAddressList:
    """All of them keep receiving."""
    issued = await custody.list_addresses(
        session, principal_id=caller.principal_id, deriver_of=services.deriver_of
    )
    known = [one for one in issued if one.network in services.networks]
    return DepositAddressList(
        data=[DepositAddressView.of(one, services) for one in known], next_cursor=None
    )


@router.get(
    "/deposits",
    response_model=Page[DepositView],
    summary="What arrived",
    responses=documented(("unauthenticated", "invalid_cursor")),
)
async def page(
    caller: CallerDep,
    services: ServicesDep,
    session: ReadSession,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Page[DepositView]:
    """Newest first."""
    rows = await deposits.page(
        session,
        principal_id=caller.principal_id,
        limit=limit,
        cursor=decode(cursor),
        assets=services.assets,
        networks=services.networks,
    )
    shown, after = next_cursor(rows, limit, lambda row: (row.created_at, row.id))
    return Page(data=[DepositView.of(row) for row in shown], next_cursor=after)


@router.get(
    "/deposits/{deposit_id}",
    response_model=DepositView,
    summary="One deposit",
    responses=documented(("unauthenticated", "not_found")),
)
async def get(
    deposit_id: str, caller: CallerDep, services: ServicesDep, session: ReadSession
) -> DepositView:
    """With its confirmations as of the scanner's last block."""
    if not is_id(deposit_id, "dep"):
        raise NotFound("There is no such deposit.")
    return DepositView.of(
        await deposits.get(
            session,
            principal_id=caller.principal_id,
            deposit_id=deposit_id,
            assets=services.assets,
            networks=services.networks,
        )
    )
