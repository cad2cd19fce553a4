"""What was sent goes on being sent: while a cancel finds no room, and when a bump was lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chain.transactions import encode_unsigned, native_transfer
from wallet.onchain import repository
from wallet.onchain.deliver import Deliverer
from wallet.onchain.desk import Desk
from wallet.onchain.repository import Attempt, Intent
from wallet.onchain.states import State

GWEI = 10**9
SENDER, OUTSIDE = "0x" + "1" * 40, "0x" + "2" * 40
NOW = datetime(2026, 11, 29, tzinfo=UTC)


def _attempt(seq: int, kind: repository.AttemptKind, cap: int) -> Attempt:
    fields = native_transfer(
        chain_id=31337, nonce=3, tip=GWEI, cap=cap, gas=21_000, to=OUTSIDE, value_wei=5
    )
    return Attempt(
        intent_id="int_1", seq=seq, kind=kind, unsigned=encode_unsigned(fields), tip_wei=GWEI,
        cap_wei=cap, refused=None, raw=b"bytes %d" % seq, tx_hash=f"0x{seq:064x}", sends=1,
        seconds_since_sent=60.0, age_seconds=60.0, last_outcome="accepted", last_message="",
        created_at=NOW, first_sent_at=NOW,
    )  # fmt: skip


def _intent(**changes: Any) -> Intent:
    return replace(
        Intent(
            id="int_1", purpose="withdrawal", ref="wdr_1", network="local", asset="ETH",
            to_address=OUTSIDE, amount_minor=5, gas_limit=21_000, fee_ceiling_wei=12 * GWEI,
            state=State.SENT, reason=None, waiting_for=None, from_address=SENDER, nonce=3,
            mined_tx_hash=None, mined_kind=None, mined_block=None, mined_block_hash=None,
            mined_status=None, gas_used=None, gas_fee_wei=None, passed_at_block=None,
            cancel_requested_at=None, speed_up_requested_at=None,
        ),
        **changes,
    )  # fmt: skip


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the attempts that the deliverer hands to the node, in order."""
    handed: list[int] = []

    async def no_row(*_: object, **__: object) -> None:
        return None

    async def send(_: Deliverer, one: Intent, seq: int, raw: bytes) -> None:
        handed.append(seq)

    monkeypatch.setattr(repository, "set_waiting", no_row)
    monkeypatch.setattr(Deliverer, "_send", send)
    return handed


def _deliverer() -> Deliverer:
    @asynccontextmanager
    async def transaction() -> AsyncIterator[None]:
        yield None

    network = SimpleNamespace(bump_percent=15)
    desk: Any = SimpleNamespace(
        db=SimpleNamespace(transaction=transaction), chain=SimpleNamespace(network=network)
    )
    return Deliverer(cast(Desk, desk), rebroadcast_seconds=3.0, bump_seconds=1e9)


async def test_bytes_that_a_node_forgot_are_sent_again_while_a_cancel_finds_no_room(
    sent: list[int],
) -> None:
    """It was asked for while a bump was being signed, and that bump took the last room."""
    intent = _intent(cancel_requested_at=NOW + timedelta(seconds=1))
    attempts = [_attempt(1, "pay", 10 * GWEI), _attempt(2, "bump", 11_500_000_000)]
    await _deliverer()._deliver(intent, attempts, set(), lowest=True)
    assert sent == [2, 1]


@pytest.mark.parametrize("kind", ["bump", "cancel"])
async def test_a_replacement_whose_request_was_lost_is_sent_again(
    sent: list[int], kind: repository.AttemptKind
) -> None:
    """The node has the older bytes in its pool and never saw the newer ones: that they were handed
    over once says nothing, and the older ones may be too cheap for hours."""
    attempts = [_attempt(1, "pay", 10 * GWEI), _attempt(2, kind, 11_500_000_000)]
    older, newer = (str(one.tx_hash) for one in attempts)
    deliverer = _deliverer()
    await deliverer._deliver(_intent(), attempts, {older}, lowest=False)
    assert sent == [2]  # and not the older ones, which are there
    await deliverer._deliver(_intent(), attempts, {newer}, lowest=False)
    assert sent == [2]
    attempts[1] = replace(attempts[1], seconds_since_sent=1.0)
    await deliverer._deliver(_intent(), attempts, {older}, lowest=False)
    assert sent == [2]  # not in every pass
