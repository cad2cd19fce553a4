"""Composition: what a process holds, built once from its settings and closed at its end."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.exc import ProgrammingError

from chain.client import ChainClient
from chain.failover import FailoverRpc
from chain.faults import FaultSwitch, FaultyRpc
from chain.registry import Network, load_networks
from chain.rpc import JsonRpc, Rpc
from keys.derivation import DepositDeriver
from keys.descriptors import take
from keys.errors import SignerUnavailable
from keys.public import PublicKeys, read_public
from keys.remote import RemoteSigner
from keys.request import ApprovalLimits, Kind, SignedBefore, SignedTx
from keys.signer import Signer
from wallet import custody, faults, listed
from wallet.db import Database, sqlstate
from wallet.errors import DatabaseUnavailable, WalletError
from wallet.money import FIAT, Asset, AssetBook, chain_asset
from wallet.settings import Settings

Role = Literal["api", "worker", "cli"]
NATIVE_NAMES = {"ETH": "Ether", "POL": "POL", "XDAI": "xDai"}
TOKEN_NAMES = {"USDC": "USD Coin", "EURC": "Euro Coin", "DAI": "Dai"}
PLAY_CHAIN_IDS = frozenset({1337, 31337})  # Ganache, Anvil and Hardhat as they come
UNDEFINED_TABLE = "42P01"
NATIVE_DECIMALS = 18  # every EVM chain counts its coin in wei


class RefusedToStart(WalletError):
    """The configuration would put money at risk."""

    code = "refused_to_start"


@dataclass(slots=True)
class Services:
    """Everything with a connection or a secret that this process uses."""

    settings: Settings
    db: Database
    assets: AssetBook
    networks: dict[str, Network]
    chains: dict[str, ChainClient]
    rpcs: dict[str, Rpc]
    failovers: dict[str, FailoverRpc]
    faults: FaultSwitch
    house: PublicKeys
    deriver: DepositDeriver
    signer: Signer

    def network_asset(self, network: str, code: str) -> Asset | None:
        """The asset, when that network carries it."""
        known = self.networks[network]
        if code == known.native_asset or known.token(code) is not None:
            return self.assets.get(code)
        return None

    def deriver_of(self, network: str) -> custody.Deriver:
        """How this network's deposit addresses follow from their index. One that is not served any
        more had children of the xpub."""
        known = self.networks.get(network)
        return self.deriver if known is None else custody.deriver_of(known, self.deriver)

    async def learn_assets(self) -> None:
        """Know what was listed once; nothing may be listed under other terms than before.
        Raises RefusedToStart, DatabaseUnavailable (a database that is not migrated, too)."""
        try:
            await listed.remember(self.db, self.assets)
        except listed.TermsChanged as error:
            raise RefusedToStart(str(error)) from None
        except ProgrammingError as error:
            if sqlstate(error) != UNDEFINED_TABLE:
                raise
            raise DatabaseUnavailable("The database is not migrated: bifold migrate.") from None

    async def refresh_faults(self) -> None:
        """Sandbox: take over the faults that are switched on now."""
        self.faults.replace(await faults.switched_on(self.db))

    async def aclose(self) -> None:
        """Close node connections, signer connection and database."""
        for chain in self.chains.values():
            await chain.aclose()
        close = getattr(self.signer, "aclose", None)
        if close is not None:
            await close()
        await self.db.dispose()


def asset_book(networks: dict[str, Network]) -> AssetBook:
    """Fiat plus every coin and token that a configured network carries."""
    assets: list[Asset] = list(FIAT)
    for network in networks.values():
        code = network.native_asset
        assets.append(chain_asset(code, "native", NATIVE_DECIMALS, NATIVE_NAMES.get(code, code)))
        assets.extend(
            chain_asset(t.code, "token", t.decimals, TOKEN_NAMES.get(t.code, t.code))
            for t in network.tokens
        )
    return AssetBook(assets)


def build(settings: Settings, *, role: Role) -> Services:
    """Read the public configuration and connect nothing yet. Raises RefusedToStart."""
    _refuse_unsafe(settings, role)
    networks = load_networks(settings.networks_path)
    _refuse_play_chains(settings, networks)
    house = read_public(settings.keys_path)
    switch = FaultSwitch()
    rpcs: dict[str, Rpc] = {}
    failovers: dict[str, FailoverRpc] = {}
    for name, network in networks.items():
        plain: Rpc = JsonRpc(network.rpc_urls[0])
        if len(network.rpc_urls) > 1:
            several = [plain, *map(JsonRpc, network.rpc_urls[1:])]
            # The API reads once a request; the worker's passes start anew at another node.
            plain = failovers[name] = FailoverRpc(network, several, retry_reads=role != "worker")
        rpcs[name] = FaultyRpc(plain, switch) if settings.sandbox else plain
    return Services(
        settings=settings,
        db=Database(
            _database_url(settings, role),
            application_name=f"bifold-{role}",
            pooled_elsewhere=role == "api" and settings.database_direct_url is not None,
        ),
        assets=asset_book(networks),
        networks=networks,
        chains={name: ChainClient(network, rpcs[name]) for name, network in networks.items()},
        rpcs=rpcs,
        failovers=failovers,
        faults=switch,
        house=house,
        deriver=DepositDeriver(house.deposit_xpub),
        signer=_signer(settings, house) if role == "worker" else NoSigner(),
    )


def _database_url(settings: Settings, role: Role) -> str:
    """As whom this process reaches the database."""
    if role == "cli":
        return settings.operator_url
    return settings.direct_url if role == "worker" else settings.database_url


class NoSigner:
    """Stands where a process has no way to the signer: nothing is ever signed here."""

    async def hot_addresses(self) -> list[str]:
        """Raises SignerUnavailable."""
        raise SignerUnavailable("this process has no signer")

    async def deposit_xpub(self) -> str:
        """Raises SignerUnavailable."""
        raise SignerUnavailable("this process has no signer")

    async def approval_limits(self) -> dict[int, ApprovalLimits]:
        """Raises SignerUnavailable."""
        raise SignerUnavailable("this process has no signer")

    async def signed_before(self, intent_ids: Sequence[str]) -> list[SignedBefore]:
        """Raises SignerUnavailable."""
        raise SignerUnavailable("this process has no signer")

    async def signed_from(self, *, chain_id: int, address: str, nonce: int) -> list[SignedBefore]:
        """Raises SignerUnavailable."""
        raise SignerUnavailable("this process has no signer")

    async def sign_authorization(
        self, *, address: str, deposit_index: int, chain_id: int, nonce: int, delegate: str
    ) -> bytes:
        """Raises SignerUnavailable."""
        raise SignerUnavailable("this process has no signer")

    async def sign_transaction(
        self,
        *,
        address: str,
        payload: bytes,
        intent_id: str,
        kind: Kind,
        deposit_index: int | None = None,
        approval: bytes = b"",
    ) -> SignedTx:
        """Raises SignerUnavailable."""
        raise SignerUnavailable("this process has no signer")


def _signer(settings: Settings, house: PublicKeys) -> Signer:
    """The worker alone gets one, by a capability from an inherited descriptor."""
    if settings.signer_url is not None:
        return _eth1(settings, house)
    if settings.signer_socket is None or settings.signer_capability_fd is None:
        return NoSigner()
    return RemoteSigner(settings.signer_socket, take(settings.signer_capability_fd))


def _eth1(settings: Settings, house: PublicKeys) -> Signer:
    """Web3signer, or whatever speaks its eth1 API, in our own signer's place."""
    client = importlib.import_module("keys.eth1_client")
    capability = None
    if settings.signer_capability_fd is not None:
        capability = take(settings.signer_capability_fd)
    signer: Signer = client.Eth1Signer(
        settings.signer_url, hot=house.hot, deposit_xpub=house.deposit_xpub, capability=capability
    )
    return signer


def _refuse_unsafe(settings: Settings, role: Role) -> None:
    if settings.sandbox:
        return
    if role != "cli" and settings.operator_database_url is not None:
        raise RefusedToStart(
            "BIFOLD_OPERATOR_DATABASE_URL is for operators' commands; no service may know it."
        )
    if role != "cli" and settings.audit_database_url is not None:
        raise RefusedToStart(
            "BIFOLD_AUDIT_DATABASE_URL is for `bifold audit` alone; no service may know it."
        )
    if not settings.base_url.startswith("https://"):
        raise RefusedToStart("Production needs BIFOLD_PUBLIC_URL with https.")
    if settings.sandbox_token is not None:
        raise RefusedToStart("BIFOLD_SANDBOX_TOKEN has no place in production.")
    if (settings.data_dir / "sandbox").exists():
        raise RefusedToStart(
            "This data directory holds sandbox secrets; production needs one of its own."
        )


def _refuse_play_chains(settings: Settings, networks: dict[str, Network]) -> None:
    """Coins of a development chain come from nothing; in production they would buy real ones."""
    for name, network in networks.items():
        if not settings.sandbox and (network.local_snapshots or network.chain_id in PLAY_CHAIN_IDS):
            raise RefusedToStart(f"Network {name} is a development chain; production takes none.")
