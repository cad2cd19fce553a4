"""What no single one of several nodes decides: how many nonces are used, what fees are asked."""

from __future__ import annotations

from dataclasses import replace

import structlog

from chain.client import ChainClient
from chain.fees import FeeQuote
from wallet.errors import InvalidState

log = structlog.get_logger(__name__)


async def used_for_all(chain: ChainClient, address: str) -> int:
    """The serving node's count. An address that begins at too many is of no use: none of what it
    signs is ever mined, and what was given never goes down.

    Raises InvalidState where another node has not seen them, ChainError.
    """
    nonce = await chain.nonce(address)
    if nonce and not await chain.passed(address, nonce - 1):
        log.error("node.nonces_differ", address=address, nonce=nonce - 1)
        raise InvalidState("The nodes say differently how many nonces it has used.")
    return nonce


async def fees_for_all(chain: ChainClient, *, urgent: bool = False) -> FeeQuote:
    """The serving node's, with the base fee that other nodes' heads tell where it is higher: what
    bids less is mined by nobody, and jams its address. What is saved from a thief is `urgent`: no
    other node holds it up, and what jams is let go. Raises FeeCeiling, ChainError."""
    fees = await chain.fees()
    if urgent:
        return fees
    told: int = getattr(chain.rpc, "base_fee", int)()  # 0 where there is one node
    return replace(fees, base_fee=max(fees.base_fee, told))
