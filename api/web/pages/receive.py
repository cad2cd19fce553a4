"""Receive: an own address as text, QR code and payment link; play coins in the sandbox."""

from __future__ import annotations

import io
import re
from typing import Annotated
from urllib.parse import urlsplit

import segno
from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.web import drafts
from api.web.route import WebRoute
from api.web.security import LOOPBACK_NAMES
from api.web.visit import Visit, member
from api.web.wallet_words import FOLLOWING, PAYING, spoken
from chain.address import eip681
from chain.dev import DevNode
from chain.errors import ChainError
from chain.registry import Network
from wallet import custody, deposits
from wallet.custody import DepositAddress
from wallet.errors import NotFound
from wallet.money import UnknownAsset
from wallet.onchain import ChainUnavailable
from wallet.onchain.network import require_addresses

FAUCET_NATIVE_WEI = 10**18
FAUCET_TOKENS = 1_000
QUIET_ZONE_MODULES = 4  # ISO/IEC 18004
NATIVE_DECIMALS = 18
_TX = re.compile(r"0x[0-9a-f]{64}", re.ASCII)

router = APIRouter(route_class=WebRoute, include_in_schema=False)
Member = Annotated[Visit, Depends(member)]


@router.get("/receive")
async def receive(visit: Member) -> Response:
    """The address of the chosen network; one network needs no choosing. `tx` is a payment that the
    person's own wallet just sent: what it brings is shown as it arrives."""
    networks = visit.services.networks
    asked = visit.request.query_params.get("network", "")
    name = asked if asked in networks else next(iter(networks))
    shown = await _address(visit, networks[name])
    network = networks[name]
    asked_tx = visit.request.query_params.get("tx", "").lower()
    tx_hash = asked_tx if _TX.fullmatch(asked_tx) else ""
    arrived = await _arrived(visit, name, tx_hash) if tx_hash else []
    return visit.page(
        "receive.html",
        network=network,
        network_options=[(known, known) for known in networks],
        shown=shown,
        link=_link(network, shown),
        coins=[network.native_asset, *(token.code for token in network.tokens)],
        errors=drafts.told(visit),
        sent=visit.request.query_params.get("sent") == "1",
        tx_hash=tx_hash,
        arrived=arrived,
        waiting=bool(tx_hash)
        and (not arrived or any(one.status in ("seen", "confirmed") for one in arrived)),
        words=spoken(PAYING, visit),
        following=spoken(FOLLOWING, visit),
        wallet_chain=_for_wallet(visit, network),
        wallet_assets=_payable(network),
    )


@router.get("/receive/{network}/qr.svg")
async def qr(visit: Member, network: str) -> Response:
    """The payment link as a QR code: dark on light whatever the theme."""
    if network not in visit.services.networks:
        raise NotFound("There is no such network.")
    known = visit.services.networks[network]
    shown = await _address(visit, known)
    image = io.BytesIO()
    segno.make(_link(known, shown), error="m").save(
        image,
        kind="svg",
        scale=6,
        border=QUIET_ZONE_MODULES,
        dark="#111418",
        light="#ffffff",
        xmldecl=False,
    )
    return visit.dressed(Response(image.getvalue(), media_type="image/svg+xml"))


@router.post("/receive/{network}/faucet")
async def faucet(visit: Member, network: str) -> Response:
    """Sandbox: real transactions of worthless coins, from the local node's own account."""
    fields = await visit.form()
    known = visit.services.networks.get(network)
    if not visit.services.settings.sandbox or known is None:
        raise NotFound("There is nothing here.")
    shown = await _address(visit, known)
    coin = fields.get("coin", "")
    token = known.token(coin)
    node = DevNode(visit.services.rpcs[network])
    try:
        if coin == known.native_asset:
            await node.send_native(shown.address, FAUCET_NATIVE_WEI)
        elif token is not None:
            amount = FAUCET_TOKENS * 10**token.decimals
            await node.send_token(token.contract, shown.address, amount)
        else:
            raise UnknownAsset("The faucet has no such coin.", field="/coin")
    except ChainError:
        away = ChainUnavailable("The local chain does not answer.")
        return drafts.tell(visit, "/receive", away, at="")
    return visit.go(f"/receive?network={network}&sent=1")


async def _arrived(visit: Visit, network: str, tx_hash: str) -> list[deposits.Deposit]:
    async with visit.services.db.snapshot() as session:
        return await deposits.of_transaction(
            session,
            principal_id=visit.member.id,
            network=network,
            tx_hash=tx_hash,
            assets=visit.services.assets,
            networks=visit.services.networks,
        )


def _for_wallet(visit: Visit, network: Network) -> dict[str, object]:
    """What a wallet needs to switch to the network. A node's address is told in the sandbox alone,
    where it is this machine's own: elsewhere it may carry an access token."""
    ours = visit.services.settings.sandbox
    urls = [url for url in network.rpc_urls if ours and urlsplit(url).hostname in LOOPBACK_NAMES]
    return {
        "id": network.chain_id,
        "name": network.name,
        "native": network.native_asset,
        "rpc": urls,
    }


def _payable(network: Network) -> list[tuple[str, int, str]]:
    """(code, decimals, contract or nothing) of what a wallet can pay with there."""
    tokens = [(token.code, token.decimals, token.contract) for token in network.tokens]
    return [(network.native_asset, NATIVE_DECIMALS, ""), *tokens]


async def _address(visit: Visit, network: Network) -> DepositAddress:
    """This person's current address there, derived anew before it is shown."""
    async with visit.services.db.transaction() as session:
        await require_addresses(session, network)
        return await custody.issue_address(
            session,
            principal_id=visit.member.id,
            network=network.name,
            deriver=visit.services.deriver_of(network.name),
        )


def _link(network: Network, shown: DepositAddress) -> str:
    return eip681(shown.address, chain_id=network.chain_id)
