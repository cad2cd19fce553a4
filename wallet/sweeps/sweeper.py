"""Decides what is swept, and how; the sending itself is `wallet.onchain`'s.

Coins leave by the deposit address's own transfer. Tokens of many addresses leave together by
EIP-7702 where the network has it; elsewhere, and where coins come to the same address, the address
is given gas first and pays on its own. Key-less addresses are flushed by their factory. Only what
is final and worth its gas is swept. See docs/custody.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from chain import fee_models
from chain.client import ChainClient
from chain.errors import ChainError, NodeGarbage, NodeRejected, NodeTimeout, NodeUnavailable
from chain.outcomes import code_fails
from chain.registry import Token
from chain.transactions import Authorization, transfer_data
from keys.errors import KeysError
from keys.signer import Signer
from wallet import custody
from wallet.crashpoints import hit
from wallet.custody.derivers import FactoryDeriver
from wallet.db import Database
from wallet.errors import InvalidState
from wallet.ids import new_id
from wallet.ledger.accounts import Place
from wallet.money import AssetBook
from wallet.onchain import burn, signers, tokens
from wallet.onchain import network as networks
from wallet.onchain.counts import fees_for_all, used_for_all
from wallet.onchain.desk import leadership
from wallet.onchain.finality import final_number
from wallet.onchain.freeze import frozen
from wallet.onchain.intents import IntentDraft, create_intent
from wallet.sweeps import calls, repository
from wallet.sweeps.delegation import Delegations
from wallet.sweeps.offenders import flush_call, flushable_with
from wallet.sweeps.repository import Candidate
from wallet.sweeps.worth import COIN_WORTH, GAS_EACH, tokens_worth

SWEEP = "sweep"
TOP_UP = "top_up"
TICK_SECONDS = 30.0
BATCH = 50
"""Most addresses in one transaction."""
BATCH_FROM = 10
"""So many waiting addresses go at once; fewer wait until the newest is `PATIENCE_SECONDS` old."""
PATIENCE_SECONDS = 600.0
MAX_OPEN = 40
CEILING_FACTOR = 2
GAS_OF_BATCH = 60_000
GAS_OF_ADDRESS = 120_000
"""Bounds, not estimates: a first sweep by EIP-7702 uses about 31,000 in a batch of ten."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Now:
    """One look at the network: `price` and `ceiling` in wei per gas."""

    head: int
    final: int
    price: int
    ceiling: int
    treasury: str
    place: Place


class Sweeper:
    """Sweeps one network. Does nothing where its registry names no treasury."""

    def __init__(
        self,
        db: Database,
        chain: ChainClient,
        assets: AssetBook,
        signer: Signer,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._db = db
        self._chain = chain
        self._assets = assets
        self._signer = signer
        self._patience_seconds = patience_seconds
        self._network = chain.network
        self._delegations = Delegations(chain, signer)

    async def tick(self) -> None:
        """One look. Safe to repeat and by rivals: an address is in one open sweep at a time."""
        treasury = self._network.contracts.get("treasury")
        if treasury is None:
            return
        async with leadership(self._db, f"sweep/{self._network.name}") as mine:
            if not mine:
                return
            try:
                now = await self._look(treasury)
                if now is not None:
                    await self._sweep(now)
            except (ChainError, KeysError) as error:
                log.warning("sweep.waits", network=self._network.name, error=error.code)

    async def _look(self, treasury: str) -> _Now | None:
        name = self._network.name
        async with self._db.transaction() as session:
            status = await networks.read(session, name)
            house = await custody.house_addresses(session, network=name)
            given_up = await self._given_up(session, treasury, house.get(treasury))
            await repository.end_outdated(session, name, treasury)
            under_way = await repository.open_count(session, name)
        if status is None or not status.usable or under_way >= MAX_OPEN:
            return None
        place = house.get(treasury)
        if place not in ("hot", "warm", "cold"):
            log.error("sweep.unknown_treasury", network=name, address=treasury)
            return None
        if given_up:
            log.error("sweep.treasury_lost", network=name, address=treasury)
            return None
        identity = await self._chain.verify_identity()
        if self._network.deposit_kind == "eoa" and burn.must_burn(identity.client_version):
            return None  # it would run a deposit address's first transaction again and again
        head = await self._chain.head()
        final = await final_number(self._chain, status=status, head=head)
        fees = await fees_for_all(self._chain)
        if fees.cap < fees.base_fee + fees.tip:
            # Other nodes tell of more: what was begun by this would never leave.
            log.warning("sweep.waits", network=name, error="fees_differ", wei=fees.base_fee)
            return None
        ceiling = min(self._network.max_fee_wei, CEILING_FACTOR * fees.cap)
        return _Now(head.number, final, fees.base_fee + fees.tip, ceiling, treasury, place)

    async def _given_up(self, session: AsyncSession, treasury: str, place: str | None) -> bool:
        """Whether the treasury is a hot address that is being emptied, or was: its key is lost."""
        if place != "hot":
            return False
        freeze = await frozen(session, self._network.name)
        evacuated = freeze is not None and freeze.evacuate_to is not None
        return evacuated or await signers.lost_anywhere(session, address=treasury)

    async def _sweep(self, now: _Now) -> None:
        async with self._db.transaction() as session:
            stopped = await tokens.halted(session, self._network.name)
        listed = [token for token in self._network.tokens if token.code not in stopped]
        if self._network.deposit_kind == "create2":
            await self._flush(now, listed)
            return
        for token in listed:
            found = await self._candidates(now, token.code, token.sweep_min)
            worth = [one for one in found if await self._worth(now, token, one)]
            try:
                await self._token(now, token, worth)
            except (NodeRejected, NodeGarbage, NodeTimeout, NodeUnavailable) as error:
                await self._chain.head()  # where the node is not away, the others go on
                log.error("sweep.token_waits", network=self._network.name, asset=token.code,
                          error=error.code)  # fmt: skip
        await self._coins(now)

    async def _candidates(self, now: _Now, asset: str, least: int) -> list[Candidate]:
        async with self._db.transaction() as session:
            return await repository.candidates(
                session,
                network=self._network.name,
                native=self._network.native_asset,
                asset=asset,
                up_to=now.final,
                least=least,
                limit=2 * BATCH,
            )

    async def _worth(self, now: _Now, token: Token, one: Candidate, gas: int = GAS_EACH) -> bool:
        return await tokens_worth(
            self._db, self._assets, self._network, token, minor=one.minor, cost_wei=gas * now.price
        )

    # Coins

    async def _coins(self, now: _Now) -> None:
        """The address's own transfer; what the fee leaves over stays there and is in the books.

        A delegated one is called: its coins may be gone by a stranger's call before it could pay.
        """
        native = self._network.native_asset
        found = await self._candidates(now, native, self._network.native_sweep_min)
        acting = [one for one in found if await self._delegations.acts_for(one)]
        lie = await self._chain.balances([one.address for one in acting], native, now.head)
        least = max(self._network.native_sweep_min, COIN_WORTH * GAS_EACH * now.price)
        worth = [
            one for one, held in zip(acting, lie, strict=True) if min(one.minor, held) >= least
        ]
        if worth:
            await self._batch(now, native, calls.ZERO_ADDRESS, worth[:BATCH])
        for one in found:
            if one in acting:
                continue
            [held] = await self._chain.balances([one.address], native, now.head)
            if held < 1:  # taken by a fork, say: a node refuses to try out what is not there
                continue
            estimate = await self._estimate(one, native, now.treasury, 1, b"")
            if estimate is None:
                continue
            gas = fee_models.gas_limit(estimate, self._network.fee_model)
            reserve = await self._fee(now, native, one.minor, gas)
            minor = min(one.minor, held) - reserve
            if minor < max(self._network.native_sweep_min, COIN_WORTH * gas * now.price, 1):
                continue
            await self._start(
                now, "coin", native, [one], gas=gas, to=now.treasury, minor=minor, pinned=one
            )

    async def _estimate(
        self, one: Candidate, asset: str, to: str, value: int, data: bytes
    ) -> int | None:
        """Gas of the address's own transfer; None where its code fails (an address its token bars)
        or takes too much: it stays, and keeps none of the others."""
        try:
            return await self._chain.estimate_gas(one.address, to, value, data)
        except NodeRejected as error:
            if not code_fails(error.rpc_code, error.message):
                raise
        except NodeGarbage as error:
            log.warning("sweep.takes_too_much", address=one.address, error=str(error))
        log.error("sweep.refused", network=self._network.name, address=one.address, asset=asset)
        return None

    async def _fee(self, now: _Now, asset: str, minor: int, gas: int) -> int:
        """Wei that must lie at the address beside what it pays."""
        return gas * now.ceiling + await fee_models.beside_gas(
            self._chain, asset=asset, to=now.treasury, amount_minor=minor, gas=gas, cap=now.ceiling
        )

    # Tokens

    async def _token(self, now: _Now, token: Token, found: Sequence[Candidate]) -> None:
        contracts = self._network.contracts
        together = (
            "eip7702" in self._network.supports
            and {"sweeper", "sweep_batch"} <= set(contracts)
            and self._delegations.may_ask()
        )
        alone = [
            one for one in found
            if not together or (one.had_coins and not await self._delegations.acts_for(one))
        ]  # fmt: skip
        for one in alone:
            await self._alone(now, token, one)
        rest = [one for one in found if one not in alone][:BATCH]
        if self._ready(rest):
            await self._delegated(now, token, rest)

    def _ready(self, found: Sequence[Candidate]) -> bool:
        """Whether they go, or wait for more."""
        return len(found) >= BATCH_FROM or any(
            one.age_seconds >= self._patience_seconds for one in found
        )

    async def _alone(self, now: _Now, token: Token, one: Candidate) -> None:
        """The address pays by itself, once it has gas; else it is given what that can cost."""
        [held] = await self._chain.balances([one.address], token.code, now.head)
        minor = min(one.minor, held)
        if minor < 1:
            return
        data = transfer_data(to=now.treasury, amount_minor=minor)
        estimate = await self._estimate(one, token.code, token.contract, 0, data)
        if estimate is None:
            return
        gas = fee_models.gas_limit(estimate, self._network.fee_model)
        if not await self._worth(now, token, one, estimate):
            return  # its token takes more gas than others do
        native = self._network.native_asset
        [coins] = await self._chain.balances([one.address], native, now.head)
        needed = await self._fee(now, token.code, minor, gas)
        if coins >= needed:
            await self._start(
                now, "token", token.code, [one], gas=gas, to=now.treasury, minor=minor, pinned=one
            )
            return
        # Twice: fees may have doubled when the tokens are sent. What is left stays for next time.
        await self._start(
            now,
            "top_up",
            native,
            [one],
            gas=fee_models.gas_limit(fee_models.PLAIN_GAS, self._network.fee_model),
            to=one.address,
            minor=2 * needed - coins,
        )

    async def _delegated(self, now: _Now, token: Token, found: Sequence[Candidate]) -> None:
        """Many addresses in one transaction; each lets the pinned sweeper act for it, once."""
        wishes, taken = await self._delegations.of(found)
        if not taken:
            return
        data = calls.sweep_call([one.address for one in taken], token.contract)
        if not await self._delegations.known(data, wishes, caller=now.treasury):
            for one in taken:
                await self._alone(now, token, one)
            return
        await self._batch(now, token.code, token.contract, taken, wishes)

    async def _batch(
        self,
        now: _Now,
        asset: str,
        contract: str,
        taken: Sequence[Candidate],
        wishes: Sequence[Authorization] = (),
    ) -> None:
        await self._start(
            now, "delegated", asset, taken, gas=GAS_OF_BATCH + GAS_OF_ADDRESS * len(taken),
            to=self._network.contracts["sweep_batch"], minor=0,
            data=calls.sweep_call([one.address for one in taken], contract),
            authorizations=tuple(wishes),
        )  # fmt: skip

    # Key-less addresses

    async def _flush(self, now: _Now, listed: Sequence[Token]) -> None:
        native = self._network.native_asset
        assets = [(native, self._network.native_sweep_min, None)] + [
            (token.code, token.sweep_min, token) for token in listed
        ]
        worth: dict[str, list[Candidate]] = {}
        for asset, least, token in assets:
            some = await self._candidates(now, asset, least)
            if token is None:
                worth[""] = [c for c in some if c.minor >= COIN_WORTH * GAS_EACH * now.price]
            else:
                worth[token.contract] = [c for c in some if await self._worth(now, token, c)]
        if not any(worth.values()):
            return
        factory = self._network.contracts["forwarder_factory"]
        keyless = FactoryDeriver(self._network.name, factory)
        mine = {
            place: [one for one in found if one.address == keyless.address(one.index)]
            for place, found in worth.items()
        }
        if mine != worth:
            # Given out before the network was switched to key-less addresses; docs/custody.md.
            log.error("sweep.other_kind", network=self._network.name)
        hot = await self._signer.hot_addresses()
        if not hot:
            return  # the signer has no key at all now
        caller = hot[0]
        chosen, used = await flushable_with(
            self._chain, mine, caller, factory, most=BATCH, ready=self._ready
        )
        if not chosen:
            return
        data = flush_call(self._network.name, chosen, used)
        estimate = await self._chain.estimate_gas(caller, factory, 0, data)
        gas = fee_models.gas_limit(estimate, self._network.fee_model)
        await self._start(now, "flush", native, chosen, gas=gas, to=factory, minor=0, data=data)

    async def _start(
        self,
        now: _Now,
        kind: str,
        asset: str,
        found: Sequence[Candidate],
        *,
        gas: int,
        to: str,
        minor: int,
        data: bytes | None = None,
        authorizations: tuple[Authorization, ...] = (),
        pinned: Candidate | None = None,
    ) -> None:
        """Promise it: sweep, addresses and intent in one transaction."""
        sweep_id, name = new_id("swp"), self._network.name
        try:
            nonce = None if pinned is None else await used_for_all(self._chain, pinned.address)
        except InvalidState:
            return  # it waits: the others go on
        try:
            async with self._db.transaction() as session:
                if pinned is not None and nonce is not None:
                    await signers.add_signer(
                        session,
                        network=name,
                        address=pinned.address,
                        next_nonce=nonce,
                        deposit_index=pinned.index,
                    )
                intent_id = await create_intent(
                    session,
                    IntentDraft(
                        purpose=TOP_UP if kind == "top_up" else SWEEP,
                        ref=sweep_id,
                        network=name,
                        asset=self._network.native_asset if data is not None else asset,
                        to_address=to,
                        amount_minor=minor,
                        gas_limit=gas,
                        fee_ceiling_wei=now.ceiling,
                        pinned_address=None if pinned is None else pinned.address,
                        data=data,
                        authorizations=authorizations,
                    ),
                )
                await self._insert(session, sweep_id, now, kind, asset, intent_id, found)
                hit("sweep.before_commit")
        except IntegrityError:
            log.info("sweep.rival", network=name, kind=kind)
            return
        hit("sweep.after_commit")
        log.info("sweep.started", sweep=sweep_id, kind=kind, asset=asset, addresses=len(found))

    async def _insert(
        self,
        session: AsyncSession,
        sweep_id: str,
        now: _Now,
        kind: str,
        asset: str,
        intent_id: str,
        found: Sequence[Candidate],
    ) -> None:
        addresses = [one.address for one in found]
        await repository.insert(
            session,
            {
                "id": sweep_id,
                "network": self._network.name,
                "asset": asset,
                "kind": kind,
                "treasury": now.treasury,
                "place": now.place,
                "intent_id": intent_id,
            },
            addresses,
        )
        if kind == "delegated":
            # What they signed leaves with the transaction, and counts even if that reverts.
            await repository.retire(session, self._network.name, addresses)
