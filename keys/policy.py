"""The signer's own policy: default deny. Everything is decided by what the bytes themselves say.

A hot address pays listed assets within limits, or the treasury's list without; it calls our own
contracts in the few ways that `keys.calls` reads. A deposit address pays the sweep's list and
nobody else. The warm address pays our own hot addresses within limits of its own, or the treasury's
list, and nothing without several operators. `keys.policy_file` says how the file looks. See
docs/custody.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from keys.calls import (
    APPROVE,
    APPROVE_SELECTOR,
    FLUSHES,
    NATIVE,
    SELECTOR_BYTES,
    SWEEP,
    SWEEP_SELECTOR,
    TRANSFER_SELECTOR,
    arguments,
    batch_in,
    eip55,
    transfer_in,
)
from keys.errors import SignerRefused
from keys.payload import ADDRESS_BYTES, Authorization, UnsignedTx
from keys.request import Kind

__all__ = [
    "NATIVE",
    "TRANSFER_SELECTOR",
    "ChainPolicy",
    "Limit",
    "Ours",
    "Policy",
    "Spend",
    "WarmPolicy",
]

MIN_GAS: Final = 21_000
MAX_GAS: Final = 16_000_000
"""Our own cap, below EIP-7825's 16,777,216."""
ZERO_ADDRESS: Final = "0x" + "0" * 40
NOTHING: Final = "nothing"
"""What a transfer of 0 to oneself carries."""
NOTHINGS_A_DAY: Final = 16
"""So many nonces of a warm address may be used up in a day without an operator: each costs gas."""
DEPOSIT_NOTHINGS_A_DAY: Final = 64
"""So many nonces of all deposit addresses together: what lies there pays for it."""
MIN_WARM_SIGNATURES: Final = 2
CONTRACT_ROLES: Final = frozenset({"batch_payout", "sweep_batch", "forwarder_factory"})


@dataclass(frozen=True, slots=True)
class Limit:
    """The most one payment, and all payments of one UTC day, may carry. Above `approve_above` one
    payment needs an operator's signature (None: never)."""

    per_tx: int
    per_day: int
    approve_above: int | None = None


@dataclass(frozen=True, slots=True)
class WarmPolicy:
    """What may leave the warm address of one network. Limits as everywhere; they bind what goes to
    hot. Each payment needs the signatures of so many different operators."""

    native: Limit | None = None
    tokens: Mapping[str, Limit] = field(default_factory=dict)
    signatures: int = MIN_WARM_SIGNATURES

    def limit(self, asset: str) -> Limit:
        """Of `native` or a token's contract. Raises `SignerRefused` for what is not listed."""
        limit = self.native if asset == NATIVE else self.tokens.get(asset)
        if limit is None:
            raise SignerRefused("asset_not_allowed", f"{asset} is not in the warm policy")
        return limit


@dataclass(frozen=True, slots=True)
class Ours:
    """The addresses (EIP-55) whose keys this signer holds, whatever its caller says."""

    hot: frozenset[str] = frozenset()
    warm: str | None = None


NOBODY: Final = Ours()


@dataclass(frozen=True, slots=True)
class ChainPolicy:
    """What may be signed on one network. `fee_ceiling_wei` bounds maxFeePerGas (wei per gas);
    without `native` no coin moves; only contracts in `tokens` (EIP-55) may be called, and our own
    `contracts` by role. `treasury_to`: recipients to whom no limit applies. `sweep_to`: the only
    recipients of deposit addresses. `sweeper`: the only delegate of an authorisation. `warm`: what
    leaves the warm address (None: nothing). `fees_per_day`: wei that all gas signed for in a UTC
    day may cost (None: no limit)."""

    fee_ceiling_wei: int
    native: Limit | None = None
    tokens: Mapping[str, Limit] = field(default_factory=dict)
    contracts: Mapping[str, str] = field(default_factory=dict)
    treasury_to: frozenset[str] = frozenset()
    sweep_to: frozenset[str] = frozenset()
    sweeper: str | None = None
    warm: WarmPolicy | None = None
    fees_per_day: int | None = None

    def limit(self, asset: str) -> Limit:
        """Of `native` or a token's contract. Raises `SignerRefused` for what is not listed."""
        limit = self.native if asset == NATIVE else self.tokens.get(asset)
        if limit is None:
            raise SignerRefused("asset_not_allowed", f"{asset} is not in the policy")
        return limit


@dataclass(frozen=True, slots=True)
class Spend:
    """What a transaction pays away: `asset` is `native` or the token contract's EIP-55 address,
    `amount` the whole of it, `largest` its largest single payment, `to` its only recipient.
    `limit`: None where none applies. `warm`: how many operators a payment out of warm needs (None:
    it is not out of warm)."""

    asset: str
    amount: int
    limit: Limit | None
    largest: int
    to: str | None
    warm: int | None = None

    @property
    def signatures(self) -> int:
        """How many different operators must have signed for it."""
        if self.warm is not None:
            return self.warm
        above = None if self.limit is None else self.limit.approve_above
        return int(above is not None and self.largest > above)

    @property
    def sum_name(self) -> str:
        """Under which name its amount counts for the day: warm has sums of its own."""
        if self.limit is None:
            return ""
        return self.asset if self.warm is None else f"warm:{self.asset}"


@dataclass(frozen=True, slots=True)
class Policy:
    """The networks that may be signed for, by chain id. What is not listed is refused. `operators`
    (EIP-55) may approve payments above `Limit.approve_above`, and several together those out of
    warm."""

    chains: Mapping[int, ChainPolicy]
    operators: frozenset[str] = frozenset()

    @property
    def sweeps(self) -> bool:
        """Whether any network lets deposit addresses sign."""
        return any(chain.sweep_to or chain.sweeper for chain in self.chains.values())

    @property
    def keeps_warm(self) -> bool:
        """Whether any network lets something leave the warm address."""
        return any(chain.warm is not None for chain in self.chains.values())

    def examine(
        self,
        tx: UnsignedTx,
        *,
        sender: bytes,
        kind: Kind,
        deposit: bool = False,
        ours: Ours = NOBODY,
    ) -> Spend | None:
        """Allow the transaction or raise `SignerRefused`. None means it pays nobody outside: a
        transfer of 0 to oneself, a sweep, an allowance for our own contract. The day's sum is the
        journal's to judge, and signatures the desk's. `deposit`: the sender is a deposit address;
        `ours`: the signer's own, among which the warm one is known."""
        chain = self._chain(tx.chain_id)
        if not MIN_GAS <= tx.gas <= MAX_GAS:
            raise SignerRefused("gas_outside_limit", f"gas {tx.gas}")
        if not 0 < tx.cap <= chain.fee_ceiling_wei or tx.tip > tx.cap:
            raise SignerRefused("fee_above_ceiling", f"max fee {tx.cap}, tip {tx.tip}")
        if len(tx.to) != ADDRESS_BYTES or tx.to == bytes(ADDRESS_BYTES):
            raise SignerRefused("recipient_not_allowed", "no contract creation, no zero address")
        from_warm = ours.warm is not None and eip55(sender) == ours.warm
        if from_warm and chain.warm is None:
            raise SignerRefused("warm_not_allowed", "nothing leaves warm on this chain")
        if tx.authorizations:
            _delegations(chain, tx)
        to_self = tx.to == sender and tx.value == 0 and tx.data == b""
        if kind in ("cancel", "noop") or (kind == "bump" and to_self):
            if not to_self or tx.authorizations:
                raise SignerRefused("not_a_self_transfer", f"a {kind} sends 0 to its own sender")
            return _NOTHING if from_warm else _NOTHING_OF_DEPOSITS if deposit else None
        if deposit:
            _from_deposit(chain, tx)
            return None
        spend = _from_warm(chain, tx, ours) if from_warm else _from_hot(chain, tx, ours)
        limit = None if spend is None else spend.limit
        if spend is not None and limit is not None and spend.largest > limit.per_tx:
            raise SignerRefused("above_per_tx_limit", f"{spend.largest} of {spend.asset}")
        return spend

    def examine_authorization(self, chain_id: int, delegate: str) -> None:
        """Allow a deposit address to delegate its code, or raise `SignerRefused`. Chain id 0 would
        count on every chain and is never in a policy."""
        sweeper = self._chain(chain_id).sweeper
        if sweeper is None or delegate != sweeper:
            raise SignerRefused("delegate_not_allowed", "only the pinned sweeper")

    def _chain(self, chain_id: int) -> ChainPolicy:
        chain = self.chains.get(chain_id) if chain_id != 0 else None
        if chain is None:
            raise SignerRefused("chain_not_allowed", f"chain id {chain_id}")
        return chain


def _delegations(chain: ChainPolicy, tx: UnsignedTx) -> None:
    """Authorisations that a transaction carries: for this chain and the pinned sweeper only, and
    only beside a call of our own sweeping contract."""
    called = eip55(tx.to)
    if called != chain.contracts.get("sweep_batch") or any(
        not _pinned(chain, tx.chain_id, item) for item in tx.authorizations
    ):
        raise SignerRefused("delegate_not_allowed", "only the pinned sweeper, on this chain")


def _pinned(chain: ChainPolicy, chain_id: int, item: Authorization) -> bool:
    return item.chain_id == chain_id and eip55(item.delegate) == chain.sweeper


def _from_deposit(chain: ChainPolicy, tx: UnsignedTx) -> None:
    """A deposit address pays coins or listed tokens to the sweep's list; nothing else."""
    if tx.authorizations:
        raise SignerRefused("delegate_not_allowed", "a deposit address sends no delegations")
    if tx.data == b"":
        chain.limit(NATIVE)
        recipient = eip55(tx.to)
        amount = tx.value
    else:
        recipient, amount = _token_transfer(chain, tx)
    if recipient not in chain.sweep_to:
        raise SignerRefused("recipient_not_allowed", "a deposit address pays the treasury only")
    if amount == 0:
        raise SignerRefused("zero_value", "a sweep carries something")


_NOTHING: Final = Spend(NOTHING, 1, Limit(1, NOTHINGS_A_DAY), largest=1, to=None, warm=0)
_NOTHING_OF_DEPOSITS: Final = Spend(
    NOTHING, 1, Limit(1, DEPOSIT_NOTHINGS_A_DAY), largest=1, to=None
)


def _from_warm(chain: ChainPolicy, tx: UnsignedTx, ours: Ours) -> Spend:
    """The warm address pays coins or listed tokens, one recipient at a time: our own hot addresses
    within its limits, the treasury's list without."""
    assert chain.warm is not None
    if tx.authorizations:
        raise SignerRefused("delegate_not_allowed", "a warm address sends no delegations")
    if tx.data == b"":
        asset, recipient, amount = NATIVE, eip55(tx.to), tx.value
    else:
        asset = eip55(tx.to)
        recipient, amount = _token_transfer(chain, tx)
    limit = chain.warm.limit(asset)
    hot = recipient in ours.hot
    if recipient == ours.warm or not (hot or recipient in chain.treasury_to):
        raise SignerRefused("recipient_not_allowed", "warm pays hot addresses and the treasury")
    if amount == 0:
        raise SignerRefused("zero_value", "a payment carries something")
    bound = limit if hot else None
    return Spend(asset, amount, bound, largest=amount, to=recipient, warm=chain.warm.signatures)


def _from_hot(chain: ChainPolicy, tx: UnsignedTx, ours: Ours) -> Spend | None:
    called = eip55(tx.to)
    role = next((name for name, held in chain.contracts.items() if held == called), None)
    if role is not None:
        return _call(chain, role, tx)
    if tx.data == b"":
        return _native(chain, tx, called, ours)
    if tx.data[:SELECTOR_BYTES] == APPROVE_SELECTOR:
        _approve(chain, tx)
        return None
    recipient, amount = _token_transfer(chain, tx)
    return _payment(chain, called, recipient, amount, ours)


def _native(chain: ChainPolicy, tx: UnsignedTx, recipient: str, ours: Ours) -> Spend | None:
    chain.limit(NATIVE)
    if recipient in chain.tokens:
        raise SignerRefused("recipient_not_allowed", "a token contract keeps coins for ever")
    return _payment(chain, NATIVE, recipient, tx.value, ours)


def _payment(
    chain: ChainPolicy, asset: str, recipient: str, amount: int, ours: Ours
) -> Spend | None:
    if amount == 0:
        raise SignerRefused("zero_value", "a payment carries something")
    if chain.warm is not None and recipient == ours.warm:
        return None
    limit = None if recipient in chain.treasury_to else chain.limit(asset)
    return Spend(asset, amount, limit, largest=amount, to=recipient)


def _token_transfer(chain: ChainPolicy, tx: UnsignedTx) -> tuple[str, int]:
    """ERC-20 `transfer(address,uint256)` to a listed contract, no coin: recipient and amount."""
    values = transfer_in(tx.data)
    if values is None:
        raise SignerRefused("selector_not_allowed", "only transfer(address,uint256)")
    contract = eip55(tx.to)
    chain.limit(contract)
    if tx.value != 0:
        raise SignerRefused("selector_not_allowed", "a token transfer carries no coin")
    recipient = eip55(values[0])
    if recipient in (ZERO_ADDRESS, contract):
        raise SignerRefused("recipient_not_allowed", "zero or the contract itself")
    return recipient, values[1]


def _approve(chain: ChainPolicy, tx: UnsignedTx) -> None:
    """An allowance of a listed token for our payout contract, which spends it only when called by
    this very address: then the call is judged."""
    chain.limit(eip55(tx.to))
    values = arguments(tx.data, APPROVE_SELECTOR, APPROVE)
    spender = None if values is None else eip55(values[0])
    if spender is None or spender != chain.contracts.get("batch_payout") or tx.value != 0:
        raise SignerRefused("recipient_not_allowed", "an allowance is for the payout contract only")


def _call(chain: ChainPolicy, role: str, tx: UnsignedTx) -> Spend | None:
    """A call of one of our own contracts."""
    if role == "batch_payout":
        return _batch(chain, tx)
    swept = (
        arguments(tx.data, SWEEP_SELECTOR, SWEEP)
        if role == "sweep_batch"
        else next(
            (v for v in (arguments(tx.data, *flush) for flush in FLUSHES) if v is not None), None
        )
    )
    if swept is None or tx.value != 0:
        raise SignerRefused("selector_not_allowed", f"not a call of {role} that is known here")
    return None


def _batch(chain: ChainPolicy, tx: UnsignedTx) -> Spend:
    batch = batch_in(tx.data)
    if batch is None or not batch.payments:
        raise SignerRefused("selector_not_allowed", "only payToken and payNative")
    total = sum(amount for _, amount in batch.payments)
    if tx.value != (total if batch.asset == NATIVE else 0):
        raise SignerRefused("wrong_value", "the coins sent along are not what is paid")
    forbidden = {ZERO_ADDRESS, batch.asset, eip55(tx.to)}
    if any(to in forbidden or amount == 0 for to, amount in batch.payments):
        raise SignerRefused("recipient_not_allowed", "zero, the contract itself, or nothing")
    largest = max(amount for _, amount in batch.payments)
    return Spend(batch.asset, total, chain.limit(batch.asset), largest=largest, to=None)
