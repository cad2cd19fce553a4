"""Routes that take no body, by the example of a void."""

from __future__ import annotations

from typing import Any


async def held(payer: Any, payee: Any) -> str:
    """An open hold."""
    made = await payer.post(
        "/v1/holds",
        {"to": payee.id, "money": {"amount": "6.00", "asset": "EUR"}, "expires_in_seconds": 3_600},
    )
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def test_a_void_takes_no_amount(world: Any) -> None:
    """Who thinks that a part is given back is told, before all of it is."""
    ada, bob = await world.person(EUR="10.00"), await world.person()
    hold = await held(ada, bob)
    for body in (
        {"money": {"amount": "1.00", "asset": "EUR"}},
        ["x"],
        {str(n): n for n in range(3_000)},
    ):
        refused = await bob.post(f"/v1/holds/{hold}/void", body)
        assert (refused.status_code, refused.json()["code"]) == (422, "unknown_field")
        assert len(refused.content) < 8_192
    assert (await ada.get(f"/v1/holds/{hold}")).json()["status"] == "open"
    assert (await bob.post(f"/v1/holds/{hold}/void", {})).status_code == 200


async def test_a_void_takes_null_for_no_body(world: Any) -> None:
    """As clients that always write a body do where they have none."""
    ada, bob = await world.person(EUR="10.00"), await world.person()
    hold = await held(ada, bob)
    json = {"Content-Type": "application/json", "Idempotency-Key": "v1"}
    for sent, replayed in ((b"null", None), (b"", "true")):
        voided = await bob.send("POST", f"/v1/holds/{hold}/void", content=sent, headers=json)
        assert voided.status_code == 200, voided.text
        assert voided.headers.get("Idempotent-Replayed") == replayed
