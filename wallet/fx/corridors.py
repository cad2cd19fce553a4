"""Corridors: from which asset to which country by which rail, how much, and for whom.

The rails here end in the simulated bank, and say so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wallet.errors import InvalidField
from wallet.money import AssetBook, Money, parse_amount

PURPOSES = ("family_support", "goods", "services", "salary", "savings", "other")

# EU, EEA and the other members of the Single Euro Payments Area (EPC409-09).
_SEPA = (
    "AD AL AT BE BG CH CY CZ DE DK EE ES FI FR GB GR HR HU IE IS IT LI LT LU LV MC MD ME MK MT NL"
    " NO PL PT RO RS SE SI SK SM VA"
)
SEPA_COUNTRIES = frozenset(_SEPA.split())

_NAME = {"type": "string", "minLength": 2, "maxLength": 140, "title": "Name of the account holder"}
_COUNTRY = {"type": "string", "pattern": "^[A-Z]{2}$", "title": "Country (ISO 3166-1)"}


def _schema(kind: str, **fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """JSON Schema 2020-12 of the body of `POST /v1/recipients` for one type."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["type", "name", "country", *fields],
        "properties": {"type": {"const": kind}, "name": _NAME, "country": _COUNTRY, **fields},
    }


@dataclass(frozen=True, slots=True)
class _Terms:
    """One corridor as the operator sets it; amounts in the source asset."""

    id: str
    source_asset: str
    target_asset: str
    target_country: str
    countries: frozenset[str]
    rail: str
    bank: str
    recipient_type: str
    minimum: str
    maximum: str
    fee: str
    eta_seconds: int
    answer_within_seconds: int
    reference_limit: int
    recipient_schema: Mapping[str, Any]
    cut_off: str | None = None


@dataclass(frozen=True, slots=True)
class Corridor:
    """A corridor as people see it. `cut_off` is None where the rail works round the clock."""

    id: str
    source_asset: str
    target_asset: str
    target_country: str
    rail: str
    recipient_type: str
    min: Money
    max: Money
    fee: Money
    cut_off: str | None
    purposes: tuple[str, ...]
    recipient_schema: Mapping[str, Any]
    simulated: bool
    eta_seconds: int
    answer_within_seconds: int
    reference_limit: int
    bank: str
    countries: frozenset[str]


_TERMS = (
    _Terms(
        id="EUR-MX",
        source_asset="EUR",
        target_asset="MXN",
        target_country="MX",
        countries=frozenset({"MX"}),
        rail="spei",
        bank="simbank",
        recipient_type="clabe",
        minimum="1.00",
        maximum="10000.00",
        fee="0.99",
        eta_seconds=60,
        answer_within_seconds=900,
        reference_limit=40,  # SPEI: concepto de pago
        recipient_schema=_schema(
            "clabe",
            clabe={
                "type": "string",
                "pattern": "^[0-9]{18}$",
                "title": "CLABE",
                "description": "18 digits; the last is a control digit.",
            },
        ),
    ),
    _Terms(
        id="USDC-EU",
        source_asset="USDC",
        target_asset="EUR",
        target_country="EU",
        countries=SEPA_COUNTRIES,
        rail="sepa",
        bank="simbank",
        recipient_type="iban",
        minimum="1.000000",
        maximum="10000.000000",
        fee="0.500000",
        eta_seconds=60,
        answer_within_seconds=900,
        reference_limit=140,  # SEPA: unstructured remittance information
        recipient_schema=_schema(
            "iban",
            iban={
                "type": "string",
                "minLength": 15,
                "maxLength": 42,
                "title": "IBAN",
                "description": "ISO 13616; spaces are ignored, the check digits are verified.",
            },
        ),
    ),
)


def _corridor(terms: _Terms, assets: AssetBook) -> Corridor:
    source = assets.get(terms.source_asset)
    return Corridor(
        id=terms.id,
        source_asset=terms.source_asset,
        target_asset=terms.target_asset,
        target_country=terms.target_country,
        rail=terms.rail,
        recipient_type=terms.recipient_type,
        min=parse_amount(terms.minimum, source),
        max=parse_amount(terms.maximum, source),
        fee=parse_amount(terms.fee, source, allow_zero=True),
        cut_off=terms.cut_off,
        purposes=PURPOSES,
        recipient_schema=terms.recipient_schema,
        simulated=True,
        eta_seconds=terms.eta_seconds,
        answer_within_seconds=terms.answer_within_seconds,
        reference_limit=terms.reference_limit,
        bank=terms.bank,
        countries=terms.countries,
    )


def corridors(assets: AssetBook) -> list[Corridor]:
    """Every corridor whose two assets this instance lists."""
    return [
        _corridor(terms, assets)
        for terms in _TERMS
        if terms.source_asset in assets and terms.target_asset in assets
    ]


def corridor(assets: AssetBook, corridor_id: str, *, field: str | None = None) -> Corridor:
    """The corridor of that id. Raises InvalidField."""
    for known in corridors(assets):
        if known.id == corridor_id:
            return known
    raise InvalidField("There is no such corridor.", field=field)
