"""The route that gives an account out: one's own only, each box once, nothing without a signer."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from tests.api.conftest import World, node, world
from wallet.ids import new_id

__all__ = ["World", "node", "world"]
BOX = {"key": "00" * 32, "nonce": "00" * 12, "box": "00" * 48}


async def test_an_account_goes_out_to_its_owner_alone(world: Any) -> None:
    ada, bob = await world.person(), await world.person()
    me = (await ada.get("/v1/me")).json()["id"]
    account = new_id("sca")
    async with world.services.db.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO selfcustody_accounts (id, principal_id, label, address, sealed) VALUES"
                " (:id, :me, 'From a file', '0x8ba1f109551bD432803012645Ac136ddd64DBA72',"
                ' \'{"path": ""}\')'
            ),
            {"id": account, "me": me},
        )
    where, asked = f"/v1/self-custody/accounts/{account}/export", {"nonce": "ab" * 16, "box": BOX}
    away = await ada.post(where, asked)
    assert (away.status_code, away.json()["code"]) == (503, "self_custody_unavailable")
    async with world.services.db.transaction() as session:
        await session.execute(
            text("INSERT INTO selfcustody_key (public_key) VALUES (repeat('ab', 32))")
        )
    [shown] = (await ada.get("/v1/self-custody/accounts")).json()["data"]
    assert (shown["id"], shown["path"]) == (account, None)
    assert (await bob.post(where, asked)).status_code == 404
    made = await ada.post(where, asked)
    assert made.status_code == 202, made.text
    assert made.headers["location"] == f"/v1/self-custody/requests/{made.json()['id']}"
    assert (made.json()["purpose"], made.json()["state"]) == ("export", "queued")
    again = await ada.post(where, asked)
    assert (again.status_code, again.json()["errors"][0]["field"]) == (422, "/nonce")
    assert (await bob.get(made.headers["location"])).status_code == 404
    await ada.send("DELETE", f"/v1/self-custody/accounts/{account}")
    gone = await ada.post(where, asked | {"nonce": "cd" * 16})
    assert gone.status_code == 404
