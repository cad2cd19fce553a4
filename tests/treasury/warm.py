"""A house with a warm address, and what operators do about it."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount

from chain.address import checked
from chain.testing import AnvilProcess
from wallet import cli, cli_approvals, cli_treasury
from wallet.bootstrap import Services
from wallet.db import Database
from wallet.onchain import approvals, repository
from wallet.onchain.approvals import wording
from wallet.testing.seam import Seam
from wallet.treasury import moves

COLD = checked("0x00000000000000000000000000000000c01d0001")
OUTSIDE = checked("0x000000000000000000000000000000000f00d002")
ADA, BOB, CY = (Account.from_key(bytes([number]) * 32) for number in (7, 8, 9))
STRANGER = Account.from_key(b"\x0a" * 32)


@pytest.fixture
async def seam(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Seam]:
    seam = await Seam.open(
        db, anvil.url, tmp_path / "signer", hot_keys=2, cold=COLD,
        warm=[ADA.address, BOB.address, CY.address],
    )  # fmt: skip
    await seam.fund_house()
    yield seam
    await seam.close()


def warm_of(seam: Seam) -> str:
    assert seam.desk.warm_address is not None
    return seam.desk.warm_address


async def services(seam: Seam) -> Services:
    """What a command is given."""
    found: Any = SimpleNamespace(
        db=seam.operators,
        networks={"local": seam.network},
        chains={"local": seam.chain},
        assets=seam.assets,
        house=SimpleNamespace(hot=await seam.signer.hot_addresses(), warm=warm_of(seam)),
    )
    return cast(Services, found)


async def run(seam: Seam, *words: str) -> int:
    chosen: argparse.Namespace = cli._parser().parse_args(
        ["treasury", *words, "--network", "local"]
    )
    return await cli_treasury.act(await services(seam), chosen)


async def sign(seam: Seam, intent_id: str, key: LocalAccount, by: str | None) -> int:
    """As an operator does: the text is signed elsewhere, the command carries the signature."""
    async with seam.operators.transaction() as session:
        intent = await repository.get_intent(session, intent_id)
    words = wording(seam.network, intent, warm=warm_of(seam))
    signature = bytes(key.sign_message(encode_defunct(text=words)).signature).hex()
    line = ["chain", "approve-payment", intent_id, "--signature", f"0x{signature}"]
    chosen = cli._parser().parse_args([*line, *([] if by is None else ["--by", by])])
    return await cli_approvals.approve(await services(seam), chosen)


async def write(seam: Seam, intent_id: str, *signed: tuple[str, bytes]) -> None:
    """Rows (operator, signature) that no command looked at."""
    async with seam.operators.transaction() as session:
        for number, (operator, signature) in enumerate(signed):
            await approvals.approve(
                session, intent_id, approvals.Approval(operator, signature, f"x{number}")
            )


async def listed(seam: Seam, *, open_only: bool = True) -> list[moves.Move]:
    async with seam.operators.transaction() as session:
        return await moves.moves(session, seam.assets, network="local", open_only=open_only)


async def proposed(seam: Seam) -> list[tuple[str, str]]:
    return [(one.kind, str(one.money)) for one in await listed(seam) if one.state == "proposed"]


async def propose(seam: Seam, kind: Any, amount: str, asset: str, to: str, by: str = "ada") -> str:
    async with seam.operators.transaction() as session:
        return await moves.propose(
            session, network="local", money=seam.money(amount, asset), kind=kind, to_address=to,
            by=by,
        )  # fmt: skip


async def approve(seam: Seam, move_id: str, by: str) -> str:
    """Agree; the payment's intent."""
    sender = (await seam.signer.hot_addresses())[0]
    async with seam.operators.transaction() as session:
        await moves.approve(
            session, move_id, by=by, chain=seam.chain, sender=sender, assets=seam.assets
        )
    [row] = await seam.rows("SELECT intent_id FROM treasury_moves WHERE id = :id", id=move_id)
    return str(row.intent_id)


async def intent(seam: Seam, intent_id: str) -> repository.Intent:
    async with seam.operators.transaction() as session:
        return await repository.get_intent(session, intent_id)


async def settle(seam: Seam) -> None:
    for _ in range(seam.network.confirmations + 4):
        await seam.mine()
        assert await seam.differences() == []


async def fill(seam: Seam, *, eth: str = "20", usdc: str = "60000") -> None:
    """Something lies warm: out of hot, as always."""
    for asset, amount in (("ETH", eth), ("USDC", usdc)):
        await approve(seam, await propose(seam, "to_warm", amount, asset, warm_of(seam)), "bob")
    await settle(seam)
