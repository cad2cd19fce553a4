"""Recipients: real check digits, one pointer per mistake, nobody else's seen."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import text

from wallet.errors import InvalidField, NotFound
from wallet.identity.errors import RecipientNotFound
from wallet.payments import recipient_checks, recipients
from wallet.testing.payments import PaymentWorld

# Published examples: IBAN registry, Banxico, Fed, RBI, CBN (2020), and big Chinese branches.
GOOD = [
    ("iban", "DE", {"iban": "DE89 3704 0044 0532 0130 00"}, {"iban": "DE89370400440532013000"}),
    ("iban", "GB", {"iban": "gb82west12345698765432"}, {"iban": "GB82WEST12345698765432"}),
    ("iban", "FR", {"iban": "FR1420041010050500013M02606"}, None),
    ("clabe", "MX", {"clabe": "032180000118359719"}, None),
    ("clabe", "MX", {"clabe": "0020 1007 7777 7777 71"}, {"clabe": "002010077777777771"}),
    ("cnaps", "CN", {"cnaps": "102100099996", "account": "6222021234567890123"}, None),
    ("cnaps", "CN", {"cnaps": "308584000013", "account": "6222-0212-3456"}, None),
    ("ach", "US", {"routing_number": "021000021", "account": "123456789"}, None),
    ("ach", "US", {"routing_number": "111000025", "account": "12AB"}, None),
    ("ifsc", "IN", {"ifsc": "sbin0000300", "account": "00000030012345678"}, None),
    ("nuban", "NG", {"bank_code": "011", "account": "0000014579"}, None),
    ("uk", "GB", {"sort_code": "20-00-00", "account": "55779911"}, None),
]
BAD = [
    ("iban", "DE", {"iban": "DE89370400440532013001"}, "/iban"),
    ("iban", "DE", {"iban": "DE8937040044053201300"}, "/iban"),
    ("iban", "DE", {"iban": "XX"}, "/iban"),
    ("iban", "DE", {"iban": "DE８9370400440532013000"}, "/iban"),
    ("clabe", "MX", {"clabe": "032180000118359718"}, "/clabe"),
    ("clabe", "MX", {"clabe": "03218000011835971"}, "/clabe"),
    ("clabe", "MX", {"clabe": "03218000011835971９"}, "/clabe"),
    ("clabe", "US", {"clabe": "032180000118359719"}, "/country"),
    ("cnaps", "CN", {"cnaps": "102100099997", "account": "6222021234567890123"}, "/cnaps"),
    ("cnaps", "CN", {"cnaps": "102100099996", "account": "1234567"}, "/account"),
    ("ach", "US", {"routing_number": "021000022", "account": "123456789"}, "/routing_number"),
    ("ach", "US", {"routing_number": "901000025", "account": "123456789"}, "/routing_number"),
    ("ach", "US", {"routing_number": "021000021", "account": "123"}, "/account"),
    ("ifsc", "IN", {"ifsc": "SBIN1000300", "account": "00000030012345678"}, "/ifsc"),
    ("ifsc", "IN", {"ifsc": "SBIN0000300", "account": "12345678"}, "/account"),
    ("nuban", "NG", {"bank_code": "011", "account": "0000014578"}, "/account"),
    ("nuban", "NG", {"bank_code": "11", "account": "0000014579"}, "/bank_code"),
    ("uk", "GB", {"sort_code": "2000", "account": "55779911"}, "/sort_code"),
    ("uk", "GB", {"sort_code": "200000", "account": "00000000"}, "/account"),
    ("swift", "GB", {"bic": "X"}, "/type"),
    ("iban", "de", {"iban": "DE89370400440532013000"}, "/country"),
    ("iban", "DE", {}, "/iban"),
    ("iban", "DE", {"iban": "DE89370400440532013000", "bic": "X"}, "/bic"),
    ("evm", "US", {"network": "moon", "address": "0x" + "1" * 40}, "/network"),
    ("evm", "US", {"network": "local", "address": "0x" + "0" * 40}, "/address"),
    (
        "evm",
        "US",
        {"network": "local", "address": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD"},
        "/address",
    ),
]


async def make(
    world: PaymentWorld,
    who: str,
    kind: str,
    country: str,
    details: dict[str, str],
    name: str = "A B",
) -> recipients.Recipient:
    draft = recipients.RecipientDraft(kind, name, country, details)
    async with world.db.transaction() as session:
        return await recipients.create(session, principal_id=who, draft=draft, networks={"local"})


async def test_good_ones_are_kept_in_canonical_form(world: PaymentWorld) -> None:
    who = await world.person()
    for kind, country, given, kept in GOOD:
        made = await make(world, who, kind, country, given)
        canonical = {k: v.replace(" ", "").replace("-", "") for k, v in given.items()}
        if kind == "ifsc":
            canonical["ifsc"] = canonical["ifsc"].upper()
        assert made.details == (kept or canonical)
        assert made.label == f"A B …{made.account[-4:]}"
        async with world.db.transaction() as session:
            assert await recipients.get(session, principal_id=who, recipient_id=made.id) == made


async def test_bad_ones_name_the_field_and_write_nothing(world: PaymentWorld) -> None:
    who = await world.person()
    for kind, country, given, field in BAD:
        with pytest.raises(InvalidField) as refused:
            await make(world, who, kind, country, given)
        assert refused.value.field == field, (kind, given)
    for name in ("A", " ", "x" * 141, "a\u200bb", "a\x07b"):
        with pytest.raises(InvalidField) as refused:
            await make(world, who, "clabe", "MX", {"clabe": "032180000118359719"}, name)
        assert refused.value.field == "/name"
    assert await world.count("recipients") == 0


async def test_a_wallet_is_somebody_here(world: PaymentWorld) -> None:
    who, other = await world.person(), await world.person()
    async with world.db.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO users (id, handle, email, email_key, password_hash, display_name,"
                " country, kyc_tier) VALUES (:id, 'maria', 'm@x.example', 'm@x.example', '-',"
                " 'María', 'MX', 'basic')"
            ),
            {"id": other},
        )
    made = await make(world, who, "wallet", "MX", {"to": "@Maria"})
    assert made.details == {"to": "@maria", "user_id": other}
    with pytest.raises(RecipientNotFound):
        await make(world, who, "wallet", "MX", {"to": "@nobody"})


async def test_an_address_is_kept_with_its_checksum(world: PaymentWorld) -> None:
    who = await world.person()
    typed = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"
    made = await make(world, who, "evm", "US", {"network": "local", "address": typed})
    assert made.details["address"] == "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"


async def test_a_recipient_is_its_owner_s_alone(world: PaymentWorld) -> None:
    who, other = await world.person(), await world.person()
    made = await world.recipient(who)
    async with world.db.transaction() as session:
        with pytest.raises(NotFound):
            await recipients.get(session, principal_id=other, recipient_id=made.id)
        assert await recipients.page(session, principal_id=other, limit=5, cursor=None) == []
        assert (
            await recipients.page(session, principal_id=who, limit=5, cursor=None, type_="iban")
            == []
        )


class TestCheckDigits:
    def test_find_every_single_wrong_digit(self) -> None:
        dice = random.Random(7)
        for _ in range(200):
            body = "".join(dice.choices("0123456789", k=17))
            clabe = body + str(recipient_checks.clabe_control_digit(body))
            place = dice.randrange(18)
            wrong = clabe[:place] + str((int(clabe[place]) + dice.randrange(1, 10)) % 10)
            wrong += clabe[place + 1 :]
            recipient_checks.clabe({"clabe": clabe})
            with pytest.raises(InvalidField):
                recipient_checks.clabe({"clabe": wrong})

    def test_of_cnaps_find_every_single_wrong_digit(self) -> None:
        for code in ("102100099996", "104100000004", "105290036005", "403100000004"):
            assert recipient_checks.cnaps_fits(code)
            for place in range(12):
                for digit in set("0123456789") - {code[place]}:
                    assert not recipient_checks.cnaps_fits(code[:place] + digit + code[place + 1 :])

    def test_of_nuban_agree_for_three_and_six_digits(self) -> None:
        assert recipient_checks.nuban_check_digit("011", "000001457") == 9
        assert recipient_checks.nuban_check_digit("000011", "000001457") == 9
