"""What a withdrawal would be, before anything is promised: checked address, gas, fees, bound.

The one question to the node is asked here, with no transaction open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from chain.address import checked
from chain.client import ChainClient
from chain.errors import ChainError, NodeRejected
from chain.errors import InvalidAddress as ChainInvalidAddress
from chain.fee_models import NONE as NO_DATA_FEE
from chain.fee_models import DataFee, data_fee, sample
from chain.registry import Network
from wallet import clock, custody, ledger
from wallet.crashpoints import hit
from wallet.custody.errors import InvalidAddress, UnknownNetwork
from wallet.db import Database
from wallet.errors import InvalidField
from wallet.fx import rates
from wallet.ledger import accounts
from wallet.money import AssetBook, Money, UnknownAsset
from wallet.onchain import ChainUnavailable, NetworkStatus, require_usable
from wallet.onchain import repository as chain_repository
from wallet.onchain.prepare import estimate_gas, would_revert
from wallet.turns import Turns
from wallet.withdrawals import fees
from wallet.withdrawals.fees import FeeTerms

NODE_TIMEOUT_SECONDS = 2.0
ONE_PERSON_ASKS = 2
"""Questions of one person to a node at once: whoever pays to contracts that take long to estimate
holds up themselves, and not all who share the few turns at that node (`chain.rpc`)."""
PLAN_LIFE = timedelta(seconds=60)
MAX_GAS = 16_000_000  # the signer's own limit; a contract that burns more cannot be paid
CODE_GAS = 250_000
"""Of a payment of the coin, for the recipient's code; wallets and splitters take far less. Its
gas counts whole against the signer's day of fees, and its payer pays what is used: code that asks
for much and uses nothing could stop everybody for the day."""
UNKNOWN_TOKEN_GAS = 80_000  # while the hot wallet is short, nobody can estimate
INSIDE = "That address is one of ours: send it inside, free, by e-mail or handle."
LAST_RESERVED_ADDRESS = 0xFFFF  # precompiled contracts live in the low range


@dataclass(frozen=True, slots=True)
class Plan:
    """One withdrawal as it would be made now. Amount, bound and expected fee are in one asset."""

    network: str
    money: Money
    to_address: str
    terms: FeeTerms
    arrives_in_seconds: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Basis:
    """What the database says before the node is asked."""

    status: NetworkStatus
    rate: rates.Mid
    now: datetime
    sender: str
    liquid: bool


class Planner:
    """Plans withdrawals on every network of this instance."""

    def __init__(self, db: Database, chains: Mapping[str, ChainClient], assets: AssetBook) -> None:
        self._db = db
        self._chains = chains
        self._assets = assets
        self._asks = Turns(ONE_PERSON_ASKS)

    async def plan(
        self,
        *,
        network: str,
        money: Money,
        to_address: str,
        max_fee: Money | None = None,
        principal_id: str | None = None,
    ) -> Plan:
        """Check and price a withdrawal. Moves nothing, promises nothing.

        `principal_id`: who asks; None where it is the house itself. Raises UnknownNetwork,
        UnknownAsset, InvalidAddress, ChainUnavailable, RateStale, MaxFeeTooLow, InvalidField, Busy
        (too much of this person's is being asked).
        """
        chain = self._chains.get(network)
        if chain is None:
            raise UnknownNetwork("This network is not served here.", field="/network")
        if max_fee is not None and max_fee.asset.code != money.asset.code:
            raise InvalidField("The fee is in the withdrawn asset.", field="/max_fee/asset")
        to = check_destination(chain.network, money.asset.code, to_address)
        async with self._db.transaction() as session:
            basis = await self._basis(session, chain.network, money, to)
        async with nullcontext() if principal_id is None else self._asks.turn(principal_id):
            estimate = await self._estimate(chain, basis, money, to)
        model = chain.network.fee_model
        gas = fees.gas_limit_for(estimate, model)
        if gas > await self._most_gas(chain, basis, money, gas):
            raise InvalidAddress(
                "This address takes more gas than any payment may use.", field="/to_address"
            )
        status = basis.status
        if status.base_fee_wei is None or status.tip_wei is None or status.cap_wei is None:
            raise ChainUnavailable("This network's fees are above the ceiling; try again later.")
        terms = fees.terms(
            estimate=estimate,
            base_fee_wei=status.base_fee_wei,
            tip_wei=status.tip_wei,
            cap_wei=status.cap_wei,
            network_ceiling_wei=chain.network.max_fee_wei,
            rate=fees.gas_rate(
                mid=basis.rate.mid, native=basis.rate.source, asset=basis.rate.target
            ),
            asset=money.asset,
            max_fee=max_fee,
            model=model,
            data_fee=await self._data_fee(chain, money, to, estimate, status.cap_wei),
        )
        blocks = chain.network.confirmations + 1
        return Plan(
            network=network,
            money=money,
            to_address=to,
            terms=terms,
            arrives_in_seconds=-(-blocks * chain.network.block_time_ms // 1000),
            expires_at=basis.now + PLAN_LIFE,
        )

    async def _basis(
        self, session: AsyncSession, network: Network, money: Money, to: str
    ) -> _Basis:
        await refuse_house_address(session, network=network.name, address=to)
        status = await require_usable(session, network.name)
        native = self._assets.get(network.native_asset)
        house = await custody.house_addresses(session, network=network.name)
        hot = [address for address, place in house.items() if place == "hot"]
        lanes = await chain_repository.lanes(session, network.name)
        sender = next((address for address in (*lanes, *hot)), None)
        if sender is None:
            raise ChainUnavailable("This network has no hot wallet yet; try again later.")
        float_minor = await ledger.balance_of(
            session, accounts.on_chain(network.name, money.asset.code, "hot")
        )
        return _Basis(
            status=status,
            rate=await rates.mid(session, source=native, target=money.asset),
            now=await clock.now(session),
            sender=sender,
            liquid=float_minor > money.minor,
        )

    async def _short(self, chain: ChainClient, sender: str, money: Money) -> bool:
        """Whether the estimate failed only because this hot address does not hold so much."""
        head = await chain.head()
        [held] = await chain.balances([sender], money.asset.code, head.number)
        return held < money.minor

    async def _estimate(self, chain: ChainClient, basis: _Basis, money: Money, to: str) -> int:
        """Gas this would use now. Without float in the hot wallet the node could only say no."""
        hit("withdrawal.before_estimate")
        try:
            async with asyncio.timeout(NODE_TIMEOUT_SECONDS):
                if not basis.liquid:
                    return await self._untried(chain, basis.sender, money, to)
                try:
                    return await estimate_gas(
                        chain,
                        sender=basis.sender,
                        asset=money.asset.code,
                        to_address=to,
                        amount_minor=money.minor,
                    )
                except NodeRejected:  # of coins that are not there some say so, and some "revert"
                    if not await self._short(chain, basis.sender, money):
                        raise
                    # Another hot address may hold it.
                    return await self._untried(chain, basis.sender, money, to)
        except NodeRejected as error:
            if would_revert(error):
                raise InvalidAddress(
                    "This address does not accept the transfer.", field="/to_address"
                ) from error
            raise ChainUnavailable("This network's node refuses to answer.") from error
        except (ChainError, TimeoutError) as error:
            raise ChainUnavailable("This network's node is not answering.") from error

    async def _untried(self, chain: ChainClient, sender: str, money: Money, to: str) -> int:
        """Gas of what the sender does not hold: of coins as of none, of a token unknown."""
        if chain.network.token(money.asset.code) is not None:
            return UNKNOWN_TOKEN_GAS
        return await chain.estimate_gas(sender, to, 0, b"")

    async def _most_gas(self, chain: ChainClient, basis: _Basis, money: Money, gas: int) -> int:
        """What this payment may use. On Arbitrum L1's part lies in the gas, as large as a payment
        to no code at all says."""
        model = chain.network.fee_model
        if money.asset.code != chain.network.native_asset:
            return MAX_GAS
        if model != "arbitrum" or gas <= CODE_GAS:
            return CODE_GAS
        plain = await self._estimate(chain, basis, money, basis.sender)
        return min(CODE_GAS + fees.gas_limit_for(plain, model), MAX_GAS)

    async def _data_fee(
        self, chain: ChainClient, money: Money, to: str, estimate: int, cap_wei: int
    ) -> DataFee:
        """What an OP chain takes beside the gas. Asks the node nothing elsewhere."""
        network = chain.network
        if network.fee_model != "op":
            return NO_DATA_FEE
        fields = sample(
            network, asset=money.asset.code, to=to, amount_minor=money.minor,
            gas=fees.gas_limit_for(estimate, network.fee_model), cap=cap_wei,
        )  # fmt: skip
        try:
            async with asyncio.timeout(NODE_TIMEOUT_SECONDS):
                return await data_fee(chain, fields)
        except (ChainError, TimeoutError) as error:
            raise ChainUnavailable("This network's fees cannot be told now.") from error


def check_destination(network: Network, asset: str, to_address: str) -> str:
    """The EIP-55 form of an outside address. Raises InvalidAddress, UnknownAsset."""
    if asset != network.native_asset and network.token(asset) is None:
        raise UnknownAsset(f"{network.name} does not carry this asset.", field="/money/asset")
    try:
        to = checked(to_address)
    except ChainInvalidAddress as error:
        raise InvalidAddress(f"Check the address: {error}.", field="/to_address") from error
    if int(to, 16) <= LAST_RESERVED_ADDRESS:
        raise InvalidAddress(
            "That address belongs to the chain itself; what is sent there is lost.",
            field="/to_address",
        )
    if any(token.contract == to for token in network.tokens):
        raise InvalidAddress(
            "That is a token's contract; what is sent there is lost.", field="/to_address"
        )
    if any(held == to for role, held in network.contracts.items() if role != "treasury"):
        raise InvalidAddress(
            "That is a contract of the house; what is sent there is lost.", field="/to_address"
        )
    return to


async def refuse_house_address(session: AsyncSession, *, network: str, address: str) -> None:
    """Raises InvalidAddress for any address of the house or of anybody here, naming nobody."""
    if await custody.is_house_address(session, network=network, address=address):
        raise InvalidAddress(INSIDE, field="/to_address")
