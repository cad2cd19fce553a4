"""What every request and answer is made of: strict bodies, money, pages, times."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Generic, TypeVar

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from wallet.clock import rfc3339
from wallet.money import (
    AMOUNT_PATTERN,
    AmountError,
    AssetBook,
    Money,
    check_amount_syntax,
    parse_amount,
)

Item = TypeVar("Item")

AMOUNT_TEXT = "Decimal string: plain digits with an optional point; never a JSON number."


class Schema(BaseModel):
    """A request body: nothing unknown, nothing coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class View(BaseModel):
    """An answer: built by us, shown as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


def _amount(value: object) -> str:
    try:
        return check_amount_syntax(value)
    except AmountError as error:
        raise PydanticCustomError(error.code, "{detail}", {"detail": error.detail}) from None


def _asset_code(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 16:
        raise PydanticCustomError(
            "unknown_asset", "{detail}", {"detail": "This asset is not listed here."}
        )
    return value


AmountText = Annotated[
    str,
    BeforeValidator(_amount),
    WithJsonSchema({"type": "string", "pattern": f"^{AMOUNT_PATTERN.pattern}$"}),
]
AssetCode = Annotated[
    str,
    BeforeValidator(_asset_code),
    WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 16}),
]


class MoneyIn(Schema):
    """An amount of one asset, as a client sends it."""

    amount: AmountText = Field(description=AMOUNT_TEXT, examples=["12.34"])
    asset: AssetCode = Field(description="Code of a listed asset.", examples=["EUR"])

    def money(self, assets: AssetBook, *, at: str = "/money") -> Money:
        """Exact money. `at` is the JSON pointer of this object in its body.

        Raises UnknownAsset, AmountPrecision, AmountTooLarge, AmountNotPositive.
        """
        return money_of(
            self.amount, self.asset, assets, amount_at=f"{at}/amount", asset_at=f"{at}/asset"
        )


def money_of(amount: str, asset: str, assets: AssetBook, *, amount_at: str, asset_at: str) -> Money:
    """The same for a bare amount whose asset stands elsewhere in the body."""
    listed = assets.get(asset, field=asset_at)
    try:
        return parse_amount(amount, listed)
    except AmountError as error:
        error.field = amount_at
        raise


class MoneyOut(View):
    """An amount at the asset's full scale."""

    amount: str = Field(description="Decimal string at the asset's full scale.", examples=["12.34"])
    asset: str = Field(description="Asset code.", examples=["EUR"])

    @classmethod
    def of(cls, money: Money) -> MoneyOut:
        """From the domain's money."""
        return cls(amount=money.amount, asset=money.asset.code)


def shown(value: object) -> Response:
    """An answer that is read often: the bytes of its view, without a view for every row.

    Keys stand in the order of the view's fields; a test holds both to the same bytes.
    """
    return Response(orjson.dumps(value), media_type="application/json")


Moment = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
MOMENT_EXAMPLE = "2026-11-22T21:00:00.000Z"


class Page(View, Generic[Item]):
    """One page of a list, newest first."""

    data: list[Item] = Field(description="The rows of this page, newest first.")
    next_cursor: str | None = Field(
        description="Pass as `cursor` for the next page; null on the last.",
        examples=["MjAyNi0xMS0yMlQyMTowMDowMC4wMDAwMDBafGRlcF8wMUpEM1ZRNFQwWjhZNlg1VzRWM1QyUzFSMA"],
    )


class FieldProblem(View):
    """One field at fault."""

    field: str = Field(description="JSON pointer to the field.", examples=["/money/amount"])
    code: str = Field(description="Stable code.", examples=["amount_precision"])
    detail: str = Field(description="For people.", examples=["EUR has 2 decimals."])


class ProblemView(View):
    """An error, as RFC 9457 `application/problem+json`."""

    model_config = ConfigDict(frozen=True, extra="allow", title="Problem")

    type: str = Field(
        description="URN of the kind of problem.",
        examples=["urn:bifold:problem:insufficient_funds"],
    )
    title: str = Field(description="What the status means.", examples=["Not possible now"])
    status: int = Field(description="The HTTP status.", examples=[409])
    detail: str = Field(
        description="What happened, for people. Never a secret, SQL or a path.",
        examples=["The available balance does not cover this."],
    )
    code: str = Field(
        description="Stable and unique; programs decide by it.", examples=["insufficient_funds"]
    )
    request_id: str = Field(
        description="Names this request in our records; also in `X-Request-Id`.",
        examples=["req_01JD3VQ4T0Z8Y6X5W4V3T2S1R0"],
    )
    retryable: bool = Field(
        description="Whether the same request may succeed later.", examples=[False]
    )
    errors: list[FieldProblem] = Field(
        description="The fields at fault; empty when no field is.",
        examples=[
            [
                {
                    "field": "/money/amount",
                    "code": "amount_precision",
                    "detail": "EUR has 2 decimals.",
                }
            ]
        ],
    )
