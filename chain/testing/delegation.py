"""EIP-7702 for tests and benches: authorisations and the transaction that carries them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eth_account import Account
from eth_utils.address import to_checksum_address

from chain.testing.evm import GAS, Done, Evm


def authorize(key: bytes, *, chain_id: int, delegate: str, nonce: int) -> Any:
    """A signed authorisation: `key`'s account runs `delegate`'s code from then on."""
    return Account.from_key(key).sign_authorization(
        {"chainId": chain_id, "address": delegate, "nonce": nonce}
    )


def send_with(
    evm: Evm, relayer_key: bytes, *, to: str, data: bytes, authorizations: Sequence[Any]
) -> Done:
    """A type 4 transaction of the relayer (type 2 without authorisations), mined."""
    account = Account.from_key(relayer_key)
    fields: dict[str, Any] = {
        "chainId": int(evm.rpc("eth_chainId"), 16),
        "nonce": int(evm.rpc("eth_getTransactionCount", account.address, "latest"), 16),
        "maxFeePerGas": 10**11,
        "maxPriorityFeePerGas": 10**9,
        "gas": GAS,
        "to": to_checksum_address(to),
        "value": 0,
        "data": data,
    }
    if authorizations:
        fields["authorizationList"] = list(authorizations)
    else:
        fields["type"] = 2
    raw = account.sign_transaction(fields).raw_transaction
    return evm.done(evm.rpc("eth_sendRawTransaction", "0x" + bytes(raw).hex()))
