"""What a node's answer to a submission means. Nothing here ever means "failed".

Nodes word the same event differently; the table below holds the words of geth, Anvil and
Ganache, recorded by running them or read in their source. What matches no row is UNKNOWN: the
transaction may have been sent, and only a receipt or the nonce can tell.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from chain.errors import clipped


class SendKind(StrEnum):
    """How a node took a signed transaction."""

    ACCEPTED = "accepted"  # It answered the transaction's own hash.
    KNOWN = "known"  # These very bytes are in its pool already.
    NONCE_TOO_LOW = "nonce_too_low"  # Some transaction with this nonce is mined; perhaps ours.
    REPLACEMENT_UNDERPRICED = "replacement_underpriced"  # Another one holds this nonce in the pool.
    FEE_TOO_LOW = "fee_too_low"  # Refused for its fee; the same bytes may pass later.
    INSUFFICIENT_FUNDS = "insufficient_funds"  # Refused for the sender's balance at this moment.
    MALFORMED = "malformed"  # This node will never take these bytes; another one might have.
    UNKNOWN = "unknown"  # No answer, or one we cannot read: maybe sent.


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """One submission's result. `message` is the node's (clipped) or ours, for people to read."""

    kind: SendKind
    message: str = ""


# Order matters: "replacement transaction underpriced" contains "transaction underpriced".
# Patterns run over lower-case text. `(?<![a-z])` keeps "unknown transaction" from being "known".
_TABLE: tuple[tuple[SendKind, str], ...] = (
    (SendKind.KNOWN, r"already known"),
    (SendKind.KNOWN, r"already imported"),
    (SendKind.KNOWN, r"(?<![a-z])known transaction"),
    (SendKind.NONCE_TOO_LOW, r"nonce too low"),
    (SendKind.NONCE_TOO_LOW, r"nonce is too low"),
    (SendKind.NONCE_TOO_LOW, r"doesn't have the correct nonce"),
    (SendKind.REPLACEMENT_UNDERPRICED, r"replacement transaction underpriced"),
    (SendKind.FEE_TOO_LOW, r"max fee per gas less than block base fee"),
    (SendKind.FEE_TOO_LOW, r"maxfeepergas \(\d+\) is less than the block's basefeepergas"),
    (SendKind.FEE_TOO_LOW, r"transaction underpriced"),
    (SendKind.INSUFFICIENT_FUNDS, r"insufficient funds for gas"),
    (SendKind.MALFORMED, r"max priority fee per gas higher than max fee per gas"),
    (SendKind.MALFORMED, r"intrinsic gas too (low|high)"),
    (SendKind.MALFORMED, r"exceeds block gas limit"),
    (SendKind.MALFORMED, r"invalid chain id"),
    (SendKind.MALFORMED, r"failed to decode transaction"),
    (SendKind.MALFORMED, r"could not decode transaction"),
    (SendKind.MALFORMED, r"empty transaction data"),
    (SendKind.MALFORMED, r"not supported by the current hardfork"),
    (SendKind.MALFORMED, r"^(typed transaction too short|rlp: )"),
)
_PATTERNS = tuple((kind, re.compile(pattern)) for kind, pattern in _TABLE)
_GANACHE_SLOT_TAKEN = (-32003, "transaction underpriced")


_CODE_FAILS = ("revert", "invalid opcode", "out of gas", "gas required exceeds allowance")


def code_fails(rpc_code: int, message: str) -> bool:
    """Whether a node that would not try a call out says that the code it calls fails: it reverts
    (code 3 by convention), fails by `assert` as old contracts do, or burns all gas."""
    return rpc_code == 3 or any(words in message.lower() for words in _CODE_FAILS)


def classify_rejection(rpc_code: int, message: str) -> SendOutcome:
    """The meaning of a JSON-RPC error that answered `eth_sendRawTransaction`.

    Ganache says "transaction underpriced" (code -32003) both for bytes it already has and for
    a replacement that pays too little, where geth (code -32000) means its own minimum fee.
    """
    text = message.lower()
    for kind, pattern in _PATTERNS:
        if pattern.search(text):
            if (rpc_code, text) == _GANACHE_SLOT_TAKEN:
                kind = SendKind.REPLACEMENT_UNDERPRICED
            return SendOutcome(kind, clipped(message))
    return SendOutcome(SendKind.UNKNOWN, clipped(message))
