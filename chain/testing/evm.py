"""Contracts on a development node, one call at a time: for tests, campaigns and benches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
from eth_abi.abi import decode, encode
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from chain.dev import encode_constructor
from contracts.loader import Artifact, artifact

GAS = 16_000_000
RECEIPT_SECONDS = 30.0


class Reverted(Exception):
    """The call reverts; `name` is the custom error (or `Error`, `Panic`, ``) with its `values`."""

    def __init__(self, name: str, values: tuple[Any, ...] = ()) -> None:
        super().__init__(f"{name}{values}")
        self.name = name
        self.values = values


class NodeError(Exception):
    """The node refused a request for another reason than a revert."""


@dataclass(frozen=True, slots=True)
class Event:
    """One decoded log: `address` emitted it; `values` by parameter name."""

    address: str
    name: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """A mined transaction."""

    gas: int
    status: int
    events: list[Event]
    tx_hash: str


class Evm:
    """A development node with unlocked accounts. Every artifact in `known` lends its errors and
    events to the decoder."""

    def __init__(self, url: str, known: Sequence[str] = ()) -> None:
        self._http = httpx2.Client(base_url=url, timeout=60)
        self._errors: dict[bytes, tuple[str, list[str]]] = {
            keccak(text="Error(string)")[:4]: ("Error", ["string"]),
            keccak(text="Panic(uint256)")[:4]: ("Panic", ["uint256"]),
        }
        self._events: dict[bytes, dict[str, Any]] = {}
        self._homes: dict[str, Artifact] = {}
        for name in known:
            self.know(artifact(name))
        self.accounts: list[str] = [to_checksum_address(a) for a in self.rpc("eth_accounts")]

    def close(self) -> None:
        """End the connection."""
        self._http.close()

    def rpc(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call. Raises Reverted or NodeError."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = self._http.post("/", json=body).json()
        if "error" not in answer:
            return answer["result"]
        error = answer["error"]
        data = error.get("data")
        if isinstance(data, str) and data.startswith("0x"):
            raise self._reverted(bytes.fromhex(data[2:]))
        if "revert" in str(error.get("message", "")).lower():
            raise Reverted("")
        raise NodeError(f"{method}: {error}")

    def many(self, *calls: tuple[Any, ...]) -> list[Any]:
        """Several `(method, parameters…)` in one exchange; results in that order."""
        body = [
            {"jsonrpc": "2.0", "id": n, "method": call[0], "params": list(call[1:])}
            for n, call in enumerate(calls)
        ]
        answers = {one["id"]: one for one in self._http.post("/", json=body).json()}
        if any("result" not in answers[n] for n in range(len(calls))):
            raise NodeError(f"one of {len(calls)} calls failed: {answers}")
        return [answers[n]["result"] for n in range(len(calls))]

    def know(self, known: Artifact) -> None:
        """Decode this contract's errors and events from now on."""
        for item in known.abi:
            types = [_type(one) for one in _inputs(item)]
            signature = f"{item.get('name')}({','.join(types)})"
            if item["type"] == "error":
                self._errors[keccak(text=signature)[:4]] = (str(item["name"]), types)
            elif item["type"] == "event":
                self._events[keccak(text=signature)] = dict(item)

    def deploy(self, name: str, *args: Any, sender: str | None = None) -> str:
        """Deploy an artifact; its EIP-55 address."""
        built = artifact(name)
        self.know(built)
        data = "0x" + (built.bytecode + encode_constructor(built, args)).hex()
        sent = {"from": sender or self.accounts[0], "data": data, "gas": hex(GAS)}
        self.rpc("eth_call", sent, "latest")  # a revert names its reason here
        receipt = self._receipt(self.rpc("eth_sendTransaction", sent))
        address: str = to_checksum_address(receipt["contractAddress"])
        self._homes[address] = built
        return address

    def at(self, name: str, address: str) -> None:
        """Treat `address` as this contract (a clone, a delegated account)."""
        self._homes[address] = artifact(name)

    def data(self, address: str, function: str, args: Sequence[Any]) -> bytes:
        """Call data of a function of the contract at `address`."""
        return self._encode(self._function(address, function, len(args)), args)

    def call(self, address: str, function: str, *args: Any, sender: str | None = None) -> Any:
        """Read; a single value or a tuple. Raises Reverted."""
        item = self._function(address, function, len(args))
        request = {"to": address, "data": "0x" + self._encode(item, args).hex()}
        if sender is not None:
            request["from"] = sender
        answer = bytes.fromhex(self.rpc("eth_call", request, "latest")[2:])
        outputs = item.get("outputs", [])
        types = [_type(one) for one in outputs] if isinstance(outputs, list) else []
        values = decode(types, answer)
        return values[0] if len(values) == 1 else values

    def send(
        self, address: str, function: str, *args: Any, sender: str | None = None, value: int = 0
    ) -> Done:
        """Call and mine. Raises Reverted, and then nothing was sent."""
        return self.transact(
            address, self.data(address, function, args), sender=sender, value=value
        )

    def transact(
        self, to: str, data: bytes = b"", *, sender: str | None = None, value: int = 0,
        check: bool = True, gas: int = GAS,
    ) -> Done:  # fmt: skip
        """Any transaction, mined."""
        request = {
            "from": sender or self.accounts[0], "to": to, "data": "0x" + data.hex(),
            "value": hex(value), "gas": hex(gas),
        }  # fmt: skip
        if check:
            self.rpc("eth_call", request, "latest")
        return self.done(self.rpc("eth_sendTransaction", request))

    def done(self, tx_hash: str) -> Done:
        """A transaction, once it is mined."""
        receipt = self._receipt(tx_hash)
        events = [event for log in receipt["logs"] if (event := self._decode_log(log)) is not None]
        return Done(int(receipt["gasUsed"], 16), int(receipt["status"], 16), events, tx_hash)

    def balance(self, address: str) -> int:
        """Wei."""
        return int(self.rpc("eth_getBalance", address, "latest"), 16)

    def _receipt(self, tx_hash: str) -> dict[str, Any]:
        deadline = time.monotonic() + RECEIPT_SECONDS
        while time.monotonic() < deadline:  # a send is answered before its block is there
            receipt = self.rpc("eth_getTransactionReceipt", tx_hash)
            if receipt is not None:
                return dict(receipt)
            time.sleep(0.002)
        raise NodeError("not mined in time")

    def _function(self, address: str, name: str, count: int) -> dict[str, Any]:
        for item in self._homes[address].abi:
            named = item["type"] == "function" and item["name"] == name
            if named and len(_inputs(item)) == count:
                return dict(item)
        raise KeyError(f"{self._homes[address].name} has no {name} of {count} arguments")

    def _encode(self, item: dict[str, Any], args: Sequence[Any]) -> bytes:
        types = [_type(one) for one in _inputs(item)]
        selector = keccak(text=f"{item['name']}({','.join(types)})")[:4]
        return bytes(selector + encode(types, list(args)))

    def _reverted(self, data: bytes) -> Reverted:
        known = self._errors.get(data[:4])
        if known is None:
            return Reverted(data.hex())
        name, types = known
        return Reverted(name, tuple(decode(types, data[4:])))

    def _decode_log(self, log: dict[str, Any]) -> Event | None:
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        item = self._events.get(topics[0]) if topics else None
        if item is None:
            return None
        indexed = [one for one in _inputs(item) if one["indexed"]]
        rest = [one for one in _inputs(item) if not one["indexed"]]
        if len(indexed) != len(topics) - 1:
            return None
        values = {
            one["name"]: decode([_type(one)], topic)[0]
            for one, topic in zip(indexed, topics[1:], strict=True)
        }
        plain = decode([_type(one) for one in rest], bytes.fromhex(log["data"][2:]))
        values |= {one["name"]: value for one, value in zip(rest, plain, strict=True)}
        return Event(to_checksum_address(log["address"]), str(item["name"]), values)


def _inputs(item: dict[str, Any] | Any) -> list[dict[str, Any]]:
    return list(item.get("inputs", []))


def _type(parameter: dict[str, Any]) -> str:
    kind = str(parameter["type"])
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(_type(one) for one in parameter["components"])
    return f"({inner}){kind.removeprefix('tuple')}"
