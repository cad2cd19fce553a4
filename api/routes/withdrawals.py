"""Money out to an address outside."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field, StringConstraints
from starlette.responses import Response

from api import idempotency
from api.authentication import CallerDep
from api.cursors import DEFAULT_LIMIT, CursorText, Limit, decode, next_cursor
from api.errors import documented
from api.idempotency import OnceDep, answer
from api.route import StrictRoute
from api.schemas import MOMENT_EXAMPLE, Moment, MoneyIn, MoneyOut, Page, Schema, View
from api.state import ReadSession, ServicesDep, state_of
from wallet import withdrawals
from wallet.bootstrap import Services
from wallet.db import Session
from wallet.errors import NotFound
from wallet.idempotency import Answer
from wallet.ids import is_id
from wallet.money import Money
from wallet.withdrawals import AttemptView, EventView, Plan, Withdrawal

router = APIRouter(prefix="/v1", tags=["withdrawals"], route_class=StrictRoute)

ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
CODES = (
    "unauthenticated", "amount_must_be_string", "amount_malformed", "amount_precision",
    "amount_not_positive", "amount_too_large", "unknown_asset", "unknown_network",
    "invalid_address", "max_fee_too_low", "chain_unavailable", "rate_stale",
)  # fmt: skip


class WithdrawalDraft(Schema):
    """What would leave, and where to."""

    network: Annotated[str, StringConstraints(min_length=1, max_length=32)] = Field(
        description="On which network.", examples=["local"]
    )
    money: MoneyIn = Field(description="What the address receives.")
    to_address: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        description="An outside address; mixed case must carry a right EIP-55 checksum.",
        examples=[ADDRESS],
    )


class WithdrawalCreate(WithdrawalDraft):
    """A withdrawal to make."""

    max_fee: MoneyIn | None = Field(
        default=None,
        description="The most it may cost, in the withdrawn asset.",
        examples=[{"amount": "0.002", "asset": "ETH"}],
    )


class EstimateView(View):
    """What a withdrawal would cost now. Promises nothing."""

    fee_expected: MoneyOut = Field(description="What it will probably cost.")
    fee_max: MoneyOut = Field(description="The bound that would be held; it never costs more.")
    arrives_in_seconds: int = Field(description="Until it is final.", examples=[9])
    expires_at: Moment = Field(
        description="Until when the figures are worth showing.", examples=[MOMENT_EXAMPLE]
    )


class AttemptShown(View):
    """One transaction at the withdrawal's nonce."""

    kind: str = Field(description="`pay`, `bump`, `cancel` or `noop`.", examples=["pay"])
    status: str = Field(
        description="`prepared`, `signed`, `sent`, `mined` or `refused`.", examples=["mined"]
    )
    tx_hash: str | None = Field(description="Its hash, once signed.", examples=["0x" + "ab" * 32])
    max_fee_wei: str = Field(description="Most per gas, in wei.", examples=["3000000000"])
    tip_wei: str = Field(description="Tip per gas, in wei.", examples=["1000000000"])
    created_at: Moment = Field(description="When it was prepared.", examples=[MOMENT_EXAMPLE])
    sent_at: Moment | None = Field(description="First broadcast.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, attempt: AttemptView) -> AttemptShown:
        """From the domain."""
        return cls(
            kind=attempt.kind,
            status=attempt.status,
            tx_hash=attempt.tx_hash,
            max_fee_wei=str(attempt.max_fee_wei),
            tip_wei=str(attempt.tip_wei),
            created_at=attempt.created_at,
            sent_at=attempt.sent_at,
        )


class EventShown(View):
    """One line of the history."""

    type: str = Field(description="What happened.", examples=["withdrawal.held"])
    at: Moment = Field(description="When.", examples=[MOMENT_EXAMPLE])
    detail: dict[str, Any] = Field(
        description="What belongs to it.", examples=[{"tx_hash": "0x" + "ab" * 32}]
    )

    @classmethod
    def of(cls, event: EventView) -> EventShown:
        """From the domain."""
        return cls(type=event.type, at=event.at, detail=event.detail)


class WithdrawalView(View):
    """A withdrawal."""

    id: str = Field(description="Withdrawal id.", examples=["wdr_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"])
    status: str = Field(
        description="`held`, `signed`, `broadcast`, `mined`, `settled`; or `in_review`, `failed`,"
        " `cancelled`.",
        examples=["held"],
    )
    waiting_for: str | None = Field(
        description="Why it waits: `signature`, `broadcast`, `block`, `confirmations`, `liquidity`,"
        " `fees`, `signer_limit` (the signer's day is used up), `approval` (a"
        " large one that an operator signs for), `review` and the like; null at"
        " its end.",
        examples=["confirmations"],
    )
    network: str = Field(description="On which network.", examples=["local"])
    money: MoneyOut = Field(description="What the address receives.")
    fee: MoneyOut = Field(description="The bound while it runs; at its end what was charged.")
    fee_max: MoneyOut = Field(description="The bound that was held.")
    fee_expected: MoneyOut = Field(description="What was expected at creation.")
    to_address: str = Field(description="Where it goes.", examples=[ADDRESS])
    tx_hash: str | None = Field(
        description="The mined transaction, else the newest one.", examples=["0x" + "ab" * 32]
    )
    block_number: int | None = Field(description="Its block.", examples=[128])
    confirmations: int = Field(description="Blocks from its own to the head.", examples=[3])
    cancel_requested: bool = Field(
        description="A cancel is under way; the payment may still be faster.", examples=[False]
    )
    failure_code: str | None = Field(
        description="Why it failed.", examples=["reverted", "money_owed"]
    )
    attempts: list[AttemptShown] = Field(description="Every transaction prepared for it.")
    events: list[EventShown] = Field(description="Its history, oldest first.")
    created_at: Moment = Field(description="When it was asked for.", examples=[MOMENT_EXAMPLE])
    updated_at: Moment = Field(description="When it last moved.", examples=[MOMENT_EXAMPLE])

    @classmethod
    def of(cls, made: Withdrawal) -> WithdrawalView:
        """From the domain."""
        return cls(
            id=made.id,
            status=made.status,
            waiting_for=made.waiting_for,
            network=made.network,
            money=MoneyOut.of(made.money),
            fee=MoneyOut.of(made.fee),
            fee_max=MoneyOut.of(made.fee_max),
            fee_expected=MoneyOut.of(made.fee_expected),
            to_address=made.to_address,
            tx_hash=made.tx_hash,
            block_number=made.block_number,
            confirmations=made.confirmations,
            cancel_requested=made.cancel_requested,
            failure_code=made.failure_code,
            attempts=[AttemptShown.of(attempt) for attempt in made.attempts],
            events=[EventShown.of(event) for event in made.events],
            created_at=made.created_at,
            updated_at=made.updated_at,
        )


@router.post(
    "/withdrawals/estimate",
    response_model=EstimateView,
    summary="What a withdrawal would cost",
    responses=documented(CODES),
)
async def estimate(
    body: WithdrawalDraft, caller: CallerDep, services: ServicesDep, request: Request
) -> EstimateView:
    """In the withdrawn asset. Moves and promises nothing; needs no idempotency key."""
    plan = await state_of(request).planner.plan(
        network=body.network,
        money=body.money.money(services.assets),
        to_address=body.to_address,
        principal_id=caller.principal_id,
    )
    return EstimateView(
        fee_expected=MoneyOut.of(plan.terms.expected),
        fee_max=MoneyOut.of(plan.terms.bound),
        arrives_in_seconds=plan.arrives_in_seconds,
        expires_at=plan.expires_at,
    )


@router.post(
    "/withdrawals",
    status_code=202,
    response_model=WithdrawalView,
    summary="Withdraw to an outside address",
    responses=documented(
        (*idempotency.CODES, *CODES, "insufficient_funds", "limit_exceeded", "account_frozen",
         "account_closed")
    ),
)  # fmt: skip
async def create(
    body: WithdrawalCreate,
    caller: CallerDep,
    services: ServicesDep,
    once: OnceDep,
    request: Request,
) -> Response:
    """Holds amount and fee bound, then pays; the node is asked before anything is promised."""
    money, max_fee = _amounts(body, services)
    planned: list[Plan] = []

    async def before() -> None:
        planned.append(
            await state_of(request).planner.plan(
                network=body.network,
                money=money,
                to_address=body.to_address,
                max_fee=max_fee,
                principal_id=caller.principal_id,
            )
        )

    async def work(session: Session) -> Answer:
        made = await withdrawals.create(
            session, principal_id=caller.principal_id, plan=planned[-1], assets=services.assets
        )
        return answer(202, WithdrawalView.of(made), location=f"/v1/withdrawals/{made.id}")

    return await once(work, before=before)


def _amounts(body: WithdrawalCreate, services: Services) -> tuple[Money, Money | None]:
    money = body.money.money(services.assets)
    if body.max_fee is None:
        return money, None
    return money, body.max_fee.money(services.assets, at="/max_fee")


@router.get(
    "/withdrawals",
    response_model=Page[WithdrawalView],
    summary="The caller's withdrawals",
    responses=documented(("unauthenticated", "invalid_cursor")),
)
async def page(
    caller: CallerDep,
    services: ServicesDep,
    session: ReadSession,
    limit: Limit = DEFAULT_LIMIT,
    cursor: CursorText = None,
) -> Page[WithdrawalView]:
    """Newest first."""
    rows = await withdrawals.page(
        session,
        principal_id=caller.principal_id,
        limit=limit,
        cursor=decode(cursor),
        assets=services.assets,
    )
    shown, after = next_cursor(rows, limit, lambda row: (row.created_at, row.id))
    return Page(data=[WithdrawalView.of(row) for row in shown], next_cursor=after)


@router.get(
    "/withdrawals/{withdrawal_id}",
    response_model=WithdrawalView,
    summary="One withdrawal",
    responses=documented(("unauthenticated", "not_found")),
)
async def get(
    withdrawal_id: str, caller: CallerDep, services: ServicesDep, session: ReadSession
) -> WithdrawalView:
    """With attempts and history."""
    return WithdrawalView.of(
        await withdrawals.get(
            session,
            principal_id=caller.principal_id,
            withdrawal_id=_known(withdrawal_id),
            assets=services.assets,
        )
    )


@router.post(
    "/withdrawals/{withdrawal_id}/cancel",
    response_model=WithdrawalView,
    summary="Take a withdrawal back",
    responses={
        202: {"model": WithdrawalView, "description": "A cancel is under way."},
        **documented(
            (
                *idempotency.CODES,
                "unauthenticated",
                "not_found",
                "invalid_state",
                "fee_bound_reached",
            )
        ),
    },
)
async def cancel(
    withdrawal_id: str, caller: CallerDep, services: ServicesDep, once: OnceDep
) -> Response:
    """While it is `held`: cancelled at once, free (200).

    Once it is signed: a transfer of nothing takes its nonce, within the fee bound (202,
    `cancel_requested`). Whichever the chain takes first decides: `cancelled` costs the gas of the
    cancel, `settled` means that the payment was faster. From `mined` on 409 `invalid_state`, with
    the `state` it is in; 409 `fee_bound_reached` when the bound leaves no room for a replacement.
    """
    known = _known(withdrawal_id)

    async def work(session: Session) -> Answer:
        made = await withdrawals.cancel(
            session,
            principal_id=caller.principal_id,
            withdrawal_id=known,
            assets=services.assets,
            networks=services.networks,
        )
        return answer(202 if made.cancel_requested else 200, WithdrawalView.of(made))

    return await once(work)


@router.post(
    "/withdrawals/{withdrawal_id}/speed-up",
    status_code=202,
    response_model=WithdrawalView,
    summary="Send a withdrawal again with higher fees",
    responses=documented(
        (*idempotency.CODES, "unauthenticated", "not_found", "invalid_state", "fee_bound_reached")
    ),
)
async def speed_up(
    withdrawal_id: str, caller: CallerDep, services: ServicesDep, once: OnceDep
) -> Response:
    """While it is `signed` or `broadcast`: the same payment at the same nonce, both fees at least
    12.5 % higher and inside the bound that is held. Before and after that 409 `invalid_state` with
    the `state`; 409 `fee_bound_reached` when the bound leaves no room.
    """
    known = _known(withdrawal_id)

    async def work(session: Session) -> Answer:
        made = await withdrawals.speed_up(
            session,
            principal_id=caller.principal_id,
            withdrawal_id=known,
            assets=services.assets,
            networks=services.networks,
        )
        return answer(202, WithdrawalView.of(made))

    return await once(work)


def _known(withdrawal_id: str) -> str:
    if not is_id(withdrawal_id, "wdr"):
        raise NotFound("There is no such withdrawal.")
    return withdrawal_id
