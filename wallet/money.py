"""Money is an integer count of minor units of one named asset. Nothing here is ever a float.

Amounts cross the border as decimal strings of the form in `AMOUNT_PATTERN`; input is refused, never
rounded. Output always carries the asset's full scale.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from wallet.errors import WalletError

AMOUNT_PATTERN = re.compile(r"(0|[1-9][0-9]{0,59})(\.[0-9]{1,18})?")
MAX_AMOUNT_CHARS = 79  # 60 digits, a point, 18 decimals
MAX_SCALE = 18  # only assets of at most 18 decimals are listed
FIAT_LIMIT_MAJOR = 10**12
CHAIN_LIMIT_MAJOR = 10**15

AssetKind = Literal["fiat", "native", "token"]


class AmountError(WalletError):
    """Base of the refusals of one amount."""

    code: ClassVar[str] = "amount_malformed"


class AmountMustBeString(AmountError):
    """The amount came as a number, bool, null, array or object."""

    code = "amount_must_be_string"


class AmountMalformed(AmountError):
    """The string is not `digits[.digits]` in plain ASCII."""

    code = "amount_malformed"


class AmountPrecision(AmountError):
    """More decimals than the asset has."""

    code = "amount_precision"


class AmountNotPositive(AmountError):
    """Zero where value must move."""

    code = "amount_not_positive"


class AmountTooLarge(AmountError):
    """Beyond the asset's limit."""

    code = "amount_too_large"


class UnknownAsset(WalletError):
    """An asset that the operator has not listed."""

    code = "unknown_asset"


@dataclass(frozen=True, slots=True)
class Asset:
    """One listed asset. `scale`: decimals of the minor unit; `max_minor`: largest amount."""

    code: str
    kind: AssetKind
    scale: int
    name: str
    max_minor: int
    symbol: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.scale <= MAX_SCALE:
            raise ValueError(f"{self.code}: scale {self.scale} is outside 0..{MAX_SCALE}")


@dataclass(frozen=True, slots=True)
class Money:
    """`minor` units of `asset`. Arithmetic across assets raises."""

    minor: int
    asset: Asset

    def __post_init__(self) -> None:
        if type(self.minor) is not int:
            raise TypeError("minor units are an int")

    def _same(self, other: Money) -> None:
        if other.asset.code != self.asset.code:
            raise ValueError(f"{self.asset.code} and {other.asset.code} do not mix")

    def __add__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor + other.minor, self.asset)

    def __sub__(self, other: Money) -> Money:
        self._same(other)
        return Money(self.minor - other.minor, self.asset)

    @property
    def amount(self) -> str:
        """The decimal string at full scale."""
        return format_amount(self.minor, self.asset.scale)

    def json(self) -> dict[str, str]:
        """`{"amount", "asset"}` as the contract shows money."""
        return {"amount": self.amount, "asset": self.asset.code}

    def __str__(self) -> str:
        return f"{self.amount} {self.asset.code}"


def format_amount(minor: int, scale: int) -> str:
    """`minor` units as a decimal string with exactly `scale` decimals."""
    sign, digits = ("-", str(-minor)) if minor < 0 else ("", str(minor))
    if scale == 0:
        return sign + digits
    digits = digits.rjust(scale + 1, "0")
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}"


def parse_amount(value: object, asset: Asset, *, allow_zero: bool = False) -> Money:
    """Parse a border amount, exactly or not at all.

    Raises AmountMustBeString, AmountMalformed, AmountPrecision, AmountTooLarge, AmountNotPositive.
    """
    text = check_amount_syntax(value)
    whole, _, fraction = text.partition(".")
    if len(fraction) > asset.scale:
        raise AmountPrecision(f"{asset.code} has {asset.scale} decimals.")
    minor = int(whole + fraction.ljust(asset.scale, "0"))
    if minor > asset.max_minor:
        limit = format_amount(asset.max_minor, asset.scale)
        raise AmountTooLarge(f"At most {limit} {asset.code} at once.")
    if minor == 0 and not allow_zero:
        raise AmountNotPositive("The amount must be greater than zero.")
    return Money(minor, asset)


def check_amount_syntax(value: object) -> str:
    """The string, when it has the form of an amount. Raises AmountMustBeString, AmountMalformed."""
    if not isinstance(value, str):
        raise AmountMustBeString('An amount is a JSON string, for example "12.34".')
    if len(value) > MAX_AMOUNT_CHARS or not AMOUNT_PATTERN.fullmatch(value):
        raise AmountMalformed("An amount is plain digits with an optional decimal point.")
    return value


def _fiat(code: str, scale: int, name: str, symbol: str) -> Asset:
    return Asset(code, "fiat", scale, name, FIAT_LIMIT_MAJOR * 10**scale, symbol)


# ISO 4217 codes, decimals and names (list one, amendment 176).
FIAT: tuple[Asset, ...] = (
    _fiat("EUR", 2, "Euro", "€"),
    _fiat("USD", 2, "US Dollar", "$"),
    _fiat("GBP", 2, "Pound Sterling", "£"),
    _fiat("CNY", 2, "Yuan Renminbi", "CN¥"),
    _fiat("HKD", 2, "Hong Kong Dollar", "HK$"),
    _fiat("JPY", 0, "Yen", "¥"),
    _fiat("SGD", 2, "Singapore Dollar", "S$"),
    _fiat("AED", 2, "UAE Dirham", "AED"),
    _fiat("MXN", 2, "Mexican Peso", "MX$"),
    _fiat("BRL", 2, "Brazilian Real", "R$"),
    _fiat("INR", 2, "Indian Rupee", "₹"),
    _fiat("NGN", 2, "Naira", "₦"),
    _fiat("KES", 2, "Kenyan Shilling", "KSh"),
    _fiat("PHP", 2, "Philippine Peso", "₱"),
    _fiat("KWD", 3, "Kuwaiti Dinar", "KD"),
    _fiat("CHF", 2, "Swiss Franc", "CHF"),
)


class AssetBook:
    """The assets this instance lists: the fiat table plus what its networks carry. What was listed
    once and is not any more can still be read, in balances and histories; nothing new is done
    in it."""

    def __init__(self, assets: Iterable[Asset]) -> None:
        self._by_code: dict[str, Asset] = {}
        self._retired: dict[str, Asset] = {}
        for asset in assets:
            known = self._by_code.setdefault(asset.code, asset)
            if known != asset:
                raise ValueError(f"asset {asset.code} is listed twice with different terms")

    def get(self, code: object, *, field: str | None = None) -> Asset:
        """The asset of that code. Raises UnknownAsset."""
        asset = self._by_code.get(code) if isinstance(code, str) else None
        if asset is None:
            raise UnknownAsset("This asset is not listed here.", field=field)
        return asset

    def retire(self, asset: Asset) -> None:
        """Know an asset for what is stored in it. One that is listed stays listed."""
        if asset.code not in self._by_code:
            self._retired[asset.code] = asset

    def known(self, code: object, *, field: str | None = None) -> Asset:
        """The asset of that code, listed or not any more. Raises UnknownAsset."""
        retired = self._retired.get(code) if isinstance(code, str) else None
        return self.get(code, field=field) if retired is None else retired

    def scale(self, code: str) -> int:
        """Decimals to show an asset with; none where nobody knows it."""
        one = self._by_code.get(code) or self._retired.get(code)
        return 0 if one is None else one.scale

    def money(self, code: str, minor: int) -> Money:
        """Money from stored minor units, also of an asset that is not listed any more."""
        return Money(int(minor), self.known(code))

    @property
    def codes(self) -> list[str]:
        """Of all that is known, listed or not any more."""
        return [*self._by_code, *self._retired]

    @property
    def retired(self) -> list[Asset]:
        """What was listed once."""
        return list(self._retired.values())

    def __iter__(self) -> Iterator[Asset]:
        return iter(self._by_code.values())

    def __contains__(self, code: str) -> bool:
        return code in self._by_code


def chain_asset(code: str, kind: AssetKind, decimals: int, name: str) -> Asset:
    """An asset that lives on a chain: `native` coin or `token`."""
    return Asset(code, kind, decimals, name, CHAIN_LIMIT_MAJOR * 10**decimals)
