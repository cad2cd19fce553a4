"""A refill of a hot or warm address from cold: the sheet that goes out, the bytes that come back.

The signed sheet is the record that survives a crash: the same bytes may be sent any number of
times and are mined at most once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from chain.blocks import Receipt
from chain.client import ChainClient
from chain.fee_models import beside_gas, gas_limit
from chain.outcomes import SendKind
from chain.spent import spender
from chain.transactions import (
    TxFields,
    encode_unsigned,
    erc20_transfer,
    native_transfer,
    tx_hash,
)
from keys.offline import Sheet, payment, read_signed
from wallet.errors import InvalidField, InvalidState
from wallet.money import Money, format_amount
from wallet.onchain.counts import fees_for_all, used_for_all

LOOK_EVERY_SECONDS = 0.5
CEREMONY_BASE_FEES = 4
"""The cap leaves room for the base fee to rise while the sheet is carried to the cold machine."""


@dataclass(frozen=True, slots=True)
class Sent:
    """How a signed sheet stands. `receipt` None: not mined yet, send the same sheet again."""

    tx_hash: str
    answer: str
    receipt: Receipt | None


async def prepare(
    chain: ChainClient, *, sender: str, to: str, money: Money, ours: Sequence[str]
) -> Sheet:
    """A sheet that moves `money` from the cold `sender` to one of `ours`, hot or warm.

    Raises InvalidField (not one of ours, or not enough there), InvalidState (nodes differ about its
    nonce), FeeCeiling, ChainError.
    """
    if to not in ours or sender in ours:
        raise InvalidField("A refill goes from a cold address to a hot or warm one of the house.")
    await chain.verify_identity()
    network, head = chain.network, await chain.head()
    nonce, fees = await used_for_all(chain, sender), await fees_for_all(chain)
    cap = min(network.max_fee_wei, CEREMONY_BASE_FEES * fees.base_fee + fees.tip)
    [coins] = await chain.balances([sender], network.native_asset, head.number)
    code = money.asset.code
    token = network.token(code)
    spent = money.minor if token is None else 0
    short = spent >= coins
    if token is not None:
        short = (await chain.balances([sender], code, head.number))[0] < money.minor
    if short:
        raise InvalidField(f"The cold address does not hold that much {code}.")

    def fields(gas: int) -> TxFields:
        if token is None:
            return native_transfer(
                chain_id=network.chain_id, nonce=nonce, tip=fees.tip, cap=cap, gas=gas, to=to,
                value_wei=money.minor,
            )  # fmt: skip
        return erc20_transfer(
            chain_id=network.chain_id, nonce=nonce, tip=fees.tip, cap=cap, gas=gas,
            contract=token.contract, to=to, amount_minor=money.minor,
        )  # fmt: skip

    draft = fields(21_000)
    estimate = await chain.estimate_gas(sender, draft.to, draft.value, draft.data)
    gas = gas_limit(estimate, network.fee_model)
    fee = gas * cap + await beside_gas(
        chain, asset=code, to=to, amount_minor=money.minor, gas=gas, cap=cap
    )
    if spent + fee > coins:
        raise InvalidField(
            f"The cold address holds too little {network.native_asset} for the fee beside it."
        )
    amount = format_amount(money.minor, money.asset.scale)
    summary = f"{network.name}: {amount} {code} from cold {sender} to {to}"
    return Sheet(sender=sender, payload=encode_unsigned(fields(gas)), summary=summary)


async def broadcast(
    chain: ChainClient, *, sheet: Sheet, signed: str, ours: Sequence[str], wait_seconds: float
) -> Sent:
    """Send what came back, if it is exactly what went out, and wait for its block.

    Again is safe. Raises OfflineRefused (other bytes), InvalidField (another network or
    recipient), InvalidState (its nonce was used by something else), ChainError.
    """
    raw = read_signed(sheet, signed)
    network, tx = chain.network, sheet.tx
    paid = payment(tx)
    if tx.chain_id != network.chain_id:
        raise InvalidField(f"The sheet is for chain {tx.chain_id}, not for {network.name}.")
    if paid.to not in ours:
        raise InvalidField("The sheet's recipient is not a hot or warm address of this house.")
    await chain.verify_identity()
    name = tx_hash(raw)
    outcome = await chain.send_raw(raw)
    deadline = time.monotonic() + wait_seconds
    while True:
        [receipt] = await chain.receipts([name])
        if receipt is not None or time.monotonic() >= deadline:
            break
        if outcome.kind is SendKind.NONCE_TOO_LOW:
            now = (await chain.head()).number
            spent = await spender(chain, sheet.sender, tx.nonce, final=now)
            if spent is not None and spent.tx.hash != name:
                raise InvalidState(
                    f"Nonce {tx.nonce} of {sheet.sender} was used by another transaction,"
                    f" {spent.tx.hash}: this sheet can never be mined. Make a new one."
                )
        await asyncio.sleep(LOOK_EVERY_SECONDS)
    return Sent(tx_hash=name, answer=outcome.kind.value, receipt=receipt)
