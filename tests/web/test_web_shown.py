"""Figures on screen: exact, with their code, never rounded up."""

from __future__ import annotations

import pytest

from api.web import shown
from api.web.forms import amount_text
from wallet.money import Asset, Money, chain_asset

EUR = Asset("EUR", "fiat", 2, "Euro", 10**14, "€")
JPY = Asset("JPY", "fiat", 0, "Yen", 10**12, "¥")
AED = Asset("AED", "fiat", 2, "UAE Dirham", 10**14, "AED")
ETH = chain_asset("ETH", "native", 18, "Ether")
USDC = chain_asset("USDC", "token", 6, "USD Coin")


@pytest.mark.parametrize(
    ("minor", "asset", "exact", "text"),
    [
        (125_000, EUR, True, "€ 1,250.00 EUR"),
        (-4_000, EUR, True, "−€ 40.00 EUR"),
        (500, JPY, True, "¥ 500 JPY"),
        (1_234_567_890, JPY, True, "¥ 1,234,567,890 JPY"),
        (100, AED, True, "1.00 AED"),
        (5 * 10**17, ETH, True, "0.500000 ETH"),
        (123_456_789_012_345_678, ETH, True, "0.123456789012345678 ETH"),
        (123_456_789_012_345_678, ETH, False, "0.123456 ETH"),
        (999_999_999_999_999_999, ETH, False, "0.999999 ETH"),
        (1, ETH, False, "0.000000000000000001 ETH"),
        (1_234_567_891, ETH, False, "0.00000000123456 ETH"),
        (0, ETH, False, "0.000000 ETH"),
        (50_250_000, USDC, False, "50.250000 USDC"),
    ],
)
def test_money_text(minor: int, asset: Asset, exact: bool, text: str) -> None:
    assert shown.money_text(Money(minor, asset), exact=exact).replace("\u00a0", " ") == text


def test_the_exact_figure_stands_in_the_title() -> None:
    html = shown.money_html(Money(123_456_789_012_345_678, ETH))
    assert 'title="0.123456789012345678\u00a0ETH"' in html


def test_markup_is_escaped() -> None:
    evil = Asset("<b>", "fiat", 2, "x", 10**9, "<i>")
    assert "<b>" not in shown.money_html(Money(1, evil))
    assert "<script>" not in shown.in_fours("0x<script>alert(1)</script>")


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("1,250.50", "1250.50"),
        ("1 250.5", "1250.5"),
        (" 12 ", "12"),
        ("007", "7"),
        (".5", "0.5"),
        ("0", "0"),
        ("1,5", "1,5"),  # perhaps one and a half: refused, never guessed
        ("1_000", "1\x00000"),
        ("１２", "１２"),
        ("1e3", "1e3"),
        ("-5", "-5"),
        ("", ""),
        ("1,0000", "1,0000"),
    ],
)
def test_amount_text_mends_grouping_and_guesses_nothing(typed: str, sent: str) -> None:
    assert amount_text(typed) == sent


@pytest.mark.parametrize(
    ("name", "masked"),
    [("Ana Gómez", "Ana G•••"), ("林小雨", "林•••"), ("Madonna", "Mad•••"), ("", "•••")],
)
def test_masked_name(name: str, masked: str) -> None:
    assert shown.masked_name(name) == masked


def test_device() -> None:
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
    assert shown.device(firefox) == "Firefox · Linux"
    assert shown.device("curl/8.5.0") == "curl"
