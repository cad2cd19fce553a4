"""D23 of the fault matrix: amounts beyond everything, and tokens of 0, 18 and 77 decimals."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chain.registry import InvalidNetworks, Token, dump_networks, load_networks
from chain.testing import AnvilProcess
from tests.faults_receive.conftest import Inbox
from tests.seam_front import front_of
from wallet.bootstrap import asset_book
from wallet.db import Database
from wallet.money import format_amount
from wallet.onchain import tokens
from wallet.onchain.tokens import TokenWatch
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"
EVERYTHING = 2**256 - 1
SCALES = [0, 18]


@asynccontextmanager
async def listed(
    db: Database, anvil: AnvilProcess, folder: Path, **token: Any
) -> AsyncIterator[Inbox]:
    """A network whose one token is like this."""
    seam = await Seam.open(db, anvil.url, folder / "signer", **token)
    ada = await seam.person()
    yield Inbox(seam, None, ada, await seam.address(ada))  # type: ignore[arg-type]
    await seam.close()


@pytest.mark.parametrize("decimals", SCALES)
async def test_d23_amounts_are_stored_exactly_and_too_large_ones_set_aside(
    db: Database, anvil: AnvilProcess, tmp_path: Path, decimals: int
) -> None:
    """What truly arrives, up to all there can be; one poison log stops nobody."""
    async with (
        listed(db, anvil, tmp_path, decimals=decimals, supply=EVERYTHING) as inbox,
        front_of(inbox.seam) as front,
    ):
        seam = inbox.seam
        most = seam.assets.get("USDC").max_minor
        ada, browser = await front.person()
        at = (await ada.post("/v1/deposit-addresses", {"network": "local"})).json()["address"]
        sent = [most, most + 1, 2**128, 2**128 + 1, 2**255 + 7]
        sent += [EVERYTHING - sum(sent) - 3, 3]
        token = seam.network.tokens[0].contract
        for minor in sent:
            await seam.dev.wait_mined(await seam.dev.send_token(token, at, minor))
        await seam.pay_in(at, "1", "ETH")
        await seam.finish()
        await inbox.finder.tick()

        assert await inbox.rows() == [
            ("USDC", "credited", most, None),
            *(("USDC", "quarantined", minor, "amount_too_large") for minor in sent[1:-1]),
            ("USDC", "credited", 3, None),
            ("ETH", "credited", 10**18, None),
        ]
        assert await ada.available("USDC") == format_amount(most + 3, decimals)
        assert await ada.available("ETH") == format_amount(10**18, 18)
        told = (await ada.get("/v1/deposits")).json()["data"]
        amounts = [one["money"]["amount"] for one in told if one["money"]["asset"] == "USDC"]
        assert amounts == [format_amount(minor, decimals) for minor in reversed(sent)]
        assert await seam.on_chain(at, "USDC") == EVERYTHING
        for path in ("/home", "/activity", f"/activity/{told[1]['id']}"):
            await browser.get(path)
            assert browser.page.status_code == 200, path
        assert await inbox.gaps() == 0 and await seam.differences() == []


async def test_a_deposit_says_how_many_confirmations_it_has_and_needs(inbox: Inbox) -> None:
    seam = inbox.seam
    async with front_of(seam) as front:
        ada, _ = await front.person()
        at = (await ada.post("/v1/deposit-addresses", {"network": "local"})).json()["address"]
        paid = await seam.pay_in(at, "1.5", "USDC")
        seen = []
        for more in (0, 2, 8):
            await seam.mine(more) if more else await seam.pass_once()
            [one] = (await ada.get("/v1/deposits")).json()["data"]
            assert (await ada.get(f"/v1/deposits/{one['id']}")).json() == one
            seen.append((one["confirmations"], one["required_confirmations"], one["status"]))
        assert seen == [(1, 8, "seen"), (3, 8, "seen"), (11, 8, "credited")]
        assert one.pop("id").startswith("dep_") and one.pop("created_at")
        log_index = one.pop("log_index")
        assert one == {
            "network": "local", "money": {"amount": "1.500000", "asset": "USDC"}, "address": at,
            "from_address": seam.faucet, "tx_hash": paid.tx_hash, "trace_path": None,
            "block_number": paid.block_number, "confirmations": 11, "required_confirmations": 8,
            "status": "credited",
        }  # fmt: skip
        assert log_index == 0


async def test_d23_what_a_liar_logs_is_stored_exactly_too(
    db: Database, anvil: AnvilProcess, tmp_path: Path
) -> None:
    async with listed(db, anvil, tmp_path, contract_name="LyingToken") as lying:
        seam = lying.seam
        contract = seam.network.tokens[0].contract
        for amount in (EVERYTHING, 2**128 + 1):
            await lying.call(contract, "transfer(address,uint256)", lying.address, amount)
        await seam.pay_in(lying.address, "1", "ETH")
        await seam.finish()
        assert [(r[1], r[2]) for r in await lying.rows() if r[0] == "USDC"] == [
            ("quarantined", EVERYTHING), ("quarantined", 2**128 + 1)
        ]  # fmt: skip
        assert await lying.total("ETH") == 10**18 and await lying.total("USDC") == 0


@pytest.mark.parametrize("decimals", SCALES)
async def test_d23_a_token_of_few_or_many_decimals_goes_all_the_way(
    db: Database, anvil: AnvilProcess, tmp_path: Path, decimals: int
) -> None:
    """In, shown, to somebody here, out again: by the API and at the pages."""
    supply = 10**9 * 10**decimals
    async with (
        listed(db, anvil, tmp_path, decimals=decimals, supply=supply) as inbox,
        front_of(inbox.seam) as front,
    ):
        seam, unit = inbox.seam, 10**decimals
        await seam.fund_house()
        (ada, browser), (bob, theirs) = await front.person(), await front.person()
        at = (await ada.post("/v1/deposit-addresses", {"network": "local"})).json()["address"]
        await seam.pay_in(at, "100", "USDC")
        await seam.finish()
        assert await ada.available("USDC") == format_amount(100 * unit, decimals)

        async def ask(path: str, amount: str, **more: str) -> Any:
            return await ada.post(path, {"money": {"amount": amount, "asset": "USDC"}, **more})

        handle = (await bob.get("/v1/me")).json()["handle"]
        out = {"network": "local", "to_address": OUTSIDE}
        too_fine = f"1.{'0' * decimals}5"
        for path, more in (("/v1/transfers", {"to": handle}), ("/v1/withdrawals", out)):
            refused = await ask(path, too_fine, **more)
            code = "amount_malformed" if decimals == 18 else "amount_precision"  # of any asset
            assert (refused.status_code, refused.json()["code"]) == (422, code)
        assert (await ask("/v1/transfers", "20", to=handle)).status_code == 201
        assert await bob.available("USDC") == format_amount(20 * unit, decimals)
        made = await ask("/v1/withdrawals", "30", **out)
        assert made.status_code == 202, made.text
        await seam.observer.tick()
        await seam.finish()

        done = (await ada.get(f"/v1/withdrawals/{made.json()['id']}")).json()
        assert (done["status"], done["money"]["amount"]) == (
            "settled", format_amount(30 * unit, decimals)
        )  # fmt: skip
        fee = (await seam.withdrawal(ada.id, made.json()["id"])).fee
        assert 0 < fee.minor <= 20 * unit
        assert await ada.available("USDC") == format_amount(50 * unit - fee.minor, decimals)
        assert await seam.on_chain(OUTSIDE, "USDC") == 30 * unit
        assert await seam.differences() == []
        await theirs.get("/home")
        assert shows(theirs.plain, "20", decimals), theirs.plain
        await browser.get(f"/activity/{made.json()['id']}")
        assert shows(browser.plain, "30", decimals), browser.plain
        await browser.get("/activity")
        assert shows(browser.plain, "100", decimals), browser.plain


def shows(page: str, amount: str, decimals: int) -> bool:
    """Whether a page has this amount of whole tokens; one without decimals has no point."""
    words = page.split()
    if decimals == 0:
        return any(word.strip("+-−") == amount for word in words)
    return any(word.strip("+-−").rstrip("0") == f"{amount}." or word.strip("+-−") == amount
               for word in words)  # fmt: skip


async def test_d23_seventy_seven_decimals_are_refused_in_plain_words(
    inbox: Inbox, tmp_path: Path
) -> None:
    seam = inbox.seam
    good = seam.network.tokens[0]
    with pytest.raises(InvalidNetworks, match="BIG: decimals must be 0 to 18"):
        replace(seam.network, tokens=(Token("BIG", good.contract, 77),))
    file = tmp_path / "networks.toml"
    dump_networks(file, {"local": seam.network})
    file.write_text(file.read_text().replace("decimals = 6", "decimals = 77"))
    with pytest.raises(InvalidNetworks, match="USDC: decimals must be 0 to 18"):
        load_networks(file)
    assert asset_book({"local": replace(seam.network, tokens=(replace(good, decimals=18),))})
    # Nor can one be listed with fewer decimals than its contract says.
    big = await inbox.deploy("TestToken", "USD Coin", "USDC", 77, EVERYTHING, seam.faucet)
    code = await seam.node("eth_getCode", big, "latest")
    await seam.node("anvil_setCode", good.contract, code)
    await TokenWatch(seam.db, seam.chain).tick()
    async with seam.db.transaction() as session:
        assert await tokens.halted(session, "local") == {
            "USDC": "decimals() answers 77, listed were 6"
        }
