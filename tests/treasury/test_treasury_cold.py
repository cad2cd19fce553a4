"""Cold to hot on a real node: the sheet goes out, is signed elsewhere and is mined once."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eth_account import Account

import wallet.cli_treasury as command
from keys.derivation import derive_key, path
from keys.mnemonic import to_seed
from keys.offline import OfflineRefused, payment, read_sheet, sign_with_words
from keys.secret import SecretText
from tests.chain.benches import OUTSIDER, SIGNER, Bench, anvil_bench
from wallet.bootstrap import asset_book
from wallet.cli_files import Unusable
from wallet.errors import InvalidField, InvalidState
from wallet.money import Money
from wallet.testing.pace import patience
from wallet.treasury import broadcast, prepare

WORDS = SecretText("legal winner thank year wave sausage worth useful legal winner thank yellow")
NONE = SecretText("")
COLD: str = Account.from_key(derive_key(to_seed(WORDS), path(0, 0)).reveal()).address
HOT = SIGNER
COLD_ETH = 10 * 10**18
COLD_USDC = 500 * 10**6


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A node where the cold address holds 10 ETH and 500 USDC."""
    async for bench in anvil_bench():
        await bench.send_native(COLD, COLD_ETH)
        await bench.send_token(COLD, COLD_USDC)
        yield bench


def money(bench: Bench, code: str, minor: int) -> Money:
    return Money(minor, asset_book({"local": bench.client.network}).get(code))


async def balances(bench: Bench, code: str) -> tuple[int, int]:
    head = await bench.client.head()
    cold, hot = await bench.client.balances([COLD, HOT], code, head.number)
    return cold, hot


async def test_coins_and_tokens_reach_hot_to_the_unit(bench: Bench) -> None:
    chain, hot = bench.client, [HOT]
    for code, minor in (("ETH", 2 * 10**18), ("USDC", COLD_USDC)):
        before = await balances(bench, code)
        coins_before = (await balances(bench, "ETH"))[0]
        sheet = await prepare(chain, sender=COLD, to=HOT, money=money(bench, code, minor), ours=hot)
        carried = read_sheet(sheet.text())
        signed = sign_with_words(carried, WORDS, NONE)
        first = await broadcast(
            chain, sheet=carried, signed=signed, ours=hot, wait_seconds=patience(30)
        )
        assert first.receipt is not None and first.receipt.status == 1
        after = await balances(bench, code)
        fee = first.receipt.gas_used * first.receipt.effective_gas_price
        assert after[1] - before[1] == minor
        assert before[0] - after[0] == minor + (fee if code == "ETH" else 0)
        moved = minor if code == "ETH" else 0
        assert coins_before - (await balances(bench, "ETH"))[0] == moved + fee
        again = await broadcast(
            chain, sheet=carried, signed=signed, ours=hot, wait_seconds=patience(30)
        )
        assert again.tx_hash == first.tx_hash and again.receipt is not None
        assert await balances(bench, code) == after  # sent twice, mined once


async def test_what_may_not_go_out(bench: Bench) -> None:
    chain = bench.client
    one = money(bench, "ETH", 10**18)
    with pytest.raises(InvalidField, match="hot or warm one"):
        await prepare(chain, sender=COLD, to=OUTSIDER, money=one, ours=[HOT])
    with pytest.raises(InvalidField, match="hot or warm one"):
        await prepare(chain, sender=HOT, to=HOT, money=one, ours=[HOT])
    for code, minor in (("ETH", COLD_ETH), ("USDC", COLD_USDC + 1)):
        with pytest.raises(InvalidField, match="does not hold that much"):
            await prepare(chain, sender=COLD, to=HOT, money=money(bench, code, minor), ours=[HOT])
    with pytest.raises(InvalidField, match="too little ETH"):
        nearly = money(bench, "ETH", COLD_ETH - 1)
        await prepare(chain, sender=COLD, to=HOT, money=nearly, ours=[HOT])


async def test_no_single_node_says_which_nonce_a_sheet_has(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a gap it is mined some day, beside the one that was made in its place."""
    chain, one = bench.client, money(bench, "ETH", 10**18)
    real, lies = chain.nonce, True

    async def too_many(address: str) -> int:
        return await real(address) + 2 * lies

    async def others(address: str, nonce: int) -> bool:
        return nonce < await real(address)

    monkeypatch.setattr(chain, "nonce", too_many)
    monkeypatch.setattr(chain, "_passed", others)
    with pytest.raises(InvalidState, match="differently"):
        await prepare(chain, sender=COLD, to=HOT, money=one, ours=[HOT])
    lies = False
    assert (await prepare(chain, sender=COLD, to=HOT, money=one, ours=[HOT])).tx.nonce == 0


async def test_what_may_not_come_back(bench: Bench) -> None:
    chain, one = bench.client, money(bench, "ETH", 10**18)
    sheet = await prepare(chain, sender=COLD, to=HOT, money=one, ours=[HOT])
    other = await prepare(
        chain, sender=COLD, to=HOT, money=money(bench, "ETH", 3 * 10**18), ours=[HOT]
    )
    signed, rival = (sign_with_words(each, WORDS, NONE) for each in (sheet, other))
    before = await balances(bench, "ETH")
    with pytest.raises(OfflineRefused):
        await broadcast(chain, sheet=sheet, signed=rival, ours=[HOT], wait_seconds=0)
    with pytest.raises(InvalidField, match="recipient"):
        await broadcast(chain, sheet=sheet, signed=signed, ours=[OUTSIDER], wait_seconds=0)
    elsewhere = replace(sheet, payload=replace(sheet.tx, chain_id=1).encode())
    with pytest.raises(InvalidField, match="chain 1"):
        await broadcast(
            chain, sheet=elsewhere, signed=sign_with_words(elsewhere, WORDS, NONE), ours=[HOT],
            wait_seconds=0,
        )  # fmt: skip
    assert await balances(bench, "ETH") == before  # nothing of it went out
    wait = patience(30)
    won = await broadcast(chain, sheet=other, signed=rival, ours=[HOT], wait_seconds=wait)
    assert won.receipt is not None
    with pytest.raises(InvalidState, match="never be mined"):
        await broadcast(chain, sheet=sheet, signed=signed, ours=[HOT], wait_seconds=wait)


async def test_a_node_without_an_index_asks_for_no_second_sheet(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sheet was mined; that its receipt is not shown makes it no other transaction."""
    chain, one = bench.client, money(bench, "ETH", 10**18)
    sheet = await prepare(chain, sender=COLD, to=HOT, money=one, ours=[HOT])
    signed = sign_with_words(sheet, WORDS, NONE)
    wait = patience(30)
    assert (
        await broadcast(chain, sheet=sheet, signed=signed, ours=[HOT], wait_seconds=wait)
    ).receipt is not None

    async def null(hashes: Sequence[str]) -> list[None]:
        return [None for _ in hashes]

    monkeypatch.setattr(chain, "receipts", null)
    again = await broadcast(chain, sheet=sheet, signed=signed, ours=[HOT], wait_seconds=1)
    assert (again.answer, again.receipt) == ("nonce_too_low", None)


@dataclass
class _Services:
    chains: dict[str, Any]
    house: Any
    assets: Any
    db: Any

    async def aclose(self) -> None:
        """The bench closes its node itself."""


async def test_the_commands(
    bench: Bench, tmp_path: Any, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    services = _Services(
        {"local": bench.client},
        SimpleNamespace(hot=(HOT,), warm=None),
        asset_book({"local": bench.client.network}),
        SimpleNamespace(transaction=nullcontext),
    )

    async def kept(*_: object) -> bool:
        return False  # tests/treasury/test_treasury_commands.py asks a database

    monkeypatch.setattr(command.hot, "given_up", kept)
    monkeypatch.setattr(command, "build", lambda settings, role: services)
    monkeypatch.setattr(command.Settings, "from_env", classmethod(lambda cls: None))
    sheet, signed, qr = (tmp_path / name for name in ("sheet", "signed", "code.svg"))

    async def bifold(line: str) -> int:
        from wallet.cli import _parser

        chosen: argparse.Namespace = _parser().parse_args(["treasury", *line.split()])
        return await command.treasury(command.Settings.from_env(), chosen)

    make = f"unsigned --network local --from {COLD} --asset ETH --amount 1.25 --out {sheet}"
    assert await bifold(f"{make} --qr {qr}") == 0
    assert "1.25 coins" in capsys.readouterr().out
    assert (await asyncio.to_thread(qr.read_bytes)).startswith(b"<?xml")
    with pytest.raises(Unusable, match="is there already"):
        await bifold(make)
    text = await asyncio.to_thread(sheet.read_text)
    assert payment(read_sheet(text).tx).to == HOT
    await asyncio.to_thread(signed.write_text, sign_with_words(read_sheet(text), WORDS, NONE))
    before = await balances(bench, "ETH")
    send = f"send --network local --unsigned {sheet} --signed {signed} --wait {patience(30)}"
    assert await bifold(send) == 0
    assert "Mined in block" in capsys.readouterr().out
    assert (await balances(bench, "ETH"))[1] - before[1] == 125 * 10**16
    with pytest.raises(InvalidField, match="not listed"):
        await bifold(make.replace("ETH", "EUR"))
    to_warm = make.replace(str(sheet), f"{sheet}.warm") + " --warm"
    with pytest.raises(InvalidField, match="no warm address"):
        await bifold(to_warm)
    services.house.warm = OUTSIDER
    assert await bifold(to_warm) == 0
    text = await asyncio.to_thread(Path(f"{sheet}.warm").read_text)
    assert payment(read_sheet(text).tx).to == OUTSIDER
