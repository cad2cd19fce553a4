"""The seam between books and chain in one process: an Anvil, a real database, real workers.

For tests of deposits and withdrawals and for the crash campaign. `pass_once` is one pass of every
loop; `restart_worker` throws away all that a worker process would lose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from sqlalchemy import text

from chain.blocks import Receipt
from chain.client import ChainClient
from chain.dev import DevNode
from chain.dev_contracts import deploy_contracts, deploy_payout
from chain.faults import FaultSwitch, FaultyRpc
from chain.registry import Network, Token
from chain.rpc import JsonRpc
from contracts.loader import artifact
from keys.deposit_keys import HdDepositKeys
from keys.derivation import HOT_ACCOUNT, WARM_ACCOUNT, DepositDeriver, derive_key, path
from keys.desk import SigningDesk
from keys.journal import JOURNAL_FILE, Journal
from keys.policy import CONTRACT_ROLES, Policy, WarmPolicy
from keys.secret import SecretText
from keys.signer import LocalSigner
from keys.testing import TEST_JOURNAL_KEY, TEST_MNEMONIC, open_desk, open_policy, test_seed
from wallet import custody, ledger
from wallet.bootstrap import asset_book
from wallet.db import Database
from wallet.deposits import Scanner
from wallet.followers import followers
from wallet.fx.feed import RateFeed, SimulatedRates
from wallet.ids import new_id
from wallet.ledger import accounts
from wallet.money import AssetBook, Money, parse_amount
from wallet.onchain import Desk, IntentRunner, NetworkObserver, repository, signers
from wallet.reconcile import chain_lines
from wallet.sweeps import Sweeper
from wallet.testing.operators import operators_of
from wallet.treasury import TreasuryWatch
from wallet.withdrawals import (
    Plan,
    Planner,
    Withdrawal,
    WithdrawalTasks,
    cancel,
    create,
    get,
    speed_up,
)

FIRST_HOT_INDEX = 40  # beyond the accounts that Anvil endows: the books must explain every wei
TOKEN_SUPPLY = 10**16
GWEI = 10**9


@dataclass
class Seam:
    """`faucet` is the node's unlocked account: the outside world, with money. `operators`: the same
    database as their commands reach it."""

    db: Database
    operators: Database
    dev: DevNode
    network: Network
    assets: AssetBook
    signer: LocalSigner
    desk: SigningDesk
    switch: FaultSwitch
    faucet: str
    url: str
    deriver: DepositDeriver
    rebroadcast_seconds: float = 0.0
    bump_seconds: float = 60.0
    batch_rest_seconds: float = 10.0
    transport: Callable[[], JsonRpc] | None = None
    opened: list[JsonRpc] = field(default_factory=list)
    chain: ChainClient = field(init=False)
    observer: NetworkObserver = field(init=False)
    scanner: Scanner = field(init=False)
    runner: IntentRunner = field(init=False)
    planner: Planner = field(init=False)
    tasks: WithdrawalTasks = field(init=False)
    sweeper: Sweeper = field(init=False)
    treasury: TreasuryWatch = field(init=False)

    @classmethod
    async def open(
        cls,
        db: Database,
        url: str,
        folder: Path,
        *,
        hot_keys: int = 1,
        confirmations: int = 8,
        local_snapshots: bool = False,
        contract_name: str = "TestToken",
        decimals: int = 6,
        supply: int = TOKEN_SUPPLY,
        sweeps: Literal["", "prefund", "eip7702", "create2"] = "",
        batches: bool = False,
        cold: str | None = None,
        warm: Sequence[str] = (),
        transport: Callable[[], JsonRpc] | None = None,
    ) -> Self:
        """Deploy a token, know the house, set the rates. The chain is the caller's to stop.

        `decimals` and `supply` (its smallest units): of that token.
        `sweeps`: by which means deposit addresses are emptied, to hot address 0 ("": not at all);
        `batches`: the payout contract is there. `cold`: an address of the house that holds nothing
        yet. `warm`: operators (EIP-55) two of whom may move what lies warm; none: there is no warm
        address. `transport`: how the node is reached when it is a fake, which has no URL.
        """
        rpc = JsonRpc(url) if transport is None else transport()
        dev = DevNode(rpc)
        faucet = (await dev.accounts())[0]
        args: dict[str, tuple[object, ...]] = {
            "TestToken": ("USD Coin", "USDC", decimals, supply, faucet),
            "RegulatedToken": ("USD Coin", "USDC", decimals, supply, faucet),
        }
        contract = await dev.deploy(artifact(contract_name), args.get(contract_name, ()))
        desk = _desk(folder, hot_keys, contract, warm=bool(warm))
        ours: dict[str, str] = {}
        if sweeps == "prefund" and transport is not None:  # which needs no contract
            ours = {"treasury": desk.hot_addresses[0]}
        elif sweeps:
            ours = await deploy_contracts(
                dev, treasury=desk.hot_addresses[0], owner=faucet, operators=desk.hot_addresses
            )
            if not batches:
                ours.pop("batch_payout")
        elif batches:
            payout = await deploy_payout(dev, owner=faucet, operators=desk.hot_addresses)
            ours = {"batch_payout": payout}
        network = Network(
            name="local",
            chain_id=31337,
            rpc_urls=(url,),
            native_asset="ETH",
            block_time_ms=1000,
            confirmations=confirmations,
            finality="depth",
            logs_window=1000,
            min_tip_wei=GWEI,
            max_fee_wei=500 * GWEI,
            bump_percent=15,
            tokens=(Token("USDC", contract, decimals),),
            local_snapshots=local_snapshots,
            contracts=ours,
            supports=("eip7702",) if sweeps == "eip7702" else (),
            deposit_kind="create2" if sweeps == "create2" else "eoa",
        )
        desk.policy = _policy(contract, ours, cold, warm)
        signer = LocalSigner(desk)
        seam = cls(
            db=db,
            operators=operators_of(db),
            dev=dev,
            network=network,
            assets=asset_book({network.name: network}),
            signer=signer,
            desk=desk,
            switch=FaultSwitch(),
            faucet=faucet,
            url=url,
            deriver=DepositDeriver(await signer.deposit_xpub()),
            transport=transport,
            opened=[rpc],
        )
        seam.restart_worker()
        async with db.transaction() as session:
            await custody.register_house_address(
                session, network="local", address=faucet, place="faucet"
            )
            if desk.warm_address is not None:
                await custody.register_house_address(
                    session, network="local", address=desk.warm_address, place="warm"
                )
            for address in await signer.hot_addresses():
                await custody.register_house_address(
                    session, network="local", address=address, place="hot"
                )
        if cold is not None:
            async with seam.operators.transaction() as session:
                await custody.register_house_address(
                    session, network="local", address=cold, place="cold"
                )
        await RateFeed(db, source=SimulatedRates()).tick()
        await seam.observer.tick()
        async with db.transaction() as session:
            await signers.compared(session, "local")  # as after a worker's first pass
        return seam

    async def close(self) -> None:
        """Close what was opened here."""
        await self.operators.dispose()
        for rpc in self.opened:
            await rpc.aclose()

    def restart_worker(self, *, url: str | None = None) -> None:
        """A new worker: nothing in memory survives, all that is stored does."""
        self.url = url or self.url
        self.chain = self.client(self.url)
        self.observer = NetworkObserver(self.db, self.chain)
        self.scanner = Scanner(self.db, self.chain, self.assets)
        self.runner = self.new_runner()
        self.planner = Planner(self.db, {"local": self.chain}, self.assets)
        self.tasks = WithdrawalTasks(self.db, {"local": self.runner})
        self.treasury = TreasuryWatch(self.db, self.chain, self.assets)
        self.sweeper = Sweeper(self.db, self.chain, self.assets, self.signer, patience_seconds=0.0)

    def client(self, url: str) -> ChainClient:
        """A client of its own, behind the fault switch."""
        rpc = self.reach(url, timeout_seconds=2.0)
        return ChainClient(self.network, FaultyRpc(rpc, self.switch))

    def reach(self, url: str, *, timeout_seconds: float) -> JsonRpc:
        """A transport of its own to the node; closed with the seam."""
        if self.transport is None:
            rpc = JsonRpc(url, timeout_seconds=timeout_seconds)
        else:
            rpc = self.transport()
        self.opened.append(rpc)
        return rpc

    def new_runner(self, chain: ChainClient | None = None) -> IntentRunner:
        """A runner as another worker would have it."""
        told = followers(self.assets, {"local": self.network})
        desk = Desk(self.db, chain or self.chain, self.signer, told)
        return IntentRunner(
            desk, rebroadcast_seconds=self.rebroadcast_seconds, bump_seconds=self.bump_seconds,
            batch_rest_seconds=self.batch_rest_seconds,
        )  # fmt: skip

    # Loops

    async def pass_once(self) -> None:
        """One pass of every loop."""
        await self.observer.tick()
        await self.scanner.tick()
        await self.runner.tick()

    async def mine(self, blocks: int = 1) -> None:
        """Mine, then one pass."""
        await self.dev.mine(blocks)
        await self.pass_once()

    async def finish(self) -> None:
        """Mine far enough that all that can be final is, and settle it."""
        for _ in range(3):
            await self.mine(self.network.confirmations)
            async with self.db.transaction() as session:
                if await repository.anything_due(session, "local") is None:
                    break
        await self.pass_once()

    async def arrive(self) -> None:
        """Mine far enough that what was paid in is final, and credit it."""
        await self.mine(self.network.confirmations)

    # People and money

    async def person(self) -> str:
        """A new principal."""
        principal_id = new_id("usr")
        async with self.db.transaction() as session:
            await session.execute(
                text("INSERT INTO principals (id, kind) VALUES (:id, 'user')"),
                {"id": principal_id},
            )
        return principal_id

    async def address(self, principal_id: str, *, fresh: bool = False) -> str:
        """A deposit address of theirs."""
        async with self.db.transaction() as session:
            issued = await custody.issue_address(
                session,
                principal_id=principal_id,
                network="local",
                deriver=custody.deriver_of(self.network, self.deriver),
                fresh=fresh,
            )
        return issued.address

    def money(self, amount: str, asset: str) -> Money:
        """Money from a decimal string."""
        return parse_amount(amount, self.assets.get(asset))

    async def pay_in(self, address: str, amount: str, asset: str) -> Receipt:
        """The outside world sends; mined at once."""
        money = self.money(amount, asset)
        if asset == self.network.native_asset:
            tx = await self.dev.send_native(address, money.minor)
        else:
            tx = await self.dev.send_token(self.network.tokens[0].contract, address, money.minor)
        return await self.dev.wait_mined(tx)

    async def fund_house(self, *, eth: str = "100", usdc: str = "100000") -> None:
        """The hot wallets get their float, and the books know it."""
        for address in await self.signer.hot_addresses():
            await self.pay_in(address, eth, "ETH")
            await self.pay_in(address, usdc, "USDC")
        await self.arrive()

    async def funded_person(self, *, eth: str = "10", usdc: str = "1000") -> str:
        """Somebody whose deposits are credited."""
        principal_id = await self.person()
        address = await self.address(principal_id)
        await self.pay_in(address, eth, "ETH")
        await self.pay_in(address, usdc, "USDC")
        await self.arrive()
        return principal_id

    async def balance(self, principal_id: str, asset: str) -> ledger.Balance:
        """Their balance in one asset."""
        async with self.db.transaction() as session:
            found = await ledger.balances(session, principal_id=principal_id)
        zero = ledger.Balance(asset, 0, 0, "open")
        return next((item for item in found if item.asset == asset), zero)

    async def booked(self, asset: str, place: accounts.Place) -> int:
        """What the books say lies on chain."""
        async with self.db.transaction() as session:
            return await ledger.balance_of(session, accounts.on_chain("local", asset, place))

    async def differences(self) -> list[str]:
        """What `bifold reconcile` would name about the chain, at the newest block and at the newest
        final one, and books that do not sum to zero."""
        directly = ChainClient(self.network, self.opened[0])
        newest = await chain_lines(self.db, {"local": directly})
        final = await chain_lines(self.db, {"local": directly}, final=True)
        async with self.db.transaction() as session:
            trial = await ledger.trial_balance(session)
        lines = [*newest.lines, *final.lines]
        off = list(
            dict.fromkeys(f"{one.account} {one.difference}" for one in lines if one.difference)
        )
        return off + [f"trial {asset} {minor}" for asset, minor in trial.items() if minor]

    # Withdrawals

    async def plan(self, amount: str, asset: str, to: str) -> Plan:
        """A withdrawal as it would be made now."""
        return await self.planner.plan(
            network="local", money=self.money(amount, asset), to_address=to
        )

    async def withdraw(self, principal_id: str, amount: str, asset: str, to: str) -> Withdrawal:
        """Create one; nothing is sent yet."""
        plan = await self.plan(amount, asset, to)
        async with self.db.transaction() as session:
            return await create(session, principal_id=principal_id, plan=plan, assets=self.assets)

    async def withdrawal(self, principal_id: str, withdrawal_id: str) -> Withdrawal:
        """As its owner sees it now."""
        async with self.db.transaction() as session:
            return await get(
                session,
                principal_id=principal_id,
                withdrawal_id=withdrawal_id,
                assets=self.assets,
            )

    async def cancel(self, principal_id: str, withdrawal_id: str) -> Withdrawal:
        """Cancel one."""
        async with self.db.transaction() as session:
            return await cancel(
                session,
                principal_id=principal_id,
                withdrawal_id=withdrawal_id,
                assets=self.assets,
                networks={"local": self.network},
            )

    async def speed_up(self, principal_id: str, withdrawal_id: str) -> Withdrawal:
        """Ask for higher fees."""
        async with self.db.transaction() as session:
            return await speed_up(
                session,
                principal_id=principal_id,
                withdrawal_id=withdrawal_id,
                assets=self.assets,
                networks={"local": self.network},
            )

    async def node(self, method: str, *params: object) -> object:
        """Any call to the node itself, behind nobody's proxy."""
        return await self.opened[0].call(method, params)

    async def automine(self, on: bool) -> None:
        """Whether the node mines each transaction at once."""
        await self.node("evm_setAutomine", on)

    async def on_chain(self, address: str, asset: str) -> int:
        """What the node says an address has, now."""
        client = ChainClient(self.network, self.opened[0])
        head = await client.head()
        return (await client.balances([address], asset, head.number))[0]

    async def rows(self, query: str, **values: Any) -> list[Any]:
        """Look into the database, as a test may."""
        async with self.db.transaction() as session:
            return list((await session.execute(text(query), values)).all())


def _desk(folder: Path, hot_keys: int, contract: str, *, warm: bool) -> SigningDesk:
    """A real desk whose keys are nobody's on this chain, its journal kept in `folder`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / JOURNAL_FILE
    journal = (Journal.open if file.exists() else Journal.create)(file, TEST_JOURNAL_KEY)
    seed = test_seed()
    return SigningDesk(
        hot_keys=[
            derive_key(seed, path(HOT_ACCOUNT, FIRST_HOT_INDEX + index))
            for index in range(hot_keys)
        ],
        deposit_xpub=open_desk().deposit_xpub,
        policy=open_policy(tokens=[contract]),
        journal=journal,
        deposit_keys=HdDepositKeys(SecretText(TEST_MNEMONIC)),
        warm_key=derive_key(seed, path(WARM_ACCOUNT, FIRST_HOT_INDEX)) if warm else None,
    )


def _policy(
    contract: str, ours: Mapping[str, str], cold: str | None, operators: Sequence[str]
) -> Policy:
    """Wide limits; sweeps to the treasury where there is one, moves to cold, and out of warm when
    two of `operators` sign."""
    wide = open_policy(tokens=[contract])
    pinned = {role: held for role, held in ours.items() if role in CONTRACT_ROLES}
    [chain_id] = wide.chains
    open_chain = wide.chains[chain_id]
    chain = replace(
        open_chain,
        contracts=pinned,
        sweep_to=frozenset({ours["treasury"]} if "treasury" in ours else ()),
        sweeper=ours.get("sweeper"),
        treasury_to=frozenset() if cold is None else frozenset({cold}),
        warm=WarmPolicy(open_chain.native, open_chain.tokens) if operators else None,
    )
    return Policy({chain_id: chain}, frozenset(operators))
