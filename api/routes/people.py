"""Registering, and what a person sees and changes of themselves."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api.authentication import CallerDep, client_of
from api.errors import documented
from api.route import StrictRoute
from api.schemas import MOMENT_EXAMPLE, AssetCode, Moment, Schema, View
from api.state import ReadSession, ServicesDep
from wallet import identity
from wallet.db import Session
from wallet.identity import User
from wallet.money import format_amount
from wallet.risk import limits
from wallet.throttle import hit

REGISTRATIONS_PER_CLIENT = 600
REGISTRATION_WINDOW_SECONDS = 600

public = APIRouter(prefix="/v1", tags=["people"], route_class=StrictRoute)
router = APIRouter(prefix="/v1", tags=["people"], route_class=StrictRoute)

Text = Annotated[str, StringConstraints(min_length=1, max_length=320)]


class UserCreate(Schema):
    """A new person."""

    email: Text = Field(
        description="E-mail address; signs in with it.", examples=["ada@example.org"]
    )
    password: Annotated[str, StringConstraints(max_length=4096)] = Field(
        description="At least 12 characters and not a common one.",
        examples=["correct horse battery"],
    )
    display_name: Text = Field(description="How others see this person.", examples=["Ada Lovelace"])
    country: Text = Field(description="ISO 3166-1 alpha-2.", examples=["DE"])


class UserChange(Schema):
    """What a person may change; what is absent stays."""

    display_name: Text | None = Field(
        default=None, description="How others see this person.", examples=["Ada"]
    )
    handle: Text | None = Field(
        default=None,
        description="3–30 lower-case letters, digits or `_`, starting with a letter. "
        "The old one is never given to anybody again.",
        examples=["ada"],
    )
    locale: Literal["en", "zh"] | None = Field(
        default=None, description="Language of the web app.", examples=["zh"]
    )
    display_asset: AssetCode | None = Field(
        default=None, description="Asset of the ≈ total on the home page.", examples=["EUR"]
    )


class UserView(View):
    """A person, as they see themselves."""

    id: str = Field(description="User id.", examples=["usr_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    handle: str = Field(description="Receives money as `@handle`.", examples=["ada_1815"])
    email: str = Field(description="E-mail address.", examples=["ada@example.org"])
    display_name: str = Field(description="How others see this person.", examples=["Ada Lovelace"])
    country: str = Field(description="ISO 3166-1 alpha-2.", examples=["DE"])
    kyc_tier: str = Field(description="Decides the limits.", examples=["sandbox"])
    locale: str = Field(description="Language of the web app.", examples=["en"])
    display_asset: str = Field(description="Asset of the ≈ total.", examples=["EUR"])
    frozen: bool = Field(description="Whether outgoing money is stopped.", examples=[False])
    created_at: Moment = Field(description="When they registered.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, user: User) -> UserView:
        """From the domain."""
        return cls(
            id=user.id,
            handle=user.handle,
            email=user.email,
            display_name=user.display_name,
            country=user.country,
            kyc_tier=user.kyc_tier,
            locale=user.locale,
            display_asset=user.display_asset,
            frozen=user.frozen,
            created_at=user.created_at,
        )


class LimitView(View):
    """One limit over a sliding window."""

    kind: str = Field(description="What counts against it.", examples=["outgoing"])
    asset: str = Field(description="Asset the limit is counted in.", examples=["EUR"])
    window_seconds: int = Field(description="Length of the sliding window.", examples=[86400])
    limit: str = Field(description="The most that may leave in the window.", examples=["10000.00"])
    used: str = Field(description="What has left, or is about to.", examples=["40.00"])
    remaining: str = Field(description="What may still leave.", examples=["9960.00"])


class LimitsView(View):
    """All limits of the caller."""

    data: list[LimitView] = Field(description="One row a limit.")


@public.post(
    "/users",
    status_code=201,
    response_model=UserView,
    summary="Register a person",
    responses=documented(
        (
            "email_taken",
            "email_invalid",
            "password_too_weak",
            "invalid_field",
            "unknown_field",
            "rate_limited",
        )
    ),
)
async def register(body: UserCreate, request: Request, services: ServicesDep) -> Response:
    """Sandbox only: the address is verified at once and the tier is the sandbox's."""
    client = client_of(request)
    async with services.db.transaction() as session:
        await hit(
            session,
            f"register:from:{client}",
            limit=REGISTRATIONS_PER_CLIENT,
            window_seconds=REGISTRATION_WINDOW_SECONDS,
        )

    async def work(session: Session) -> User:
        return await identity.register(
            session,
            email=body.email,
            password=body.password,
            display_name=body.display_name,
            country=body.country,
            sandbox=services.settings.sandbox,
        )

    user = await services.db.run(work)
    return Response(
        UserView.of(user).model_dump_json(),
        status_code=201,
        headers={"Location": "/v1/me"},
        media_type="application/json",
    )


@router.get(
    "/me", response_model=UserView, summary="The caller", responses=documented(("unauthenticated",))
)
async def me(caller: CallerDep, session: ReadSession) -> UserView:
    """Who the token belongs to."""
    return UserView.of(await identity.get_user(session, caller.principal_id))


@router.patch(
    "/me",
    response_model=UserView,
    summary="Change the caller",
    responses=documented(
        (
            "unauthenticated",
            "handle_unavailable",
            "unknown_asset",
            "invalid_field",
            "unknown_field",
            "rate_limited",
        )
    ),
)
async def change_me(body: UserChange, caller: CallerDep, services: ServicesDep) -> UserView:
    """Change name, handle, language or display asset."""
    if body.display_asset is not None:
        services.assets.get(body.display_asset, field="/display_asset")

    async def work(session: Session) -> User:
        return await identity.change_user(
            session,
            user_id=caller.principal_id,
            display_name=body.display_name,
            locale=body.locale,
            display_asset=body.display_asset,
            handle=body.handle,
        )

    return UserView.of(await services.db.run(work))


@router.get(
    "/me/limits",
    response_model=LimitsView,
    summary="Limits and what is left of them",
    responses=documented(("unauthenticated",)),
)
async def my_limits(caller: CallerDep, session: ReadSession) -> LimitsView:
    """Withdrawals and payments count, at mid rate in EUR; nothing else does."""
    usage = await limits.usage(session, caller.principal_id)
    return LimitsView(
        data=[
            LimitView(
                kind="outgoing",
                asset="EUR",
                window_seconds=usage.window_seconds,
                limit=format_amount(usage.limit_minor, 2),
                used=format_amount(usage.used_minor, 2),
                remaining=format_amount(usage.remaining_minor, 2),
            )
        ]
    )
