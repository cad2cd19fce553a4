"""What is said to our payout contract, and what it says in a receipt (contracts/)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from eth_utils.crypto import keccak

from chain.abi import encode
from chain.address import from_bytes20
from chain.blocks import Receipt
from chain.registry import Token
from wallet.onchain.repository import Intent

UNLIMITED: Final = 2**256 - 1
_PAY_TOKEN: Final = keccak(text="payToken(bytes32,address,(address,uint256,bytes32)[])")[:4]
APPROVE: Final = keccak(text="approve(address,uint256)")[:4]
_PAID: Final = "0x" + keccak(text="Paid(bytes32,bytes32,address,address,uint256)").hex()


def reference(intent_id: str) -> bytes:
    """What a member is called in the contract's event."""
    return bytes(keccak(text=intent_id))


def pay_call(members: Sequence[Intent], contract: str) -> bytes:
    """`BatchPayout.payToken`; the batch's id is the hash of its members', in order."""
    batch_id = keccak(text="|".join(member.id for member in members))
    rows = [(m.to_address, m.amount_minor, reference(m.id)) for m in members]
    types = ["bytes32", "address", "(address,uint256,bytes32)[]"]
    return bytes(_PAY_TOKEN + encode(types, [batch_id, contract, rows]))


def allowance_call(contract: str) -> bytes:
    """`approve` of everything to the payout contract."""
    return bytes(APPROVE + encode(["address", "uint256"], [contract, UNLIMITED]))


def says_paid(token: Token, member: Intent, receipt: Receipt, contract: str) -> bool:
    """Whether the payout contract says in this receipt that it paid the member."""
    wanted = (member.to_address.lower(), token.contract.lower(), member.amount_minor)
    return _paid_events(receipt, contract).get(reference(member.id)) == wanted


def _paid_events(receipt: Receipt, contract: str) -> dict[bytes, tuple[str, str, int]]:
    """Reference → (recipient, token, amount), addresses in lower case."""
    found: dict[bytes, tuple[str, str, int]] = {}
    for entry in receipt.logs:
        if (
            entry.address.lower() == contract.lower()
            and len(entry.topics) == 4
            and entry.topics[0] == _PAID
            and len(entry.data) == 64
        ):
            to = from_bytes20(bytes.fromhex(entry.topics[3][-40:])).lower()
            token = from_bytes20(entry.data[12:32]).lower()
            amount = int.from_bytes(entry.data[32:], "big")
            found[bytes.fromhex(entry.topics[2][2:])] = (to, token, amount)
    return found
