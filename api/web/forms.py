"""Fields of forms as the domain's own values."""

from __future__ import annotations

from api.web.visit import Visit
from wallet.money import AmountError, Money, parse_amount


def amount_text(text: str) -> str:
    """What people type, in the contract's form: spaces and grouping commas away, zeros trimmed.

    `1,250.50` becomes `1250.50`. A lone comma is never guessed to be a decimal point: `1,5` stays
    what it is and is refused.
    """
    plain = text.strip().replace("\u00a0", "").replace(" ", "").replace("_", "\x00")
    whole, point, fraction = plain.partition(".")
    groups = whole.split(",")
    grouped = len(groups) > 1 and 1 <= len(groups[0]) <= 3 and all(len(g) == 3 for g in groups[1:])
    if grouped:
        whole = "".join(groups)
    if not whole and point:
        whole = "0"
    if whole.isascii() and whole.isdigit():
        whole = whole.lstrip("0") or "0"
    return whole + point + fraction


def money_of(
    visit: Visit,
    values: dict[str, str],
    *,
    at: str = "/money/amount",
    asset_at: str = "/money/asset",
) -> Money:
    """Amount and asset of a form. Raises UnknownAsset, AmountError, each with its field."""
    asset = visit.services.assets.get(values.get("asset"), field=asset_at)
    try:
        return parse_amount(amount_text(values.get("amount", "")), asset)
    except AmountError as error:
        error.field = at
        raise
