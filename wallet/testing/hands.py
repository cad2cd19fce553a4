"""What the operators of a house do in the send campaign: by the commands where there are some."""

from __future__ import annotations

import argparse
import contextlib
import io
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from eth_account import Account
from eth_account.messages import encode_defunct

from keys.deposit_keys import HdDepositKeys
from keys.derivation import HOT_ACCOUNT, WARM_ACCOUNT, derive_key, path
from keys.desk import SigningDesk
from keys.secret import SecretText
from keys.signer import LocalSigner
from keys.testing import TEST_MNEMONIC, test_seed
from wallet import cli, cli_operator, cli_treasury, custody, ledger
from wallet.errors import WalletError
from wallet.ledger import accounts
from wallet.money import Money, format_amount
from wallet.onchain import approvals, repository
from wallet.onchain.freeze import frozen
from wallet.testing.seam import FIRST_HOT_INDEX
from wallet.treasury import hot, moves

if TYPE_CHECKING:
    from wallet.testing.stage import Stage

COLD = Account.from_key(b"\xc0" * 32)
OWNERS = Account.from_key(b"\x0e" * 32).address
"""Where profit goes."""
OPERATORS = [Account.from_key(bytes([number]) * 32) for number in (7, 8)]
EARNED = (("ETH", "100"), ("USDC", "10000"))
"""More profit than a seed's schedules take."""
_MOVED = (("ETH", "0.5"), ("USDC", "100"))


class Hands:
    """Ada proposes, Bob approves, both sign; Cy gives the commands."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._seam = stage, stage.seam

    async def command(self, *words: str) -> None:
        """`bifold treasury …`."""
        line = ["treasury", *words, "--network", "local", "--by", "cy"]
        chosen = cli._parser().parse_args(line)
        with contextlib.redirect_stdout(io.StringIO()):
            await cli_treasury.act(self._services(), chosen)

    def _services(self) -> Any:
        seam = self._seam
        return SimpleNamespace(
            db=seam.operators, chains={"local": seam.chain}, assets=seam.assets,
            signer=seam.signer, networks={"local": seam.network},
            house=SimpleNamespace(hot=seam.desk.hot_addresses, warm=seam.desk.warm_address),
        )  # fmt: skip

    async def earn(self) -> None:
        """The house has had income, out of the capital that its coins were booked as."""
        for asset, amount in EARNED:
            earned = self._seam.money(amount, asset)
            async with self._seam.operators.transaction() as session:
                await ledger.post(
                    session,
                    ledger.Command(
                        kind="test",
                        ref=f"earned {asset}",
                        lines=[
                            ledger.Line(
                                accounts.capital(asset), Money(-earned.minor, earned.asset)
                            ),
                            ledger.Line(accounts.spread_income(asset), earned),
                        ],
                    ),
                )

    async def propose(self, dice: random.Random) -> str | None:
        """A move by lot; None: the like is proposed already, or there is no lane."""
        seam = self._seam
        routes: dict[str, str | None] = {"to_cold": COLD.address, "profit": OWNERS}
        if self._stage.house.warm:
            async with seam.operators.transaction() as session:
                routes["to_hot"] = await hot.working(session, "local")
            routes |= {"to_warm": seam.desk.warm_address, "warm_to_cold": COLD.address}
        kind: Any = dice.choice(sorted(routes))
        asset, amount = dice.choice(_MOVED)
        try:
            async with seam.operators.transaction() as session:
                return await moves.propose(
                    session, network="local", money=seam.money(amount, asset), kind=kind,
                    to_address=routes[kind], by="ada",
                )  # fmt: skip
        except WalletError:
            return None

    async def approve(self, move_id: str) -> None:
        """Once it is there: a crash may have come right after, or an old copy not know it."""
        seam = self._seam
        if not await self.still_proposed(move_id):
            return
        async with seam.operators.transaction() as session:
            sender = await hot.working(session, "local") or seam.desk.hot_addresses[0]
            await moves.approve(
                session, move_id, by="bob", chain=seam.chain, sender=sender, assets=seam.assets
            )

    async def still_proposed(self, move_id: str) -> bool:
        """Whether nobody has agreed with it yet."""
        return bool(
            await self._seam.rows(
                "SELECT FROM treasury_moves WHERE id = :id AND state = 'proposed'", id=move_id
            )
        )

    async def dismiss(self, move_id: str) -> None:
        """Take it off the list."""
        async with self._seam.operators.transaction() as session:
            await moves.dismiss(session, move_id, by="bob")

    async def sign(self) -> None:
        """Both operators, for all that waits for them."""
        seam = self._seam
        waiting = await seam.rows(
            "SELECT id FROM chain_intents WHERE state = 'queued' AND waiting_for = 'approval'"
            " ORDER BY id"
        )
        for row in waiting:
            async with seam.operators.transaction() as session:
                intent = await repository.get_intent(session, row.id)
                words = approvals.wording(seam.network, intent, warm=seam.desk.warm_address)
                for number, one in enumerate(OPERATORS):
                    signed = bytes(one.sign_message(encode_defunct(text=words)).signature)
                    given = approvals.Approval(one.address, signed, f"signer {number}")
                    await approvals.approve(session, intent.id, given)

    async def cancel(self, dice: random.Random) -> None:
        """`bifold chain cancel`, of one of the house's own payments that has not ended."""
        rows = await self._seam.rows(
            "SELECT id FROM chain_intents WHERE id > :first AND (state IN ('allocated', 'signed',"
            " 'sent') AND purpose IN ('sweep', 'top_up', 'treasury')"
            " OR state = 'queued' AND purpose IN ('sweep', 'top_up')) ORDER BY id",
            first=self._stage.first_id,
        )
        if rows:
            chosen = argparse.Namespace(action="cancel", withdrawal=dice.choice(rows).id, by="cy")
            with contextlib.redirect_stdout(io.StringIO()):
                await cli_operator._replace(self._services(), chosen)

    async def tell_capital(self, asset: str) -> None:
        """`bifold treasury fund`, of all that came from nobody known."""
        seam = self._seam
        async with seam.operators.transaction() as session:
            waiting = await ledger.balance_of(session, accounts.unattributed("house", asset))
        if waiting > 0:
            amount = format_amount(waiting, seam.assets.get(asset).scale)
            await self.command("fund", "--asset", asset, "--amount", amount)

    # Evacuations

    async def evacuate(self) -> None:
        """`bifold treasury evacuate`."""
        await self.command("evacuate", "--to", COLD.address, "--wait", "0")

    async def fund(self, address: str) -> None:
        """The outside world fills one of the house's addresses."""
        await self._seam.pay_in(address, "50", "ETH")
        await self._seam.pay_in(address, "20000", "USDC")

    async def fund_warm(self) -> None:
        """The same for what lies warm, where there is such an address."""
        if self._seam.desk.warm_address is not None:
            await self._seam.pay_in(self._seam.desk.warm_address, "20", "ETH")
            await self._seam.pay_in(self._seam.desk.warm_address, "5000", "USDC")

    async def after_evacuation(self) -> None:
        """A new key on standby, coins and sweeps for the address that works now; customers may send
        again."""
        seam = self._seam
        async with seam.operators.transaction() as session:
            freeze = await frozen(session, "local")
        if freeze is None or freeze.evacuate_to is not None:
            return
        await self.command("unfreeze")
        old = seam.desk
        keys = [
            derive_key(test_seed(), path(HOT_ACCOUNT, FIRST_HOT_INDEX + index))
            for index in range(len(old.hot_addresses) + 1)
        ]
        warm = derive_key(test_seed(), path(WARM_ACCOUNT, FIRST_HOT_INDEX))
        seam.desk = SigningDesk(
            hot_keys=keys, deposit_xpub=old.deposit_xpub, policy=old.policy, journal=old.journal,
            deposit_keys=HdDepositKeys(SecretText(TEST_MNEMONIC)), warm_key=warm,
        )  # fmt: skip
        seam.signer = LocalSigner(seam.desk)
        lanes = seam.desk.hot_addresses
        async with seam.db.transaction() as session:
            await custody.register_house_address(
                session, network="local", address=lanes[-1], place="hot"
            )
        self.let(lanes)
        async with seam.operators.transaction() as session:
            working = await hot.working(session, "local")
        if working is not None:
            contracts = {**seam.network.contracts, "treasury": working}
            seam.network = replace(seam.network, contracts=contracts)
            await self.fund(working)
        await self.fund_warm()
        self._stage.stand()
        await self.command("standby", "--address", lanes[-1])

    def let(self, lanes: tuple[str, ...] | None = None) -> None:
        """The signer's policy: profit to the owners, and sweeps to these hot addresses."""
        desk = self._seam.desk
        [(chain_id, chain)] = desk.policy.chains.items()
        mine = replace(chain, treasury_to=chain.treasury_to | {OWNERS})
        if lanes is not None:
            mine = replace(mine, sweep_to=frozenset(lanes))
        desk.policy = replace(desk.policy, chains={chain_id: mine})
