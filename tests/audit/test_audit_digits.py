"""The auditor knows by itself how many digits each currency has: no price goes unchecked."""

from __future__ import annotations

from wallet.auditor.instance import Instance
from wallet.money import FIAT


def test_every_currency_here_is_one_the_auditor_knows() -> None:
    assert {one.code: Instance().digits(one.code) for one in FIAT} == {
        one.code: one.scale for one in FIAT
    }
