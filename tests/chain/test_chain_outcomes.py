"""Every recorded node message means what the table says; the rest is unknown, never failed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.outcomes import SendKind, classify_rejection

K = SendKind
LESS_THAN_BASE = (
    "VM Exception while processing transaction: Transaction's maxFeePerGas (1) is less than the "
    "block's baseFeePerGas (449244295) (vm hf=shanghai -> block -> tx)"
)
RECORDED = [
    # Anvil 1.7.1
    (-32003, "nonce too low", K.NONCE_TOO_LOW),
    (-32003, "transaction already imported", K.KNOWN),
    (-32003, "replacement transaction underpriced", K.REPLACEMENT_UNDERPRICED),
    (-32003, "Insufficient funds for gas * price + value", K.INSUFFICIENT_FUNDS),
    (-32003, "max fee per gas less than block base fee", K.FEE_TOO_LOW),
    (-32003, "max priority fee per gas higher than max fee per gas", K.MALFORMED),
    (-32000, "intrinsic gas too low", K.MALFORMED),
    (-32000, "intrinsic gas too high -- tx.gas_limit > env.block.gas_limit", K.MALFORMED),
    (-32003, "invalid chain id for signer", K.MALFORMED),
    (-32602, "Failed to decode transaction", K.MALFORMED),
    (-32602, "Empty transaction data", K.MALFORMED),
    (
        -32602,
        "EIP-7702 fields received but is not supported by the current hardfork.\n\nYou can use it",
        K.MALFORMED,
    ),
    # Ganache 7.9.2
    (
        -32000,
        "the tx doesn't have the correct nonce. account has nonce of: 5 tx has nonce of: 4",
        K.NONCE_TOO_LOW,
    ),
    (-32003, "transaction underpriced", K.REPLACEMENT_UNDERPRICED),
    (-32003, "insufficient funds for gas * price + value", K.INSUFFICIENT_FUNDS),
    (-32000, LESS_THAN_BASE, K.FEE_TOO_LOW),
    (-32000, "exceeds block gas limit", K.MALFORMED),
    (-32000, "Invalid chain id (1) for chain with id 271828.", K.MALFORMED),
    (-32700, "Could not decode transaction: invalid RLP: remainder must be zero", K.MALFORMED),
    # geth
    (-32000, "nonce too low: next nonce 5, tx nonce 4", K.NONCE_TOO_LOW),
    (-32000, "already known", K.KNOWN),
    (-32000, "replacement transaction underpriced", K.REPLACEMENT_UNDERPRICED),
    (
        -32000,
        "insufficient funds for gas * price + value: balance 0, tx cost 1, overshot 1",
        K.INSUFFICIENT_FUNDS,
    ),
    (-32000, "transaction underpriced: gas tip cap 0, minimum needed 1", K.FEE_TOO_LOW),
    (-32000, "transaction underpriced", K.FEE_TOO_LOW),
    (-32000, "rlp: expected input list for types.DynamicFeeTx", K.MALFORMED),
    (-32000, "typed transaction too short", K.MALFORMED),
    # Older clients
    (-32000, "known transaction: 0xabc", K.KNOWN),
    (-32010, "Transaction nonce is too low. Try incrementing the nonce.", K.NONCE_TOO_LOW),
    # What must stay unknown
    (-32000, "unknown transaction", K.UNKNOWN),
    (-32000, "transaction not known", K.UNKNOWN),
    (-32000, "account limit exceeded", K.UNKNOWN),
    (-32000, "address already reserved", K.UNKNOWN),
    (-32000, "authority already reserved", K.UNKNOWN),
    (-32000, "in-flight transaction limit reached for delegated accounts", K.UNKNOWN),
    (-32000, "gapped-nonce tx from delegated accounts", K.UNKNOWN),
    (-32000, "nonce too high", K.UNKNOWN),
    (-32000, "txpool is full", K.UNKNOWN),
    (-32603, "Internal error", K.UNKNOWN),
    (-32005, "rate limit exceeded", K.UNKNOWN),
    (-32601, "Method not found", K.UNKNOWN),
    (0, "", K.UNKNOWN),
]


@pytest.mark.parametrize(("code", "message", "kind"), RECORDED)
def test_recorded_messages(code: int, message: str, kind: SendKind) -> None:
    assert classify_rejection(code, message).kind is kind
    assert classify_rejection(code, message.upper()).kind is kind


@given(st.integers(-40_000, 40_000), st.text(alphabet="bcdfghjklmpqrstvwxz ", max_size=60))
def test_words_nobody_knows_are_unknown(code: int, message: str) -> None:
    assert classify_rejection(code, message).kind is SendKind.UNKNOWN


def test_no_kind_means_failed() -> None:
    assert not any("fail" in kind.value for kind in SendKind)


def test_messages_are_clipped_and_printable() -> None:
    outcome = classify_rejection(-1, "a\x1b[31m\n" + "b" * 10_000)
    assert len(outcome.message) == 300 and outcome.message.isprintable()
