"""What the caller looks at without holding it here: addresses and extended public keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api import idempotency
from api.authentication import CallerDep
from api.cursors import DEFAULT_LIMIT, CursorText, Limit, decode, next_cursor
from api.errors import documented
from api.idempotency import OnceDep, answer
from api.route import StrictRoute
from api.schemas import MOMENT_EXAMPLE, Moment, MoneyOut, Page, Schema, View
from api.state import ReadSession, ServicesDep
from wallet import watch
from wallet.db import Session
from wallet.idempotency import Answer
from wallet.throttle import hit
from wallet.watch import Held, WatchDraft, Watched, WatchedAddress

router = APIRouter(prefix="/v1", tags=["watched"], route_class=StrictRoute)

ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
IMPORTS_PER_HOUR = 60
WINDOW_SECONDS = 3600
NOT_HELD = "Always false: watched, not held here. It is part of no balance."


class WatchCreate(Schema):
    """An address or an xpub, never anything that can sign."""

    source: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = Field(
        description="An address (EIP-55), or the xpub of an account (m/44'/60'/n').",
        examples=[ADDRESS],
    )
    label: Annotated[str, StringConstraints(min_length=1, max_length=1024)] = Field(
        description="What the person calls it; 60 characters at most.", examples=["Ledger, at home"]
    )

    def draft(self) -> WatchDraft:
        """For the domain."""
        return WatchDraft(source=self.source, label=self.label)


class HeldView(View):
    """An amount as a network's node told it; for a sum, block and age of its oldest part."""

    network: str = Field(description="On which network.", examples=["local"])
    money: MoneyOut = Field(description="How much.")
    block_number: int = Field(description="At which block.", examples=[128])
    as_of: Moment = Field(description="When it was read.", examples=[MOMENT_EXAMPLE])
    age_seconds: int = Field(description="How long ago that is.", examples=[7])

    @classmethod
    def of(cls, held: Held) -> HeldView:
        """From the domain."""
        return cls(
            network=held.network,
            money=MoneyOut.of(held.money),
            block_number=held.block_number,
            as_of=held.as_of,
            age_seconds=int(held.age_seconds),
        )


class WatchedAddressView(View):
    """One address of what is watched."""

    index: int = Field(description="Its index on the receiving branch (0/index).", examples=[0])
    address: str = Field(description="EIP-55.", examples=[ADDRESS])
    used: bool = Field(description="It held or sent something on some network.", examples=[True])
    balances: list[HeldView] = Field(description="What it holds.")

    @classmethod
    def of(cls, one: WatchedAddress) -> WatchedAddressView:
        """From the domain."""
        return cls(
            index=one.index,
            address=one.address,
            used=one.used,
            balances=[HeldView.of(held) for held in one.balances],
        )


class WatchedView(View):
    """Something watched, with the sum over its addresses."""

    id: str = Field(description="Its id.", examples=["wat_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    kind: str = Field(description="`address` or `xpub`.", examples=["address"])
    label: str = Field(description="As its owner calls it.", examples=["Ledger, at home"])
    held_here: bool = Field(default=False, description=NOT_HELD, examples=[False])
    address: str | None = Field(description="EIP-55; null for an xpub.", examples=[ADDRESS])
    xpub: str | None = Field(
        description="Its beginning and end; null for an address.", examples=[None]
    )
    fingerprint: str | None = Field(
        description="128 bits of the SHA-256 of the xpub's text, in hex.", examples=[None]
    )
    balances: list[HeldView] = Field(description="By network and listed asset, read lately.")
    complete: bool = Field(
        description="False until all of every address was read once: sums are then too low.",
        examples=[True],
    )
    address_count: int = Field(
        description="How many addresses are read: for an xpub 20 beyond the last used, up to 100.",
        examples=[1],
    )
    used_count: int = Field(description="How many of them are in use.", examples=[1])
    capped: bool = Field(
        description="True when an xpub may use more addresses than are read.", examples=[False]
    )
    created_at: Moment = Field(description="Since when.", examples=[MOMENT_EXAMPLE])


class WatchedDetailView(WatchedView):
    """The same with each address."""

    addresses: list[WatchedAddressView] = Field(description="In the order of their index.")


def _summary(item: Watched) -> WatchedView:
    return WatchedView(
        id=item.id,
        kind=item.kind,
        label=item.label,
        address=item.address,
        xpub=item.xpub,
        fingerprint=item.fingerprint,
        balances=[HeldView.of(one) for one in item.balances],
        complete=item.complete,
        address_count=item.address_count,
        used_count=item.used_count,
        capped=item.capped,
        created_at=item.created_at,
    )


def _detail(item: Watched) -> WatchedDetailView:
    values = {name: getattr(_summary(item), name) for name in WatchedView.model_fields}
    return WatchedDetailView(
        **values, addresses=[WatchedAddressView.of(one) for one in item.addresses]
    )


@router.post(
    "/watched",
    status_code=201,
    response_model=WatchedDetailView,
    summary="Watch an address or an xpub",
    responses=documented(
        (*idempotency.CODES, "unauthenticated", "invalid_field", "secret_refused",
         "address_is_ours", "already_watched", "too_many_watched", "rate_limited")
    ),
)  # fmt: skip
async def create(
    body: WatchCreate, caller: CallerDep, services: ServicesDep, once: OnceDep
) -> Response:
    """Balances follow within seconds. A private key or a phrase is refused before anything is
    kept: whoever sent one should consider it compromised."""
    draft = body.draft()
    watch.refuse_secrets(draft)

    async def count() -> None:
        async with services.db.transaction() as session:
            await hit(
                session, f"watch:{caller.principal_id}", limit=IMPORTS_PER_HOUR,
                window_seconds=WINDOW_SECONDS,
            )  # fmt: skip

    async def work(session: Session) -> Answer:
        row = await watch.add(
            session, principal_id=caller.principal_id, draft=draft, deriver=services.deriver
        )
        made = await watch.details(session, row, networks=services.networks, assets=services.assets)
        return answer(201, _detail(made), location=f"/v1/watched/{made.id}")

    return await once(work, before=count)


@router.get(
    "/watched",
    response_model=Page[WatchedView],
    summary="What the caller watches",
    responses=documented(("unauthenticated", "invalid_cursor")),
)
async def page(
    caller: CallerDep,
    services: ServicesDep,
    session: ReadSession,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Page[WatchedView]:
    """Newest first, with sums as they were read last. Asks no node."""
    rows = await watch.page(
        session, principal_id=caller.principal_id, limit=limit, cursor=decode(cursor)
    )
    shown, after = next_cursor(rows, limit, lambda row: (row["created_at"], row["id"]))
    items = await watch.overview(session, shown, networks=services.networks, assets=services.assets)
    return Page(data=[_summary(item) for item in items], next_cursor=after)


@router.get(
    "/watched/{watched_id}",
    response_model=WatchedDetailView,
    summary="One of them, address by address",
    responses=documented(("unauthenticated", "not_found")),
)
async def get(
    watched_id: str, caller: CallerDep, services: ServicesDep, session: ReadSession
) -> WatchedDetailView:
    """With the balances of every address."""
    row = await watch.get(session, principal_id=caller.principal_id, watched_id=watched_id)
    return _detail(
        await watch.details(session, row, networks=services.networks, assets=services.assets)
    )


@router.delete(
    "/watched/{watched_id}",
    status_code=204,
    response_class=Response,
    summary="Watch it no more",
    responses=documented(("unauthenticated", "not_found")),
)
async def remove(watched_id: str, caller: CallerDep, services: ServicesDep) -> Response:
    """It is forgotten with all that was read about it; on chain nothing changes."""

    async def work(session: Session) -> None:
        await watch.remove(session, principal_id=caller.principal_id, watched_id=watched_id)

    await services.db.run(work)
    return Response(status_code=204)
