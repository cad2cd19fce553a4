"""The signer's own policy: default deny, read from a file that the callers cannot reach.

The file is JSON: `{chain_id: {"fee_ceiling_wei", "native": {"per_tx", "per_day"} | null,
"tokens": {contract: {"per_tx", "per_day"}}}}`. All amounts are whole numbers of the smallest unit
(wei, token units) written as decimal strings; days are UTC. See docs/custody.md.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eth_utils.address import is_checksum_address, to_checksum_address

from keys.errors import InvalidPolicy, SignerRefused
from keys.files import write_atomically
from keys.payload import ADDRESS_BYTES, MAX_UINT256, UnsignedTx
from keys.request import Kind

NATIVE: Final = "native"
MIN_GAS: Final = 21_000
MAX_GAS: Final = 16_000_000
"""Our own cap, below EIP-7825's 16,777,216."""
TRANSFER_SELECTOR: Final = bytes.fromhex("a9059cbb")
TRANSFER_BYTES: Final = 4 + 32 + 32
WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
ZERO_ADDRESS: Final = bytes(ADDRESS_BYTES)


@dataclass(frozen=True, slots=True)
class Limit:
    """The most one transaction, and all transactions of one UTC day, may carry."""

    per_tx: int
    per_day: int


@dataclass(frozen=True, slots=True)
class ChainPolicy:
    """What may be signed on one network. `fee_ceiling_wei` bounds maxFeePerGas (wei per gas);
    without `native` no coin moves; only contracts in `tokens` (EIP-55) may be called."""

    fee_ceiling_wei: int
    native: Limit | None = None
    tokens: Mapping[str, Limit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spend:
    """What a transaction pays away: `asset` is `native` or the token contract's EIP-55 address."""

    asset: str
    amount: int
    limit: Limit


@dataclass(frozen=True, slots=True)
class Policy:
    """The networks that may be signed for, by chain id. What is not listed is refused."""

    chains: Mapping[int, ChainPolicy]

    def examine(self, tx: UnsignedTx, *, sender: bytes, kind: Kind) -> Spend | None:
        """Allow the transaction or raise `SignerRefused`. None means it pays nobody (a transfer of
        0 to oneself). The day's sum is the journal's to judge."""
        chain = self.chains.get(tx.chain_id) if tx.chain_id != 0 else None
        if chain is None:
            raise SignerRefused("chain_not_allowed", f"chain id {tx.chain_id}")
        if not MIN_GAS <= tx.gas <= MAX_GAS:
            raise SignerRefused("gas_outside_limit", f"gas {tx.gas}")
        if not 0 < tx.cap <= chain.fee_ceiling_wei or tx.tip > tx.cap:
            raise SignerRefused("fee_above_ceiling", f"max fee {tx.cap}, tip {tx.tip}")
        if len(tx.to) != ADDRESS_BYTES or tx.to == ZERO_ADDRESS:
            raise SignerRefused("recipient_not_allowed", "no contract creation, no zero address")
        to_self = tx.to == sender and tx.value == 0 and tx.data == b""
        if kind in ("cancel", "noop") or (kind == "bump" and to_self):
            if not to_self:
                raise SignerRefused("not_a_self_transfer", f"a {kind} sends 0 to its own sender")
            return None
        spend = _native(chain, tx) if tx.data == b"" else _token(chain, tx)
        if spend.amount > spend.limit.per_tx:
            raise SignerRefused("above_per_tx_limit", f"{spend.amount} of {spend.asset}")
        return spend


def _native(chain: ChainPolicy, tx: UnsignedTx) -> Spend:
    if chain.native is None:
        raise SignerRefused("asset_not_allowed", "the native coin is not in the policy")
    if tx.value == 0:
        raise SignerRefused("zero_value", "a payment carries something")
    if to_checksum_address(tx.to) in chain.tokens:
        raise SignerRefused("recipient_not_allowed", "a token contract keeps coins for ever")
    return Spend(NATIVE, tx.value, chain.native)


def _token(chain: ChainPolicy, tx: UnsignedTx) -> Spend:
    """ERC-20 `transfer(address,uint256)`: exactly 68 bytes to a listed contract, no coin."""
    if len(tx.data) != TRANSFER_BYTES or tx.data[:4] != TRANSFER_SELECTOR:
        raise SignerRefused("selector_not_allowed", "only transfer(address,uint256)")
    contract = to_checksum_address(tx.to)
    limit = chain.tokens.get(contract)
    if limit is None:
        raise SignerRefused("asset_not_allowed", f"contract {contract} is not in the policy")
    if tx.value != 0:
        raise SignerRefused("selector_not_allowed", "a token transfer carries no coin")
    padding, recipient = tx.data[4:16], tx.data[16:36]
    if padding != bytes(12) or recipient == ZERO_ADDRESS or recipient == tx.to:
        raise SignerRefused("recipient_not_allowed", "malformed, zero or the contract itself")
    amount = int.from_bytes(tx.data[36:], "big")
    if amount == 0:
        raise SignerRefused("zero_value", "a payment carries something")
    return Spend(contract, amount, limit)


def load(path: str | os.PathLike[str]) -> Policy:
    """Read and check a policy file. Raises `InvalidPolicy`, also when others may write to it."""
    try:
        with Path(path).open("rb") as file:
            if os.fstat(file.fileno()).st_mode & WRITABLE_BY_OTHERS:
                raise InvalidPolicy("the policy file is writable by group or others")
            document = json.load(file, object_pairs_hook=_no_duplicates)
    except (OSError, ValueError) as error:
        raise InvalidPolicy(f"cannot read the policy: {error}") from error
    chains = _object(document, "the policy")
    return Policy({_chain_id(key): _chain(value) for key, value in chains.items()})


def dump(path: str | os.PathLike[str], policy: Policy) -> None:
    """Write a policy file (0600, atomically) that `load` reads back as an equal `Policy`."""
    document = {str(key): _chain_document(chain) for key, chain in policy.chains.items()}
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    write_atomically(Path(path), text.encode("ascii"))


def _chain_document(chain: ChainPolicy) -> dict[str, Any]:
    return {
        "fee_ceiling_wei": str(chain.fee_ceiling_wei),
        "native": None if chain.native is None else _limit_document(chain.native),
        "tokens": {contract: _limit_document(limit) for contract, limit in chain.tokens.items()},
    }


def _limit_document(limit: Limit) -> dict[str, str]:
    return {"per_tx": str(limit.per_tx), "per_day": str(limit.per_day)}


def _chain(value: object) -> ChainPolicy:
    entry = _object(value, "a chain", required={"fee_ceiling_wei"}, optional={"native", "tokens"})
    native = entry.get("native")
    tokens = _object(entry.get("tokens", {}), "tokens")
    return ChainPolicy(
        fee_ceiling_wei=_amount(entry["fee_ceiling_wei"]),
        native=None if native is None else _limit(native),
        tokens={_contract(key): _limit(limit) for key, limit in tokens.items()},
    )


def _limit(value: object) -> Limit:
    entry = _object(value, "a limit", required={"per_tx", "per_day"}, optional=set())
    return Limit(per_tx=_amount(entry["per_tx"]), per_day=_amount(entry["per_day"]))


def _object(
    value: object,
    what: str,
    *,
    required: set[str] | None = None,
    optional: set[str] | None = None,
) -> dict[str, Any]:
    """A JSON object; with `required` also exactly those keys, plus some of `optional`."""
    if not isinstance(value, dict):
        raise InvalidPolicy(f"{what} must be an object")
    if required is not None and not required <= set(value) <= required | (optional or set()):
        raise InvalidPolicy(f"{what} has missing or unknown keys: {sorted(value)}")
    return value


def _amount(value: object) -> int:
    """A whole number ≥ 0 as decimal string or JSON integer; never a float, never a bool."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 78:
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_UINT256:
        raise InvalidPolicy("an amount is a whole number of the smallest unit")
    return value


def _chain_id(key: str) -> int:
    if not (key.isascii() and key.isdigit()) or key.startswith("0") or len(key) > 20:
        raise InvalidPolicy(f"not a chain id: {key!r}")
    return int(key)


def _contract(key: str) -> str:
    if not is_checksum_address(key):
        raise InvalidPolicy(f"not an EIP-55 address: {key!r}")
    return key


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise InvalidPolicy("a key occurs twice")
    return dict(pairs)
