"""What makes an account number abroad a possible one: form and check digits, country by country."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from schwifty import IBAN
from schwifty.exceptions import SchwiftyException

from wallet.errors import InvalidField

Details = dict[str, str]
Given = Mapping[str, str]


def _need(given: Given, name: str, pattern: str, hint: str, *, drop: str = " ") -> str:
    """The field without `drop` characters, when it has the form. Raises InvalidField."""
    value = given.get(name, "")
    for character in drop:
        value = value.replace(character, "")
    if not re.fullmatch(pattern, value, re.ASCII):
        raise InvalidField(hint, field=f"/{name}")
    return value


def _weighted(digits: str, weights: str) -> int:
    """Sum of digit x weight, the weights repeating."""
    return sum(int(d) * int(weights[i % len(weights)]) for i, d in enumerate(digits))


def iban(given: Given) -> Details:
    """ISO 13616: structure of the country and mod-97 check digits."""
    try:
        known = IBAN(given.get("iban", ""))
    except SchwiftyException:
        raise InvalidField("This IBAN has a wrong form or check digit.", field="/iban") from None
    return {"iban": str(known)}


def clabe_control_digit(first17: str) -> int:
    """Banxico, CLABE: weights 3 7 1, each product mod 10."""
    total = sum(int(d) * int("371"[i % 3]) % 10 for i, d in enumerate(first17))
    return (10 - total % 10) % 10


def clabe(given: Given) -> Details:
    """18 digits: bank, place, account, control digit."""
    value = _need(given, "clabe", r"[0-9]{18}", "A CLABE has 18 digits.")
    if int(value[17]) != clabe_control_digit(value[:17]):
        raise InvalidField("The last digit of this CLABE does not fit the others.", field="/clabe")
    return {"clabe": value}


def cnaps_fits(code: str) -> bool:
    """ISO 7064 MOD 11,10, as the People's Bank uses it for the twelfth digit."""
    rest = 10
    for digit in code[:-1]:
        rest = ((rest + int(digit)) % 10 or 10) * 2 % 11
    return (rest + int(code[-1])) % 10 == 1


def cnaps(given: Given) -> Details:
    """12 digits of the bank branch with check digit, and an account of 8 to 32 digits."""
    code = _need(given, "cnaps", r"[0-9]{12}", "A CNAPS code has 12 digits.")
    if not cnaps_fits(code):
        raise InvalidField("This CNAPS code has a wrong check digit.", field="/cnaps")
    account = _need(given, "account", r"[0-9]{8,32}", "An account of 8 to 32 digits.", drop=" -")
    return {"cnaps": code, "account": account}


def ach(given: Given) -> Details:
    """ABA routing number: 9 digits, district in range, weights 3 7 1 to a multiple of ten."""
    hint = "A routing number has 9 digits."
    routing = _need(given, "routing_number", r"[0-9]{9}", hint)
    district = int(routing[:2])
    known = 1 <= district <= 12 or 21 <= district <= 32 or 61 <= district <= 72 or district == 80
    if not known or _weighted(routing, "371") % 10:
        raise InvalidField("This routing number has a wrong check digit.", field="/routing_number")
    account = _need(given, "account", r"[0-9A-Z]{4,17}", "An account of 4 to 17 characters.")
    return {"routing_number": routing, "account": account}


def ifsc(given: Given) -> Details:
    """Reserve Bank of India: four letters, a zero, six characters. It has no check digit."""
    code = _need(
        {"ifsc": given.get("ifsc", "").upper()},
        "ifsc",
        r"[A-Z]{4}0[A-Z0-9]{6}",
        "An IFSC is four letters, a zero and six characters.",
    )
    account = _need(given, "account", r"[0-9]{9,18}", "An account of 9 to 18 digits.")
    return {"ifsc": code, "account": account}


def nuban_check_digit(bank_code: str, serial: str) -> int:
    """Central Bank of Nigeria, NUBAN (2020): bank code filled to six digits, weights 3 7 3."""
    total = _weighted(bank_code.zfill(6) + serial, "373")
    return (10 - total % 10) % 10


def nuban(given: Given) -> Details:
    """Bank code of 3 or 6 digits, account of 10 with its check digit at the end."""
    code = _need(given, "bank_code", r"[0-9]{3}|[0-9]{6}", "A bank code has 3 or 6 digits.")
    account = _need(given, "account", r"[0-9]{10}", "A NUBAN account has 10 digits.")
    if int(account[9]) != nuban_check_digit(code, account[:9]):
        raise InvalidField("This account does not fit the bank code.", field="/account")
    return {"bank_code": code, "account": account}


def uk(given: Given) -> Details:
    """Sort code and account by form. Modulus weights differ by bank and are the rail's to check."""
    sort_code = _need(given, "sort_code", r"[0-9]{6}", "A sort code has 6 digits.", drop=" -")
    account = _need(given, "account", r"[0-9]{8}", "An account of 8 digits.")
    if sort_code == "000000" or account == "00000000":
        field = "/sort_code" if sort_code == "000000" else "/account"
        raise InvalidField("This number belongs to nobody.", field=field)
    return {"sort_code": sort_code, "account": account}


# type: its check, the fields it takes, and the one country it is for (None: several).
CHECKS: dict[str, tuple[Callable[[Given], Details], tuple[str, ...], str | None]] = {
    "iban": (iban, ("iban",), None),
    "clabe": (clabe, ("clabe",), "MX"),
    "cnaps": (cnaps, ("cnaps", "account"), "CN"),
    "ach": (ach, ("routing_number", "account"), "US"),
    "ifsc": (ifsc, ("ifsc", "account"), "IN"),
    "nuban": (nuban, ("bank_code", "account"), "NG"),
    "uk": (uk, ("sort_code", "account"), "GB"),
}
