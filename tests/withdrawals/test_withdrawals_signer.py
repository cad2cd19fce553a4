"""A signer that is away, forgets its answer or says no; a process that dies at every point."""

from __future__ import annotations

from typing import Any

import pytest

from keys.errors import SignerRefused, SignerUnavailable
from keys.request import Kind, SignedTx
from wallet import crashpoints
from wallet.testing.seam import Seam

OUTSIDE = "0x00000000000000000000000000000000000A11cE"


class Crash(BaseException):
    """The process dies here."""


async def _attempts(seam: Seam) -> list[tuple[int, str, str]]:
    rows = await seam.rows(
        "SELECT i.nonce, a.kind, a.tx_hash FROM chain_attempts a"
        " JOIN chain_intents i ON i.id = a.intent_id ORDER BY i.nonce, a.seq"
    )
    return [(row.nonce, row.kind, row.tx_hash) for row in rows]


async def _recover(seam: Seam) -> None:
    """Only the sending half works again; the scanner has its own crashes."""
    await seam.observer.tick()
    for _ in range(2):
        await seam.runner.tick()
        await seam.runner.tick()
        await seam.dev.mine(8)
    await seam.runner.tick()


class TestTheSigner:
    async def test_away_then_back(self, seam: Seam, monkeypatch: pytest.MonkeyPatch) -> None:
        async def away() -> list[str]:
            raise SignerUnavailable("no answer")

        ada = await seam.funded_person()
        made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
        with monkeypatch.context() as patched:
            patched.setattr(seam.signer, "hot_addresses", away)
            await seam.runner.tick()
        waiting = await seam.withdrawal(ada, made.id)
        assert (waiting.status, waiting.waiting_for) == ("held", "signer")
        await seam.finish()
        assert (await seam.withdrawal(ada, made.id)).status == "settled"

    async def test_a_lost_answer_signs_to_the_same_bytes(
        self, seam: Seam, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        signed: list[SignedTx] = []
        real = seam.signer.sign_transaction

        async def lost(*, kind: Kind, **asked: Any) -> SignedTx:
            signed.append(await real(kind=kind, **asked))
            raise SignerUnavailable("the answer is lost")

        ada = await seam.funded_person()
        made = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
        with monkeypatch.context() as patched:
            patched.setattr(seam.signer, "sign_transaction", lost)
            for _ in range(3):
                await seam.runner.tick()
        await seam.finish()
        assert len(signed) == 3
        assert {tx.tx_hash for tx in signed} == {hash_ for _, _, hash_ in await _attempts(seam)}
        assert (await seam.withdrawal(ada, made.id)).status == "settled"

    async def test_a_refusal_leaves_no_gap_and_costs_the_customer_nothing(
        self, seam: Seam, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = seam.signer.sign_transaction

        async def choosy(*, kind: Kind, **asked: Any) -> SignedTx:
            if kind == "pay" and not signed_once:
                signed_once.append(asked["intent_id"])
                raise SignerRefused("above_transaction_limit")
            return await real(kind=kind, **asked)

        signed_once: list[str] = []
        monkeypatch.setattr(seam.signer, "sign_transaction", choosy)
        ada = await seam.funded_person()
        refused = await seam.withdraw(ada, "1", "USDC", OUTSIDE)
        await seam.runner.tick()
        later = await seam.withdraw(ada, "2", "USDC", OUTSIDE)
        await seam.finish()
        refused = await seam.withdrawal(ada, refused.id)
        assert (refused.status, refused.failure_code) == (
            "failed",
            "signer_above_transaction_limit",
        )
        assert refused.fee.minor == 0
        assert [attempt.kind for attempt in refused.attempts] == ["pay", "noop"]
        assert (await seam.withdrawal(ada, later.id)).status == "settled"
        assert await seam.on_chain(OUTSIDE, "USDC") == 2_000_000
        assert (await seam.balance(ada, "USDC")).held_minor == 0
        assert await seam.differences() == []


class TestCrashes:
    async def test_a_crash_at_every_point_pays_exactly_once(self, seam: Seam) -> None:
        """Die at the first, second, third … point until a run reaches its end without dying.

        The points of this flow only; every commit of every loop is the campaign's.
        """
        ada = await seam.funded_person(eth="50", usdc="1000")
        total, nth, named = 0, 0, set()
        while True:
            nth += 1
            left = nth

            def die(name: str) -> None:
                nonlocal left
                left -= name.startswith("intent.")
                if left == 0:
                    named.add(name)
                    raise Crash(name)

            await seam.observer.tick()
            made = await seam.withdraw(ada, "0.01", "ETH", OUTSIDE)
            crashpoints.install(die)
            died = False
            try:
                for _ in range(3):
                    await seam.runner.tick()
                await seam.dev.mine(8)
                await seam.runner.tick()
            except Crash:
                died = True
            finally:
                crashpoints.install(None)
            seam.restart_worker()
            await _recover(seam)
            total += 1
            assert (await seam.withdrawal(ada, made.id)).status == "settled"
            assert await seam.on_chain(OUTSIDE, "ETH") == total * 10**16
            if not died:
                break
        assert len(await _attempts(seam)) == total
        await seam.finish()
        assert await seam.differences() == []
        expected = {"before_sign", "after_sign", "before_send", "after_send"}
        expected |= {
            f"{side}_commit_{step}"
            for side in ("before", "after")
            for step in ("allocated", "signed", "sent", "mined", "final")
        }
        assert expected <= {name.removeprefix("intent.") for name in named}
