"""Own accounts, watched addresses and browser wallets from the outside: no 500, nobody else's."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from tests.api.conftest import World
from tests.security.test_security_web import FOREIGN, XSS, eve, token_of

__all__ = ["eve"]
ADDRESS = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
BOX = {"key": "00" * 32, "nonce": "00" * 12, "box": "00" * 48}
FORMS = (
    "/own-accounts", "/own-accounts/sends", "/own-accounts/sca_01JD3VQ4T0Z8Y6X5W4V3T2S1R0/remove",
    "/watched", "/watched/wat_01JD3VQ4T0Z8Y6X5W4V3T2S1R0/remove", "/sign-in/wallet/message",
    "/sign-in/wallet", "/settings/wallets/message", "/settings/wallets",
    "/settings/wallets/unlink",
)  # fmt: skip


async def served(world: World) -> None:
    """A signer that takes own accounts told its key just now."""
    async with world.services.db.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO selfcustody_key (public_key) VALUES (:key)"
                " ON CONFLICT (singleton) DO UPDATE SET seen_at = clock_timestamp()"
            ),
            {"key": "ab" * 32},
        )


async def an_account(world: World, principal_id: str, label: str = "Ada's own") -> str:
    async with world.services.db.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO selfcustody_accounts (id, principal_id, label, address, sealed)"
                " VALUES ('sca_01JD3VQ4T0Z8Y6X5W4V3T2S1R1', :principal, :label, :address, :sealed)"
            ),
            {
                "principal": principal_id, "label": label, "address": ADDRESS,
                "sealed": json.dumps({"path": XSS}),
            },
        )  # fmt: skip
    return "sca_01JD3VQ4T0Z8Y6X5W4V3T2S1R1"


def a_send(account: str, nonce: str, **changes: Any) -> dict[str, Any]:
    return {
        "account_id": account, "network": "local",
        "money": {"amount": "1.000000", "asset": "USDC"}, "to_address": ADDRESS,
        "max_fee": {"amount": "0.01", "asset": "ETH"}, "nonce": nonce, "box": BOX,
    } | changes  # fmt: skip


async def test_another_persons_account_request_and_payment_are_not_there(world: World) -> None:
    await served(world)
    ada, bob = await world.person(), await world.person()
    account = await an_account(world, ada.id)
    asked = await ada.post(
        "/v1/self-custody/accounts",
        {"purpose": "create", "label": "Mine", "nonce": "ab" * 16, "box": BOX},
    )
    sent = await ada.post("/v1/self-custody/sends", a_send(account, "cd" * 16))
    assert (asked.status_code, sent.status_code) == (202, 202)
    for path in (
        f"/v1/self-custody/requests/{asked.json()['id']}",
        f"/v1/self-custody/sends/{sent.json()['id']}",
    ):
        assert (await ada.get(path)).status_code == 200
        assert (await bob.get(path)).status_code == 404
    gone = await bob.send("DELETE", f"/v1/self-custody/accounts/{account}")
    foreign = await bob.post("/v1/self-custody/sends", a_send(account, "ef" * 16))
    assert (gone.status_code, foreign.status_code) == (404, 404)
    assert len((await ada.get("/v1/self-custody/accounts")).json()["data"]) == 1


async def test_a_fee_in_another_asset_is_no_number_of_wei(world: World) -> None:
    await served(world)
    ada = await world.person()
    account = await an_account(world, ada.id)
    wrong = a_send(account, "ab" * 16, max_fee={"amount": "5.00", "asset": "USDC"})
    answer = await ada.post("/v1/self-custody/sends", wrong)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


@pytest.mark.parametrize(
    "box",
    [
        "", "{", "[]", "[" * 3_000, json.dumps(BOX | {"more": "00"}),
        json.dumps(BOX | {"key": "\0"}), json.dumps(BOX | {"box": "\ud800"}),
        json.dumps(BOX | {"nonce": 5}), json.dumps(BOX | {"box": "é" * 300}),
        json.dumps(BOX | {"box": "00\n"}),
    ],
)  # fmt: skip
async def test_a_damaged_box_is_refused_and_is_no_defect(
    world: World, eve: httpx2.AsyncClient, box: str
) -> None:
    await served(world)
    fields = {
        "csrf": token_of(await eve.get("/own-accounts")), "purpose": "create", "label": "Mine",
        "nonce": "ab" * 16,
    }  # fmt: skip
    answer = await eve.post("/own-accounts", data=fields | {"box": box})
    assert (answer.status_code, "error" in answer.json()) == (422, True)
    fine = await eve.post("/own-accounts", data=fields | {"box": json.dumps(BOX)})
    assert fine.status_code == 202


async def test_no_form_of_these_pages_is_sent_by_another_site(
    world: World, eve: httpx2.AsyncClient
) -> None:
    token = token_of(await eve.get("/settings"))
    for path in FORMS:
        for headers in FOREIGN:
            answer = await eve.post(path, data={"csrf": token}, headers=headers)
            assert answer.status_code == 403, (path, headers)
        answer = await eve.post(path, data={"csrf": "0" * 64})
        assert answer.status_code == 403, path
        as_json = await eve.post(path, json={"csrf": token})
        assert as_json.status_code == 400, path


async def test_labels_and_paths_are_text(world: World, eve: httpx2.AsyncClient) -> None:
    await served(world)
    async with world.services.db.transaction() as session:
        me = await session.scalar(text("SELECT id FROM users WHERE email = 'eve@example.org'"))
    await an_account(world, str(me), XSS[:60])
    token = token_of(await eve.get("/watched"))
    await eve.post(
        "/watched",
        data={"csrf": token, "source": ADDRESS, "label": XSS[:60], "once": "k" * 32},
    )
    for path in ("/own-accounts", "/watched"):
        page = await eve.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text and "<img src=x" not in page.text, path
        assert "&lt;script&gt;alert(1)" in page.text, path
        policy = page.headers["content-security-policy"]
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert page.headers["cache-control"] == "private, no-store"


async def test_new_words_get_no_passphrase_of_their_own_that_nobody_can_read(
    world: World, eve: httpx2.AsyncClient
) -> None:
    """Typed once and unseen, with a slip: the words that were written down bring nothing back."""
    await served(world)
    page = (await eve.get("/own-accounts")).text
    [field] = [one for one in page.splitlines() if 'data-secret="extension"' in one]
    assert 'data-only="import" hidden' in field
