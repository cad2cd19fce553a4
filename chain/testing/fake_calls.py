"""What calls do in the fake node's world: its tokens, and contracts' BatchPayout, nothing else.

Gas is Anvil's to the unit where a call succeeds (a batch: of up to eight); `tests/chain` compares.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

from chain.observe import TRANSFER_TOPIC
from chain.transactions import TRANSFER_SELECTOR

WORD = 32
UNLIMITED = 2**256 - 1
REVERTS = bytes.fromhex("60006000fd")
RETURNS_TRUE = bytes.fromhex("600160005260206000f3")  # and moves nothing, and logs nothing
CODE_GAS = {REVERTS: 6, RETURNS_TRUE: 18}
"""What foreign code costs to run; there is no other code in this world but the contracts'."""
_NEW_HOLDER_GAS, _KNOWN_HOLDER_GAS = 29_988, 12_888
_APPROVE_GAS, _APPROVE_AGAIN_GAS, _OPERATOR_GAS = 24_739, 7_639, 26_294
_BATCH_GAS, _NEW_PAYEE_GAS, _KNOWN_PAYEE_GAS, _BATCH_REFUND = 73_319, 29_323, 12_223, 24_875
_LESS_ALLOWED_GAS = 3_239
_PAID_TWICE_LESS = 4_800  # its balance is warm
_MEMORY_GAS = {4: 1, 7: 4}  # where a payment more takes more than a word more
_BALANCE_OF = keccak(b"balanceOf(address)")[:4]
_DECIMALS = keccak(b"decimals()")[:4]
_ALLOWANCE = keccak(b"allowance(address,address)")[:4]
_APPROVE = keccak(b"approve(address,uint256)")[:4]
_SET_OPERATOR = keccak(b"setOperator(address,bool)")[:4]
_PAY_TOKEN = keccak(b"payToken(bytes32,address,(address,uint256,bytes32)[])")[:4]
_APPROVAL = "0x" + keccak(b"Approval(address,address,uint256)").hex()
_OPERATOR_CHANGED = "0x" + keccak(b"OperatorChanged(address,bool)").hex()
_PAID = "0x" + keccak(b"Paid(bytes32,bytes32,address,address,uint256)").hex()
_NOBODY = "0x" + "0" * 40
Event = tuple[str, tuple[str, ...], bytes]
"""Who says it, topics, data."""


@dataclass(frozen=True, slots=True)
class FakeToken:
    """A deployment of contracts' TestToken. Addresses lower-case."""

    address: str
    decimals: int
    supply: int
    owner: str


@dataclass(frozen=True, slots=True)
class FakePayout:
    """A deployment of contracts' BatchPayout. Addresses lower-case."""

    address: str
    owner: str


@dataclass(slots=True)
class FakeState:
    """Accounts at one block: wei, mined nonces, token balances by (contract, holder), allowances by
    (contract, holder, spender), operators and paid batches by (contract, which), and code that
    somebody put at an address."""

    wei: dict[str, int] = field(default_factory=dict)
    nonces: dict[str, int] = field(default_factory=dict)
    tokens: dict[tuple[str, str], int] = field(default_factory=dict)
    allowances: dict[tuple[str, str, str], int] = field(default_factory=dict)
    operators: set[tuple[str, str]] = field(default_factory=set)
    paid: set[tuple[str, bytes]] = field(default_factory=set)
    code: dict[str, bytes] = field(default_factory=dict)

    def copy(self) -> FakeState:
        """As it is now."""
        return FakeState(
            self.wei.copy(), self.nonces.copy(), self.tokens.copy(), self.allowances.copy(),
            self.operators.copy(), self.paid.copy(), self.code.copy(),
        )  # fmt: skip


@dataclass(slots=True)
class Effect:
    """What a call would do: gas beyond that of any transaction, of which `refund` comes back; token
    moves (contract, from, to, amount), events, and what it sets."""

    gas: int = 0
    refund: int = 0
    moves: list[tuple[str, str, str, int]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    allowance: tuple[tuple[str, str, str], int] | None = None
    operator: tuple[tuple[str, str], bool] | None = None
    paid: tuple[str, bytes] | None = None

    def apply(self, state: FakeState) -> None:
        """Do it."""
        for token, sender, to, amount in self.moves:
            state.tokens[(token, sender)] = state.tokens.get((token, sender), 0) - amount
            state.tokens[(token, to)] = state.tokens.get((token, to), 0) + amount
        if self.allowance is not None:
            state.allowances[self.allowance[0]] = self.allowance[1]
        if self.operator is not None:
            named, allowed = self.operator
            (state.operators.add if allowed else state.operators.discard)(named)
        if self.paid is not None:
            state.paid.add(self.paid)


@dataclass(slots=True)
class World:
    """The contracts there are, by address. A reorganisation takes none of them away."""

    tokens: dict[str, FakeToken] = field(default_factory=dict)
    payouts: dict[str, FakePayout] = field(default_factory=dict)

    def call(
        self, state: FakeState, sender: str, to: str, data: bytes, value: int
    ) -> Effect | None:
        """What a transaction's call does; None when it reverts. Coins of it are the caller's."""
        code = state.code.get(to)
        if code == REVERTS:
            return None
        if code:
            return Effect(CODE_GAS[code])
        if to not in self.tokens and to not in self.payouts:
            return Effect()
        if value:
            return None
        try:
            if to in self.tokens:
                return _token(state, sender, to, data)
            return self._payout(state, sender, self.payouts[to], data)
        except DecodingError:
            return None

    def view(self, state: FakeState, to: str, data: bytes) -> bytes | None:
        """What `eth_call` answers; None when it reverts."""
        code = state.code.get(to)
        if code == REVERTS:
            return None
        if code == RETURNS_TRUE:
            return (1).to_bytes(WORD, "big")
        if to not in self.tokens:
            return None if to in self.payouts else b""
        held = "0x" + data[16:36].hex()
        if data[:4] == _DECIMALS:
            answer = self.tokens[to].decimals
        elif data[:4] == _BALANCE_OF:
            answer = state.tokens.get((to, held), 0)
        elif data[:4] == _ALLOWANCE:
            answer = state.allowances.get((to, held, "0x" + data[48:68].hex()), 0)
        else:
            return None
        return answer.to_bytes(WORD, "big")

    def _payout(
        self, state: FakeState, sender: str, contract: FakePayout, data: bytes
    ) -> Effect | None:
        here = contract.address
        if data[:4] == _SET_OPERATOR and sender == contract.owner:
            account, allowed = decode(["address", "bool"], data[4:])
            event = (here, (_OPERATOR_CHANGED, topic(account)), int(allowed).to_bytes(WORD, "big"))
            return Effect(_OPERATOR_GAS, events=[event], operator=((here, account), allowed))
        if data[:4] != _PAY_TOKEN or (here, sender) not in state.operators:
            return None
        batch, token, payments = decode(
            ["bytes32", "address", "(address,uint256,bytes32)[]"], data[4:]
        )
        total = sum(amount for _, amount, _ in payments)
        refused = (
            (here, batch) in state.paid
            or not payments
            or any(not amount or to in (_NOBODY, here) for to, amount, _ in payments)
            or token not in self.tokens
            or token in state.code  # what somebody put there moves nothing, which it notices
            or state.allowances.get((token, sender, here), 0) < total
            or state.tokens.get((token, sender), 0) < total
        )
        if refused:
            return None
        effect = Effect(_BATCH_GAS, refund=_BATCH_REFUND, paid=(here, batch))
        if (allowance := state.allowances[(token, sender, here)]) != UNLIMITED:
            effect.allowance = ((token, sender, here), allowance - total)
            effect.gas += _LESS_ALLOWED_GAS
        effect.moves.append((token, sender, here, total))
        effect.events.append(_transfer(token, sender, here, total))
        paid_here: set[str] = set()
        for number, (to, amount, ref) in enumerate(payments, 1):
            known = to in paid_here or state.tokens.get((token, to), 0) > 0
            effect.gas += _KNOWN_PAYEE_GAS if known else _NEW_PAYEE_GAS
            effect.gas += _MEMORY_GAS.get(number, 0) - (_PAID_TWICE_LESS if to in paid_here else 0)
            paid_here.add(to)
            paid = bytes(12) + bytes.fromhex(token[2:]) + amount.to_bytes(WORD, "big")
            topics = (_PAID, "0x" + batch.hex(), "0x" + ref.hex(), topic(to))
            effect.events += [(here, topics, paid), _transfer(token, here, to, amount)]
            effect.moves.append((token, here, to, amount))
        return effect


def _token(state: FakeState, sender: str, to: str, data: bytes) -> Effect | None:
    if data[:4] == _APPROVE:
        spender, amount = decode(["address", "uint256"], data[4:])
        event = (to, (_APPROVAL, topic(sender), topic(spender)), amount.to_bytes(WORD, "big"))
        key = (to, sender, spender)
        gas = _APPROVE_AGAIN_GAS if state.allowances.get(key) else _APPROVE_GAS
        return Effect(gas, events=[event], allowance=(key, amount))
    decoded = decode_transfer(data)
    if decoded is None or state.tokens.get((to, sender), 0) < decoded[1]:
        return None
    recipient, amount = decoded
    known = state.tokens.get((to, recipient), 0) > 0
    return Effect(
        _KNOWN_HOLDER_GAS if known else _NEW_HOLDER_GAS,
        moves=[(to, sender, recipient, amount)],
        events=[_transfer(to, sender, recipient, amount)],
    )


def decode_transfer(data: bytes) -> tuple[str, int] | None:
    """Recipient and amount of `transfer(address,uint256)` call data, or None."""
    if len(data) != 4 + 2 * WORD or data[:4] != TRANSFER_SELECTOR or any(data[4:16]):
        return None
    return "0x" + data[16:36].hex(), int.from_bytes(data[36:], "big")


def topic(address: str) -> str:
    """An address as an event's topic."""
    return "0x" + "0" * 24 + address[2:]


def _transfer(token: str, sender: str, to: str, amount: int) -> Event:
    return (token, (TRANSFER_TOPIC, topic(sender), topic(to)), amount.to_bytes(WORD, "big"))
