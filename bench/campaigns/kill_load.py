"""People of the kill campaign: each errand is one intention with one key, followed to its end."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

ANSWER_SECONDS = 8.0
POLL_SECONDS = 0.25
SETTLE_SECONDS = 60.0
NAMES = ("ada", "ben", "cyn")
CLABE = "032180000118359719"
KINDS = ("transfer", "withdrawal", "payment", "deposit")
ENDS = {
    "withdrawal": frozenset({"settled"}),
    "payment": frozenset({"completed"}),
    "deposit": frozenset({"credited"}),
}
"""How each kind may end when nothing but processes fail."""
FAILURES = frozenset({"failed", "cancelled", "returned", "in_review", "dropped", "orphaned"})


@dataclass
class Errand:
    """One intention. `seconds` from the first try to its end."""

    kind: str
    began: float = field(default_factory=time.monotonic)
    id: str = ""
    status: str = "asked"
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.id} {self.status}"


@dataclass
class Person:
    """Signed in, with a deposit address and a recipient in Mexico."""

    email: str
    token: str
    address: str
    recipient: str


class People:
    """They live on one sandbox and never give up on a request."""

    def __init__(self, url: str, seed: int) -> None:
        self._http = httpx2.AsyncClient(base_url=url, timeout=ANSWER_SECONDS, trust_env=False)
        self._seed = seed
        self.people: list[Person] = []
        self.done: list[Errand] = []
        self.wrong: list[str] = []
        self._open: dict[int, Errand] = {}

    def open(self) -> list[str]:
        """Errands that have not ended."""
        return [str(errand) for errand in self._open.values()]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def settle(self) -> None:
        """Three people with euros and coins."""
        for name in NAMES:
            email, password = f"{name}@fire.example", secrets.token_urlsafe(16)
            body = {"email": email, "password": password, "display_name": name, "country": "DE"}
            person = await self._sure("POST", "/v1/users", body)
            session = await self._sure(
                "POST", "/v1/sessions", {"email": email, "password": password}
            )
            token = session["token"]
            place = await self._sure(
                "POST", "/v1/deposit-addresses", {"network": "local"}, token=token
            )
            recipient = await self._sure(
                "POST",
                "/v1/recipients",
                {"type": "clabe", "name": "Lucía Hernández", "country": "MX", "clabe": CLABE},
                token=token,
            )
            money = {"amount": "5000.00", "asset": "EUR"}
            credit = {"user": person["id"], "money": money}
            await self._sure("POST", "/sandbox/bank-credits", credit)
            self.people.append(Person(email, token, place["address"], recipient["id"]))
            for asset, amount in (("USDC", "5000.000000"), ("ETH", "1.000000000000000000")):
                money = {"amount": amount, "asset": asset}
                draw = {"address": place["address"], "network": "local", "money": money}
                await self._sure("POST", "/sandbox/faucet", draw)
        until = time.monotonic() + SETTLE_SECONDS
        for person in self.people:
            while time.monotonic() < until:
                page = await self._sure("GET", "/v1/deposits", None, token=person.token)
                if sum(row["status"] == "credited" for row in page["data"]) >= 2:
                    break
                await asyncio.sleep(POLL_SECONDS)
            else:
                raise RuntimeError("the first deposits were not credited")

    async def errands(self, number: int, quiet: asyncio.Event) -> None:
        """One after the other until it is quiet; the last one is followed to its end."""
        chance = random.Random(f"{self._seed}/{number}")
        kinds: dict[str, Callable[[Errand, Person, random.Random], Any]] = {
            "transfer": self._transfer,
            "withdrawal": self._withdrawal,
            "payment": self._payment,
            "deposit": self._deposit,
        }
        turn = number
        while not quiet.is_set():
            errand = Errand(KINDS[turn % len(KINDS)])
            turn += 1
            self._open[number] = errand
            await kinds[errand.kind](errand, chance.choice(self.people), chance)
            errand.seconds = time.monotonic() - errand.began
            self.done.append(errand)
            del self._open[number]
            await asyncio.sleep(0.05)

    async def _transfer(self, errand: Errand, payer: Person, chance: random.Random) -> None:
        payee = chance.choice([one for one in self.people if one is not payer])
        asset, amount = chance.choice([("EUR", "0.01"), ("USDC", "0.000001")])
        body = {"to": payee.email, "money": {"amount": amount, "asset": asset}}
        made = await self._sure("POST", "/v1/transfers", body, token=payer.token)
        errand.id, errand.status = made["id"], made["status"]

    async def _withdrawal(self, errand: Errand, person: Person, chance: random.Random) -> None:
        target = "0x" + chance.randbytes(20).hex()
        body = {
            "network": "local",
            "money": {"amount": "1.000000", "asset": "USDC"},
            "to_address": target,
        }
        made = await self._sure("POST", "/v1/withdrawals", body, token=person.token)
        await self._follow(errand, f"/v1/withdrawals/{made['id']}", made["id"], person.token)

    async def _payment(self, errand: Errand, person: Person, _chance: random.Random) -> None:
        terms = {
            "source_asset": "EUR", "target_asset": "MXN", "source_amount": "1.00",
            "kind": "payment", "corridor": "EUR-MX",
        }  # fmt: skip
        quote = await self._sure("POST", "/v1/quotes", terms, token=person.token)
        body = {
            "quote_id": quote["id"],
            "recipient_id": person.recipient,
            "purpose": "family_support",
        }
        made = await self._sure("POST", "/v1/payments", body, token=person.token)
        await self._follow(errand, f"/v1/payments/{made['id']}", made["id"], person.token)

    async def _deposit(self, errand: Errand, person: Person, _chance: random.Random) -> None:
        """The faucet has no key: a draw that was not answered is not asked for again."""
        money = {"amount": "1.000000", "asset": "USDC"}
        draw = {"address": person.address, "network": "local", "money": money}
        status, drawn = await self._ask("POST", "/sandbox/faucet", draw)
        if status != 200 and status != 201:
            errand.status = "not drawn"
            return
        errand.id = drawn["tx_hash"]
        if not drawn["durable"]:
            # The node may die with it: the faucet says so, and nothing is owed then.
            errand.status = "not durable"
            return
        while errand.status != "credited":
            await asyncio.sleep(POLL_SECONDS)
            _, page = await self._ask("GET", "/v1/deposits?limit=100", None, token=person.token)
            for row in page.get("data", []):
                if row["tx_hash"] == errand.id:
                    errand.status = row["status"]

    async def _follow(self, errand: Errand, path: str, id_: str, token: str) -> None:
        errand.id = id_
        while errand.status not in ENDS[errand.kind]:
            status, now = await self._ask("GET", path, None, token=token)
            if status == 200:
                errand.status = now["status"]
                if errand.status in FAILURES:
                    self.wrong.append(f"{errand} although only processes died")
                    return
            await asyncio.sleep(POLL_SECONDS)

    async def _sure(
        self, method: str, path: str, body: dict[str, Any] | None, *, token: str = ""
    ) -> dict[str, Any]:
        """Ask with one key until it is answered with 2xx. Raises RuntimeError at a refusal."""
        key = uuid.uuid4().hex
        while True:
            status, answer = await self._ask(method, path, body, token=token, key=key)
            if 200 <= status < 300:
                return answer
            code = answer.get("code", "")
            if 400 <= status < 500 and code not in ("idempotency_in_progress", "rate_limited"):
                raise RuntimeError(f"{method} {path}: {status} {answer}")
            await asyncio.sleep(POLL_SECONDS)

    async def _ask(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        *,
        token: str = "",
        key: str | None = None,
    ) -> tuple[int, dict[str, Any]]:
        """Status and body; 0 and nothing where nobody answered."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if key is not None and method == "POST":
            headers["Idempotency-Key"] = key
        try:
            sent = await self._http.request(method, path, json=body, headers=headers)
            answer = sent.json()
        except (httpx2.HTTPError, ValueError):
            return 0, {}
        return sent.status_code, answer if isinstance(answer, dict) else {}
