"""A person's client: the public API and, for the second opinion, the node itself."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.4
BALANCE_OF = "0x70a08231"


class DemoFailed(Exception):
    """Something in the story did not go as told."""


@dataclass(slots=True)
class Api:
    """One caller of the API; `token` once signed in."""

    http: httpx2.Client
    token: str | None = None

    def get(self, path: str) -> Any:
        """GET, or DemoFailed with the problem document's own words."""
        return self._answer(self.http.get(path, headers=self._headers()))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST with a fresh idempotency key."""
        headers = self._headers() | {"Idempotency-Key": secrets.token_hex(12)}
        return self._answer(self.http.post(path, json=body, headers=headers))

    def put(self, path: str, body: dict[str, Any]) -> Any:
        """PUT."""
        return self._answer(self.http.put(path, json=body, headers=self._headers()))

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @staticmethod
    def _answer(response: httpx2.Response) -> Any:
        if response.status_code >= 400:
            try:
                problem = response.json()
            except ValueError:
                problem = {}
            told = problem.get("detail") or response.text[:200]
            raise DemoFailed(
                f"{response.request.method} {response.request.url.path} answered"
                f" {response.status_code} {problem.get('code', '')}: {told}"
            )
        return response.json() if response.content else None

    def balance(self, asset: str) -> str:
        """The available balance as the API shows it; "0" when there is none yet."""
        rows = self.get("/v1/balances")["data"]
        return next((row["available"] for row in rows if row["asset"] == asset), "0")


@dataclass(slots=True)
class Node:
    """The node, asked directly: what the chain says, not what we say."""

    http: httpx2.Client
    url: str

    def call(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = self.http.post(self.url, json=body).json()
        if "result" not in answer:
            raise DemoFailed(f"the node refused {method}: {answer.get('error')}")
        return answer["result"]

    def balance(self, address: str, contract: str | None) -> int:
        """Minor units at the newest block: native coin, or a token's `balanceOf`."""
        if contract is None:
            return int(self.call("eth_getBalance", address, "latest"), 16)
        data = BALANCE_OF + address[2:].lower().rjust(64, "0")
        answer = self.call("eth_call", {"to": contract, "data": data}, "latest")
        return int(answer, 16)

    def receipt(self, tx_hash: str) -> dict[str, Any]:
        """The receipt of a mined transaction."""
        answer = self.call("eth_getTransactionReceipt", tx_hash)
        if answer is None:
            raise DemoFailed(f"the chain does not know {tx_hash}")
        return dict(answer)


def wait_for(
    read: Callable[[], Any],
    done: Callable[[Any], bool],
    *,
    seen: Callable[[Any], None] | None = None,
    seconds: float = PATIENCE_SECONDS,
    what: str,
) -> Any:
    """Read again and again until `done`; DemoFailed after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = read()
        if seen is not None:
            seen(value)
        if done(value):
            return value
        if time.monotonic() > deadline:
            raise DemoFailed(f"waited {seconds:.0f} s for {what}; last seen: {value}")
        time.sleep(POLL_SECONDS)
