"""The service's own surroundings: its clock, its bank, its faults."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from api.errors import documented
from api.route import StrictRoute
from api.sandbox.chain import GUARD_CODES
from api.sandbox.guard import guard
from api.schemas import MOMENT_EXAMPLE, Moment, MoneyIn, MoneyOut, Schema, View
from api.state import ServicesDep
from wallet import clock, faults, identity, topups
from wallet.db import Session
from wallet.errors import InvalidField, NotFound
from wallet.identity.errors import RecipientNotFound
from wallet.ids import is_id
from wallet.payouts import SimulatedBank

router = APIRouter(
    prefix="/sandbox", tags=["sandbox"], route_class=StrictRoute, dependencies=[Depends(guard)]
)

MAX_ADVANCE_SECONDS = 10 * 366 * 86_400


class ClockAdvance(Schema):
    """How far."""

    advance_seconds: int = Field(
        ge=1, le=MAX_ADVANCE_SECONDS, description="Forward only.", examples=[3600]
    )


class ClockView(View):
    """The service's business time."""

    now: Moment = Field(description="What the books call now.", examples=[MOMENT_EXAMPLE])
    offset_seconds: int = Field(description="Ahead of the real clock by.", examples=[3600])


class BankCredit(Schema):
    """An incoming bank transfer."""

    user: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description="Who it is for.", examples=["usr_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"]
    )
    money: MoneyIn = Field(description="What arrives; fiat.")
    reference: Annotated[str, StringConstraints(max_length=140)] | None = Field(
        default=None,
        description="What the sender wrote; the user's own reference when left out. What names"
        " nobody is kept aside for an operator.",
        examples=["RF18 ABCD 2345 67"],
    )


class BankCreditView(View):
    """A booked bank transfer."""

    id: str | None = Field(
        description="The top-up it is.", examples=["top_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"]
    )
    user: str | None = Field(
        description="Whose balance it is in.", examples=["usr_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"]
    )
    money: MoneyOut = Field(description="What arrived.")
    status: str = Field(
        description="`succeeded`; `unattributed` when its text names nobody.",
        examples=["succeeded"],
    )
    created_at: Moment | None = Field(
        description="When the top-up was made.", examples=[MOMENT_EXAMPLE]
    )


class FaultView(View):
    """A fault to play with."""

    name: str = Field(description="Its name.", examples=["payout_silent"])
    enabled: bool = Field(description="Whether it is on.", examples=[False])
    description: str = Field(
        description="What it does.", examples=["The rail says nothing until this is switched off."]
    )


class FaultList(View):
    """Every fault."""

    data: list[FaultView] = Field(description="One row a fault.")


class FaultSwitches(Schema):
    """`{"faults": {name: on}}`, or one by `{"name", "enabled"}`."""

    faults: dict[str, bool] | None = Field(
        default=None, description="Several at once.", examples=[{"payout_silent": True}]
    )
    name: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        default=None, description="One of them.", examples=["payout_silent"]
    )
    enabled: bool | None = Field(default=None, description="On or off.", examples=[True])

    @model_validator(mode="after")
    def _one_form(self) -> FaultSwitches:
        single = self.name is not None and self.enabled is not None
        partly = self.name is not None or self.enabled is not None
        if (self.faults is not None) == single or (partly and not single):
            raise PydanticCustomError("invalid_field", "Give `faults`, or `name` and `enabled`.")
        return self

    def wanted(self) -> dict[str, bool]:
        """Name → on."""
        if self.faults is not None:
            return self.faults
        assert self.name is not None and self.enabled is not None
        return {self.name: self.enabled}


@router.post(
    "/clock",
    response_model=ClockView,
    summary="Move time forward",
    responses=documented(GUARD_CODES),
)
async def advance(body: ClockAdvance, services: ServicesDep) -> ClockView:
    """Business time only: sessions, rate limits and signatures keep to the real clock."""

    async def work(session: Session) -> ClockView:
        offset = await clock.advance(session, seconds=body.advance_seconds)
        return ClockView(now=await clock.now(session), offset_seconds=offset)

    return await services.db.run(work)


@router.post(
    "/bank-credits",
    status_code=201,
    response_model=BankCreditView,
    summary="A bank transfer arrives",
    responses=documented(
        (*GUARD_CODES, "recipient_not_found", "unknown_asset", "amount_must_be_string",
         "amount_malformed", "amount_precision", "amount_not_positive", "amount_too_large",
         "account_closed")
    ),
)  # fmt: skip
async def bank_credit(body: BankCredit, services: ServicesDep) -> BankCreditView:
    """On the simulated bank's statement and in the books when this answers."""
    money = body.money.money(services.assets)
    if money.asset.kind != "fiat":
        raise InvalidField("A bank transfer is fiat.", field="/money/asset")
    if not is_id(body.user, "usr"):
        raise RecipientNotFound("Nobody here by that id.", field="/user")
    async with services.db.transaction() as session:
        try:
            await identity.get_user(session, body.user)
        except NotFound:
            raise RecipientNotFound("Nobody here by that id.", field="/user") from None
    made = await topups.bank_credit(
        services.db,
        SimulatedBank(services.db),
        services.assets,
        principal_id=body.user,
        money=money,
        words=body.reference,
    )
    if made is None:
        return BankCreditView(
            id=None, user=None, money=MoneyOut.of(money), status="unattributed", created_at=None
        )
    return BankCreditView(
        id=made.id,
        user=made.principal_id,
        money=MoneyOut.of(made.money),
        status="succeeded",
        created_at=made.created_at,
    )


@router.get(
    "/faults", response_model=FaultList, summary="Faults", responses=documented(GUARD_CODES)
)
async def list_faults(services: ServicesDep) -> FaultList:
    """Every fault the sandbox can play."""
    async with services.db.transaction() as session:
        return _faults(await faults.all_faults(session))


@router.put(
    "/faults", response_model=FaultList, summary="Switch faults", responses=documented(GUARD_CODES)
)
async def switch_faults(body: FaultSwitches, services: ServicesDep) -> FaultList:
    """What is not named stays. Every process follows within a second."""

    async def work(session: Session) -> FaultList:
        for name, on in body.wanted().items():
            await faults.switch(session, name, on=on)
        return _faults(await faults.all_faults(session))

    switched = await services.db.run(work)
    await services.refresh_faults()
    return switched


def _faults(known: dict[str, bool]) -> FaultList:
    return FaultList(
        data=[
            FaultView(name=name, enabled=on, description=faults.DESCRIPTIONS[name])
            for name, on in known.items()
        ]
    )
