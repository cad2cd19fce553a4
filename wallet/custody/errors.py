"""Refusals about addresses."""

from __future__ import annotations

from wallet.errors import WalletError


class UnknownNetwork(WalletError):
    """A network this instance does not serve."""

    code = "unknown_network"


class InvalidAddress(WalletError):
    """Not an address money may be sent to: malformed, a wrong checksum, or one of our own."""

    code = "invalid_address"


class AddressMismatch(WalletError):
    """A stored address is not the one its index derives to: it must never be shown to anybody."""

    code = "address_mismatch"


class TooManyAddresses(WalletError):
    """One principal has asked for more fresh addresses than are kept in watch."""

    code = "too_many_addresses"
