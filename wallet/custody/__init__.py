"""Which address is whose: deposit addresses, and the addresses of the house itself."""

from wallet.custody.addresses import (
    DepositAddress,
    Deriver,
    issue_address,
    issued_since,
    list_addresses,
    newest_issue,
    owners,
    verify_shown,
)
from wallet.custody.derivers import FactoryDeriver, deriver_of
from wallet.custody.errors import (
    AddressMismatch,
    InvalidAddress,
    TooManyAddresses,
    UnknownNetwork,
)
from wallet.custody.house import (
    house_addresses,
    is_house_address,
    ours_among,
    register_house_address,
    warm_address,
)

__all__ = [
    "AddressMismatch",
    "DepositAddress",
    "Deriver",
    "FactoryDeriver",
    "InvalidAddress",
    "TooManyAddresses",
    "UnknownNetwork",
    "deriver_of",
    "house_addresses",
    "is_house_address",
    "issue_address",
    "issued_since",
    "list_addresses",
    "newest_issue",
    "ours_among",
    "owners",
    "register_house_address",
    "verify_shown",
    "warm_address",
]
