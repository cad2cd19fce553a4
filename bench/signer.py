"""The signer process over its socket, against eth-account signing in this process.

The signer is the real one: vault, policy, journal, fsync before a signature leaves. One caller
asks for `LANES` hot addresses as full as a lane may be (16 in flight each, what one connection is
worked on at once), coins and tokens in turn. The peer signs the same transactions one after
another with the keys in its hand, checks nothing and writes nothing down. Both must give the same
bytes. The share of a core that each side used stands beside the rates: wall time on a busy machine
says little.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_utils.address import to_checksum_address

from bench import ratios
from keys import policy_file
from keys.derivation import HOT_ACCOUNT, derive_key, path
from keys.descriptors import offer
from keys.errors import SignerUnavailable
from keys.payload import decode_unsigned
from keys.remote import RemoteSigner
from keys.secret import Secret, SecretText
from keys.setup import create_house
from keys.testing import (
    TEST_MNEMONIC,
    TEST_PASSPHRASE,
    native_payload,
    open_policy,
    test_seed,
    token_payload,
)
from keys.wire import new_capability

LANES = 4
EACH = 16
TOKEN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
START_SECONDS = 30.0
ALONE = 100
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Order:
    """One transaction to sign: as the signer takes it, and as eth-account does."""

    address: str
    payload: bytes
    intent_id: str
    fields: dict[str, Any]
    key: Secret


def measure(*, rounds: int, seconds: float, batches: int = 25) -> dict[str, Any]:
    """Signatures a second, ratios of each round, CPU. `seconds` is not used; a round signs
    `batches` × 64 transactions on each side."""
    return asyncio.run(_measure(rounds, batches))


async def _measure(rounds: int, batches: int) -> dict[str, Any]:
    samples: dict[str, list[float]] = {}

    def keep(**values: float) -> None:
        for name, value in values.items():
            samples.setdefault(name, []).append(value)

    with tempfile.TemporaryDirectory(prefix="bifold-bench-") as home:
        async with _signer(Path(home)) as (process, remote):
            orders = _orders(await remote.hot_addresses())
            await _ask(remote, [next(orders) for _ in range(LANES * EACH)])
            for number in range(rounds):
                todo = [next(orders) for _ in range(batches * LANES * EACH)]
                sides = ["signer", "library"] if number % 2 == 0 else ["library", "signer"]
                given: dict[str, list[bytes]] = {}
                for side in sides:
                    began, cpu = time.perf_counter(), ratios.cpu_seconds(process.pid)
                    own = time.process_time()
                    given[side] = (
                        await _ask(remote, todo) if side == "signer" else _by_library(todo)
                    )
                    taken = time.perf_counter() - began
                    keep(**{f"{side} per s": len(todo) / taken})
                    used = time.process_time() - own
                    if side == "signer":
                        keep(caller=used / taken)
                        used = ratios.cpu_seconds(process.pid) - cpu
                    keep(**{f"{side} cpu": used / len(todo)})
                if given["signer"] != given["library"]:
                    raise RuntimeError("the signer and eth-account signed other bytes")
                began = time.perf_counter()
                for order in [next(orders) for _ in range(ALONE)]:
                    await _ask(remote, [order])
                keep(alone=ALONE / (time.perf_counter() - began))
    middle = ratios.middle
    return {
        "signer process (per s)": middle(samples["signer per s"]),
        "signer process, one at a time (per s)": middle(samples["alone"]),
        "eth-account in process (per s)": middle(samples["library per s"]),
        "CPU of one signature in the signer (µs)": middle(samples["signer cpu"], 1e6),
        "CPU of one signature by eth-account (µs)": middle(samples["library cpu"], 1e6),
        "caller's share of a core": ratios.rounded(samples["caller"]),
        **ratios.of("signer / eth-account", samples["signer per s"], samples["library per s"]),
        **ratios.of(
            "eth-account's CPU / signer's CPU", samples["library cpu"], samples["signer cpu"]
        ),
    }


def _orders(addresses: Sequence[str]) -> Any:
    """Without end: the lanes in turn, each nonce once, coins and tokens in turn."""
    seed = test_seed()
    keys = {address: derive_key(seed, path(HOT_ACCOUNT, n)) for n, address in enumerate(addresses)}
    for nonce in itertools.count():
        for address, key in keys.items():
            to = str(to_checksum_address(os.urandom(20)))
            payload = (
                native_payload(nonce, to=to, value=nonce + 1)
                if nonce % 2
                else token_payload(nonce, contract=TOKEN, to=to, amount=nonce + 1)
            )
            tx = decode_unsigned(payload)
            fields = {
                "type": 2, "chainId": tx.chain_id, "nonce": nonce, "gas": tx.gas,
                "maxPriorityFeePerGas": tx.tip, "maxFeePerGas": tx.cap,
                "to": str(to_checksum_address(tx.to)), "value": tx.value, "data": tx.data,
            }  # fmt: skip
            yield Order(address, payload, f"int_{address[2:10]}_{nonce}", fields, key)


async def _ask(remote: RemoteSigner, orders: Sequence[Order]) -> list[bytes]:
    """The signed bytes in the order asked, at most `LANES` × `EACH` on their way."""
    results: list[bytes] = [b""] * len(orders)
    todo = iter(enumerate(orders))

    async def stream() -> None:
        for place, order in todo:
            signed = await remote.sign_transaction(
                address=order.address,
                payload=order.payload,
                intent_id=order.intent_id,
                kind="pay",
            )
            results[place] = signed.raw

    async with asyncio.TaskGroup() as group:
        for _ in range(min(LANES * EACH, len(orders))):
            group.create_task(stream())
    return results


def _by_library(orders: Sequence[Order]) -> list[bytes]:
    return [
        bytes(Account.sign_transaction(order.fields, order.key.reveal()).raw_transaction)
        for order in orders
    ]


def _start(home: Path, capability: Secret) -> subprocess.Popen[bytes]:
    """A house on the phrase that everybody knows, and its signer process."""
    create_house(home / "vault", TEST_PASSPHRASE, mnemonic=SecretText(TEST_MNEMONIC))
    policy_file.dump(home / "policy.json", open_policy(tokens=[TOKEN]))
    descriptors = [offer(Secret(TEST_PASSPHRASE.reveal().encode())), offer(capability)]
    command = [sys.executable, "-m", "keys.process", "--vault", str(home / "vault")]
    command += ["--socket", str(home / "s"), "--policy", str(home / "policy.json")]
    command += ["--passphrase-fd", str(descriptors[0]), "--capability-fd", str(descriptors[1])]
    command += ["--hot-keys", str(LANES)]
    with (home / "log").open("wb") as output:
        process = subprocess.Popen(command, pass_fds=descriptors, stderr=output, cwd=ROOT)
    for descriptor in descriptors:
        os.close(descriptor)
    return process


@asynccontextmanager
async def _signer(home: Path) -> AsyncIterator[tuple[subprocess.Popen[bytes], RemoteSigner]]:
    """The process, and a caller that it answers."""
    capability = new_capability()
    process = _start(home, capability)
    remote = RemoteSigner(home / "s", capability, timeout_seconds=30.0)
    try:
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                await remote.hot_addresses()
                break
            except SignerUnavailable:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError((home / "log").read_text()[-2000:]) from None
                await asyncio.sleep(0.05)
        yield process, remote
    finally:
        await remote.aclose()
        process.terminate()
        process.wait(10)
