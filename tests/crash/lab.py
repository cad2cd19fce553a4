"""The parent's side of the crash tests: a house on a real node and database, orders, verdicts."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from chain.dev import DevNode
from chain.registry import Network, Token, dump_networks
from chain.rpc import JsonRpc
from contracts.loader import artifact
from keys.policy import ChainPolicy, Limit, Policy
from keys.policy_file import dump
from keys.secret import SecretText
from keys.setup import create_house, write_public
from wallet.db import Database
from wallet.fx.feed import RateFeed, SimulatedRates
from wallet.testing.pace import patience

ROOT = Path(__file__).resolve().parents[2]
ETHER = 10**18
USDC = 10**6
CONFIRMATIONS = 3
MINE_EVERY_SECONDS = 0.12  # slower on a busy machine: a scanner that falls behind sees no end
RUN_SECONDS = 40.0
PASSPHRASE = "worthless passphrase of the crash lab"


@dataclass
class Request:
    """A POST of a life that nothing kills. `token`: whose, or the number of the answer that has
    it."""

    path: str
    body: dict[str, Any]
    token: str | int = ""
    key: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass
class Lab:
    """One house for many cases: each case has its own idempotency key and its own target."""

    database_url: str
    conninfo: str
    rpc_url: str
    home: Path
    network: Network | None = None
    hot: str = ""
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    _zygote: subprocess.Popen[str] | None = None

    # Setting up

    def open(self) -> None:
        """House keys, contracts, funds, policy; then the zygote, two people and their money."""
        (self.home / "vault").mkdir(parents=True)
        house = create_house(self.home / "vault", SecretText(PASSPHRASE), words=12)
        write_public(self.home / "keys.json", house.public())
        self.hot = house.hot[0]
        asyncio.run(self._fund_house())
        env = {k: v for k, v in os.environ.items() if not k.startswith("BIFOLD_")}
        with (self.home / "zygote.log").open("w") as log:
            self._zygote = self._start_zygote(env, log)
        assert self._zygote.stdout is not None
        assert self._zygote.stdout.readline().strip() == "ready", self.last_words()
        for name in ("ada", "ben"):
            self._person(name)
        self._deposit()

    def last_words(self) -> str:
        """The end of the zygote's log."""
        return (self.home / "zygote.log").read_text("utf-8", "replace")[-3000:]

    def _start_zygote(self, env: dict[str, str], log: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env=env | {"PYTHONPATH": str(ROOT)},
        )

    def close(self) -> None:
        """End the zygote."""
        if self._zygote is None:
            return
        for pipe in (self._zygote.stdin, self._zygote.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._zygote.wait(10)
        except subprocess.TimeoutExpired:
            self._zygote.kill()
            self._zygote.wait()

    async def _fund_house(self) -> None:
        rpc = JsonRpc(self.rpc_url)
        node = DevNode(rpc)
        sender = (await node.accounts())[0]
        token = await node.deploy(
            artifact("TestToken"), ("USD Coin", "USDC", 6, 10**9 * USDC, sender)
        )
        await node.wait_mined(await node.send_token(token, self.hot, 5_000_000 * USDC))
        await node.wait_mined(await node.send_native(self.hot, 1_000 * ETHER))
        block1 = await rpc.call("eth_getBlockByNumber", ("0x1", False))
        await rpc.aclose()
        assert isinstance(block1, dict)
        self.network = Network(
            name="local",
            chain_id=31337,
            rpc_urls=(self.rpc_url,),
            native_asset="ETH",
            block_time_ms=1000,
            confirmations=CONFIRMATIONS,
            finality="depth",
            logs_window=1000,
            min_tip_wei=10**9,
            max_fee_wei=500 * 10**9,
            bump_percent=15,
            tokens=(Token("USDC", token, 6),),
            block1_hash=str(block1["hash"]),
        )
        dump_networks(self.home / "networks.toml", {"local": self.network})
        wide = Limit(per_tx=10**30, per_day=10**32)
        dump(
            self.home / "policy.json",
            Policy({31337: ChainPolicy(500 * 10**9, native=wide, tokens={token: wide})}),
        )

    def _person(self, name: str) -> None:
        user, session = self.ask(*_signing_up(name))
        self.people[name] = user | {"token": session["token"]}

    def _deposit(self) -> None:
        """Coins and tokens by the front door: sent on chain, scanned, final, credited."""
        token = self.people["ada"]["token"]
        place = self.run("POST", "/v1/deposit-addresses", {"network": "local"}, token=token)
        asyncio.run(self._send_to(place["body"]["address"]))
        credited = self.run(
            "GET",
            "/v1/balances",
            None,
            token=token,
            follow={"path": "/v1/deposits", "until": ["credited"], "count": 2},
        )
        assert not credited.get("timeout"), credited
        paid = self.run(
            "POST",
            "/sandbox/bank-credits",
            {"user": self.people["ada"]["id"], "money": {"amount": "5000000.00", "asset": "EUR"}},
        )
        assert paid["status"] < 300, paid

    def newcomer(self) -> tuple[str, str, str]:
        """Somebody new: their id, their token and their deposit address."""
        user, session, place = self.ask(
            *_signing_up(f"new{secrets.token_hex(6)}"),
            Request("/v1/deposit-addresses", {"network": "local"}, 1),
        )
        return str(user["id"]), str(session["token"]), str(place["address"])

    def stamp_rates(self) -> None:
        """What the feed does each minute: a life is too short for it, and all of them together are
        longer than a rate is good for."""

        async def stamp() -> None:
            db = Database(self.database_url)
            await RateFeed(db, source=SimulatedRates()).tick()
            await db.dispose()

        asyncio.run(stamp())

    def send_token(self, address: str, minor: int) -> None:
        """So many minor units of USDC from the node's own account; mined by the next run."""

        async def send() -> None:
            rpc = JsonRpc(self.rpc_url)
            assert self.network is not None
            await DevNode(rpc).send_token(self.network.tokens[0].contract, address, minor)
            await rpc.aclose()

        asyncio.run(send())

    async def _send_to(self, address: str) -> None:
        rpc = JsonRpc(self.rpc_url)
        node = DevNode(rpc)
        assert self.network is not None
        await node.send_native(address, 5_000 * ETHER)
        await node.send_token(self.network.tokens[0].contract, address, 1_000_000 * USDC)
        await rpc.aclose()

    # Running

    def run(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        *,
        token: str = "",
        key: str | None = None,
        follow: dict[str, Any] | None = None,
        crash: tuple[str, int] | None = None,
    ) -> dict[str, Any]:
        """One child's life. `killed` tells whether it died at its crash point."""
        order = {
            "method": method,
            "path": path,
            "body": body,
            "token": token,
            "key": key,
            "follow": follow,
            "crash": crash,
        }
        return self._live(order)

    def ask(self, *requests: Request) -> list[dict[str, Any]]:
        """The answers' bodies to several requests of one life, in turn, each a success."""
        answers = self._live({"requests": [vars(one) for one in requests]})["answers"]
        assert all(one["status"] < 300 for one in answers), answers
        return [dict(one["body"]) for one in answers]

    def _live(self, order: dict[str, Any]) -> dict[str, Any]:
        """One child's life, with blocks mined meanwhile."""
        order |= {
            "database_url": self.database_url,
            "data_dir": str(self.home),
            "port": 8000,
            "passphrase": PASSPHRASE,
            "seconds": patience(RUN_SECONDS),
        }
        assert self._zygote is not None
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        stop = threading.Event()
        mining = threading.Thread(target=self._mine_until, args=(stop,))
        mining.start()
        try:
            self._zygote.stdin.write(json.dumps(order) + "\n")
            self._zygote.stdin.flush()
            told = self._zygote.stdout.readline()
            assert told, self.last_words()
            result: dict[str, Any] = json.loads(told)
        finally:
            stop.set()
            mining.join()
        assert "error" not in result, result["error"]
        return result

    def _mine_until(self, stop: threading.Event) -> None:
        async def mine() -> None:
            rpc = JsonRpc(self.rpc_url)
            node = DevNode(rpc)
            while not stop.is_set():
                await node.mine(1)
                await asyncio.sleep(patience(MINE_EVERY_SECONDS))
            await rpc.aclose()

        asyncio.run(mine())

    # Judging

    def rows(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """What the database holds, read from outside the application."""
        with psycopg.connect(self.conninfo, row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()

    def assert_sound(self) -> None:
        """Books that balance, nothing held, nothing in transit, no job left behind."""
        off = self.rows(
            "SELECT asset, sum(balance_minor) AS off FROM account_balances"
            " GROUP BY asset HAVING sum(balance_minor) <> 0"
        )
        assert off == [], f"the books are off: {off}"
        drifted = self.rows(
            "SELECT a.path, a.balance_minor, sum(p.amount_minor) FROM accounts a"
            " LEFT JOIN postings p ON p.account_id = a.id WHERE a.kind = 'customer'"
            " GROUP BY a.id HAVING a.balance_minor <> coalesce(sum(p.amount_minor), 0)"
        )
        assert drifted == [], f"balance is not the sum of postings: {drifted}"
        assert self.rows("SELECT id FROM holds WHERE status = 'open'") == []
        transit = self.rows(
            "SELECT path, balance_minor FROM account_balances"
            " WHERE path LIKE '%%in_transit%%' AND balance_minor <> 0"
        )
        assert transit == [], f"left in transit: {transit}"

    def on_chain(self, address: str, asset: str) -> int:
        """The node's own word."""

        async def ask() -> int:
            from chain.client import ChainClient

            assert self.network is not None
            client = ChainClient(self.network, JsonRpc(self.rpc_url))
            head = await client.head()
            (balance,) = await client.balances([address], asset, head.number)
            await client.aclose()
            return balance

        return asyncio.run(ask())


def _signing_up(name: str) -> tuple[Request, Request]:
    """Somebody and their session."""
    email, password = f"{name}@example.org", secrets.token_urlsafe(16)
    about = {"email": email, "password": password, "display_name": name.title(), "country": "DE"}
    return (
        Request("/v1/users", about),
        Request("/v1/sessions", {"email": email, "password": password}),
    )
