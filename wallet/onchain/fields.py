"""The unsigned transaction that a payment is."""

from __future__ import annotations

from chain.client import ChainClient
from chain.transactions import (
    TxFields,
    contract_call,
    decode_authorizations,
    erc20_transfer,
    native_transfer,
)
from wallet.onchain.repository import Intent


def build_fields(chain: ChainClient, intent: Intent, *, nonce: int, tip: int, cap: int) -> TxFields:
    """The unsigned transaction that pays this intent. Raises InvalidTransaction."""
    if intent.data is not None:
        return contract_call(
            chain_id=chain.network.chain_id,
            nonce=nonce,
            tip=tip,
            cap=cap,
            gas=intent.gas_limit,
            contract=intent.to_address,
            data=intent.data,
            value_wei=intent.amount_minor,
            authorizations=decode_authorizations(intent.authorizations)
            if intent.authorizations
            else (),
        )
    token = chain.network.token(intent.asset)
    if intent.asset == chain.network.native_asset:
        return native_transfer(
            chain_id=chain.network.chain_id,
            nonce=nonce,
            tip=tip,
            cap=cap,
            gas=intent.gas_limit,
            to=intent.to_address,
            value_wei=intent.amount_minor,
        )
    if token is None:
        raise ValueError(f"{intent.asset} is not listed on {chain.network.name}")
    return erc20_transfer(
        chain_id=chain.network.chain_id,
        nonce=nonce,
        tip=tip,
        cap=cap,
        gas=intent.gas_limit,
        contract=token.contract,
        to=intent.to_address,
        amount_minor=intent.amount_minor,
    )
