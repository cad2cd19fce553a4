"""`./dev campaign contracts [--runs N] [--seed S]`: 15 random calls, and what must hold after them.

Invariants: what goes into BatchPayout, tokens or coins, comes out to the payees or not at all;
nothing of an ended call stays in it but what strayed there; a batch id is paid once, by operators,
never while paused; only the cold address is drained to; every unit that leaves a deposit address
arrives at the treasury; strangers gain nothing. Of every call it is known beforehand whether it
must go through, so that a contract that refuses everything is noticed as well.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_account import Account
from eth_utils.address import to_checksum_address

from chain.testing import AnvilProcess
from chain.testing.delegation import authorize, send_with
from chain.testing.evm import Evm, Reverted
from contracts.create2 import salt_of

SUPPLY = 10**30
TREASURY = "0x00000000000000000000000000000000C01d0002"
COLD = "0x00000000000000000000000000000000c01D0001"
ZERO = "0x0000000000000000000000000000000000000000"
RELAYER = bytes([21]) * 32
CALLS = 15
FUNDS_WEI = 10**24
PEOPLE = [f"0x{0xBEEF0000 + n:040x}" for n in range(6)]


class Broken(Exception):
    """An invariant does not hold."""


@dataclass
class Ghost:
    """What the balances must be, counted beside the chain: tokens and coins by holder."""

    token: dict[str, int] = field(default_factory=dict)
    coins: dict[str, int] = field(default_factory=dict)
    paid: set[int] = field(default_factory=set)
    operators: set[str] = field(default_factory=set)
    blocked: set[str] = field(default_factory=set)
    paused: bool = False


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
        for who in (Account.from_key(RELAYER).address, *evm.accounts[:4]):
            evm.rpc("anvil_setBalance", who, hex(FUNDS_WEI))
        self.keys = [(0xD0D00000 + n).to_bytes(32, "big") for n in range(3)]
        self.deposits = [str(Account.from_key(key).address) for key in self.keys]
        auths = [authorize(k, chain_id=31337, delegate=self.sweeper, nonce=0) for k in self.keys]
        data = evm.data(self.batch, "sweep", ([], self.token))
        send_with(evm, RELAYER, to=self.batch, data=data, authorizations=auths)
        self.salts = [salt_of("local", n) for n in range(3)]
        self.clones = [_eip55(evm.call(self.factory, "addressOf", one)) for one in self.salts]
        self.brief = [
            _eip55(evm.call(self.factory, "ephemeralAddressOf", one)) for one in self.salts
        ]
        self.holders = [
            *PEOPLE, *self.deposits, *self.clones, *self.brief,
            self.payout, TREASURY, COLD, self.thief,
        ]  # fmt: skip

    def holds(self, who: str) -> int:
        """Token units."""
        return int(self.evm.call(self.token, "balanceOf", who))

    def attempt(self, must: bool, to: str, function: str, *args: Any, **how: Any) -> bool:
        """Call it; whether it went through, which `must` knew. Raises Broken."""
        try:
            self.evm.send(to, function, *args, **how)
        except Reverted as why:
            if must:
                raise Broken(f"{function} must go through: {why}") from None
            return False
        if not must:
            raise Broken(f"{function} went through and must not")
        return True

    # One random call each; what it did is written to the ghost if it went through.

    def pay(self, dice: random.Random, ghost: Ghost) -> bool:
        """A batch in tokens or coins by somebody, sometimes a bad one."""
        sender = dice.choice([self.operator] * 4 + [self.thief, self.owner])
        batch, native = dice.randrange(4), dice.random() < 0.4
        whom = [*PEOPLE, ZERO, self.payout] if dice.random() < 0.2 else PEOPLE
        amounts = [0, 1, 7, 10**9] if dice.random() < 0.2 else [1, 7, 10**9]
        picked = [(dice.choice(whom), dice.choice(amounts)) for _ in range(dice.randrange(5))]
        payments = [(to, amount, _word(n)) for n, (to, amount) in enumerate(picked)]
        must = (
            sender in ghost.operators
            and not ghost.paused and batch not in ghost.paid and bool(picked)
            and all(amount and to not in (ZERO, self.payout) for to, amount in picked)
        )  # fmt: skip
        if native:
            off = dice.choice([0, 0, 0, 1])
            value = sum(amount for _, amount in picked) + off
            went = self.attempt(
                must and not off, self.payout, "payNative", _word(batch), payments,
                sender=sender, value=value,
            )  # fmt: skip
        else:
            must = must and sender == self.operator and not ghost.blocked & {to for to, _ in picked}
            went = self.attempt(
                must, self.payout, "payToken", _word(batch), self.token, payments, sender=sender
            )
        if went:
            ghost.paid.add(batch)
            for to, amount in picked:
                _add(ghost.coins if native else ghost.token, to, amount)
        return went

    def rule(self, dice: random.Random, ghost: Ghost) -> bool:
        """Somebody names or dismisses an operator."""
        sender = dice.choice([self.owner, self.owner, self.thief, self.operator])
        whom, allowed = dice.choice([self.operator, self.thief]), dice.random() < 0.6
        must = sender == self.owner
        went = self.attempt(must, self.payout, "setOperator", whom, allowed, sender=sender)
        if went:
            (ghost.operators.add if allowed else ghost.operators.discard)(whom)
        return went

    def block(self, dice: random.Random, ghost: Ghost) -> bool:
        """The issuer of the token blocks or frees a payee."""
        whom, blocked = dice.choice(PEOPLE), dice.random() < 0.7
        went = self.attempt(True, self.token, "setBlacklisted", whom, blocked)
        (ghost.blocked.add if blocked else ghost.blocked.discard)(whom)
        return went

    def stray(self, dice: random.Random, ghost: Ghost) -> bool:
        """Tokens are sent to the payout contract by mistake, or coins forced upon it."""
        amount = dice.randrange(1, 1000)
        if dice.random() < 0.5:
            _add(ghost.coins, self.payout, amount)
            self.evm.rpc("anvil_setBalance", self.payout, hex(ghost.coins[self.payout]))
            return True
        self.evm.send(self.token, "transfer", self.payout, amount)
        _add(ghost.token, self.payout, amount)
        return True

    def drain(self, dice: random.Random, ghost: Ghost) -> bool:
        """What strayed is sent to cold, by whoever tries."""
        sender, native = dice.choice([self.owner, self.thief, self.operator]), dice.random() < 0.5
        must = sender == self.owner
        what = ZERO if native else self.token
        went = self.attempt(must, self.payout, "drain", what, sender=sender)
        if went:
            book = ghost.coins if native else ghost.token
            _add(book, COLD, book.pop(self.payout, 0))
        return went

    def pause(self, dice: random.Random, ghost: Ghost) -> bool:
        """Paused or let go, by whoever tries."""
        sender, stop = dice.choice([self.owner, self.owner, self.thief]), dice.random() < 0.4
        must = sender == self.owner and ghost.paused != stop
        went = self.attempt(must, self.payout, "pause" if stop else "unpause", sender=sender)
        if went:
            ghost.paused = stop
        return went

    def deposit(self, dice: random.Random, ghost: Ghost) -> bool:
        """Tokens or coins arrive at a deposit address of any kind."""
        who = dice.choice(self.deposits + self.clones + self.brief)
        amount = dice.randrange(1, 10**6)
        if dice.random() < 0.4:
            self.evm.transact(who, value=amount, gas=30_000)
            _add(ghost.coins, who, amount)
        else:
            self.evm.send(self.token, "transfer", who, amount)
            _add(ghost.token, who, amount)
        return True

    def sweep(self, dice: random.Random, ghost: Ghost) -> bool:
        """Anybody sweeps delegated addresses."""
        accounts = dice.sample(self.deposits, dice.randrange(1, 4))
        sender, native = dice.choice(self.evm.accounts[:4]), dice.random() < 0.4
        what = ZERO if native else self.token
        self.attempt(True, self.batch, "sweep", accounts, what, sender=sender)
        self._arrived(ghost.coins if native else ghost.token, accounts)
        return True

    def flush(self, dice: random.Random, ghost: Ghost) -> bool:
        """Anybody sweeps key-less addresses, clones or ephemeral ones."""
        chosen = dice.sample(range(3), dice.randrange(1, 4))
        sender, clones = dice.choice(self.evm.accounts[:4]), dice.random() < 0.5
        salts = [self.salts[n] for n in chosen]
        if clones:
            tokens = [self.token, ZERO][: dice.randrange(1, 3)]
            self.attempt(True, self.factory, "flush", salts, tokens, sender=sender)
        else:
            tokens = [self.token, ZERO] if dice.random() < 0.5 else [ZERO]
            named = [one for one in tokens if one != ZERO]
            self.attempt(True, self.factory, "flushEphemeral", salts, named, sender=sender)
        accounts = [(self.clones if clones else self.brief)[n] for n in chosen]
        for book, what in ((ghost.token, self.token), (ghost.coins, ZERO)):
            if what in tokens:
                self._arrived(book, accounts)
        return True

    def _arrived(self, book: dict[str, int], accounts: Sequence[str]) -> None:
        for who in accounts:
            _add(book, TREASURY, book.pop(who, 0))

    def check(self, ghost: Ghost, spent_before: int) -> None:
        """Raises Broken."""
        names = {self.payout: "payout", TREASURY: "treasury", COLD: "cold", self.thief: "thief"}
        whom = [*self.holders, self.operator]
        asked = [self.evm.data(self.token, "balanceOf", (who,)).hex() for who in whom]
        tokens = self.evm.many(
            *(("eth_call", {"to": self.token, "data": "0x" + one}, "latest") for one in asked)
        )
        coins = self.evm.many(*(("eth_getBalance", who, "latest") for who in self.holders))
        for kind, book, told in (("", ghost.token, tokens), (" wei", ghost.coins, coins)):
            for who, answer in zip(self.holders, told, strict=False):
                has, wanted = int(answer, 16), book.get(who, 0)
                if kind and who == self.thief:  # it pays for gas, but must not have gained
                    if has > FUNDS_WEI:
                        raise Broken("the thief gained coins")
                elif has != wanted:
                    raise Broken(f"{names.get(who, who)} holds {has}, not {wanted}{kind}")
        paid = sum(ghost.token.get(who, 0) for who in PEOPLE)
        if spent_before - int(tokens[-1], 16) != paid:
            raise Broken("the operator spent something else than was paid")


def _add(book: dict[str, int], who: str, amount: int) -> None:
    book[who] = book.get(who, 0) + amount


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _eip55(text: str) -> str:
    return str(to_checksum_address(text))


def run_once(stage: Stage, seed: int) -> int:
    """One run from the snapshot; the number of calls that went through. Raises Broken."""
    dice, ghost = random.Random(seed), Ghost(operators={stage.operator})
    snapshot = stage.evm.rpc("evm_snapshot")
    funds = stage.holds(stage.operator)
    went = 0
    acts = (
        stage.pay, stage.pay, stage.pay, stage.rule, stage.block, stage.stray, stage.drain,
        stage.pause, stage.deposit, stage.deposit, stage.sweep, stage.flush,
    )  # fmt: skip
    try:
        for _ in range(CALLS):
            went += dice.choice(acts)(dice, ghost)
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
    print(f"{chosen.runs} runs of {CALLS} calls, {went} calls went through, 0 broken: {took:.0f} s")
    return 0
