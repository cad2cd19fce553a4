"""The signer's policy file: JSON, strict, and not writable by others.

`{chain_id: {"fee_ceiling_wei", "fees_per_day", "native": LIMIT | null, "tokens": {contract: LIMIT},
"contracts": {role: address}, "treasury_to": [address], "sweep_to": [address], "sweeper": address,
"warm": {"native": LIMIT | null, "tokens": {contract: LIMIT}, "signatures": number}}, "operators":
[address]}` with LIMIT `{"per_tx", "per_day", "approve_above"}`. All but `fee_ceiling_wei`, `per_tx`
and `per_day` may be left out. Amounts are whole numbers of the smallest
unit (wei, token units) as decimal strings; days are UTC.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, Final

from eth_utils.address import is_checksum_address

from keys.errors import InvalidPolicy
from keys.files import in_words, write_atomically
from keys.payload import MAX_UINT256
from keys.policy import CONTRACT_ROLES, MIN_WARM_SIGNATURES, ChainPolicy, Limit, Policy, WarmPolicy
from keys.request import MAX_APPROVALS

WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
OPERATORS: Final = "operators"


def load(path: str | os.PathLike[str]) -> Policy:
    """Read and check a policy file. Raises `InvalidPolicy`, also when others may write to it."""
    try:
        with Path(path).open("rb") as file:
            if os.fstat(file.fileno()).st_mode & WRITABLE_BY_OTHERS:
                raise InvalidPolicy("the policy file is writable by group or others")
            document = json.load(file, object_pairs_hook=_no_duplicates)
    except OSError as error:
        raise InvalidPolicy(in_words(error, "policy file", path)) from error
    except ValueError as error:
        raise InvalidPolicy(f"cannot read the policy: {error}") from error
    chains = _object(document, "the policy")
    operators = _addresses(chains.pop(OPERATORS, []))
    policy = Policy({_chain_id(key): _chain(value) for key, value in chains.items()}, operators)
    _check_approvals(policy)
    return policy


def dump(path: str | os.PathLike[str], policy: Policy) -> None:
    """Write a policy file (0600, atomically) that `load` reads back as an equal `Policy`."""
    document: dict[str, Any] = {
        str(key): _chain_document(chain) for key, chain in policy.chains.items()
    }
    if policy.operators:
        document[OPERATORS] = sorted(policy.operators)
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    write_atomically(Path(path), text.encode("ascii"))


def _check_approvals(policy: Policy) -> None:
    """A limit that asks for an approval nobody can give is a mistake, not a lock."""
    limits = [
        limit
        for chain in policy.chains.values()
        for limit in (chain.native, *chain.tokens.values())
        if limit is not None and limit.approve_above is not None
    ]
    if limits and not policy.operators:
        raise InvalidPolicy("approve_above needs operators who can approve")
    most = min(len(policy.operators), MAX_APPROVALS)
    for chain in policy.chains.values():
        if chain.warm is not None and not MIN_WARM_SIGNATURES <= chain.warm.signatures <= most:
            raise InvalidPolicy(
                "warm needs signatures of two operators or more, and so many operators"
            )


def _chain_document(chain: ChainPolicy) -> dict[str, Any]:
    document: dict[str, Any] = {
        "fee_ceiling_wei": str(chain.fee_ceiling_wei),
        **_listed(chain),
    }
    if chain.fees_per_day is not None:
        document["fees_per_day"] = str(chain.fees_per_day)
    if chain.contracts:
        document["contracts"] = dict(chain.contracts)
    for name, held in (("treasury_to", chain.treasury_to), ("sweep_to", chain.sweep_to)):
        if held:
            document[name] = sorted(held)
    if chain.sweeper is not None:
        document["sweeper"] = chain.sweeper
    if chain.warm is not None:
        document["warm"] = {**_listed(chain.warm), "signatures": chain.warm.signatures}
    return document


def _listed(policy: ChainPolicy | WarmPolicy) -> dict[str, Any]:
    return {
        "native": None if policy.native is None else _limit_document(policy.native),
        "tokens": {contract: _limit_document(limit) for contract, limit in policy.tokens.items()},
    }


def _limit_document(limit: Limit) -> dict[str, str]:
    document = {"per_tx": str(limit.per_tx), "per_day": str(limit.per_day)}
    if limit.approve_above is not None:
        document["approve_above"] = str(limit.approve_above)
    return document


def _chain(value: object) -> ChainPolicy:
    optional = {
        "fees_per_day", "native", "tokens", "contracts", "treasury_to", "sweep_to", "sweeper",
        "warm",
    }  # fmt: skip
    entry = _object(value, "a chain", required={"fee_ceiling_wei"}, optional=optional)
    native, sweeper, warm = entry.get("native"), entry.get("sweeper"), entry.get("warm")
    fees = entry.get("fees_per_day")
    if fees is not None and not _amount(fees):
        raise InvalidPolicy("fees_per_day of 0 would let nothing out: leave it away, or say more")
    contracts = _object(
        entry.get("contracts", {}), "contracts", required=set(), optional=set(CONTRACT_ROLES)
    )
    return ChainPolicy(
        fee_ceiling_wei=_amount(entry["fee_ceiling_wei"]),
        fees_per_day=None if fees is None else _amount(fees),
        native=None if native is None else _limit(native),
        tokens=_tokens(entry),
        contracts={role: _address(held) for role, held in contracts.items()},
        treasury_to=_addresses(entry.get("treasury_to", [])),
        sweep_to=_addresses(entry.get("sweep_to", [])),
        sweeper=None if sweeper is None else _address(sweeper),
        warm=None if warm is None else _warm(warm),
    )


def _tokens(entry: dict[str, Any]) -> dict[str, Limit]:
    tokens = _object(entry.get("tokens", {}), "tokens")
    return {_address(key): _limit(limit) for key, limit in tokens.items()}


def _warm(value: object) -> WarmPolicy:
    """What leaves warm; every payment asks for operators, so that its limits do not."""
    entry = _object(value, "warm", required=set(), optional={"native", "tokens", "signatures"})
    native, signatures = entry.get("native"), entry.get("signatures", MIN_WARM_SIGNATURES)
    if type(signatures) is not int:
        raise InvalidPolicy("signatures is a number")
    warm = WarmPolicy(None if native is None else _limit(native), _tokens(entry), signatures)
    limits = [*warm.tokens.values(), *([] if warm.native is None else [warm.native])]
    if not limits or any(limit.approve_above is not None for limit in limits):
        raise InvalidPolicy("warm lists an asset at least, and approve_above has no place there")
    return warm


def _limit(value: object) -> Limit:
    entry = _object(value, "a limit", required={"per_tx", "per_day"}, optional={"approve_above"})
    above = entry.get("approve_above")
    return Limit(
        per_tx=_amount(entry["per_tx"]),
        per_day=_amount(entry["per_day"]),
        approve_above=None if above is None else _amount(above),
    )


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
    if required is not None:
        if missing := required - set(value):
            raise InvalidPolicy(f"{what} lacks {sorted(missing)}")
        if unknown := set(value) - required - (optional or set()):
            raise InvalidPolicy(f"{what} has unknown keys: {sorted(unknown)}")
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


def _address(key: object) -> str:
    if not isinstance(key, str) or not is_checksum_address(key):
        raise InvalidPolicy(f"not an EIP-55 address: {key!r}")
    return key


def _addresses(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        raise InvalidPolicy("a list of addresses")
    return frozenset(_address(item) for item in value)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise InvalidPolicy("a key occurs twice")
    return dict(pairs)
