"""Receive: an own address as text, QR code and payment link; play coins in the sandbox."""

from __future__ import annotations

import io
from typing import Annotated

import segno
from fastapi import APIRouter, Depends
from starlette.responses import Response

from api.web import drafts
from api.web.route import WebRoute
from api.web.visit import Visit, member
from chain.address import eip681
from chain.dev import DevNode
from chain.errors import ChainError
from chain.registry import Network
from wallet import custody
from wallet.custody import DepositAddress
from wallet.errors import NotFound
from wallet.money import UnknownAsset
from wallet.onchain import ChainUnavailable

FAUCET_NATIVE_WEI = 10**18
FAUCET_TOKENS = 1_000
QUIET_ZONE_MODULES = 4  # ISO/IEC 18004

router = APIRouter(route_class=WebRoute, include_in_schema=False)
Member = Annotated[Visit, Depends(member)]


@router.get("/receive")
async def receive(visit: Member) -> Response:
    """The address of the chosen network; one network needs no choosing."""
    networks = visit.services.networks
    asked = visit.request.query_params.get("network", "")
    name = asked if asked in networks else next(iter(networks))
    shown = await _address(visit, networks[name])
    network = networks[name]
    return visit.page(
        "receive.html",
        network=network,
        network_options=[(known, known) for known in networks],
        shown=shown,
        link=_link(network, shown),
        coins=[network.native_asset, *(token.code for token in network.tokens)],
        errors=drafts.told(visit),
        sent=visit.request.query_params.get("sent") == "1",
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


async def _address(visit: Visit, network: Network) -> DepositAddress:
    """This person's current address there, derived anew before it is shown."""
    async with visit.services.db.transaction() as session:
        return await custody.issue_address(
            session,
            principal_id=visit.member.id,
            network=network.name,
            deriver=visit.services.deriver_of(network.name),
        )


def _link(network: Network, shown: DepositAddress) -> str:
    return eip681(shown.address, chain_id=network.chain_id)
