"""What this instance lists: assets and networks. Public."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field

from api.route import StrictRoute
from api.schemas import MOMENT_EXAMPLE, Moment, View
from api.state import ReadSession, ServicesDep
from chain.registry import Network
from wallet.bootstrap import Services
from wallet.money import Asset
from wallet.networks import NetworkView as Seen
from wallet.networks import states

router = APIRouter(prefix="/v1", tags=["assets"], route_class=StrictRoute)


class AssetNetwork(View):
    """Where a chain asset lives."""

    network: str = Field(description="Name of the network.", examples=["local"])
    contract: str | None = Field(
        description="Token contract; null for the network's own coin.",
        examples=["0x5FbDB2315678afecb367f032d93F642f64180aa3"],
    )
    confirmations: int = Field(description="Blocks until a deposit is credited.", examples=[8])


class AssetView(View):
    """A listed asset."""

    code: str = Field(description="The code used everywhere.", examples=["USDC"])
    kind: str = Field(description="`fiat`, `native` or `token`.", examples=["token"])
    scale: int = Field(description="Decimals.", examples=[6])
    name: str = Field(description="For people.", examples=["USD Coin"])
    networks: list[AssetNetwork] = Field(description="Where it lives; empty for fiat.")


class AssetList(View):
    """Every listed asset."""

    data: list[AssetView] = Field(description="One row an asset.")


class NodesView(View):
    """The nodes behind a network."""

    healthy: int = Field(description="Right chain, answering, not behind.", examples=[2])
    total: int = Field(description="Configured.", examples=[2])


class NetworkView(View):
    """A network, as the observer last saw it."""

    network: str = Field(description="Name used everywhere.", examples=["local"])
    chain_id: int = Field(description="EIP-155 chain id.", examples=[31337])
    head_block: int | None = Field(description="Newest block seen.", examples=[128])
    as_of: Moment | None = Field(description="When it was seen.", examples=[MOMENT_EXAMPLE])
    healthy: bool = Field(
        description="Seen within 15 s, on the right chain, not halted.", examples=[True]
    )
    confirmations: int = Field(description="Blocks until something is final.", examples=[8])
    native_asset: str = Field(description="The coin that pays for gas.", examples=["ETH"])
    nodes: NodesView = Field(description="How many of its nodes can serve.")
    rpc_url: str | None = Field(
        default=None, description="Sandbox only.", examples=["http://127.0.0.1:8545"]
    )


class NetworkList(View):
    """Every configured network."""

    data: list[NetworkView] = Field(description="One row a network.")


@router.get("/assets", response_model=AssetList, summary="Listed assets")
async def assets(services: ServicesDep) -> AssetList:
    """Fiat first, then what the networks carry."""
    return AssetList(data=[_asset(asset, services) for asset in services.assets])


def _asset(asset: Asset, services: Services) -> AssetView:
    return AssetView(
        code=asset.code,
        kind=asset.kind,
        scale=asset.scale,
        name=asset.name,
        networks=[
            place
            for network in services.networks.values()
            if (place := _place(asset, network)) is not None
        ],
    )


def _place(asset: Asset, network: Network) -> AssetNetwork | None:
    token = network.token(asset.code)
    if token is None and asset.code != network.native_asset:
        return None
    return AssetNetwork(
        network=network.name,
        contract=token.contract if token else None,
        confirmations=network.confirmations,
    )


@router.get(
    "/networks",
    response_model=NetworkList,
    response_model_exclude_unset=True,
    summary="Networks and how they are",
)
async def networks(services: ServicesDep, session: ReadSession) -> NetworkList:
    """Answers from what the observer wrote; asks no node."""
    seen = await states(session)
    return NetworkList(
        data=[
            _network(network, seen.get(network.name), shown=services.settings.sandbox)
            for network in services.networks.values()
        ]
    )


def _network(network: Network, seen: Seen | None, *, shown: bool) -> NetworkView:
    view = NetworkView(
        network=network.name,
        chain_id=network.chain_id,
        head_block=seen.head_number if seen else None,
        as_of=seen.as_of if seen else None,
        healthy=seen is not None and seen.healthy,
        confirmations=network.confirmations,
        native_asset=network.native_asset,
        nodes=_nodes(network, seen),
    )
    return view.model_copy(update={"rpc_url": network.rpc_urls[0]}) if shown else view


def _nodes(network: Network, seen: Seen | None) -> NodesView:
    """Where there is one node, it is as well as the network."""
    total = len(network.rpc_urls)
    if total == 1:
        return NodesView(healthy=int(seen is not None and seen.healthy), total=1)
    return NodesView(healthy=min(seen.nodes_well, total) if seen else 0, total=total)
