"""How a network's deposit addresses follow from their index: a child of the xpub, or no key at all.

Key-less addresses (CREATE2) are computed from the factory that alone can empty them, into the
treasury that is fixed in its code. The factory is part of every such address.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from chain.registry import Network
from contracts.create2 import ephemeral_address, salt_of
from keys.derivation import KEPT_ADDRESSES
from wallet.custody.addresses import Deriver


class FactoryDeriver:
    """Key-less addresses of one network."""

    def __init__(self, network: str, factory: str) -> None:
        self._network = network
        self._factory = factory

    def address(self, index: int) -> str:
        """The EIP-55 address at that index."""
        return _keyless(self._factory, self._network, index)


@lru_cache(maxsize=KEPT_ADDRESSES)
def _keyless(factory: str, network: str, index: int) -> str:
    """Remembered: the code that is hashed for each has kilobytes."""
    return ephemeral_address(factory, salt_of(network, index))


def deriver_of(network: Network, children: Deriver) -> Deriver:
    """The network's way; `children` derives from the deposit account's xpub."""
    if network.deposit_kind == "create2":
        return FactoryDeriver(network.name, network.contracts["forwarder_factory"])
    return children


DeriverOf = Callable[[str], Deriver]
"""Network name → its deriver."""
