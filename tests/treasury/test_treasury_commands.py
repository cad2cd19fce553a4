"""What an operator types: `bifold treasury …`, and what comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import text

from chain.address import checked
from chain.client import ChainClient
from chain.testing import AnvilProcess
from keys.derivation import address_of, derive_key, path
from keys.mnemonic import to_seed
from keys.offline import read_sheet, sign_with_words
from keys.secret import SecretText
from wallet import cli, cli_treasury, custody
from wallet.bootstrap import Services
from wallet.db import Database
from wallet.errors import InvalidField, InvalidState, NotFound
from wallet.onchain import signers
from wallet.testing.pace import patience
from wallet.testing.seam import Seam
from wallet.treasury import hot

DRILL_SECONDS = 60.0
COLD = checked("0x00000000000000000000000000000000c01d0001")
WORDS = SecretText("legal winner thank year wave sausage worth useful legal winner thank yellow")


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", hot_keys=2)
    await seam.fund_house()
    yield seam
    await seam.close()


async def run(seam: Seam, *words: str) -> int:
    return await on(seam, {"local": seam.chain}, *words, "--network", "local")


async def on(seam: Seam, chains: dict[str, ChainClient], *words: str) -> int:
    """The command where there are these networks."""
    services: Any = SimpleNamespace(
        db=seam.operators,
        networks={name: chain.network for name, chain in chains.items()},
        chains=chains,
        assets=seam.assets,
        house=SimpleNamespace(hot=await seam.signer.hot_addresses()),
    )
    chosen = cli._parser().parse_args(["treasury", *words])
    return await cli_treasury.act(cast(Services, services), chosen)


async def test_what_is_somebodys_here_is_not_cold(seam: Seam) -> None:
    theirs = await seam.address(await seam.person())
    warm = checked("0x00000000000000000000000000000000c01d0002")
    async with seam.operators.transaction() as session:
        await custody.register_house_address(session, network="local", address=warm, place="warm")
    for address, place in ((theirs, "deposit"), (warm, "warm")):
        with pytest.raises(InvalidField, match=f"It is a {place} address here"):
            await run(seam, "cold", "--address", address, "--by", "ada")
    rows = await seam.rows("SELECT FROM house_addresses WHERE place = 'cold'")
    assert rows == []


async def test_what_the_network_does_not_carry_is_neither_bounded_nor_moved(seam: Seam) -> None:
    """It would wait for good."""
    by = ("--asset", "EUR", "--by", "ada")
    with pytest.raises(InvalidField, match="EUR is not listed on local"):
        await run(seam, "bounds", "--low", "1", "--high", "2", *by)
    with pytest.raises(InvalidField, match="EUR is not listed on local"):
        await run(seam, "propose", "--kind", "profit", "--amount", "1", "--to", COLD, *by)


async def test_a_day_of_the_treasury(seam: Seam, capsys: pytest.CaptureFixture[str]) -> None:
    by = ("--by", "ada")
    assert await run(seam, "cold", "--address", COLD, *by) == 0
    with pytest.raises(InvalidField):
        await run(seam, "cold", "--address", seam.faucet, *by)  # it holds something
    with pytest.raises(InvalidField):
        await run(seam, "bounds", "--asset", "USDC", "--low", "2", "--high", "1", *by)
    await run(seam, "bounds", "--asset", "USDC", "--low", "1000", "--high", "5000", *by)
    await seam.treasury.tick()
    capsys.readouterr()
    assert await run(seam, "status") == 0
    shown = capsys.readouterr().out
    assert f"cold      {COLD}" in shown
    assert "bounds 1000.000000 to 5000.000000" in shown
    [line] = [line for line in shown.splitlines() if line.startswith("proposed")]
    assert "to_cold 197000.000000 USDC" in line and "by bifold" in line
    move = line.split()[1]
    await run(seam, "dismiss", move, *by)
    await run(
        seam, "propose", "--kind", "to_cold", "--asset", "ETH", "--amount", "2", "--to", COLD, *by
    )
    move = capsys.readouterr().out.splitlines()[-1].split(":")[0]
    await run(seam, "approve", move, "--by", "bob")
    assert "2.000000000000000000 ETH" in capsys.readouterr().out
    await run(seam, "freeze", "--reason", "a look", *by)
    assert await run(seam, "status") == 1
    assert "FROZEN    a look" in capsys.readouterr().out
    await run(seam, "unfreeze", *by)
    with pytest.raises(NotFound):
        await run(seam, "unfreeze", *by)


async def test_cold_fills_no_address_that_is_emptied_or_was(seam: Seam, tmp_path: Path) -> None:
    """Hot 0 is what a refill goes to unless somebody says otherwise, also when its key was lost; a
    sheet signed before that day comes back after it."""
    lost, standby = await seam.signer.hot_addresses()
    cold = address_of(derive_key(to_seed(WORDS), path(0, 0)))
    await seam.node("anvil_setBalance", cold, hex(10**19))
    services: Any = SimpleNamespace(
        db=seam.operators, chains={"local": seam.chain}, assets=seam.assets,
        house=SimpleNamespace(hot=(lost, standby), warm=None),
    )  # fmt: skip
    actions = {"unsigned": cli_treasury._unsigned, "send": cli_treasury._send}

    async def bifold(line: str) -> int:
        words = ["treasury", *line.split(), "--network", "local"]
        chosen = cli._parser().parse_args(words)
        return await actions[chosen.action](services, chosen)

    def unsigned(name: str) -> str:
        return f"unsigned --from {cold} --asset ETH --amount 1 --out {tmp_path / name}"

    assert await bifold(unsigned("early")) == 0
    early = read_sheet((tmp_path / "early").read_text())
    (tmp_path / "signed").write_text(sign_with_words(early, WORDS, SecretText("")))
    send = f"send --unsigned {tmp_path / 'early'} --signed {tmp_path / 'signed'} --wait 0"
    before = await seam.on_chain(lost, "ETH")

    async def nothing_goes_there() -> None:
        for line in (unsigned("late"), send):
            with pytest.raises(InvalidState, match="in other hands"):
                await bifold(line)
        assert await seam.on_chain(lost, "ETH") == before

    async with seam.operators.transaction() as session:
        await session.execute(
            text("INSERT INTO network_freezes (network, reason, evacuate_to, by_whom)"
                 " VALUES ('local', 'key lost', :cold, 'ada')"),
            {"cold": COLD},
        )  # fmt: skip
    await nothing_goes_there()
    await hot.introduce(seam.operators, seam.chain, lost)
    async with seam.operators.transaction() as session:
        await session.execute(text("DELETE FROM network_freezes"))
        await signers.halt_signer(session, network="local", address=lost, reason=hot.COMPROMISED)
    await nothing_goes_there()
    assert await bifold(unsigned("late") + " --hot 1") == 0


async def test_evacuation_says_what_it_does(seam: Seam, capsys: pytest.CaptureFixture[str]) -> None:
    await run(seam, "cold", "--address", COLD, "--by", "ada")
    with pytest.raises(InvalidField):
        await run(seam, "evacuate", "--to", seam.faucet, "--by", "ada")
    await seam.runner.tick()
    assert await run(seam, "evacuate", "--to", COLD, "--by", "ada", "--wait", "0") in (0, 1)
    assert "Frozen." in capsys.readouterr().out


async def test_an_evacuation_empties_addresses_that_never_sent_anything(
    seam: Seam, capsys: pytest.CaptureFixture[str]
) -> None:
    """No signer's row yet is not the same as nothing to save, and no reason to say: done."""
    first, second = await seam.signer.hot_addresses()
    assert await seam.rows("SELECT 1 FROM chain_signers") == []
    await run(seam, "cold", "--address", COLD, "--by", "ada")
    with pytest.raises(InvalidField):
        await run(seam, "standby", "--address", COLD, "--by", "ada")
    await run(seam, "standby", "--address", second, "--by", "ada")
    [row] = await seam.rows("SELECT address, halted_reason FROM chain_signers")
    assert (row.address, row.halted_reason) == (second, "standby")
    capsys.readouterr()
    tokens, reserve = [await seam.on_chain(one, "USDC") for one in (first, second)]
    coins = await seam.on_chain(first, "ETH")
    began = time.monotonic()
    command = asyncio.create_task(
        run(seam, "evacuate", "--to", COLD, "--by", "ada", "--wait", "60")
    )
    for _ in range(12):  # it goes on after the end: the new hot address is not emptied in turn
        await asyncio.sleep(0)
        await seam.treasury.tick()
        await seam.mine(seam.network.confirmations)
    assert await command == 0
    assert time.monotonic() - began < patience(DRILL_SECONDS)
    shown = capsys.readouterr().out
    assert "Frozen. 1 hot addresses" in shown and f"New hot: {second}." in shown
    assert (await seam.on_chain(first, "USDC"), await seam.on_chain(first, "ETH")) == (0, 0)
    assert await seam.on_chain(COLD, "USDC") == tokens
    [gas] = await seam.rows("SELECT sum(gas_fee_wei) AS wei FROM chain_intents")
    assert await seam.on_chain(COLD, "ETH") == coins - gas.wei  # all of it, to the wei
    assert await seam.on_chain(second, "USDC") == reserve > 0
    assert await run(seam, "status") == 1  # frozen still, until somebody takes it back
    rows = await seam.rows("SELECT address, halted_reason FROM chain_signers")
    halted = {row.address: row.halted_reason for row in rows}
    assert halted == {first: "compromised", second: None}
    assert await seam.differences() == []


async def test_bounds_of_warm_need_a_warm_address(seam: Seam) -> None:
    with pytest.raises(InvalidField, match="No warm address"):
        await run(seam, "bounds", "--asset", "USDC", "--tier", "warm", "--low", "1", "--high", "2",
                  "--by", "ops")  # fmt: skip
    with pytest.raises(InvalidField, match="No warm address"):
        await run(seam, "propose", "--kind", "to_warm", "--asset", "ETH", "--amount", "1",
                  "--by", "ada")  # fmt: skip


async def test_one_order_is_for_every_network(
    seam: Seam, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key is the same on all of them, and a thief does not wait for the second command."""
    chains = {"local": seam.chain}
    for name in ("far", "near"):
        chains[name] = await elsewhere(seam, name)
    for name in ("local", "near"):
        await on(seam, chains, "cold", "--address", COLD, "--by", "ada", "--network", name)
    order = ("evacuate", "--to", COLD, "--by", "ada")
    with pytest.raises(InvalidField):
        await on(seam, chains, "evacuate", "--to", seam.faucet, "--by", "ada")
    assert await seam.rows("SELECT 1 FROM network_freezes") == []
    capsys.readouterr()
    assert await on(seam, chains, *order, "--wait", "0") == 1
    shown = capsys.readouterr().out
    assert "local: Frozen. 2 hot addresses" in shown and "local: Not done yet" in shown
    assert "near: Frozen. 2 hot addresses" in shown and "near: Not done yet" in shown
    assert "far: frozen, but NOT emptied" in shown and "--network far" in shown
    assert await freezes(seam) == {"local": COLD, "near": COLD, "far": None}
    for _ in range(12):  # no worker serves the other two
        await seam.treasury.tick()
        await seam.mine(seam.network.confirmations)
    assert await freezes(seam) == {"local": None, "near": COLD, "far": None}
    assert await seam.on_chain(COLD, "USDC") > 0
    # Again, as the third network has been told of the cold address: what is done stays done.
    async with seam.operators.transaction() as session:
        await custody.register_house_address(session, network="far", address=COLD, place="cold")
    capsys.readouterr()
    assert await on(seam, chains, *order, "--wait", "0") == 1
    shown = capsys.readouterr().out
    assert "far: Frozen. 2 hot addresses" in shown and "local:" not in shown
    assert await freezes(seam) == {"local": None, "near": COLD, "far": COLD}


async def test_a_network_that_is_evacuated_elsewhere_stops_no_other(
    seam: Seam, capsys: pytest.CaptureFixture[str]
) -> None:
    chains = {"local": seam.chain, "near": await elsewhere(seam, "near")}
    other = checked("0x00000000000000000000000000000000c01d0002")
    for name in chains:
        for address in (COLD, other):
            await on(seam, chains, "cold", "--address", address, "--by", "ada", "--network", name)
    order = ("evacuate", "--by", "ada", "--wait", "0", "--to")
    assert await on(seam, chains, *order, other, "--network", "near") == 1
    with pytest.raises(InvalidState):
        await on(seam, chains, *order, COLD, "--network", "near")
    capsys.readouterr()
    assert await on(seam, chains, *order, COLD) == 1
    assert "near: It is being evacuated already." in capsys.readouterr().out
    assert await freezes(seam) == {"local": COLD, "near": other}


async def freezes(seam: Seam) -> dict[str, str | None]:
    rows = await seam.rows("SELECT network, evacuate_to FROM network_freezes")
    return {row.network: row.evacuate_to for row in rows}


async def elsewhere(seam: Seam, name: str) -> ChainClient:
    """Another network of the same house, as its worker leaves it."""
    async with seam.db.transaction() as session:
        for address in await seam.signer.hot_addresses():
            await custody.register_house_address(
                session, network=name, address=address, place="hot"
            )
    return ChainClient(replace(seam.network, name=name), seam.chain.rpc)
