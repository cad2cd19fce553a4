"""EIP-7702: deposit addresses let the pinned sweeper act for them, where the node knows how."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from chain import fee_models
from chain.client import ChainClient
from chain.errors import LIMIT_EXCEEDED, NodeRejected
from chain.transactions import Authorization
from keys.signer import Signer
from wallet import clock
from wallet.sweeps.repository import Candidate

DELEGATED = b"\xef\x01\x00"
"""What the code of a delegated address begins with."""
GAS_OF_AUTHORIZATION = 25_000
"""What each costs up front, by EIP-7702 (PER_EMPTY_ACCOUNT_COST)."""
ASK_AGAIN_SECONDS = 600.0
ASK_AGAIN_MOST_SECONDS = 86_400.0
"""A node that refuses delegations is asked again after so long, twice as long each time, at most a
day: each question needs signatures, which are thrown away when it refuses."""
log = structlog.get_logger(__name__)


class Delegations:
    """One network's authorisations; its registry names the sweeper."""

    def __init__(self, chain: ChainClient, signer: Signer) -> None:
        self._chain = chain
        self._signer = signer
        self._network = chain.network
        self._refusals = 0
        self._ask_at = 0.0

    def may_ask(self) -> bool:
        """Whether it is worth signing anything. False for a while after the node refused."""
        return clock.steady() >= self._ask_at

    def _refused(self, message: str) -> None:
        """Remember it, in this process: one that takes over asks once, and then knows too."""
        wait = min(ASK_AGAIN_SECONDS * 2**self._refusals, ASK_AGAIN_MOST_SECONDS)
        self._refusals += 1
        self._ask_at = clock.steady() + wait
        log.error(
            "sweep.no_delegation", network=self._network.name, message=message,
            asked_again_in_seconds=wait,
        )  # fmt: skip

    async def of(self, found: Sequence[Candidate]) -> tuple[list[Authorization], list[Candidate]]:
        """Signed wishes of those that have not delegated yet, and all that can be swept."""
        sweeper = self._network.contracts["sweeper"]
        wanted = DELEGATED + bytes.fromhex(sweeper[2:])
        wishes, taken = [], []
        for one in found:
            code = await self._chain.code(one.address)
            if code not in (b"", wanted):
                log.error("sweep.foreign_code", network=self._network.name, address=one.address)
                continue
            if code == b"":
                wishes.append(await self._wish(one, sweeper))
            taken.append(one)
        return wishes, taken

    async def acts_for(self, one: Candidate) -> bool:
        """Whether the pinned sweeper acts for this address already."""
        contracts = self._network.contracts
        if not one.delegated or not {"sweeper", "sweep_batch"} <= set(contracts):
            return False
        wanted = DELEGATED + bytes.fromhex(contracts["sweeper"][2:])
        return await self._chain.code(one.address) == wanted

    async def _wish(self, one: Candidate, sweeper: str) -> Authorization:
        nonce = await self._chain.nonce(one.address)
        signature = await self._signer.sign_authorization(
            address=one.address,
            deposit_index=one.index,
            chain_id=self._network.chain_id,
            nonce=nonce,
            delegate=sweeper,
        )
        return Authorization.signed(
            chain_id=self._network.chain_id, delegate=sweeper, nonce=nonce, signature=signature
        )

    async def known(self, data: bytes, wishes: Sequence[Authorization], *, caller: str) -> bool:
        """Whether the node knows EIP-7702, whatever the registry says.

        Bytes that it calls malformed would hold the nonce of the house's own address, and every
        payment behind it, until somebody cancels them.
        """
        if not wishes:
            return True  # a call like any other: they delegated before
        try:
            gas = await self._chain.estimate_gas(
                caller, self._network.contracts["sweep_batch"], 0, data, wishes
            )
        except NodeRejected as error:
            if error.rpc_code == LIMIT_EXCEEDED:
                raise  # says nothing about what it knows: the tokens wait, no gas is handed out
            self._refused(error.message)
            return False
        if gas < fee_models.PLAIN_GAS + GAS_OF_AUTHORIZATION * len(wishes):
            self._refused("overlooked")
            return False
        self._refusals = 0
        return True
