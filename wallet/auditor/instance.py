"""What an instance says of itself outside its database: networks, tokens, the deposit key."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# ISO 4217: digits after the point of the currencies that a wallet here may hold.
FIAT_DIGITS: Mapping[str, int] = {
    "EUR": 2, "USD": 2, "GBP": 2, "CNY": 2, "HKD": 2, "JPY": 0, "SGD": 2, "AED": 2, "MXN": 2,
    "BRL": 2, "INR": 2, "NGN": 2, "KES": 2, "PHP": 2, "KWD": 3, "CHF": 2,
}  # fmt: skip
NATIVE_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Network:
    """One network as the networks file has it. `tokens`: code → (contract, lower case; digits).
    `data_fee`: it takes something beside the gas."""

    name: str
    chain_id: int
    rpc_urls: tuple[str, ...]
    native: str
    tokens: Mapping[str, tuple[str, int]]
    contracts: Mapping[str, str]
    keyless: bool
    data_fee: bool = False


@dataclass(frozen=True, slots=True)
class Instance:
    """`xpub`: the deposit account's, None where it is not known here."""

    networks: Mapping[str, Network] = field(default_factory=dict)
    xpub: str | None = None

    @classmethod
    def read(cls, networks_file: Path | None, keys_file: Path | None) -> Instance:
        """From the two files; one that is not there leaves its part unknown.

        Raises ValueError for a file that is there and cannot be read as what it should be.
        """
        networks: dict[str, Network] = {}
        if networks_file is not None and networks_file.is_file():
            try:
                tables = tomllib.loads(networks_file.read_text("utf-8")).get("networks", {})
                networks = {name: _network(name, table) for name, table in tables.items()}
            except (KeyError, TypeError, tomllib.TOMLDecodeError) as error:
                raise ValueError(f"{networks_file} is no networks file") from error
        xpub = None
        if keys_file is not None and keys_file.is_file():
            try:
                xpub = str(json.loads(keys_file.read_bytes())["deposit_xpub"])
            except (KeyError, TypeError, json.JSONDecodeError) as error:
                raise ValueError(f"{keys_file} is no keys file") from error
        return cls(networks, xpub)

    def digits(self, asset: str) -> int | None:
        """How many digits an asset has after the point; None: nobody said."""
        if asset in FIAT_DIGITS:
            return FIAT_DIGITS[asset]
        for network in self.networks.values():
            if asset == network.native:
                return NATIVE_DIGITS
            if asset in network.tokens:
                return network.tokens[asset][1]
        return None

    def terms(self) -> dict[str, set[tuple[str, int]]]:
        """Kind and digits of each asset, as its networks list it."""
        found: dict[str, set[tuple[str, int]]] = {}
        for network in self.networks.values():
            found.setdefault(network.native, set()).add(("native", NATIVE_DIGITS))
            for code, (_, digits) in network.tokens.items():
                found.setdefault(code, set()).add(("token", digits))
        return found


def _network(name: str, table: Mapping[str, Any]) -> Network:
    return Network(
        name=name,
        chain_id=int(table["chain_id"]),
        rpc_urls=tuple(str(url) for url in table["rpc_urls"]),
        native=str(table["native_asset"]),
        tokens={
            str(token["code"]): (str(token["contract"]).lower(), int(token["decimals"]))
            for token in table.get("tokens", ())
        },
        contracts={key: str(value) for key, value in table.get("contracts", {}).items()},
        keyless=table.get("deposit_kind", "eoa") == "create2",
        data_fee=table.get("fee_model", "l1") == "op",
    )
