"""What an audited house does seldom: warm and cold coins, arrivals without a transfer, deposits set
aside and released, forks below finality with losses to each of their ends."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from eth_account import Account
from eth_account.messages import encode_defunct

from wallet.deposits import SurplusFinder, arrivals, bearers, forks, release
from wallet.deposits.credit import Crediter
from wallet.errors import WalletError
from wallet.onchain import approvals, repository, tokens
from wallet.onchain.approvals import Approval, wording
from wallet.onchain.freeze import freeze_network
from wallet.testing.seam import Seam
from wallet.treasury import moves
from wallet.treasury.bounds import set_bounds
from wallet.treasury.routes import Kind

SIGNERS = {name: Account.from_key(bytes([number]) * 32) for name, number in (("bob", 8), ("cy", 9))}
"""Operators who sign for what leaves warm."""
STRANGER = "0x0000000000000000000000000000000057a6e001"
OWNERS = "0x000000000000000000000000000000000F00D002"
ETHER = 10**18


class SeldomDeeds:
    """`cold`: the house's cold address, whose key the node itself has."""

    def __init__(self, seam: Seam, cold: str) -> None:
        self._seam = seam
        self._cold = cold
        self._number = 0

    # Treasury

    async def move(self, kind: Kind, amount: str, *, signed: Sequence[str] = ()) -> None:
        """Coins of the house go where one operator says and another agrees; what leaves warm is
        signed for by these."""
        seam = self._seam
        hot = (await seam.signer.hot_addresses())[0]
        warm = seam.desk.warm_address
        assert warm is not None
        to = {"to_warm": warm, "to_hot": hot}.get(kind, self._cold)
        async with seam.operators.transaction() as session:
            made = await moves.propose(
                session, network="local", money=seam.money(amount, "ETH"), kind=kind,
                to_address=to, by="ada",
            )  # fmt: skip
            await moves.approve(
                session, made, by="ben", chain=seam.chain, assets=seam.assets, sender=hot
            )
        for name in signed:
            await self._sign(made, name, warm)

    async def _sign(self, move_id: str, name: str, warm: str) -> None:
        seam = self._seam
        [row] = await seam.rows("SELECT intent_id FROM treasury_moves WHERE id = :id", id=move_id)
        async with seam.operators.transaction() as session:
            intent = await repository.get_intent(session, row.intent_id)
            words = encode_defunct(text=wording(seam.network, intent, warm=warm))
            key = SIGNERS[name]
            signature = bytes(key.sign_message(words).signature)
            await approvals.approve(session, row.intent_id, Approval(key.address, signature, name))

    async def cold_sends(self, wei: int) -> None:
        """The cold machine refills hot, without telling us."""
        hot = (await self._seam.signer.hot_addresses())[0]
        await self._spend(self._cold, hot, wei)

    async def stranger_pays_house(self, wei: int) -> None:
        """Coins of nobody known come to hot."""
        await self._seam.node("anvil_setBalance", STRANGER, hex(ETHER))
        await self._spend(STRANGER, (await self._seam.signer.hot_addresses())[0], wei)

    async def capital(self, wei: int) -> None:
        """So much of what came from nobody known is told to be the owners'."""
        seam = self._seam
        async with seam.operators.transaction() as session:
            await moves.fund(session, money=seam.assets.money("ETH", wei), by="ada")

    async def _spend(self, sender: str, to: str, wei: int) -> None:
        seam = self._seam
        await seam.node("anvil_impersonateAccount", sender)
        tx = await seam.node(
            "eth_sendTransaction",
            {"from": sender, "to": to, "value": hex(wei), "gas": hex(100_000)},
        )
        await seam.dev.wait_mined(str(tx))

    # Receiving

    async def lies(self, wei: int) -> tuple[str, str]:
        """Coins lie at somebody's address that no transfer brought: who, and where."""
        who = await self._seam.person()
        address = await self._seam.address(who)
        await self._seam.node("anvil_setBalance", address, hex(wei))
        return who, address

    async def find(self) -> None:
        """As the worker looks for what no transfer explains."""
        seam = self._seam
        await SurplusFinder(seam.db, seam.chain, seam.assets, seam.deriver).tick()

    async def assign(self, who: str, address: str, *, agreed: bool) -> None:
        """One operator says whose it is, and another agrees."""
        seam = self._seam
        for row in await seam.rows(
            "SELECT id FROM unattributed_arrivals WHERE address = :address", address=address
        ):
            self._number += 1
            async with seam.operators.transaction() as session:
                await arrivals.propose(
                    session, arrival_id=row.id, principal_id=who,
                    tx_hash=f"0x{self._number:064x}", by="ada", assets=seam.assets,
                )  # fmt: skip
            if agreed:
                async with seam.operators.transaction() as session:
                    await arrivals.approve(
                        session, arrival_id=row.id, principal_id=who, by="ben", assets=seam.assets
                    )

    async def set_aside(self, *released: bool) -> None:
        """USDC comes while it is halted; a first proposal is dismissed, a second agreed to or
        not."""
        seam = self._seam
        wanted = {await seam.address(await seam.person()): one for one in released}
        async with seam.db.transaction() as session:
            await tokens.halt_token(session, network="local", asset="USDC", reason="it lies")
        for number, address in enumerate(wanted):
            await seam.pay_in(address, f"{6 + number}", "USDC")
        await seam.finish()
        async with seam.operators.transaction() as session:
            await tokens.resume_token(session, network="local", asset="USDC", by="bea")
            found = await release.held_back(session, seam.assets)
        for one in (one for one in found if one.address in wanted):
            for reason in ("perhaps", "it was a blip"):
                async with seam.operators.transaction() as session:
                    await release.propose(session, one.id, reason=reason, by="ada")
            if wanted[one.address]:
                sight = await release.look(seam.db, seam.chain, one)
                async with seam.operators.transaction() as session:
                    await release.approve(
                        session, Crediter(seam.operators, seam.assets), seam.assets, one.id,
                        by="ben", sight=sight, missing={},
                    )  # fmt: skip

    async def fork(self) -> None:
        """Four deposits are lost below finality: one comes back, one is borne by the house, one by
        its owner, and of one nobody has said anything yet."""
        seam = self._seam
        addresses = [await seam.address(await seam.person()) for _ in range(4)]
        await seam.mine(20)  # all the rest lies deeper
        raws = []
        for address, amount in zip(addresses, ("1", "2", "3", "4"), strict=True):
            mined = await seam.pay_in(address, amount, "ETH")
            raws.append(await seam.node("eth_getRawTransactionByHash", mined.tx_hash))
        await seam.mine(10)
        await seam.dev.reorg(14)
        await seam.mine(1)
        found = await forks.fork(seam.db, seam.chain)
        async with seam.operators.transaction() as session:
            await forks.propose(session, found, by="ada")
        async with seam.operators.transaction() as session:
            await forks.approve(session, seam.assets, found, by="ben")
        await seam.finish()
        await seam.node("eth_sendRawTransaction", raws[0])
        await seam.finish()
        lost = await seam.rows(
            "SELECT l.id FROM deposit_losses l JOIN deposits d ON d.id = l.deposit_id"
            " WHERE l.return_entry_id IS NULL ORDER BY d.amount_minor"
        )
        for row, bearer in zip(lost, ("house", "customer"), strict=False):
            async with seam.operators.transaction() as session:
                await bearers.propose(session, row.id, bearer, by="ada")
            async with seam.operators.transaction() as session:
                await bearers.approve(session, seam.assets, row.id, by="ben")

    # One of everything

    async def story(self) -> None:
        """Each to each of its ends, and some left open."""
        seam = self._seam
        await self.move("to_warm", "3")
        await seam.pay_in(self._cold, "3", "ETH")
        await self.stranger_pays_house(ETHER // 20)
        found = [await self.lies(wei) for wei in (ETHER // 10, 2 * ETHER // 10, 3 * ETHER // 10)]
        await seam.finish()
        await self.find()
        await self.capital(ETHER // 50)
        await self.assign(*found[1], agreed=False)
        await self.assign(*found[2], agreed=True)
        await self.move("to_hot", "0.5", signed=("bob", "cy"))
        await self.cold_sends(ETHER)
        await self.set_aside(True, False)
        await self.move("warm_to_cold", "0.25", signed=("bob",))
        await self._proposals()
        await self._orders()
        await self.fork()

    async def _proposals(self) -> None:
        """Moves that nobody has agreed to: one waits, one was dismissed, one is for cold."""
        seam = self._seam
        wanted: tuple[tuple[Kind, str, str | None, str], ...] = (
            ("to_cold", "50", self._cold, "ada"), ("profit", "1", OWNERS, "ada"),
            ("refill", "2", None, moves.HOUSE),
        )  # fmt: skip
        async with seam.operators.transaction() as session:
            for kind, amount, to, by in wanted:
                made = await moves.propose(
                    session, network="local", money=seam.money(amount, "USDC"), kind=kind,
                    to_address=to, by=by,
                )  # fmt: skip
                if kind == "profit":
                    await moves.dismiss(session, made, by="ben")

    async def _orders(self) -> None:
        """Bounds of the float; another network is frozen, and a token of its halted."""
        async with self._seam.operators.transaction() as session:
            await set_bounds(
                session, network="local", tier="hot", low=self._seam.money("1", "ETH"),
                high=self._seam.money("1000000", "ETH"), by="ada",
            )  # fmt: skip
            await freeze_network(session, "elsewhere", reason="its nodes differ", by="ada")
            await tokens.halt_token(session, network="elsewhere", asset="LIES", reason="it lies")

    # At random

    async def some(self, kind: str, wei: int) -> None:
        """One of them, where the house is able to."""
        with contextlib.suppress(WalletError):
            if kind == "warm":
                await self.move("to_warm", "0.01")
            elif kind == "cold":
                await self.cold_sends(wei)
            elif kind == "stranger":
                await self.stranger_pays_house(wei)
            elif kind == "arrives":
                who, address = await self.lies(wei)
                await self._seam.finish()
                await self.find()
                await self.assign(who, address, agreed=bool(wei % 2))
            else:
                await self.set_aside(bool(wei % 2))
