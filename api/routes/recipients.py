"""Where somebody sends money abroad."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api import idempotency
from api.authentication import CallerDep
from api.cursors import DEFAULT_LIMIT, CursorText, Limit, decode, next_cursor
from api.errors import documented
from api.idempotency import OnceDep, answer
from api.route import StrictRoute
from api.schemas import MOMENT_EXAMPLE, Moment, Page, Schema, View
from api.state import ReadSession, ServicesDep
from wallet.db import Session
from wallet.errors import NotFound
from wallet.idempotency import Answer
from wallet.ids import is_id
from wallet.payments import Recipient, RecipientDraft, recipients

router = APIRouter(prefix="/v1", tags=["payments"], route_class=StrictRoute)

RecipientType = Literal["iban", "clabe", "cnaps", "ach", "ifsc", "nuban", "uk", "wallet", "evm"]
ACCOUNT_FIELDS = (
    "iban", "clabe", "cnaps", "account", "routing_number", "ifsc", "bank_code", "sort_code", "to",
    "network", "address",
)  # fmt: skip
COUNTRY = "ISO 3166-1 alpha-2, where the account is."

Short = Annotated[str, StringConstraints(min_length=1, max_length=320)]


class RecipientCreate(Schema):
    """Name, country, and the account fields of its type; each corridor gives its JSON Schema."""

    type: RecipientType = Field(description="Decides which account fields.", examples=["clabe"])
    name: Short = Field(description="Holder of the account.", examples=["Sofía Hernández"])
    country: Annotated[str, StringConstraints(max_length=8)] = Field(
        description=COUNTRY, examples=["MX"]
    )
    iban: Short | None = Field(
        default=None, description="Type `iban`.", examples=["DE89370400440532013000"]
    )
    clabe: Short | None = Field(
        default=None, description="Type `clabe`: 18 digits.", examples=["032180000118359719"]
    )
    cnaps: Short | None = Field(
        default=None, description="Type `cnaps`: 12 digits.", examples=["102100099996"]
    )
    account: Short | None = Field(
        default=None,
        description="Types `cnaps`, `ach`, `ifsc`, `nuban`, `uk`.",
        examples=["12345678"],
    )
    routing_number: Short | None = Field(
        default=None, description="Type `ach`: 9 digits.", examples=["021000021"]
    )
    ifsc: Short | None = Field(default=None, description="Type `ifsc`.", examples=["HDFC0000001"])
    bank_code: Short | None = Field(default=None, description="Type `nuban`.", examples=["058"])
    sort_code: Short | None = Field(default=None, description="Type `uk`.", examples=["20-00-00"])
    to: Short | None = Field(
        default=None, description="Type `wallet`: handle, e-mail or id.", examples=["@grace_1906"]
    )
    network: Short | None = Field(default=None, description="Type `evm`.", examples=["local"])
    address: Short | None = Field(
        default=None,
        description="Type `evm`: EIP-55.",
        examples=["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],
    )

    def draft(self) -> RecipientDraft:
        """For the domain."""
        given = {name: getattr(self, name) for name in ACCOUNT_FIELDS}
        return RecipientDraft(
            type=self.type,
            name=self.name,
            country=self.country,
            details={name: value for name, value in given.items() if value is not None},
        )


def _absent(value: object) -> bool:
    return value is None


def _part(description: str, example: str) -> str | None:
    """An account field: shown where the type has it."""
    field: str | None = Field(
        default=None, description=description, examples=[example], exclude_if=_absent
    )
    return field


class RecipientView(View):
    """A checked recipient, in canonical form, with the account fields of its type."""

    id: str = Field(description="Recipient id.", examples=["rcp_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    type: str = Field(description="Its type.", examples=["clabe"])
    name: str = Field(description="Holder of the account.", examples=["Sofía Hernández"])
    country: str = Field(description=COUNTRY, examples=["MX"])
    label: str = Field(description="Short, for lists.", examples=["Sofía Hernández …9719"])
    iban: str | None = _part("Type `iban`.", "DE89370400440532013000")
    clabe: str | None = _part("Type `clabe`.", "032180000118359719")
    cnaps: str | None = _part("Type `cnaps`.", "102100099996")
    account: str | None = _part("Account number.", "12345678")
    routing_number: str | None = _part("Type `ach`.", "021000021")
    ifsc: str | None = _part("Type `ifsc`.", "HDFC0000001")
    bank_code: str | None = _part("Type `nuban`.", "058")
    sort_code: str | None = _part("Type `uk`.", "200000")
    to: str | None = _part("Type `wallet`: handle.", "@grace_1906")
    network: str | None = _part("Type `evm`.", "local")
    address: str | None = _part("Type `evm`.", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8")
    created_at: Moment = Field(description="When it was made.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, recipient: Recipient) -> RecipientView:
        """From the domain."""
        known = {name: recipient.details.get(name) for name in ACCOUNT_FIELDS}
        return cls(
            id=recipient.id,
            type=recipient.type,
            name=recipient.name,
            country=recipient.country,
            label=recipient.label,
            created_at=recipient.created_at,
            **known,
        )


@router.post(
    "/recipients",
    status_code=201,
    response_model=RecipientView,
    summary="Keep a recipient",
    responses=documented(
        (*idempotency.CODES, "unauthenticated", "invalid_field", "recipient_not_found")
    ),
)
async def create(
    body: RecipientCreate, caller: CallerDep, services: ServicesDep, once: OnceDep
) -> Response:
    """Check digits are verified; what is wrong is named by its pointer."""

    async def work(session: Session) -> Answer:
        made = await recipients.create(
            session,
            principal_id=caller.principal_id,
            draft=body.draft(),
            networks=services.networks,
        )
        return answer(201, RecipientView.of(made), location=f"/v1/recipients/{made.id}")

    return await once(work)


@router.get(
    "/recipients",
    response_model=Page[RecipientView],
    summary="The caller's recipients",
    responses=documented(("unauthenticated", "invalid_cursor")),
)
async def page(
    caller: CallerDep,
    session: ReadSession,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Page[RecipientView]:
    """Newest first."""
    rows = await recipients.page(
        session, principal_id=caller.principal_id, limit=limit, cursor=decode(cursor)
    )
    shown, after = next_cursor(rows, limit, lambda row: (row.created_at, row.id))
    return Page(data=[RecipientView.of(row) for row in shown], next_cursor=after)


@router.get(
    "/recipients/{recipient_id}",
    response_model=RecipientView,
    summary="One recipient",
    responses=documented(("unauthenticated", "not_found")),
)
async def get(recipient_id: str, caller: CallerDep, session: ReadSession) -> RecipientView:
    """As it was checked."""
    if not is_id(recipient_id, "rcp"):
        raise NotFound("There is no such recipient.")
    return RecipientView.of(
        await recipients.get(session, principal_id=caller.principal_id, recipient_id=recipient_id)
    )
