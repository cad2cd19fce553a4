"""Money from one person here to another."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api import idempotency
from api.authentication import CallerDep
from api.cursors import DEFAULT_LIMIT, CursorText, Limit, decode, next_cursor
from api.errors import documented
from api.hot import HotRoute, TogetherDep
from api.idempotency import answer
from api.route import StrictRoute
from api.schemas import MOMENT_EXAMPLE, Moment, MoneyIn, MoneyOut, Page, Schema, View
from api.state import ReadSession, ServicesDep
from wallet import transfers
from wallet.clock import rfc3339
from wallet.errors import NotFound
from wallet.idempotency import Answer
from wallet.identity.lookup import Person
from wallet.identity.users import HANDLE
from wallet.ids import is_id
from wallet.transfers import Transfer, Wanted

router = APIRouter(prefix="/v1", tags=["transfers"], route_class=StrictRoute)
hot = APIRouter(prefix="/v1", tags=["transfers"], route_class=HotRoute)
FLOW = transfers.Flow()


class TransferCreate(Schema):
    """An instruction to move money now."""

    to: Annotated[str, StringConstraints(min_length=1, max_length=320)] = Field(
        description="Handle (`@name`), verified e-mail, or user id.", examples=["@grace_1906"]
    )
    money: MoneyIn = Field(description="What moves.")
    note: Annotated[str, StringConstraints(max_length=400)] | None = Field(
        default=None, description="Both sides see it; one line.", examples=["for lunch"]
    )


class PartyView(View):
    """A person as the other side sees them."""

    id: str = Field(description="User id.", examples=["usr_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    handle: str = Field(description="Receives money as `@handle`.", examples=["grace_1906"])
    display_name: str = Field(description="Their name.", examples=["Grace Hopper"])

    @classmethod
    def of(cls, party: Person) -> PartyView:
        """From the domain."""
        return cls(id=party.id, handle=party.handle, display_name=party.display_name)


class TransferView(View):
    """A completed transfer."""

    id: str = Field(description="Transfer id.", examples=["trf_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    status: str = Field(description="Always `completed`.", examples=["completed"])
    from_: PartyView = Field(serialization_alias="from", description="Who paid.")
    to: PartyView = Field(description="Who received.")
    money: MoneyOut = Field(description="What moved.")
    note: str | None = Field(description="The payer's words.", examples=["for lunch"])
    created_at: Moment = Field(description="When it moved.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, transfer: Transfer) -> TransferView:
        """From the domain."""
        return cls(
            id=transfer.id,
            status=transfer.status,
            from_=PartyView.of(transfer.payer),
            to=PartyView.of(transfer.payee),
            money=MoneyOut.of(transfer.money),
            note=transfer.note,
            created_at=transfer.created_at,
        )


@hot.post(
    "/transfers",
    status_code=201,
    response_model=TransferView,
    summary="Send money to somebody here",
    responses=documented(
        (*idempotency.CODES, "unauthenticated", "recipient_not_found", "self_transfer",
         "insufficient_funds", "account_frozen", "account_closed", "amount_must_be_string",
         "amount_malformed", "amount_precision", "amount_not_positive", "amount_too_large",
         "unknown_asset", "rate_limited")
    ),
)  # fmt: skip
async def create(
    body: TransferCreate, caller: CallerDep, services: ServicesDep, together: TogetherDep
) -> Response:
    """Instant, free and final: one entry of the ledger."""
    asked = Wanted(
        caller.principal_id, as_recipient(body.to), body.money.money(services.assets), body.note
    )
    return await together(FLOW, asked, _created)


def _created(made: Transfer) -> Answer:
    return answer(201, _raw(made), location=f"/v1/transfers/{made.id}")


def _raw(made: Transfer) -> dict[str, object]:
    """What `TransferView` writes, in the order of its fields: a tenth of its time."""
    return {
        "id": made.id,
        "status": made.status,
        "from": _party(made.payer),
        "to": _party(made.payee),
        "money": made.money.json(),
        "note": made.note,
        "created_at": rfc3339(made.created_at),
    }


def _party(one: Person) -> dict[str, str]:
    return {"id": one.id, "handle": one.handle, "display_name": one.display_name}


def as_recipient(to: str) -> str:
    """A bare handle means the same as `@handle`."""
    wanted = to.strip()
    return f"@{wanted}" if HANDLE.fullmatch(wanted) else wanted


@router.get(
    "/transfers",
    response_model=Page[TransferView],
    summary="Transfers the caller took part in",
    responses=documented(("unauthenticated", "invalid_cursor")),
)
async def page(
    caller: CallerDep,
    services: ServicesDep,
    session: ReadSession,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Page[TransferView]:
    """Sent and received, newest first."""
    rows = await transfers.page(
        session,
        principal_id=caller.principal_id,
        limit=limit,
        cursor=decode(cursor),
        assets=services.assets,
    )
    shown, after = next_cursor(rows, limit, lambda row: (row.created_at, row.id))
    return Page(data=[TransferView.of(row) for row in shown], next_cursor=after)


@router.get(
    "/transfers/{transfer_id}",
    response_model=TransferView,
    summary="One transfer",
    responses=documented(("unauthenticated", "not_found")),
)
async def get(
    transfer_id: str, caller: CallerDep, services: ServicesDep, session: ReadSession
) -> TransferView:
    """For payer and payee; anybody else gets 404."""
    if not is_id(transfer_id, "trf"):
        raise NotFound("There is no such transfer.")
    return TransferView.of(
        await transfers.get(
            session,
            principal_id=caller.principal_id,
            transfer_id=transfer_id,
            assets=services.assets,
        )
    )
