"""The local chain at one's fingertips: coins from the faucet, blocks, reorganisations."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field, StringConstraints

from api.errors import documented
from api.route import StrictRoute
from api.sandbox.guard import guard
from api.schemas import MoneyIn, Schema, View
from api.state import ServicesDep
from chain.address import checked
from chain.blocks import Receipt
from chain.client import ChainClient
from chain.dev import DevNode
from chain.errors import ChainError, NodeRejected
from chain.errors import InvalidAddress as ChainInvalidAddress
from wallet.bootstrap import Services
from wallet.custody import InvalidAddress, UnknownNetwork
from wallet.errors import InvalidField, WalletError
from wallet.money import Money, UnknownAsset
from wallet.onchain import NetworkStatus
from wallet.onchain.network import read

router = APIRouter(
    prefix="/sandbox", tags=["sandbox"], route_class=StrictRoute, dependencies=[Depends(guard)]
)

GUARD_CODES = (
    "host_not_allowed", "origin_not_allowed", "unsupported_media_type", "unauthenticated",
)  # fmt: skip
MAX_BLOCKS = 1_000
MAX_REORG_DEPTH = 64
SNAPSHOT_WAIT_SECONDS = 5.0
SNAPSHOT_POLL_SECONDS = 0.1

NetworkName = Annotated[str, StringConstraints(min_length=1, max_length=32)]


class FaucetRefused(WalletError):
    """The node did not send: the faucet holds less, or the target refuses."""

    code = "faucet_refused"


class FaucetDraw(Schema):
    """Coins wanted."""

    address: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        description="Who receives; any address, a deposit address for example.",
        examples=["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],
    )
    network: NetworkName = Field(description="On which network.", examples=["local"])
    money: MoneyIn = Field(description="Coin or token of that network.")


class FaucetDrawn(View):
    """Coins sent."""

    tx_hash: str = Field(description="The real transaction.", examples=["0x" + "ab" * 32])
    block_number: int = Field(description="Its block.", examples=[128])
    durable: bool = Field(
        description="Whether a stored snapshot of the local chain holds it: from then on it"
        " survives a kill of the node. False only when no snapshot came within 5 s.",
        examples=[True],
    )


class Mine(Schema):
    """Blocks wanted."""

    network: NetworkName = Field(description="On which network.", examples=["local"])
    blocks: int = Field(ge=1, le=MAX_BLOCKS, description="How many.", examples=[8])


class Reorg(Schema):
    """A reorganisation wanted."""

    network: NetworkName = Field(description="On which network.", examples=["local"])
    depth: int = Field(
        ge=1,
        le=MAX_REORG_DEPTH,
        description="How many of the newest blocks are replaced by empty ones; not those that were"
        " there when the node started.",
        examples=[3],
    )


class HeadView(View):
    """Where the chain stands now."""

    network: str = Field(description="Which network.", examples=["local"])
    head_block: int = Field(description="Its newest block.", examples=[136])


def _node(services: Services, network: str) -> DevNode:
    rpc = services.rpcs.get(network)
    if rpc is None:
        raise UnknownNetwork("This network is not served here.", field="/network")
    return DevNode(rpc)


@router.post(
    "/faucet",
    response_model=FaucetDrawn,
    summary="Coins from nothing",
    responses=documented(
        (*GUARD_CODES, "invalid_address", "unknown_network", "unknown_asset",
         "amount_must_be_string", "amount_malformed", "amount_precision", "amount_not_positive",
         "amount_too_large", "faucet_refused", "chain_unavailable")
    ),
)  # fmt: skip
async def faucet(body: FaucetDraw, services: ServicesDep) -> FaucetDrawn:
    """A real transaction on the local chain; answers once it is mined and kept."""
    node = _node(services, body.network)
    network = services.networks[body.network]
    money = body.money.money(services.assets)
    try:
        to = checked(body.address)
    except ChainInvalidAddress as error:
        raise InvalidAddress(f"Check the address: {error}.", field="/address") from None
    token = network.token(money.asset.code)
    if token is None and money.asset.code != network.native_asset:
        raise UnknownAsset("This network does not carry this asset.", field="/money/asset")
    tx_hash = await _send(node, to=to, money=money, contract=token.contract if token else None)
    receipt = await node.wait_mined(tx_hash)
    if receipt.status != 1:
        raise FaucetRefused("The faucet's transaction was reverted.")
    durable = not network.local_snapshots or await _kept(services, body.network, receipt)
    return FaucetDrawn(tx_hash=tx_hash, block_number=receipt.block_number, durable=durable)


async def _send(node: DevNode, *, to: str, money: Money, contract: str | None) -> str:
    try:
        if contract is None:
            return await node.send_native(to, money.minor)
        return await node.send_token(contract, to, money.minor)
    except NodeRejected:
        raise FaucetRefused("The faucet cannot send this much, or not there.") from None


async def _kept(services: Services, network: str, receipt: Receipt) -> bool:
    """Whether a snapshot that holds the receipt's block is stored, within a few seconds.

    A height alone is no proof: a node killed meanwhile comes back without the block, and its next
    snapshots are soon as high.
    """
    deadline = time.monotonic() + SNAPSHOT_WAIT_SECONDS
    while time.monotonic() < deadline:
        async with services.db.transaction() as session:
            seen = await read(session, network)
        if seen is not None and (seen.snapshot_block or 0) >= receipt.block_number:
            with suppress(ChainError):  # it is just starting again
                if await _holds(services.chains[network], seen, receipt):
                    return True
        await asyncio.sleep(SNAPSHOT_POLL_SECONDS)
    return False


async def _holds(chain: ChainClient, seen: NetworkStatus, receipt: Receipt) -> bool:
    """Whether both blocks are the node's own now: the snapshot's, and the receipt's below it."""
    mined, stored = await chain.block_refs([receipt.block_number, seen.snapshot_block or 0])
    followed = stored is not None and stored.hash == seen.snapshot_hash
    return (
        mined is not None
        and mined.hash == receipt.block_hash
        and (seen.snapshot_hash is None or followed)
    )


@router.post(
    "/mine",
    response_model=HeadView,
    summary="Mine blocks",
    responses=documented((*GUARD_CODES, "unknown_network", "chain_unavailable")),
)
async def mine(body: Mine, services: ServicesDep) -> HeadView:
    """Empty blocks, at once."""
    head = await _node(services, body.network).mine(body.blocks)
    return HeadView(network=body.network, head_block=head)


@router.post(
    "/reorg",
    response_model=HeadView,
    summary="Reorganise the chain",
    responses=documented((*GUARD_CODES, "unknown_network", "chain_unavailable")),
)
async def reorg(body: Reorg, services: ServicesDep) -> HeadView:
    """Deeper than finality, and the network halts until an operator looks: that is the point."""
    node = _node(services, body.network)
    if body.depth > (deepest := await node.deepest()):
        raise InvalidField(
            f"At most {deepest} now: what was there when the node started stays. Mine more first.",
            field="/depth",
        )
    head = await node.reorg(body.depth)
    return HeadView(network=body.network, head_block=head)
