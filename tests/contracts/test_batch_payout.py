"""BatchPayout: each batch once, all of it or nothing, by operators, and drains to cold only."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chain.testing.evm import Evm, Reverted

SUPPLY = 10**30
COLD = "0x00000000000000000000000000000000c01D0001"
ZERO = "0x0000000000000000000000000000000000000000"


def ref(number: int) -> bytes:
    return number.to_bytes(32, "big")


def someone(number: int) -> str:
    return f"0x{0xBEEF0000 + number:040x}"


class House:
    """A payout contract with an operator who holds tokens and has allowed it to take them."""

    def __init__(self, evm: Evm, token: str = "RegulatedToken") -> None:
        self.evm = evm
        self.owner, self.operator, self.stranger = evm.accounts[:3]
        self.contract = evm.deploy("BatchPayout", self.owner, COLD)
        evm.send(self.contract, "setOperator", self.operator, True)
        if token == "RegulatedToken":
            self.token = evm.deploy(token, "USD Coin", "USDC", 6, SUPPLY, self.operator)
            evm.send(self.token, "approve", self.contract, SUPPLY, sender=self.operator)

    def pay(self, batch: int, *payments: tuple[str, int, bytes], sender: str = "") -> object:
        return self.evm.send(
            self.contract, "payToken", ref(batch), self.token, list(payments),
            sender=sender or self.operator,
        )  # fmt: skip

    def holds(self, who: str) -> int:
        return int(self.evm.call(self.token, "balanceOf", who))


@pytest.fixture
def house(evm: Evm) -> House:
    return House(evm)


def test_a_batch_pays_everybody_and_says_so(house: House) -> None:
    payments = [(someone(n), 10 + n, ref(n)) for n in range(5)]
    done = house.evm.send(
        house.contract, "payToken", ref(1), house.token, payments, sender=house.operator
    )
    told = [event.values for event in done.events if event.name == "Paid"]
    assert [(t["to"].lower(), t["amount"], t["ref"]) for t in told] == payments
    assert {t["batchId"] for t in told} == {ref(1)}
    assert {t["token"].lower() for t in told} == {house.token.lower()}
    assert [house.holds(who) for who, _, _ in payments] == [10, 11, 12, 13, 14]
    assert house.holds(house.contract) == 0
    assert house.holds(house.operator) == SUPPLY - 60


def test_a_batch_is_paid_once(house: House) -> None:
    house.pay(7, (someone(1), 5, ref(1)))
    with pytest.raises(Reverted) as refused:
        house.pay(7, (someone(2), 5, ref(2)))
    assert (refused.value.name, refused.value.values) == ("BatchAlreadyPaid", (ref(7),))
    house.evm.send(
        house.contract, "payNative", ref(8), [(someone(3), 1, ref(3))],
        sender=house.operator, value=1,
    )  # fmt: skip
    with pytest.raises(Reverted, match="BatchAlreadyPaid"):
        house.pay(8, (someone(2), 5, ref(2)))
    assert house.holds(someone(2)) == 0


@pytest.mark.parametrize(
    ("payment", "error"),
    [
        ((ZERO, 5, ref(1)), "InvalidPayment"),
        ((someone(1), 0, ref(1)), "InvalidPayment"),
        ((someone(1), SUPPLY + 1, ref(1)), "ERC20InsufficientAllowance"),
    ],
)
def test_one_bad_payment_stops_the_whole_batch(
    house: House, payment: tuple[str, int, bytes], error: str
) -> None:
    with pytest.raises(Reverted) as refused:
        house.pay(1, (someone(9), 5, ref(9)), payment)
    assert refused.value.name == error
    assert house.holds(someone(9)) == 0
    assert house.evm.call(house.contract, "paid", ref(1)) is False
    house.pay(1, (someone(9), 5, ref(9)))  # without the offender it goes


def test_itself_nobody_and_an_empty_batch(house: House) -> None:
    with pytest.raises(Reverted, match="InvalidPayment"):
        house.pay(1, (house.contract, 5, ref(1)))
    with pytest.raises(Reverted, match="EmptyBatch"):
        house.pay(1)


def test_a_blocked_recipient_and_a_paused_token_stop_it(house: House) -> None:
    house.evm.send(house.token, "setBlacklisted", someone(1), True, sender=house.operator)
    with pytest.raises(Reverted, match="Blacklisted"):
        house.pay(1, (someone(2), 5, ref(2)), (someone(1), 5, ref(1)))
    house.evm.send(house.token, "pause", sender=house.operator)
    with pytest.raises(Reverted, match="EnforcedPause"):
        house.pay(1, (someone(2), 5, ref(2)))
    assert house.holds(someone(2)) == 0


def test_only_operators_pay_and_only_the_owner_names_them(house: House) -> None:
    for sender in (house.stranger, house.owner):
        with pytest.raises(Reverted) as refused:
            house.pay(1, (someone(1), 5, ref(1)), sender=sender)
        assert refused.value.name == "NotOperator"
    for function, args in (("setOperator", (house.stranger, True)), ("pause", ()),
                           ("unpause", ()), ("drain", (house.token,))):  # fmt: skip
        with pytest.raises(Reverted, match="OwnableUnauthorizedAccount"):
            house.evm.send(house.contract, function, *args, sender=house.stranger)
    with pytest.raises(Reverted, match="ZeroAddress"):
        house.evm.send(house.contract, "setOperator", ZERO, True)
    house.evm.send(house.contract, "setOperator", house.operator, False)
    with pytest.raises(Reverted, match="NotOperator"):
        house.pay(1, (someone(1), 5, ref(1)))


def test_a_pause_stops_payouts_and_nothing_else(house: House) -> None:
    done = house.evm.send(house.contract, "pause")
    assert [event.name for event in done.events] == ["Paused"]
    with pytest.raises(Reverted, match="EnforcedPause"):
        house.pay(1, (someone(1), 5, ref(1)))
    house.evm.send(house.contract, "unpause")
    house.pay(1, (someone(1), 5, ref(1)))


def test_ownership_moves_in_two_steps(house: House) -> None:
    house.evm.send(house.contract, "transferOwnership", house.stranger)
    with pytest.raises(Reverted, match="OwnableUnauthorizedAccount"):
        house.evm.send(house.contract, "pause", sender=house.stranger)
    house.evm.send(house.contract, "acceptOwnership", sender=house.stranger)
    house.evm.send(house.contract, "pause", sender=house.stranger)


def test_what_strayed_here_goes_to_cold_only(house: House) -> None:
    house.evm.send(house.token, "transfer", house.contract, 77, sender=house.operator)
    done = house.evm.send(house.contract, "drain", house.token)
    assert [(e.name, e.values["amount"]) for e in done.events if e.name == "Drained"] == [
        ("Drained", 77)
    ]
    assert house.holds(COLD) == 77
    house.evm.rpc("anvil_setBalance", house.contract, hex(55))
    before = house.evm.balance(COLD)
    house.evm.send(house.contract, "drain", ZERO)
    assert house.evm.balance(COLD) - before == 55
    with pytest.raises(Reverted, match="ZeroAddress"):
        house.evm.deploy("BatchPayout", house.owner, ZERO)


def test_strayed_tokens_pay_nobody(house: House) -> None:
    """A balance of the contract's own is no part of a batch."""
    house.evm.send(house.token, "transfer", house.contract, 100, sender=house.operator)
    house.evm.send(house.token, "approve", house.contract, 3, sender=house.operator)
    with pytest.raises(Reverted, match="ERC20InsufficientAllowance"):
        house.pay(1, (someone(1), 50, ref(1)))
    house.pay(2, (someone(1), 3, ref(1)))
    assert house.holds(house.contract) == 100


class TestNative:
    def test_the_sum_must_be_sent_exactly(self, house: House) -> None:
        payments = [(someone(1), 5, ref(1)), (someone(2), 6, ref(2))]
        for value in (10, 12, 0):
            with pytest.raises(Reverted) as refused:
                house.evm.send(
                    house.contract, "payNative", ref(1), payments,
                    sender=house.operator, value=value,
                )  # fmt: skip
            assert (refused.value.name, refused.value.values) == ("WrongValue", (value, 11))
        done = house.evm.send(
            house.contract, "payNative", ref(1), payments, sender=house.operator, value=11
        )
        assert [e.values["token"] for e in done.events] == [ZERO, ZERO]
        assert (house.evm.balance(someone(1)), house.evm.balance(someone(2))) == (5, 6)

    def test_a_recipient_who_refuses_stops_the_batch(self, house: House) -> None:
        house.evm.rpc("anvil_setCode", someone(3), "0x60006000fd")
        with pytest.raises(Reverted, match="NativeRefused"):
            house.evm.send(
                house.contract, "payNative", ref(1),
                [(someone(1), 5, ref(1)), (someone(3), 6, ref(2))],
                sender=house.operator, value=11,
            )  # fmt: skip
        assert house.evm.balance(someone(1)) == 0

    def test_a_recipient_cannot_come_back_in(self, house: House) -> None:
        """A contract that is paid, and is an operator too, still cannot enter again."""
        evm = house.evm
        evil = evm.deploy("Reenterer")
        again = evm.data(house.contract, "payNative", (ref(2), [(someone(1), 1, ref(1))]))
        evm.send(house.contract, "setOperator", evil, True)
        evm.send(evil, "aim", house.contract, again, 1)
        with pytest.raises(Reverted, match="NativeRefused"):
            evm.send(
                house.contract, "payNative", ref(1), [(evil, 5, ref(1))],
                sender=house.operator, value=5,
            )  # fmt: skip
        assert evm.balance(someone(1)) == 0


@pytest.mark.parametrize("amount", [1, 10**12])
def test_a_token_that_takes_a_fee_is_refused(house: House, amount: int) -> None:
    house.token = house.evm.deploy("FeeToken", SUPPLY, sender=house.operator)
    house.evm.send(house.token, "approve", house.contract, SUPPLY, sender=house.operator)
    total = 1000 * amount
    with pytest.raises(Reverted) as refused:
        house.pay(1, (someone(1), total, ref(1)))
    wanted = ("ShortDelivery", (total - total // 100 - 1, total))
    assert (refused.value.name, refused.value.values) == wanted


def test_a_token_that_answers_nothing_is_paid(house: House) -> None:
    house.token = house.evm.deploy("SilentToken", SUPPLY, sender=house.operator)
    house.pay(1, (someone(1), 5, ref(1)), (someone(2), 6, ref(2)))
    assert (house.holds(someone(1)), house.holds(someone(2))) == (5, 6)


def test_a_token_that_answers_false_and_one_that_only_says_true(house: House) -> None:
    house.token = house.evm.deploy("SlyToken", SUPPLY, False, sender=house.operator)
    with pytest.raises(Reverted, match="SafeERC20FailedOperation"):
        house.pay(1, (someone(1), 5, ref(1)))
    house.token = house.evm.deploy("SlyToken", SUPPLY, True, sender=house.operator)
    with pytest.raises(Reverted) as refused:
        house.pay(1, (someone(1), 5, ref(1)))
    assert (refused.value.name, refused.value.values) == ("UnevenBatch", (5, 0))
    assert house.evm.call(house.contract, "paid", ref(1)) is False


def test_a_token_cannot_come_back_in(house: House) -> None:
    evm = house.evm
    house.token = evm.deploy("SlyToken", SUPPLY, True, sender=house.operator)
    evm.send(house.contract, "setOperator", house.token, True)
    again = evm.data(house.contract, "payToken", (ref(2), house.token, [(someone(1), 1, ref(1))]))
    evm.send(house.token, "aim", house.contract, again)
    with pytest.raises(Reverted, match="ReentrancyGuardReentrantCall"):
        house.pay(1, (someone(1), 5, ref(1)))
    evm.send(house.contract, "transferOwnership", house.token)
    evm.send(house.token, "aim", house.contract, evm.data(house.contract, "acceptOwnership", ()))
    with pytest.raises(Reverted, match="UnevenBatch"):  # that went through, and is undone
        house.pay(1, (someone(1), 5, ref(1)))
    assert evm.call(house.contract, "owner") == house.owner.lower()


def test_an_address_without_code_is_no_token(house: House) -> None:
    house.token = someone(77)
    with pytest.raises(Reverted):
        house.evm.send(
            house.contract, "payToken", ref(1), house.token, [(someone(1), 5, ref(1))],
            sender=house.operator,
        )  # fmt: skip


def test_what_the_owner_does_is_told(house: House) -> None:
    evm, contract = house.evm, house.contract
    named = evm.send(contract, "setOperator", house.stranger, True)
    assert [(e.name, e.values) for e in named.events] == [
        ("OperatorChanged", {"account": house.stranger.lower(), "allowed": True})
    ]
    assert evm.call(contract, "isOperator", house.stranger) is True
    evm.send(contract, "pause")
    assert [e.name for e in evm.send(contract, "unpause").events] == ["Unpaused"]
    offered = evm.send(contract, "transferOwnership", house.stranger)
    assert [e.name for e in offered.events] == ["OwnershipTransferStarted"]
    with pytest.raises(Reverted, match="OwnableUnauthorizedAccount"):
        evm.send(contract, "acceptOwnership", sender=house.operator)
    taken = evm.send(contract, "acceptOwnership", sender=house.stranger)
    assert [e.name for e in taken.events] == ["OwnershipTransferred"]
    with pytest.raises(Reverted, match="OwnableInvalidOwner"):
        evm.deploy("BatchPayout", ZERO, COLD)


def test_a_pause_stops_coins_too_and_drains_go_on(house: House) -> None:
    house.evm.rpc("anvil_setBalance", house.contract, hex(55))
    house.evm.send(house.contract, "pause")
    with pytest.raises(Reverted, match="EnforcedPause"):
        house.evm.send(
            house.contract, "payNative", ref(1), [(someone(1), 5, ref(1))],
            sender=house.operator, value=5,
        )  # fmt: skip
    house.evm.rpc("anvil_setCode", COLD, "0x60006000fd")
    with pytest.raises(Reverted) as refused:
        house.evm.send(house.contract, "drain", ZERO)
    assert (refused.value.name, refused.value.values) == ("NativeRefused", (COLD.lower(),))
    house.evm.rpc("anvil_setCode", COLD, "0x")
    house.evm.send(house.contract, "drain", ZERO)
    assert house.evm.balance(house.contract) == 0


PAYMENTS = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 10**18)), min_size=0, max_size=8
)  # fmt: skip


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=PAYMENTS, batch=st.integers(0, 3))
def test_fuzz_what_goes_in_comes_out_or_nothing_moves(
    house: House, drawn: list[tuple[int, int]], batch: int
) -> None:
    people = [someone(n) for n in range(1, 7)]
    before = {who: house.holds(who) for who in people}
    funds = house.holds(house.operator)
    was_paid = house.evm.call(house.contract, "paid", ref(batch))
    payments = [(ZERO if n == 0 else people[n - 1], amount, ref(i)) for i, (n, amount) in
                enumerate(drawn)]  # fmt: skip
    good = bool(drawn) and not was_paid and all(n and amount for n, amount in drawn)
    try:
        house.pay(batch, *payments)
        went = True
    except Reverted:
        went = False
    assert went == good
    gained = {who: house.holds(who) - before[who] for who in people}
    wanted = {who: sum(a for w, a, _ in payments if w == who) if went else 0 for who in people}
    assert gained == wanted
    assert funds - house.holds(house.operator) == sum(gained.values())
    assert house.holds(house.contract) == 0
