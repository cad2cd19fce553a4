"""Everything the chain room raises, each with a stable code.

A node's answer is never proof that a transaction failed: callers treat every error after the
signature as "unknown" and let the observer decide. Messages never contain the node's address,
because it may carry an access token.
"""

from __future__ import annotations

MAX_NODE_MESSAGE = 300  # Characters kept of a node's own words: enough to read, too few to flood.
LIMIT_EXCEEDED = -32005
"""Code of NodeRejected, by EIP-1474: too many requests. It says nothing about what was asked."""


def clipped(text: str) -> str:
    """A node's message made safe for one log line: printable, at most MAX_NODE_MESSAGE long."""
    head = text[:MAX_NODE_MESSAGE]
    return "".join(char if char.isprintable() else " " for char in head)


class ChainError(Exception):
    """Base of all errors of this room."""

    code = "chain_error"


class NodeUnavailable(ChainError):
    """The node cannot be reached, or answers that it cannot serve now."""

    code = "node_unavailable"


class NodeTimeout(ChainError):
    """No answer came in time. A request that was sent may still have had its effect."""

    code = "node_timeout"


class NodeGarbage(ChainError):
    """The node answered something that is not a correct answer: wrong shape, size or content."""

    code = "node_garbage"


class AnswerTooLarge(NodeGarbage):
    """The answer is longer than is read at once. Strangers have a part in how long bulk answers
    are: what was asked together may be asked in parts."""

    def __init__(self, most: int) -> None:
        super().__init__(f"the node's answer is larger than {most} bytes")


class TooMuchGas(NodeGarbage):
    """A call is said to take more gas than is ever signed: its code's doing, or the node's."""


class NodeRejected(ChainError):
    """The node answered with a JSON-RPC error object.

    `rpc_code` and `message` are the node's; `data` is whatever it attached, unparsed.
    """

    code = "node_rejected"

    def __init__(self, rpc_code: int, message: str, data: object = None) -> None:
        self.rpc_code = rpc_code
        self.message = message
        self.data = data
        super().__init__(f"{rpc_code}: {clipped(message)}")


class WrongChain(ChainError):
    """The node serves another chain than the one configured (chain id or hash of block 1)."""

    code = "wrong_chain"


class FeeCeiling(ChainError):
    """The fee the chain asks for is above what the network's configuration allows. Wei per gas."""

    code = "fee_ceiling"

    def __init__(
        self, *, needed_wei: int, ceiling_wei: int, base_fee_wei: int = 0, tip_wei: int = 0
    ) -> None:
        self.needed_wei = needed_wei
        self.ceiling_wei = ceiling_wei
        self.base_fee_wei = base_fee_wei
        self.tip_wei = tip_wei
        super().__init__(f"fee cap {needed_wei} wei is above the ceiling {ceiling_wei} wei")


class InvalidAddress(ChainError):
    """The text is not an address we accept; the message says why and does not repeat the text."""

    code = "invalid_chain_address"


class InvalidTransaction(ChainError):
    """The fields or bytes are not a transaction we build: wrong type, range or encoding."""

    code = "invalid_chain_transaction"


class InvalidNetworks(ChainError):
    """The networks file is missing, unreadable or contradicts itself."""

    code = "invalid_networks"


class NoUnlockedAccount(ChainError):
    """The development node holds no unlocked account to send from."""

    code = "no_unlocked_account"


class DevNodeFailed(ChainError):
    """A development-only action did not have its effect (reverted, not mined, not supported)."""

    code = "dev_node_failed"
