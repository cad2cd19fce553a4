"""D14 of the fault matrix: transfers of nothing, made to look like one's own (address poisoning).

Somebody mints an address that begins and ends like one that Ada pays, and writes transfers of
nothing with it into her history on chain. People copy addresses out of histories: it must stand
nowhere in what she is shown.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chain.address import to_checksum
from tests.faults_receive.conftest import Inbox, call_data
from tests.seam_front import Front, front_of
from wallet.treasury import TreasuryWatch
from wallet.watch import BalanceReader

FRIEND = to_checksum("0xfb6916095ca1df60bb79ce92ce3ea74c37c5d359")
LOOKALIKE = to_checksum("0xfb69000000000000000000000000000000c5d359")
THEIR_COLD = to_checksum("0x8ba1f109551bd432803012645ac136ddd64dba72")
PAGES = [
    "/home", "/activity", "/send", "/withdraw", "/recipients", "/receive", "/watched", "/hold",
    "/statements", "/settings", "/abroad", "/convert", "/limits", "/top-up", "/own-accounts",
]  # fmt: skip
NOT_HERE = {"/v1/self-custody/key", "/readyz", "/metrics"}  # no signer, no worker, not for people
FIRST, LAST = (datetime.now(UTC).date() + timedelta(days=days) for days in (-300, 1))
STATEMENT = {"from": f"{FIRST}T00:00:00Z", "to": f"{LAST}T00:00:00Z"}


@pytest.fixture
async def front(inbox: Inbox) -> AsyncIterator[Front]:
    await inbox.seam.fund_house()
    async with front_of(inbox.seam) as front:
        yield front


class Shown:
    """Everything that one person is shown, as one text in lower case."""

    def __init__(self, front: Front, person: Any, browser: Any) -> None:
        self.front, self.person, self.browser = front, person, browser

    async def all(self) -> str:
        paths = self.front.app.openapi()["paths"]
        told = []
        for path in (path for path, ways in paths.items() if "get" in ways and "{" not in path):
            asked = {"asset": "USDC", **STATEMENT} if path == "/v1/statements" else {}
            answer = await self.person.get(path, **asked)
            assert answer.status_code < 400 or path in NOT_HERE, (path, answer.text)
            told.append(answer.text)
        assert len(told) > 20
        pages = [await self.page(path) for path in PAGES]
        found = (re.findall(r'href="(/[a-z]+/[\w-]+_\w+)"', page) for page in pages)
        links = {link for one in found for link in one}
        assert any(link.startswith("/activity/") for link in links)
        assert any(link.startswith("/watched/") for link in links)
        pages += [await self.page(link) for link in sorted(links)]
        file = f"/statements/file?asset=USDC&from={FIRST}&to={LAST}&format="
        pages += [await self.page(file + form) for form in ("csv", "json")]
        return "\n".join([*told, *pages]).lower()

    async def page(self, path: str) -> str:
        text = await self.browser.get(path)
        assert self.browser.page.status_code == 200, (path, text[:500])
        return str(text)


async def poison(inbox: Inbox, *victims: str) -> None:
    """Nothing from each to the look-alike and from the look-alike to each: tokens, then coins."""
    seam = inbox.seam
    token = seam.network.tokens[0].contract
    await seam.node("anvil_setBalance", LOOKALIKE, hex(10**18))
    await seam.node("anvil_impersonateAccount", LOOKALIKE)
    for victim in victims:
        taken = call_data("transferFrom(address,address,uint256)", victim, LOOKALIKE, 0)
        given = call_data("transfer(address,uint256)", victim, 0)
        for sent in (
            {"to": token, "data": "0x" + taken.hex()},
            {"to": token, "data": "0x" + given.hex()},
            {"to": victim, "value": "0x0"},
        ):
            tx = await seam.node("eth_sendTransaction", {"from": LOOKALIKE, **sent})
            receipt = await seam.dev.wait_mined(str(tx))
            assert receipt.status == 1 and len(receipt.logs) == ("data" in sent)


async def look_at_everything(inbox: Inbox) -> None:
    """One pass of all that reads chains."""
    seam = inbox.seam
    await seam.finish()
    await inbox.finder.tick()
    await TreasuryWatch(seam.db, seam.chain, seam.assets).tick()
    reader = BalanceReader(
        seam.db, seam.chain, read_again_seconds=0.0, read_empty_again_seconds=0.0
    )
    await reader.tick()


async def test_d14_a_look_alike_never_comes_before_anybody_s_eyes(
    inbox: Inbox, front: Front
) -> None:
    seam = inbox.seam
    ada, browser = await front.person()
    placed = await ada.post("/v1/deposit-addresses", {"network": "local"})
    address = placed.json()["address"]
    for amount, asset in (("5", "ETH"), ("500", "USDC")):
        await seam.pay_in(address, amount, asset)
    await seam.finish()
    watched = await ada.post("/v1/watched", {"source": THEIR_COLD, "label": "Cold"})
    assert watched.status_code == 201, watched.text
    paid = await ada.post(
        "/v1/withdrawals",
        {"network": "local", "money": {"amount": "10", "asset": "USDC"}, "to_address": FRIEND},
    )
    assert paid.status_code == 202, paid.text
    await look_at_everything(inbox)
    shown = Shown(front, ada, browser)
    before = await shown.all()
    assert FRIEND.lower() in before  # the eyes are in the right place
    lines = (await ada.get("/v1/activity")).json()["data"]
    assert [one["status"] for one in lines if one["kind"] == "withdrawal"] == ["settled"]

    await poison(inbox, address, seam.desk.hot_addresses[0], THEIR_COLD)
    await look_at_everything(inbox)

    after = await shown.all()
    assert LOOKALIKE.lower() not in after and LOOKALIKE[2:].lower() not in after
    assert (await ada.get("/v1/activity")).json()["data"] == lines
    for events in ("/v1/events", "/v1/deposits"):
        assert LOOKALIKE.lower() not in (await ada.get(events)).text.lower()
    [one] = (await ada.get("/v1/watched")).json()["data"]
    assert one["used_count"] == 0  # nothing has happened there
    assert (await ada.get("/v1/recipients")).json()["data"] == []
    assert await seam.rows("SELECT id FROM cases WHERE status = 'open'") == []
    assert await seam.differences() == []


async def test_d14_nothing_is_written_for_a_transfer_of_nothing(inbox: Inbox) -> None:
    seam = inbox.seam
    await seam.finish()
    await poison(inbox, inbox.address)
    await look_at_everything(inbox)
    assert await inbox.rows() == []
    found = await seam.rows(
        "SELECT id FROM deposits WHERE :who IN (from_address, to_address) OR amount_minor = 0",
        who=LOOKALIKE,
    )
    assert found == [] and await seam.rows("SELECT id FROM unattributed_arrivals") == []
