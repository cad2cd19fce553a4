"""`./dev campaign contracts [--runs N] [--seed S]`: random calls, and what must hold after each.

Invariants: what goes into BatchPayout comes out to the payees or not at all; nothing of an ended
call stays in it but what strayed there; a batch id is paid once; only the cold address is drained
to; every unit that leaves a deposit address arrives at the treasury; strangers gain nothing.
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import dataclass, field

from eth_account import Account

from chain.testing import AnvilProcess
from chain.testing.delegation import authorize, send_with
from chain.testing.evm import Evm, Reverted
from contracts.create2 import salt_of

SUPPLY = 10**30
TREASURY = "0x00000000000000000000000000000000C01d0002"
COLD = "0x00000000000000000000000000000000c01D0001"
ZERO = "0x0000000000000000000000000000000000000000"
RELAYER = bytes([21]) * 32
CALLS = 6
PEOPLE = [f"0x{0xBEEF0000 + n:040x}" for n in range(6)]


class Broken(Exception):
    """An invariant does not hold."""


@dataclass
class Ghost:
    """What the balances must be, counted beside the chain."""

    token: dict[str, int] = field(default_factory=dict)
    paid: set[int] = field(default_factory=set)
    stray: int = 0
    treasury: int = 0
    cold: int = 0


class Stage:
    """The contracts, set up once; every run starts from its snapshot."""

    def __init__(self, evm: Evm) -> None:
        self.evm = evm
        self.owner, self.operator, self.thief = evm.accounts[:3]
        self.token = evm.deploy("RegulatedToken", "USD Coin", "USDC", 6, SUPPLY, self.owner)
        self.payout = evm.deploy("BatchPayout", self.owner, COLD)
        self.sweeper, self.batch = evm.deploy("DepositSweeper", TREASURY), evm.deploy("SweepBatch")
        self.factory = evm.deploy("ForwarderFactory", TREASURY)
        evm.send(self.payout, "setOperator", self.operator, True)
        evm.send(self.token, "transfer", self.operator, SUPPLY // 2)
        evm.send(self.token, "approve", self.payout, SUPPLY, sender=self.operator)
        evm.rpc("anvil_setBalance", Account.from_key(RELAYER).address, hex(10**22))
        self.keys = [(0xD0D00000 + n).to_bytes(32, "big") for n in range(3)]
        self.deposits = [str(Account.from_key(key).address) for key in self.keys]
        auths = [authorize(k, chain_id=31337, delegate=self.sweeper, nonce=0) for k in self.keys]
        data = evm.data(self.batch, "sweep", ([], self.token))
        send_with(evm, RELAYER, to=self.batch, data=data, authorizations=auths)
        self.salts = [salt_of("local", n) for n in range(3)]
        self.clones = [evm.call(self.factory, "addressOf", salt) for salt in self.salts]

    def holds(self, who: str) -> int:
        """Token units."""
        return int(self.evm.call(self.token, "balanceOf", who))

    # One random call each; what it did is written to the ghost only if it went through.

    def pay(self, dice: random.Random, ghost: Ghost) -> None:
        """A batch by somebody, sometimes a bad one."""
        sender = dice.choice([self.operator] * 4 + [self.thief, self.owner])
        batch = dice.randrange(4)
        whom = [*PEOPLE, ZERO] if dice.random() < 0.2 else PEOPLE
        amounts = [0, 1, 7, 10**9] if dice.random() < 0.2 else [1, 7, 10**9]
        picked = [(dice.choice(whom), dice.choice(amounts)) for _ in range(dice.randrange(5))]
        payments = [(to, amount, n.to_bytes(32, "big")) for n, (to, amount) in enumerate(picked)]
        self.evm.send(
            self.payout, "payToken", batch.to_bytes(32, "big"), self.token, payments, sender=sender
        )
        if sender != self.operator or batch in ghost.paid or not picked:
            raise Broken("a batch went through that must not")
        ghost.paid.add(batch)
        for to, amount in picked:
            ghost.token[to] = ghost.token.get(to, 0) + amount

    def stray(self, dice: random.Random, ghost: Ghost) -> None:
        """Somebody sends tokens to the payout contract by mistake."""
        amount = dice.randrange(1, 1000)
        self.evm.send(self.token, "transfer", self.payout, amount)
        ghost.stray += amount

    def drain(self, dice: random.Random, ghost: Ghost) -> None:
        """What strayed is sent to cold, by whoever tries."""
        sender = dice.choice([self.owner, self.thief, self.operator])
        self.evm.send(self.payout, "drain", self.token, sender=sender)
        if sender != self.owner:
            raise Broken("a stranger drained")
        ghost.cold, ghost.stray = ghost.cold + ghost.stray, 0

    def pause(self, dice: random.Random, ghost: Ghost) -> None:
        """Paused and back, or only paused."""
        self.evm.send(self.payout, dice.choice(["pause", "unpause"]))

    def deposit(self, dice: random.Random, ghost: Ghost) -> None:
        """Tokens arrive at a deposit address."""
        who, amount = dice.choice(self.deposits + self.clones), dice.randrange(1, 10**6)
        self.evm.send(self.token, "transfer", who, amount)
        ghost.token[who] = ghost.token.get(who, 0) + amount

    def sweep(self, dice: random.Random, ghost: Ghost) -> None:
        """Anybody sweeps delegated addresses."""
        accounts = dice.sample(self.deposits, dice.randrange(1, 4))
        sender = dice.choice(self.evm.accounts[:4])
        self.evm.send(self.batch, "sweep", accounts, self.token, sender=sender)
        for who in accounts:
            ghost.treasury += ghost.token.pop(who, 0)

    def flush(self, dice: random.Random, ghost: Ghost) -> None:
        """Anybody sweeps key-less addresses."""
        chosen = dice.sample(range(3), dice.randrange(1, 4))
        sender = dice.choice(self.evm.accounts[:4])
        salts = [self.salts[n] for n in chosen]
        self.evm.send(self.factory, "flush", salts, [self.token], sender=sender)
        for n in chosen:
            ghost.treasury += ghost.token.pop(self.clones[n], 0)

    def check(self, ghost: Ghost, spent_before: int) -> None:
        """Raises Broken."""
        for who in (*PEOPLE, *self.deposits, *self.clones):
            if self.holds(who) != ghost.token.get(who, 0):
                raise Broken(f"{who} holds {self.holds(who)}, not {ghost.token.get(who, 0)}")
        for name, who, wanted in (
            ("payout", self.payout, ghost.stray), ("treasury", TREASURY, ghost.treasury),
            ("cold", COLD, ghost.cold), ("thief", self.thief, 0),
        ):  # fmt: skip
            if self.holds(who) != wanted:
                raise Broken(f"{name} holds {self.holds(who)}, not {wanted}")
        paid = sum(ghost.token.get(who, 0) for who in PEOPLE)
        if spent_before - self.holds(self.operator) != paid:
            raise Broken("the operator spent something else than was paid")


def run_once(stage: Stage, seed: int) -> int:
    """One run from the snapshot; the number of calls that went through. Raises Broken."""
    dice, ghost = random.Random(seed), Ghost()
    snapshot = stage.evm.rpc("evm_snapshot")
    funds = stage.holds(stage.operator)
    went = 0
    acts = (
        stage.pay, stage.pay, stage.stray, stage.drain, stage.pause, stage.deposit, stage.deposit,
        stage.sweep, stage.flush,
    )  # fmt: skip
    try:
        for _ in range(CALLS):
            try:
                dice.choice(acts)(dice, ghost)
                went += 1
            except Reverted:
                pass
        stage.check(ghost, funds)
    finally:
        stage.evm.rpc("evm_revert", snapshot)
    return went


def main(arguments: list[str]) -> int:
    """Run it; 1 names the seed that breaks an invariant."""
    parser = argparse.ArgumentParser(prog="./dev campaign contracts", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    process = AnvilProcess(extra=("--hardfork", "prague"))
    process.start()
    evm = Evm(process.url)
    began, went = time.monotonic(), 0
    try:
        stage = Stage(evm)
        for seed in range(chosen.seed, chosen.seed + chosen.runs):
            try:
                went += run_once(stage, seed)
            except Broken as broken:
                print(f"BROKEN by --seed {seed} --runs 1: {broken}")
                return 1
    finally:
        evm.close()
        process.stop()
    took = time.monotonic() - began
    print(
        f"{chosen.runs} runs of {CALLS} calls, {went} of them went through, 0 broken: {took:.0f} s"
    )
    return 0
