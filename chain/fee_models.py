"""What a transaction costs beyond gas units times price, by the network's `fee_model`.

`op`: an L1 data fee and an operator fee, told by the GasPriceOracle predeploy; the receipt names
what was taken. `arbitrum`: the L1 part lies in the gas units that eth_estimateGas answers, so no
gas figure is ever assumed there. Sources: OP Stack specification (Fjord, Isthmus), Arbitrum docs.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from chain.blocks import Receipt
from chain.errors import NodeGarbage, NodeRejected
from chain.registry import FeeModel, Network
from chain.transactions import MAX_GAS, TxFields, encode_unsigned, erc20_transfer, native_transfer

ORACLE = "0x420000000000000000000000000000000000000F"
GET_L1_FEE = bytes.fromhex("49948e0e")  # getL1Fee(bytes)
GET_UPPER_BOUND = bytes.fromhex("f1c7a58b")  # getL1FeeUpperBound(uint256), since Fjord
GET_OPERATOR_FEE = bytes.fromhex("275aedd2")  # getOperatorFee(uint256), since Isthmus
BOUND_FACTOR = 2  # room for L1 to become dearer until the transaction is mined
MAX_DATA_FEE_WEI = 10**17
"""No transaction of ours costs more than this beyond its gas: a node that says so is wrong."""
PLAIN_GAS = 21_000
MARGIN_PERCENT = 25  # a token transfer's gas moves with what the recipient holds
ARBITRUM_MARGIN_PERCENT = 50  # and there with the price of L1, for plain transfers too
_SAMPLE_NONCE = 2**32  # as long as any nonce of ours will be
_WORD = 32


class Caller(Protocol):
    """What is needed of `ChainClient`."""

    network: Network

    def eth_call(self, to: str, data: bytes) -> Awaitable[bytes]:
        """What a contract answers."""
        ...


@dataclass(frozen=True, slots=True)
class DataFee:
    """In wei: what would be taken now, and what to hold for it."""

    expected: int = 0
    bound: int = 0


NONE = DataFee()


def gas_limit(estimate: int, model: FeeModel = "l1") -> int:
    """The limit to send with: a plain transfer's exactly where it is a constant, else a margin, as
    far as anything that much is signed."""
    if model != "arbitrum" and estimate <= PLAIN_GAS:
        return PLAIN_GAS
    margin = ARBITRUM_MARGIN_PERCENT if model == "arbitrum" else MARGIN_PERCENT
    return min(-(-estimate * (100 + margin) // 100), max(estimate, MAX_GAS))


def sample(
    network: Network, *, asset: str, to: str, amount_minor: int, gas: int, cap: int
) -> TxFields:
    """A payment as it would be sent, at least as long. Raises InvalidTransaction."""
    token = network.token(asset)
    if token is None:
        return native_transfer(
            chain_id=network.chain_id, nonce=_SAMPLE_NONCE, tip=cap, cap=cap, gas=gas, to=to,
            value_wei=amount_minor,
        )  # fmt: skip
    return erc20_transfer(
        chain_id=network.chain_id, nonce=_SAMPLE_NONCE, tip=cap, cap=cap, gas=gas,
        contract=token.contract, to=to, amount_minor=amount_minor,
    )  # fmt: skip


async def data_fee(chain: Caller, fields: TxFields) -> DataFee:
    """What `fields` would cost beyond its gas. Asks nothing where there is no such fee.

    Raises NodeGarbage when the oracle is missing, answers no number, or one above
    MAX_DATA_FEE_WEI. Chains before Isthmus have no operator fee.
    """
    if chain.network.fee_model != "op":
        return NONE
    payload = encode_unsigned(fields)
    now = _number(await chain.eth_call(ORACLE, GET_L1_FEE + _bytes_argument(payload)))
    upper = _number(await chain.eth_call(ORACLE, GET_UPPER_BOUND + _word(len(payload))))
    try:
        operator = _number(await chain.eth_call(ORACLE, GET_OPERATOR_FEE + _word(fields.gas)))
    except NodeRejected:
        operator = 0
    fee = DataFee(now + operator, BOUND_FACTOR * (max(now, upper) + operator))
    if fee.bound > MAX_DATA_FEE_WEI:
        raise NodeGarbage("the fee oracle names an impossible fee")
    return fee


async def beside_gas(
    chain: Caller, *, asset: str, to: str, amount_minor: int, gas: int, cap: int
) -> int:
    """Wei that must lie there beside the amount and gas × cap, or an `op` node refuses the payment;
    0 on other chains. Raises what `data_fee` raises."""
    if chain.network.fee_model != "op":
        return 0
    fields = sample(
        chain.network, asset=asset, to=to, amount_minor=max(amount_minor, 1), gas=gas, cap=cap
    )
    return (await data_fee(chain, fields)).bound


def believable(receipt: Receipt, model: FeeModel, *, gas_limit: int, cap_wei: int) -> bool:
    """Whether our own transaction can have cost what this receipt says."""
    if receipt.gas_used * receipt.effective_gas_price > gas_limit * cap_wei:
        return False
    return receipt.data_fee_wei <= (MAX_DATA_FEE_WEI if model == "op" else 0)


def _word(value: int) -> bytes:
    return value.to_bytes(_WORD, "big")


def _bytes_argument(payload: bytes) -> bytes:
    return _word(_WORD) + _word(len(payload)) + payload + bytes(-len(payload) % _WORD)


def _number(answer: bytes) -> int:
    if len(answer) != _WORD:
        raise NodeGarbage("the fee oracle answered no number")
    return int.from_bytes(answer, "big")
