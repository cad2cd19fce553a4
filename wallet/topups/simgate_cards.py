"""The simulated gateway's test cards: chosen by name: not even a play number is typed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Door = Literal["ok", "three_d_secure", "decline", "late", "charge_back"]
EXPIRES = (12, 2049)


@dataclass(frozen=True, slots=True)
class TestCard:
    """A card that behaves in one known way."""

    name: str
    brand: str
    last4: str
    door: Door


TEST_CARDS: dict[str, TestCard] = {
    card.name: card
    for card in (
        TestCard("visa_ok", "visa", "4242", "ok"),
        TestCard("mastercard_three_d_secure", "mastercard", "3155", "three_d_secure"),
        TestCard("visa_declined", "visa", "0002", "decline"),
        TestCard("amex_late", "amex", "0005", "late"),
        TestCard("visa_charged_back", "visa", "0259", "charge_back"),
    )
}
