"""How many nonces an address has used, where no single one of several nodes has the say."""

from __future__ import annotations

import structlog

from chain.client import ChainClient
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
