"""What the signer refuses is told, kept, and not tried for ever; nor is a missing cold address."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import text

from chain.address import checked
from chain.testing import AnvilProcess
from keys.policy import Limit, Policy
from wallet import cases, cli, cli_evacuate, cli_treasury
from wallet.bootstrap import Services
from wallet.cases import Case
from wallet.db import Database
from wallet.onchain import signers
from wallet.testing.seam import Seam
from wallet.treasury import moves
from wallet.treasury.watch import COMPROMISED

COLD = checked("0x00000000000000000000000000000000c01d0001")


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    """A cold address that the signer's own policy does not know, and low limits there."""
    seam = await Seam.open(db, anvil.url, tmp_path / "signer", cold=COLD)
    await seam.fund_house()
    policy(seam, knows_cold=False)
    yield seam
    await seam.close()


def policy(seam: Seam, *, knows_cold: bool) -> None:
    [(chain_id, chain)] = seam.desk.policy.chains.items()
    [contract] = chain.tokens
    seam.desk.policy = Policy(
        {
            chain_id: replace(
                chain,
                native=Limit(10**18, 10**20),
                tokens={contract: Limit(1_000_000, 10**12)},
                treasury_to=frozenset({COLD} if knows_cold else ()),
            )
        }
    )


async def bounds(seam: Seam, low: str, high: str) -> None:
    async with seam.operators.transaction() as session:
        await session.execute(
            text("INSERT INTO float_bounds (network, asset, low_minor, high_minor, set_by)"
                 " VALUES ('local', 'USDC', :low, :high, 'ops')"),
            {"low": seam.money(low, "USDC").minor, "high": seam.money(high, "USDC").minor},
        )  # fmt: skip


async def run(seam: Seam, *words: str) -> int:
    chosen: argparse.Namespace = cli._parser().parse_args(
        ["treasury", words[0], *words[1:], "--network", "local"]
    )
    services: Any = SimpleNamespace(
        db=seam.operators, networks={"local": seam.network}, chains={"local": seam.chain},
        assets=seam.assets, house=SimpleNamespace(hot=await seam.signer.hot_addresses()),
    )  # fmt: skip
    return await cli_treasury.act(cast(Services, services), chosen)


async def listed(seam: Seam) -> list[moves.Move]:
    async with seam.operators.transaction() as session:
        return await moves.moves(session, seam.assets, network="local", open_only=False)


async def found(seam: Seam) -> list[Case]:
    async with seam.operators.transaction() as session:
        return await cases.listed(session, open_only=False)


async def refused(seam: Seam) -> moves.Move:
    """A proposal of the house that was approved and that the signer would not sign."""
    await bounds(seam, "10000", "50000")
    await seam.treasury.tick()
    [move] = await listed(seam)
    await run(seam, "approve", move.id, "--by", "bob")
    await seam.finish()
    [move] = await listed(seam)
    return move


async def test_a_refused_move_keeps_its_reason_and_is_not_proposed_again(
    seam: Seam, capsys: pytest.CaptureFixture[str]
) -> None:
    move = await refused(seam)
    assert (move.state, move.reason) == ("refused", "above_per_tx_limit")
    [one] = await found(seam)
    assert (one.kind, one.subject, one.severity) == (
        "treasury_refused", "local/USDC/to_cold", "critical"
    )  # fmt: skip
    assert "above_per_tx_limit" in one.what and "treasury_to" in one.what
    assert (one.evidence["move"], one.evidence["to_address"]) == (move.id, COLD)
    assert int(str(one.evidence["gas_burnt_wei"])) > 0
    for _ in range(3):
        await seam.treasury.tick()
        await seam.mine()
    assert await listed(seam) == [move]
    capsys.readouterr()
    assert await run(seam, "status") == 0
    [line] = [li for li in capsys.readouterr().out.splitlines() if li.startswith("refused")]
    assert move.id in line and "the signer refused it: above_per_tx_limit" in line
    [row] = await seam.rows("SELECT next_nonce FROM chain_signers")
    assert row.next_nonce == 1  # one nonce, once
    assert await seam.differences() == []


async def test_while_its_nonce_is_used_up_the_status_says_what_happened(
    seam: Seam, capsys: pytest.CaptureFixture[str]
) -> None:
    await bounds(seam, "10000", "50000")
    await seam.treasury.tick()
    [move] = await listed(seam)
    await run(seam, "approve", move.id, "--by", "bob")
    await seam.automine(False)
    await seam.pass_once()
    await seam.pass_once()
    capsys.readouterr()
    await run(seam, "status")
    [line] = [li for li in capsys.readouterr().out.splitlines() if li.startswith("approved")]
    assert move.id in line and "signer_above_per_tx_limit" in line


async def test_it_is_proposed_again_once_a_person_has_closed_the_case(seam: Seam) -> None:
    await refused(seam)
    [one] = await found(seam)
    policy(seam, knows_cold=True)
    async with seam.operators.transaction() as session:
        await cases.close_by_hand(session, case_id=one.id, by="ada", note="treasury_to has it now")
    await seam.treasury.tick()
    again = (await listed(seam))[-1]
    assert (again.state, again.kind) == ("proposed", "to_cold")
    await run(seam, "approve", again.id, "--by", "bob")
    await seam.finish()
    assert [move.state for move in await listed(seam)] == ["refused", "done"]
    assert await seam.on_chain(COLD, "USDC") == again.money.minor
    assert await seam.differences() == []


async def test_a_move_of_a_person_that_goes_through_ends_the_case(seam: Seam) -> None:
    await refused(seam)
    policy(seam, knows_cold=True)
    async with seam.operators.transaction() as session:
        move_id = await moves.propose(
            session, network="local", money=seam.money("60000", "USDC"), kind="to_cold",
            to_address=COLD, by="ada",
        )  # fmt: skip
    await run(seam, "approve", move_id, "--by", "bob")
    await seam.finish()
    [one] = await found(seam)
    assert (one.status, one.closed_by) == ("closed", "bifold")
    assert one.closing_note == f"{move_id} went through"


async def test_an_evacuation_that_the_signer_refuses_stops_with_a_reason(
    seam: Seam, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cold address is missing from `treasury_to`: one try, one nonce, and a person is told."""
    [hot] = await seam.signer.hot_addresses()
    evacuate = ("evacuate", "--to", COLD, "--by", "ada", "--wait", "0")
    assert await run(seam, *evacuate) == 1
    for _ in range(6):
        await seam.treasury.tick()
        await seam.mine(seam.network.confirmations)
        assert await seam.differences() == []
    tried = [(move.money.asset.code, move.state) for move in await listed(seam)]
    assert tried == [("USDC", "refused")]
    coins = await seam.on_chain(hot, "ETH")
    assert coins > 99 * 10**18  # the gas of the next try stays with the tokens
    [row] = await seam.rows("SELECT next_nonce, halted_reason FROM chain_signers")
    assert (row.next_nonce, row.halted_reason) == (1, None)  # not empty: not given up
    [one] = await found(seam)
    assert one.subject == f"local/USDC/evacuate/{hot}"
    async with seam.operators.transaction() as session:
        assert await cli_evacuate.casework.stopped(session, "local") == [one.what]
    # A worker that starts anew knows it, too.
    seam.restart_worker()
    await seam.treasury.tick()
    assert len(await listed(seam)) == 1
    # The policy is mended and the evacuation ordered again: it goes through to the wei.
    policy(seam, knows_cold=True)
    capsys.readouterr()
    assert await run(seam, *evacuate) == 1
    assert "Frozen. 1 hot addresses" in capsys.readouterr().out
    assert [(case.status, case.closed_by) for case in await found(seam)] == [("closed", "ada")]
    for _ in range(6):
        await seam.treasury.tick()
        await seam.mine(seam.network.confirmations)
    async with seam.operators.transaction() as session:
        [signer] = await signers.all_signers(session, "local")
    assert signer.halted_reason == COMPROMISED
    assert (await seam.on_chain(hot, "USDC"), await seam.on_chain(hot, "ETH")) == (0, 0)
    assert await seam.on_chain(COLD, "USDC") == 100_000 * 10**6
    assert await seam.differences() == []


async def test_the_command_names_the_reason_and_ends(
    seam: Seam, capsys: pytest.CaptureFixture[str]
) -> None:
    await run(seam, "evacuate", "--to", COLD, "--by", "ada", "--wait", "0")
    await seam.treasury.tick()
    await seam.finish()
    capsys.readouterr()
    # The same words with the order already given: nothing was mended, so it is told within a look.
    async with seam.operators.transaction() as session:
        before = await cli_evacuate.casework.stopped(session, "local")
    assert len(before) == 1
    with pytest.MonkeyPatch.context() as patch:

        async def keep(*_: object, **__: object) -> None:
            return None

        patch.setattr(cli_evacuate.casework, "try_again", keep)
        assert await run(seam, "evacuate", "--to", COLD, "--by", "ada", "--wait", "30") == 1
    shown = capsys.readouterr().out
    assert before[0] in shown and "order the evacuation again" in shown


async def test_a_refused_coin_is_tried_once_too(seam: Seam) -> None:
    """Tokens go within the limit, the coin is above it."""
    [hot] = await seam.signer.hot_addresses()
    [(chain_id, chain)] = seam.desk.policy.chains.items()
    [contract] = chain.tokens
    wide = {contract: Limit(10**12, 10**13)}
    seam.desk.policy = Policy({chain_id: replace(chain, tokens=wide)})
    await run(seam, "evacuate", "--to", COLD, "--by", "ada", "--wait", "0")
    for _ in range(8):
        await seam.treasury.tick()
        await seam.mine(seam.network.confirmations)
    assert [(move.money.asset.code, move.state) for move in await listed(seam)] == [
        ("USDC", "done"), ("ETH", "refused")
    ]  # fmt: skip
    assert await seam.on_chain(COLD, "USDC") == 100_000 * 10**6
    [one] = await found(seam)
    assert (one.subject, one.status) == (f"local/ETH/evacuate/{hot}", "open")
    assert await seam.differences() == []


async def test_without_a_cold_address_a_high_float_is_a_case_and_said(
    db: Database, anvil: AnvilProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seam = await Seam.open(db, anvil.url, tmp_path / "signer")
    await seam.fund_house()
    await bounds(seam, "10000", "50000")
    await seam.treasury.tick()
    await seam.treasury.tick()
    assert await listed(seam) == []
    [one] = await found(seam)
    assert (one.kind, one.subject, one.status) == ("treasury_no_cold", "local/USDC", "open")
    assert "70000.000000 USDC more than wanted lies hot" in one.what
    await run(seam, "status")
    assert "no address is known: nothing can be proposed" in capsys.readouterr().out
    await run(seam, "cold", "--address", COLD, "--by", "ada")
    await seam.treasury.tick()
    assert [move.kind for move in await listed(seam)] == ["to_cold"]
    assert [(case.status, case.closed_by) for case in await found(seam)] == [("closed", "bifold")]
    await run(seam, "status")
    assert "no address is known" not in capsys.readouterr().out.split("is cold.")[-1]
    await seam.close()
