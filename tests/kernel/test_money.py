"""Amounts at the border: every row of the contract's table, and no digit lost on the way."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet.money import (
    AMOUNT_PATTERN,
    FIAT,
    MAX_AMOUNT_CHARS,
    AmountError,
    AmountMalformed,
    AmountMustBeString,
    AmountNotPositive,
    AmountPrecision,
    AmountTooLarge,
    Asset,
    AssetBook,
    Money,
    UnknownAsset,
    chain_asset,
    format_amount,
    parse_amount,
)

BY_CODE = {asset.code: asset for asset in FIAT}
EUR, JPY, KWD = BY_CODE["EUR"], BY_CODE["JPY"], BY_CODE["KWD"]
ETH = chain_asset("ETH", "native", 18, "Ether")
ANY_ASSET = st.sampled_from([EUR, JPY, KWD, ETH])

WRONG = [
    *[
        (value, AmountMustBeString)
        for value in (5, 5.0, True, False, None, [], ["5"], {}, {"amount": "5"}, b"5", 10**400)
    ],
    *[
        (value, AmountMalformed)
        for value in (
            "1_000", "１２", " 5 ", "5 ", "\t5", "5\n", "+5", "-5", "-0", "1e3", "1E3", "1e400",
            "NaN", "nan", "Infinity", "-inf", "inf", "", ".", "5.", ".5", "05", "00", "0x10",
            "1,000", "1 000", "1.2.3", "٥", "5\u0000", "5\u200b", "−5", "½", "⁵", "1" * 61,
            "0." + "0" * 19, "9" * 100_000, "1" + "0" * 59 + "." + "0" * 19,
        )
    ],
    ("1.001", AmountPrecision),
    ("1.000", AmountPrecision),
    ("0", AmountNotPositive),
    ("0.00", AmountNotPositive),
    ("1000000000000.01", AmountTooLarge),
    ("1" + "0" * 59, AmountTooLarge),
]  # fmt: skip


@pytest.mark.parametrize(("value", "error"), WRONG, ids=lambda v: repr(v)[:24])
def test_what_is_no_amount_in_euro_is_refused(value: object, error: type[AmountError]) -> None:
    with pytest.raises(AmountError) as refused:
        parse_amount(value, EUR)
    assert type(refused.value) is error
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize(
    ("asset", "text", "minor", "shown"),
    [
        (EUR, "5", 500, "5.00"),
        (EUR, "5.0", 500, "5.00"),
        (EUR, "0.01", 1, "0.01"),
        (EUR, "1000000000000", 10**14, "1000000000000.00"),
        (JPY, "500", 500, "500"),
        (KWD, "1.234", 1234, "1.234"),
        (KWD, "0.1", 100, "0.100"),
        (ETH, "0.000000000000000001", 1, "0.000000000000000001"),
        (ETH, "1", 10**18, "1." + "0" * 18),
        (ETH, "1000000000000000", 10**33, "1" + "0" * 15 + "." + "0" * 18),
    ],
)
def test_an_amount_is_read_exactly_and_shown_at_full_scale(
    asset: Asset, text: str, minor: int, shown: str
) -> None:
    money = parse_amount(text, asset)
    assert (money.minor, money.amount) == (minor, shown)
    assert money.json() == {"amount": shown, "asset": asset.code}


@pytest.mark.parametrize(
    ("asset", "text"), [(JPY, "1.0"), (JPY, "0.5"), (KWD, "1.2345"), (ETH, "0." + "1" * 18 + "1")]
)
def test_more_decimals_than_the_asset_has_are_never_rounded(asset: Asset, text: str) -> None:
    with pytest.raises((AmountPrecision, AmountMalformed)):
        parse_amount(text, asset)


def test_one_minor_unit_above_the_limit_is_too_large() -> None:
    for asset in (EUR, JPY, KWD, ETH):
        assert parse_amount(format_amount(asset.max_minor, asset.scale), asset)
        with pytest.raises(AmountTooLarge):
            parse_amount(format_amount(asset.max_minor + 1, asset.scale), asset)


def test_zero_passes_only_where_it_may() -> None:
    assert parse_amount("0.00", EUR, allow_zero=True) == Money(0, EUR)


@given(st.integers(min_value=1), ANY_ASSET)
def test_what_is_shown_is_read_back(minor: int, asset: Asset) -> None:
    minor = minor % asset.max_minor + 1
    assert parse_amount(format_amount(minor, asset.scale), asset) == Money(minor, asset)


@given(st.integers(), ANY_ASSET)
def test_the_shown_form_is_exact_for_any_integer(minor: int, asset: Asset) -> None:
    shown = format_amount(minor, asset.scale)
    assert int(shown.replace(".", "")) == minor
    assert len(shown.partition(".")[2]) == asset.scale
    assert shown.startswith("-") == (minor < 0)


@given(st.text(max_size=90), ANY_ASSET)
def test_any_text_is_an_amount_or_a_refusal(text: str, asset: Asset) -> None:
    try:
        money = parse_amount(text, asset)
    except AmountError:
        return
    assert AMOUNT_PATTERN.fullmatch(text)
    assert 0 < money.minor <= asset.max_minor


@given(st.from_regex(AMOUNT_PATTERN, fullmatch=True))
def test_every_string_of_the_contracts_form_passes_the_syntax(text: str) -> None:
    assert len(text) <= MAX_AMOUNT_CHARS
    with contextlib.suppress(AmountTooLarge, AmountNotPositive):
        parse_amount(text, ETH)


def test_the_longest_amount_of_the_contracts_form_is_only_too_large() -> None:
    longest = "9" * 60 + "." + "9" * 18
    assert len(longest) == MAX_AMOUNT_CHARS
    with pytest.raises(AmountTooLarge):
        parse_amount(longest, ETH)


def test_assets_do_not_mix() -> None:
    for operation in (Money.__add__, Money.__sub__):
        with pytest.raises(ValueError, match="do not mix"):
            operation(Money(1, EUR), Money(1, JPY))
    assert Money(1, EUR) + Money(2, EUR) == Money(3, EUR)
    assert Money(1, EUR) - Money(2, EUR) == Money(-1, EUR)


@pytest.mark.parametrize("minor", [1.0, True, "1", None])
def test_minor_units_are_an_int_and_nothing_like_it(minor: object) -> None:
    with pytest.raises(TypeError):
        Money(minor, EUR)  # type: ignore[arg-type]


def test_the_fiat_table_is_iso_4217() -> None:
    wanted = "EUR USD GBP CNY HKD JPY SGD AED MXN BRL INR NGN KES PHP KWD CHF"
    assert " ".join(asset.code for asset in FIAT) == wanted
    odd = {asset.code: asset.scale for asset in FIAT if asset.scale != 2}
    assert odd == {"JPY": 0, "KWD": 3}


class TestAssetBook:
    @pytest.mark.parametrize("code", ["DOGE", "eur", "EUR ", "", None, 5, ["EUR"]])
    def test_what_is_not_listed_is_unknown(self, code: object) -> None:
        with pytest.raises(UnknownAsset) as refused:
            AssetBook(FIAT).get(code, field="/money/asset")
        assert refused.value.field == "/money/asset"

    def test_one_code_has_one_meaning(self) -> None:
        with pytest.raises(ValueError, match="listed twice"):
            AssetBook([EUR, chain_asset("EUR", "token", 6, "Euro token")])

    def test_a_code_is_in_it_or_not(self) -> None:
        book = AssetBook(FIAT)
        assert "EUR" in book and "eur" not in book and "DOGE" not in book
        assert [asset.code for asset in book] == [asset.code for asset in FIAT]

    def test_what_is_listed_no_more_is_known_and_not_taken(self) -> None:
        """What is stored in it is shown; nothing new is paid in it."""
        book, gone = AssetBook(FIAT), chain_asset("GONE", "token", 6, "Gone")
        book.retire(gone)
        assert book.known("GONE") is gone and book.scale("GONE") == 6
        assert book.money("GONE", 5) == Money(5, gone)
        assert "GONE" not in book and book.retired == [gone] and book.codes[-1] == "GONE"
        with pytest.raises(UnknownAsset):
            book.get("GONE")
        with pytest.raises(UnknownAsset) as refused:
            book.known("DOGE", field="/asset")
        assert refused.value.field == "/asset" and book.scale("DOGE") == 0

    def test_what_is_listed_does_not_retire(self) -> None:
        book = AssetBook(FIAT)
        book.retire(chain_asset("EUR", "token", 6, "Euro token"))
        assert book.retired == [] and book.known("EUR") is EUR and book.scale("EUR") == 2

    @pytest.mark.parametrize("code", [None, 5, ["EUR"]])
    def test_what_is_no_text_is_no_asset(self, code: object) -> None:
        with pytest.raises(UnknownAsset):
            AssetBook(FIAT).known(code)

    def test_money_is_told_with_its_asset(self) -> None:
        assert str(Money(-5, EUR)) == "-0.05 EUR"

    @pytest.mark.parametrize("scale", [0, 6, 18])
    def test_a_chains_asset_goes_up_to_a_million_milliards(self, scale: int) -> None:
        asset = chain_asset("ODD", "token", scale, "Odd")
        assert parse_amount("1" + "0" * 15, asset) == Money(10 ** (15 + scale), asset)
        with pytest.raises(AmountTooLarge):
            parse_amount("1" + "0" * 14 + "1", asset)

    def test_more_than_18_decimals_are_not_listed(self) -> None:
        with pytest.raises(ValueError, match="scale"):
            chain_asset("ODD", "token", 19, "Odd")
