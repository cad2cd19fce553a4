"""Whether the factory that a networks file names makes the addresses that we compute.

What is paid to a key-less address can be moved by its factory alone. Addresses of another contract,
of one on another chain or of none are nobody's: coins that are paid there are lost.
"""

from __future__ import annotations

from eth_utils.crypto import keccak

from chain.client import ChainClient
from chain.errors import NodeRejected, WrongChain
from chain.registry import Network
from contracts.create2 import ephemeral_address, salt_of

ADDRESS_OF = keccak(text="ephemeralAddressOf(bytes32)")[:4]


class ForeignFactory(WrongChain):
    """No factory of ours lies where the networks file says."""


def factory_of(network: Network) -> str | None:
    """The one that makes this network's addresses; None where they have keys."""
    return network.contracts["forwarder_factory"] if network.deposit_kind == "create2" else None


async def demand_factory(chain: ChainClient) -> None:
    """Ask it for its first address. Nothing is asked where addresses have keys.

    Raises ForeignFactory, and what the node raises.
    """
    if (factory := factory_of(chain.network)) is None:
        return
    salt = salt_of(chain.network.name, 0)
    try:
        told = await chain.eth_call(factory, ADDRESS_OF + salt)
    except NodeRejected as error:
        if error.rpc_code != 3 and "revert" not in error.message.lower():
            raise  # too many requests, say: the node's word about itself, not the contract's
        told = b""
    if told[-20:].hex() != ephemeral_address(factory, salt)[2:].lower():
        raise ForeignFactory(
            f"{factory} is no ForwarderFactory of ours on this chain; contracts.forwarder_factory"
            " of the networks file is wrong"
        )
