"""Deposit addresses can only ever pay the treasury: delegated (EIP-7702) or key-less (CREATE2)."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain.testing.delegation import authorize, send_with
from chain.testing.evm import Evm, Reverted
from contracts.create2 import clone_address, create2_address, ephemeral_address, salt_of
from contracts.loader import artifact

CHAIN = 31337
SUPPLY = 10**30
TREASURY = "0x00000000000000000000000000000000c01D0002"
ZERO = "0x0000000000000000000000000000000000000000"
RELAYER = bytes([21]) * 32


def key(number: int) -> bytes:
    return (0xA11CE000 + number).to_bytes(32, "big")


def address(number: int) -> str:
    return str(Account.from_key(key(number)).address)


class Field:
    """A token, a sweeper, a batch caller, and a relayer with gas."""

    def __init__(self, evm: Evm) -> None:
        self.evm = evm
        self.holder = evm.accounts[0]
        self.token = evm.deploy("RegulatedToken", "USD Coin", "USDC", 6, SUPPLY, self.holder)
        self.sweeper = evm.deploy("DepositSweeper", TREASURY)
        self.batch = evm.deploy("SweepBatch")
        evm.rpc("anvil_setBalance", Account.from_key(RELAYER).address, hex(10**20))

    def pay(self, who: str, amount: int) -> None:
        self.evm.send(self.token, "transfer", who, amount)

    def holds(self, who: str) -> int:
        return int(self.evm.call(self.token, "balanceOf", who))

    def auth(self, number: int, **changes: Any) -> Any:
        wanted = {"chain_id": CHAIN, "delegate": self.sweeper, "nonce": 0} | changes
        return authorize(key(number), **wanted)

    def sweep(self, accounts: list[str], token: str, auths: list[Any]) -> Any:
        data = self.evm.data(self.batch, "sweep", (accounts, token))
        return send_with(self.evm, RELAYER, to=self.batch, data=data, authorizations=auths)

    def code(self, who: str) -> str:
        return str(self.evm.rpc("eth_getCode", who, "latest"))


@pytest.fixture
def field(evm: Evm) -> Field:
    return Field(evm)


class TestDelegated:
    def test_a_batch_sweeps_tokens_and_coins_without_gas_of_their_own(self, field: Field) -> None:
        accounts = [address(n) for n in range(4)]
        for number, who in enumerate(accounts):
            field.pay(who, 100 + number)
        done = field.sweep(accounts, field.token, [field.auth(n) for n in range(4)])
        assert done.status == 1
        assert [e.name for e in done.events] == ["Transfer"] * 4
        assert field.holds(TREASURY) == 406
        assert field.code(accounts[0]) == "0xef0100" + field.sweeper[2:].lower()
        for who in accounts:
            field.evm.rpc("anvil_setBalance", who, hex(7))
        before = field.evm.balance(TREASURY)
        coins = field.sweep(accounts, ZERO, [])  # delegated already: nothing to sign any more
        assert [e.values["amount"] for e in coins.events if e.name == "NativeSwept"] == [7] * 4
        assert field.evm.balance(TREASURY) - before == 28

    def test_an_authorisation_that_was_skipped_is_told(self, field: Field) -> None:
        """A wrong nonce is no error to the node: the code is what says whether it counted."""
        field.pay(address(1), 50)
        field.pay(address(2), 60)
        done = field.sweep(
            [address(1), address(2)], field.token, [field.auth(1, nonce=5), field.auth(2)]
        )
        assert done.status == 1
        assert [e.values for e in done.events if e.name == "SweepFailed"] == [
            {"account": address(1).lower()}
        ]
        assert field.code(address(1)) == "0x"
        assert (field.holds(address(1)), field.holds(TREASURY)) == (50, 60)

    def test_another_chains_authorisation_does_nothing_here(self, field: Field) -> None:
        field.pay(address(1), 50)
        field.sweep([address(1)], field.token, [field.auth(1, chain_id=1)])
        assert field.code(address(1)) == "0x" and field.holds(address(1)) == 50

    def test_anybody_may_sweep_and_nobody_gains(self, field: Field) -> None:
        field.sweep([], field.token, [field.auth(1)])
        field.pay(address(1), 50)
        field.evm.at("DepositSweeper", address(1))
        thief = field.evm.accounts[5]
        field.evm.send(address(1), "sweepToken", field.token, sender=thief)
        field.evm.rpc("anvil_setBalance", address(1), hex(9))
        field.evm.send(address(1), "sweepNative", sender=thief)
        assert (field.holds(TREASURY), field.evm.balance(TREASURY)) == (50, 9)
        assert field.holds(thief) == 0

    def test_a_delegated_address_still_takes_plain_payments(self, field: Field) -> None:
        field.sweep([], field.token, [field.auth(1)])
        paid = field.evm.transact(address(1), value=5, gas=30_000)
        assert paid.status == 1 and field.evm.balance(address(1)) == 5

    def test_a_payment_with_exactly_21000_gas_bounces_off_a_delegated_address(
        self, field: Field
    ) -> None:
        """Nothing is lost, but it does not arrive: a delegation is taken back where coins come."""
        field.sweep([], field.token, [field.auth(1)])
        paid = field.evm.transact(address(1), value=5, gas=21_000, check=False)
        assert paid.status == 0 and field.evm.balance(address(1)) == 0
        field.sweep([], field.token, [field.auth(1, delegate=ZERO, nonce=1)])
        paid = field.evm.transact(address(1), value=5, gas=21_000, check=False)
        assert paid.status == 1 and field.evm.balance(address(1)) == 5

    def test_a_replay_after_a_revocation_is_worthless(self, field: Field) -> None:
        first = field.auth(1)
        field.sweep([], field.token, [first])
        field.sweep([], field.token, [field.auth(1, delegate=ZERO, nonce=1)])
        assert field.code(address(1)) == "0x"
        field.sweep([], field.token, [first])
        assert field.code(address(1)) == "0x"

    def test_nothing_to_sweep_and_a_token_that_refuses(self, field: Field) -> None:
        field.pay(address(2), 60)
        field.sweep([], field.token, [field.auth(1), field.auth(2)])
        field.evm.send(field.token, "setBlacklisted", address(2), True)
        done = field.sweep([address(1), address(2)], field.token, [])
        assert [e.name for e in done.events] == ["SweepFailed"]
        assert field.holds(address(2)) == 60

    def test_a_treasury_that_takes_no_coins_leaves_them_where_they_are(self, field: Field) -> None:
        field.sweep([], field.token, [field.auth(1)])
        field.evm.at("DepositSweeper", address(1))
        field.evm.rpc("anvil_setBalance", address(1), hex(9))
        field.evm.rpc("anvil_setCode", TREASURY, "0x60006000fd")
        with pytest.raises(Reverted, match="NativeRefused"):
            field.evm.send(address(1), "sweepNative")
        assert field.evm.balance(address(1)) == 9

    def test_tokens_that_answer_nothing_or_false(self, field: Field) -> None:
        field.sweep([], field.token, [field.auth(1)])
        silent = field.evm.deploy("SilentToken", SUPPLY)
        field.evm.send(silent, "transfer", address(1), 5)
        assert field.sweep([address(1)], silent, []).events == []
        assert field.evm.call(silent, "balanceOf", TREASURY) == 5
        sly = field.evm.deploy("SlyToken", SUPPLY, False)
        field.evm.send(sly, "give", address(1), 5)
        told = field.sweep([address(1)], sly, []).events
        assert [(e.name, e.values["account"]) for e in told] == [
            ("SweepFailed", address(1).lower())
        ]

    def test_the_treasury_is_somebody(self, field: Field) -> None:
        for name in ("DepositSweeper", "ForwarderFactory"):
            with pytest.raises(Reverted, match="ZeroAddress"):
                field.evm.deploy(name, ZERO)


class TestKeyless:
    @pytest.fixture
    def factory(self, field: Field) -> str:
        return field.evm.deploy("ForwarderFactory", TREASURY)

    def test_addresses_are_known_before_anything_is_deployed(
        self, field: Field, factory: str
    ) -> None:
        implementation = field.evm.call(factory, "implementation")
        for index in (0, 1, 77, 2**31):
            salt = salt_of("local", index)
            assert clone_address(factory, implementation, salt) == _eip55(
                field.evm.call(factory, "addressOf", salt)
            )
            assert ephemeral_address(factory, salt) == _eip55(
                field.evm.call(factory, "ephemeralAddressOf", salt)
            )
        assert salt_of("local", 1) != salt_of("base", 1)

    def test_the_published_vectors_of_eip_1014(self) -> None:
        zero20, zero32 = ZERO, bytes(32)
        assert create2_address(zero20, zero32, b"\x00") == (
            "0x4D1A2e2bB4F88F0250f26Ffff098B0b30B26BF38"
        )
        deadbeef = bytes.fromhex("deadbeef")
        assert create2_address("0xdeadbeef" + "0" * 32, zero32, b"\x00") == (
            "0xB928f69Bb1D91Cd65274e3c79d8986362984fDA3"
        )
        assert create2_address(zero20, zero32, deadbeef) == (
            "0x70f2b2914A2a4b783FaEFb75f459A580616Fcb5e"
        )
        with pytest.raises(ValueError, match="32 bytes"):
            create2_address(zero20, b"", b"")
        with pytest.raises(ValueError, match="from 0"):
            salt_of("local", -1)

    def test_tokens_first_and_again(self, field: Field, factory: str) -> None:
        salts = [salt_of("local", n) for n in range(3)]
        accounts = [field.evm.call(factory, "addressOf", salt) for salt in salts]
        for turn in (1, 2):
            for who in accounts:
                field.pay(who, 10)
            field.evm.send(factory, "flush", salts, [field.token])
            assert field.holds(TREASURY) == 30 * turn
        assert [field.holds(who) for who in accounts] == [0, 0, 0]

    def test_coins_arrive_plainly_and_are_swept_again_and_again(
        self, field: Field, factory: str
    ) -> None:
        salt = salt_of("local", 5)
        account = _eip55(field.evm.call(factory, "ephemeralAddressOf", salt))
        for turn in (1, 2):
            paid = field.evm.transact(account, value=1000, gas=21_000)
            assert paid.status == 1
            field.pay(account, 10)
            field.evm.send(factory, "flushEphemeral", [salt], [field.token])
            assert field.code(account) == "0x"
            assert field.evm.balance(TREASURY) == 1000 * turn
            assert field.holds(TREASURY) == 10 * turn

    def test_coins_that_came_to_a_token_address_are_not_lost(
        self, field: Field, factory: str
    ) -> None:
        """Before the clone is there a plain payment arrives; afterwards one with enough gas."""
        evm, salt = field.evm, salt_of("local", 8)
        account = _eip55(evm.call(factory, "addressOf", salt))
        evm.know(artifact("Forwarder"))
        assert evm.transact(account, value=30, gas=21_000).status == 1
        done = evm.send(factory, "flush", [salt], [ZERO])
        assert [(e.address, e.name, e.values["amount"]) for e in done.events] == [
            (account, "NativeSwept", 30)
        ]
        assert evm.transact(account, value=5, gas=21_000, check=False).status == 0
        assert evm.transact(account, value=12, gas=30_000).status == 1
        evm.send(factory, "flush", [salt], [ZERO, field.token])
        assert (evm.balance(TREASURY), evm.balance(account)) == (42, 0)
        assert evm.send(factory, "flush", [salt], [ZERO]).events == []
        evm.transact(account, value=1, gas=30_000)
        evm.rpc("anvil_setCode", TREASURY, "0x60006000fd")
        with pytest.raises(Reverted, match="NativeRefused"):
            evm.send(factory, "flush", [salt], [ZERO])

    def test_an_ephemeral_sweep_says_what_coins_it_moved(self, field: Field, factory: str) -> None:
        salt = salt_of("local", 9)
        account = _eip55(field.evm.call(factory, "ephemeralAddressOf", salt))
        field.evm.know(artifact("EphemeralForwarder"))
        assert field.evm.send(factory, "flushEphemeral", [salt], []).events == []
        field.evm.transact(account, value=7, gas=21_000)
        done = field.evm.send(factory, "flushEphemeral", [salt], [])
        assert [(e.address, e.name, e.values["amount"]) for e in done.events] == [
            (account, "NativeSwept", 7)
        ]

    def test_one_ephemeral_sweep_at_a_time_and_each_address_once_in_it(
        self, field: Field, factory: str
    ) -> None:
        evm, salt = field.evm, salt_of("local", 10)
        with pytest.raises(Reverted) as refused:
            evm.send(factory, "flushEphemeral", [salt, salt], [])
        assert (refused.value.name, refused.value.values) == ("SweepFailed", (salt,))
        sly = evm.deploy("SlyToken", SUPPLY, True)
        evm.send(sly, "give", evm.call(factory, "ephemeralAddressOf", salt), 5)
        again = evm.data(factory, "flushEphemeral", ([salt_of("local", 11)], [sly]))
        evm.send(sly, "aim", factory, again)
        with pytest.raises(Reverted, match="SweepFailed"):  # refused by SweepRunning, inside
            evm.send(factory, "flushEphemeral", [salt], [sly])
        quiet = evm.data(factory, "addressOf", (salt,))
        evm.send(sly, "aim", factory, quiet)
        evm.send(factory, "flushEphemeral", [salt], [sly])  # only the call back was in the way

    def test_nobody_else_is_asked_where_to_send(self, field: Field) -> None:
        """The code an ephemeral address runs asks who made it: an account has no answer."""
        with pytest.raises(Reverted):
            field.evm.deploy("EphemeralForwarder")
        with pytest.raises(Reverted, match="ZeroAddress"):
            field.evm.deploy("Forwarder", ZERO)

    def test_a_stranger_can_only_make_the_sweep_happen(self, field: Field, factory: str) -> None:
        salt = salt_of("local", 6)
        account = field.evm.call(factory, "addressOf", salt)
        field.pay(account, 10)
        field.evm.send(factory, "flush", [salt], [field.token], sender=field.evm.accounts[6])
        assert field.holds(TREASURY) == 10


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(amounts=st.lists(st.integers(0, 10**12), min_size=1, max_size=6))
def test_fuzz_everything_goes_to_the_treasury(field: Field, amounts: list[int]) -> None:
    start = field.holds(TREASURY)
    accounts = [address(100 + n) for n in range(len(amounts))]
    for who, amount in zip(accounts, amounts, strict=True):
        if amount:
            field.pay(who, amount)
    fresh = [n for n, who in enumerate(accounts) if field.code(who) == "0x"]
    field.sweep(accounts, field.token, [field.auth(100 + n) for n in fresh])
    assert field.holds(TREASURY) - start == sum(amounts)
    assert all(field.holds(who) == 0 for who in accounts)


def _eip55(text: str) -> str:
    return str(to_checksum_address(text))
