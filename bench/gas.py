"""What payouts and sweeps cost in gas, counted on a fresh Anvil: exact, so one round is enough."""

from __future__ import annotations

from typing import Any

from eth_account import Account

from chain.testing import AnvilProcess
from chain.testing.delegation import authorize, send_with
from chain.testing.evm import Evm
from contracts.create2 import salt_of

SUPPLY = 10**30
TREASURY = "0x00000000000000000000000000000000c01D0002"
COLD = "0x00000000000000000000000000000000c01D0001"
RELAYER = bytes([21]) * 32
SIZES = (1, 10, 100)


def measure(*, rounds: int, seconds: float) -> dict[str, Any]:
    """Gas per recipient and per swept address. `rounds` and `seconds` are not used."""
    process = AnvilProcess(extra=("--hardfork", "prague"))
    process.start()
    evm = Evm(process.url)
    try:
        return _payouts(evm) | _sweeps(evm)
    finally:
        evm.close()
        process.stop()


def _payouts(evm: Evm) -> dict[str, Any]:
    owner, operator = evm.accounts[:2]
    token = evm.deploy("TestToken", "USD Coin", "USDC", 6, SUPPLY, operator)
    payout = evm.deploy("BatchPayout", owner, COLD)
    evm.send(payout, "setOperator", operator, True)
    evm.send(token, "approve", payout, SUPPLY, sender=operator)
    evm.send(payout, "payToken", _word(0), token, [(_person(0), 1, _word(0))], sender=operator)
    result: dict[str, Any] = {}
    alone = {
        "new": evm.send(token, "transfer", _person(1), 5, sender=operator).gas,
        "existing": evm.send(token, "transfer", _person(1), 5, sender=operator).gas,
    }
    first = 1000
    for size in (*SIZES, 200):
        for kind in ("new", "existing"):
            payments = [(_person(first + n), 5, _word(n + 1)) for n in range(size)]
            batch = _word(first * 10 + size + (kind == "new"))
            done = evm.send(payout, "payToken", batch, token, payments, sender=operator)
            each = done.gas / size
            result[f"payout to {size} {kind} holders, gas each"] = round(each)
            saved = 100 * (1 - each / alone[kind])
            result[f"payout to {size} {kind} holders, saved %"] = round(saved, 1)
            done = evm.send(
                payout, "payNative", _word(first * 10 + size + 5 + (kind == "new")), payments,
                sender=operator, value=5 * size,
            )  # fmt: skip
            result[f"payout of coins to {size} {kind} accounts, gas each"] = round(done.gas / size)
        first += 1000
    return {f"single transfer, {kind} holder": gas for kind, gas in alone.items()} | result


def _sweeps(evm: Evm) -> dict[str, Any]:
    holder = evm.accounts[0]
    token = evm.deploy("TestToken", "USD Coin", "USDC", 6, SUPPLY, holder)
    sweeper, batch = evm.deploy("DepositSweeper", TREASURY), evm.deploy("SweepBatch")
    factory = evm.deploy("ForwarderFactory", TREASURY)
    evm.send(token, "transfer", TREASURY, 1)
    evm.rpc("anvil_setBalance", Account.from_key(RELAYER).address, hex(10**20))
    evm.rpc("anvil_setBalance", TREASURY, hex(1))
    # Its first transaction makes the relayer's account: no part of what a sweep costs.
    send_with(evm, RELAYER, to=TREASURY, data=b"", authorizations=[])
    result: dict[str, Any] = {}
    index = 0
    for size in SIZES:
        keys = [(0xC0DE0000 + index + n).to_bytes(32, "big") for n in range(size)]
        salts = [salt_of("bench", index + n) for n in range(size)]
        index += size
        accounts = [str(Account.from_key(key).address) for key in keys]
        clones = [evm.call(factory, "addressOf", salt) for salt in salts]
        brief = [evm.call(factory, "ephemeralAddressOf", salt) for salt in salts]
        auths = [authorize(k, chain_id=31337, delegate=sweeper, nonce=0) for k in keys]
        for turn in ("first", "again"):
            for account in (*accounts, *clones, *brief):
                evm.send(token, "transfer", account, 50)
            data = evm.data(batch, "sweep", (accounts, token))
            lists = auths if turn == "first" else []
            delegated = send_with(evm, RELAYER, to=batch, data=data, authorizations=lists)
            cloned = evm.send(factory, "flush", salts, [token])
            ephemeral = evm.send(factory, "flushEphemeral", salts, [token])
            for name, done in (
                ("7702", delegated), ("clone", cloned), ("ephemeral", ephemeral)
            ):  # fmt: skip
                result[f"sweep {name}, N={size}, {turn}, gas each"] = round(done.gas / size)
            assert all(evm.call(token, "balanceOf", a) == 0 for a in (*accounts, *clones, *brief))
    result["sweep by gas pre-funding, gas each"] = 21_000 + _own_transfer(evm, token)
    return result


def _own_transfer(evm: Evm, token: str) -> int:
    """A deposit address that pays for its own transfer, having been sent the gas before."""
    account = evm.accounts[8]
    evm.send(token, "transfer", account, 50)
    return evm.send(token, "transfer", TREASURY, 50, sender=account).gas


def _person(number: int) -> str:
    return f"0x{0xBEEF000000 + number:040x}"


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")
