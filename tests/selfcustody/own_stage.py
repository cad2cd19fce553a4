"""Ada at her browser, the API's part, the worker, the chain: the stage of own accounts."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from chain.address import checked
from chain.testing import AnvilProcess
from keys.errors import SignerUnavailable
from keys.kdf import KdfCost
from keys.request import SignedBefore
from keys.selfcustody import SelfCustodyDesk
from keys.selfcustody_methods import methods
from keys.testing import TEST_JOURNAL_KEY, TEST_MNEMONIC, Browser
from wallet import selfcustody
from wallet.db import Database
from wallet.selfcustody import AskDraft, SelfCustodyWorker, SendDraft
from wallet.testing.seam import Seam

PASSPHRASE = "nine horses and a lamp"
OUTSIDE = checked("0x000000000000000000000000000000000f00d002")
CHEAP = KdfCost(memory_kib=8 * 1024, passes=1, lanes=1)
MAX_FEE = 10**16


class Relay:
    """The signer's methods without the socket; loses answers on demand."""

    def __init__(self, desk: SelfCustodyDesk) -> None:
        async def durable() -> None:
            desk.journal.flush()

        self.methods = methods(desk, durable)
        self.journal = desk.journal
        self.lose = ""
        self.seen: list[str] = []

    async def selfcustody(self, method: str, **params: Any) -> dict[str, Any]:
        self.seen.append(json.dumps(params, default=str))
        answer = await self.methods[f"selfcustody.{method}"](params or None)
        if self.lose == method:
            raise SignerUnavailable("the answer is lost")
        return answer

    async def signed_before(self, intent_ids: Sequence[str]) -> list[SignedBefore]:
        return self.journal.book.signed_before(intent_ids)


class Stage:
    """Ada at her browser, the API's part, the worker, the chain."""

    def __init__(self, seam: Seam) -> None:
        self.seam = seam
        self.restart()

    def restart(self) -> None:
        """A new signer process: another key, no grants."""
        self.desk = SelfCustodyDesk(
            journal=self.seam.desk.journal,
            policy=self.seam.desk.policy,
            pepper=TEST_JOURNAL_KEY,
            cost=CHEAP,
        )
        self.relay = Relay(self.desk)
        self.worker = SelfCustodyWorker(self.seam.db, {"local": self.seam.chain}, self.relay)

    async def box(
        self, purpose: str, who: str, asked: Mapping[str, object]
    ) -> tuple[str, dict[str, str], Browser]:
        await self.worker.tick()
        async with self.seam.db.transaction() as session:
            key = await selfcustody.public_key(session)
        nonce = secrets.token_hex(16)
        browser = Browser(bytes.fromhex(key))
        return nonce, browser.seal((purpose, who, nonce), asked), browser

    async def imported(self, who: str, index: int = 7) -> selfcustody.Account:
        asked = {"mnemonic": TEST_MNEMONIC, "passphrase": PASSPHRASE, "index": index}
        nonce, box, _ = await self.box("import", who, asked)
        async with self.seam.db.transaction() as session:
            await selfcustody.ask(
                session, principal_id=who, draft=AskDraft("import", nonce, box, "My own")
            )
        await self.worker.tick()
        async with self.seam.db.transaction() as session:
            [account, *_] = await selfcustody.accounts(session, principal_id=who)
        return account

    async def begin(
        self,
        who: str,
        account: selfcustody.Account,
        paid: str,
        asset: str,
        other: Mapping[str, object] | None = None,
    ) -> selfcustody.Send:
        money = self.seam.money(paid, asset)
        token = self.seam.network.token(asset)
        terms: dict[str, object] = {
            "chain_id": 31337,
            "to": OUTSIDE,
            "asset": "native" if token is None else token.contract,
            "amount": str(money.minor),
            "max_fee_wei": str(MAX_FEE),
            "passphrase": PASSPHRASE,
        } | dict(other or {})
        nonce, box, _ = await self.box("grant", who, terms)
        draft = SendDraft(account.id, "local", money, OUTSIDE, MAX_FEE, nonce, box)
        async with self.seam.db.transaction() as session:
            return await selfcustody.begin_send(
                session,
                principal_id=who,
                draft=draft,
                networks={"local": self.seam.network},
                assets=self.seam.assets,
            )

    async def finish(self) -> None:
        for _ in range(4):
            await self.worker.tick()
            await self.seam.mine(self.seam.network.confirmations)
        await self.worker.tick()

    async def send(self, who: str, send_id: str) -> selfcustody.Send:
        async with self.seam.db.transaction() as session:
            return await selfcustody.get_send(
                session, principal_id=who, send_id=send_id, assets=self.seam.assets
            )


@pytest.fixture
async def stage(db: Database, anvil: AnvilProcess, tmp_path: Path) -> AsyncIterator[Stage]:
    seam = await Seam.open(db, anvil.url, tmp_path / "signer")
    await seam.observer.tick()
    yield Stage(seam)
    await seam.close()
