"""The networks file (TOML): which chains and tokens this instance serves, parsed strictly.

Amounts are integers in wei or blocks; nothing in here is a float. Unknown keys are refused, so
that a mistyped `max_fee_wei` cannot silently mean "no ceiling".
"""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

from chain.address import checked
from chain.errors import InvalidAddress, InvalidNetworks
from keys.files import in_words

Finality = Literal["depth", "tag", "both"]
FeeModel = Literal["l1", "op", "arbitrum"]
DepositKind = Literal["eoa", "create2"]
ABILITIES = frozenset({"eip7702", "traces"})
CONTRACTS = frozenset({"batch_payout", "sweeper", "sweep_batch", "forwarder_factory", "treasury"})
MAX_TOKEN_DECIMALS = 18  # Tokens with more are not listed (decisions.md 9).
MIN_BUMP_PERCENT = 13  # The first whole percentage above 12.5, which every pool we know accepts.
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}\Z")
_CODE = re.compile(r"[A-Z][A-Z0-9]{1,11}\Z")
_HASH = re.compile(r"0x[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Token:
    """A listed ERC-20 contract. `contract` is EIP-55; `decimals` are fixed at listing.

    `sweep_min`: smallest unit; a deposit address that holds less is not swept.
    """

    code: str
    contract: str
    decimals: int
    sweep_min: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """One chain as the operator configured it.

    `confirmations`: blocks from the mined one to the head, both counted. `finality`: by depth,
    by the node's `finalized` tag, or both. `block1_hash` pins the chain (None: not pinned yet).
    `local_snapshots`: a node we snapshot ourselves; nothing above the last snapshot is final.
    `fee_model`: `op` adds an L1 data fee to each transaction, `arbitrum` folds it into gas units.
    `supports`: what its nodes are known to do beyond the common ground (`ABILITIES`).
    `deposit_kind`: `eoa` are children of the deposit xpub, `create2` addresses have no key at all.
    `contracts`: EIP-55 addresses of ours by role (`CONTRACTS`); `treasury` receives sweeps.
    `native_sweep_min` in wei, like a token's `sweep_min`.
    """

    name: str
    chain_id: int
    rpc_urls: tuple[str, ...]
    native_asset: str
    block_time_ms: int
    confirmations: int
    finality: Finality
    logs_window: int
    min_tip_wei: int
    max_fee_wei: int
    bump_percent: int
    tokens: tuple[Token, ...] = ()
    block1_hash: str | None = None
    local_snapshots: bool = False
    fee_model: FeeModel = "l1"
    supports: tuple[str, ...] = ()
    deposit_kind: DepositKind = "eoa"
    contracts: Mapping[str, str] = field(default_factory=dict)
    native_sweep_min: int = 0

    def __post_init__(self) -> None:
        """Refuse a network that contradicts itself. Raises InvalidNetworks."""
        _check(bool(_NAME.match(self.name)), self.name, "name must be lower-case a-z, 0-9, -")
        _check(1 <= self.chain_id < 2**63, self.name, "chain_id must be positive")
        _check(len(self.rpc_urls) > 0, self.name, "rpc_urls is empty")
        for url in self.rpc_urls:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname)
            _check(usable, self.name, "rpc_urls must be http or https addresses")
        _check(bool(_CODE.match(self.native_asset)), self.name, "native_asset is not a code")
        _check(self.block_time_ms > 0, self.name, "block_time_ms must be positive")
        _check(1 <= self.confirmations <= 100_000, self.name, "confirmations must be 1 or more")
        _check(self.finality in ("depth", "tag", "both"), self.name, "finality is unknown")
        _check(1 <= self.logs_window <= 10_000, self.name, "logs_window must be 1 to 10000")
        _check(0 <= self.min_tip_wei <= self.max_fee_wei, self.name, "min_tip_wei above ceiling")
        _check(0 < self.max_fee_wei < 10**15, self.name, "max_fee_wei must be 1 to 10^15 per gas")
        _check(
            MIN_BUMP_PERCENT <= self.bump_percent <= 100,
            self.name,
            "bump_percent must be 13 to 100",
        )
        pinned = self.block1_hash is None or bool(_HASH.match(self.block1_hash))
        _check(pinned, self.name, "block1_hash must be 0x and 64 lower-case digits")
        _check(self.fee_model in ("l1", "op", "arbitrum"), self.name, "fee_model is unknown")
        _check(set(self.supports) <= ABILITIES, self.name, "supports names an unknown ability")
        _check(self.deposit_kind in ("eoa", "create2"), self.name, "deposit_kind is unknown")
        _check(self.native_sweep_min >= 0, self.name, "native_sweep_min is below zero")
        self._check_tokens()
        self._check_contracts()

    def _check_contracts(self) -> None:
        unknown = self.contracts.keys() - CONTRACTS
        _check(not unknown, self.name, f"contracts: unknown roles {sorted(unknown)}")
        for role, address in self.contracts.items():
            _check_address(self.name, f"contracts.{role}", address)
        create2 = {"forwarder_factory", "treasury"} <= self.contracts.keys()
        _check(
            self.deposit_kind == "eoa" or create2,
            self.name,
            "deposit_kind create2 needs contracts.forwarder_factory and contracts.treasury",
        )

    def _check_tokens(self) -> None:
        codes = [self.native_asset, *(token.code for token in self.tokens)]
        _check(len(set(codes)) == len(codes), self.name, "an asset code is listed twice")
        contracts = [token.contract for token in self.tokens]
        _check(len(set(contracts)) == len(contracts), self.name, "a contract is listed twice")
        for token in self.tokens:
            _check(bool(_CODE.match(token.code)), self.name, f"{token.code!r} is not a code")
            decimals_fit = 0 <= token.decimals <= MAX_TOKEN_DECIMALS
            _check(decimals_fit, self.name, f"{token.code}: decimals must be 0 to 18")
            _check(token.sweep_min >= 0, self.name, f"{token.code}: sweep_min is below zero")
            _check_address(self.name, token.code, token.contract)

    def token(self, code: str) -> Token | None:
        """The listed token with this asset code, or None."""
        return next((token for token in self.tokens if token.code == code), None)

    def lists(self, code: str) -> bool:
        """Whether it is the coin, or a token of the file as it was read."""
        return code == self.native_asset or self.token(code) is not None

    def final(self, head: int, tagged: int) -> int:
        """Newest final height for a node with this head and `finalized` block (−1: none yet)."""
        by_depth = max(head - self.confirmations + 1, -1)
        if self.finality == "depth":
            return by_depth
        return tagged if self.finality == "tag" else min(by_depth, tagged)


def load_networks(path: Path) -> dict[str, Network]:
    """Read the networks file. Keys are network names. Raises InvalidNetworks."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidNetworks(in_words(error, "networks file", path)) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidNetworks(f"the networks file cannot be read: {error}") from None
    tables = document.pop("networks", None)
    if document or not isinstance(tables, dict):
        raise InvalidNetworks("the networks file holds [networks.NAME] tables and nothing else")
    networks = {name: _parse_network(name, table) for name, table in tables.items()}
    ids = [network.chain_id for network in networks.values()]
    if len(set(ids)) != len(ids):
        raise InvalidNetworks("two networks have the same chain_id")
    return networks


def dump_networks(path: Path, networks: Mapping[str, Network]) -> None:
    """Write the networks file atomically (temporary file, fsync, rename); readable by its owner.

    The file may hold access tokens inside RPC addresses, hence mode 0600.
    """
    text = "\n".join(_render(network) for network in networks.values())
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _check(holds: bool, name: str, problem: str) -> None:
    if not holds:
        raise InvalidNetworks(f"network {name}: {problem}")


def _check_address(name: str, what: str, address: str) -> None:
    try:
        canonical = checked(address)
    except InvalidAddress as error:
        raise InvalidNetworks(f"network {name}: {what}: {error}") from None
    _check(address == canonical, name, f"{what}: contract not EIP-55")


_TYPES: dict[str, type] = {
    "chain_id": int, "rpc_urls": list, "native_asset": str, "block_time_ms": int,
    "confirmations": int, "finality": str, "logs_window": int, "min_tip_wei": int,
    "max_fee_wei": int, "bump_percent": int, "tokens": list, "block1_hash": str,
    "local_snapshots": bool, "fee_model": str, "supports": list, "deposit_kind": str,
    "contracts": dict, "native_sweep_min": int,
}  # fmt: skip
_OPTIONAL = {
    "tokens", "block1_hash", "local_snapshots", "fee_model", "supports", "deposit_kind",
    "contracts", "native_sweep_min",
}  # fmt: skip


def _parse_network(name: str, table: object) -> Network:
    if not isinstance(table, dict):
        raise InvalidNetworks(f"network {name}: not a table")
    _check(not table.keys() - _TYPES.keys(), name, f"unknown keys {table.keys() - _TYPES.keys()}")
    missing = _TYPES.keys() - _OPTIONAL - table.keys()
    _check(not missing, name, f"missing keys {sorted(missing)}")
    for key, value in table.items():
        _check(type(value) is _TYPES[key], name, f"{key} must be {_TYPES[key].__name__}")
    values = dict(table)
    values["rpc_urls"] = tuple(values["rpc_urls"])
    _check(all(isinstance(url, str) for url in values["rpc_urls"]), name, "rpc_urls holds texts")
    values["supports"] = tuple(values.get("supports", []))
    _check(all(isinstance(one, str) for one in values["supports"]), name, "supports holds texts")
    contracts = values.get("contracts", {})
    _check(all(isinstance(one, str) for one in contracts.values()), name, "contracts hold texts")
    values["tokens"] = tuple(_parse_token(name, item) for item in values.get("tokens", []))
    return Network(name=name, **values)


def _parse_token(name: str, item: object) -> Token:
    wanted = {"code": str, "contract": str, "decimals": int, "sweep_min": int}
    needed = wanted.keys() - {"sweep_min"}
    if not isinstance(item, dict) or not needed <= item.keys() <= wanted.keys():
        raise InvalidNetworks(f"network {name}: a token has code, contract and decimals")
    for key, kind in wanted.items():
        _check(
            key not in item or type(item[key]) is kind, name, f"token {key} must be {kind.__name__}"
        )
    return Token(**item)


def _render(network: Network) -> str:
    lines = [f"[networks.{network.name}]"]
    for item in fields(network):
        value = cast(object, getattr(network, item.name))
        if item.name not in ("name", "tokens", "contracts") and value not in (None, ()):
            lines.append(f"{item.name} = {_toml(value)}")
    if network.contracts:
        lines.append(f"\n[networks.{network.name}.contracts]")
        lines += [f"{role} = {_toml(address)}" for role, address in network.contracts.items()]
    for token in network.tokens:
        lines.append(f"\n[[networks.{network.name}.tokens]]")
        lines += [f"{f.name} = {_toml(getattr(token, f.name))}" for f in fields(token)]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    text = str(value)
    if any(not char.isprintable() for char in text):
        raise InvalidNetworks("control characters do not belong in the networks file")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
