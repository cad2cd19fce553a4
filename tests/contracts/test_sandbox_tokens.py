"""RegulatedToken: permits (EIP-2612) and authorisations (EIP-3009): once, in time, by holders."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account import Account

from chain.testing.evm import Evm, Reverted

HOLDER = bytes([31]) * 32
OTHER = bytes([32]) * 32
SUPPLY = 10**15
FOREVER = 2**64
NONCE = bytes([7]) * 32
TYPES = {
    "permit": (
        "Permit",
        [("owner", "address"), ("spender", "address"), ("value", "uint256"), ("nonce", "uint256"),
         ("deadline", "uint256")],
    ),
    "transfer": (
        "TransferWithAuthorization",
        [("from", "address"), ("to", "address"), ("value", "uint256"), ("validAfter", "uint256"),
         ("validBefore", "uint256"), ("nonce", "bytes32")],
    ),
    "receive": (
        "ReceiveWithAuthorization",
        [("from", "address"), ("to", "address"), ("value", "uint256"), ("validAfter", "uint256"),
         ("validBefore", "uint256"), ("nonce", "bytes32")],
    ),
    "cancel": ("CancelAuthorization", [("authorizer", "address"), ("nonce", "bytes32")]),
}  # fmt: skip


def who(key: bytes) -> str:
    return str(Account.from_key(key).address)


class Desk:
    def __init__(self, evm: Evm, name: str = "USD Coin", symbol: str = "USDC", scale: int = 6):
        self.evm = evm
        self.name = name
        self.token = evm.deploy("RegulatedToken", name, symbol, scale, SUPPLY, evm.accounts[0])
        evm.send(self.token, "transfer", who(HOLDER), 1000)

    def sign(self, kind: str, key: bytes = HOLDER, domain: Any = None, **values: Any) -> Any:
        primary, fields = TYPES[kind]
        return Account.from_key(key).sign_typed_data(
            {
                "name": self.name, "version": "1", "chainId": 31337,
                "verifyingContract": self.token, **(domain or {}),
            },
            {primary: [{"name": name, "type": form} for name, form in fields]},
            values,
        )  # fmt: skip

    def authorization(self, **changes: Any) -> dict[str, Any]:
        return {
            "from": who(HOLDER), "to": self.evm.accounts[3], "value": 40, "validAfter": 0,
            "validBefore": FOREVER, "nonce": NONCE,
        } | changes  # fmt: skip

    def relay(self, function: str, values: dict[str, Any], signature: bytes, sender: str) -> Any:
        return self.evm.send(
            self.token, function, *values.values(), bytes(signature), sender=sender
        )

    def holds(self, account: str) -> int:
        return int(self.evm.call(self.token, "balanceOf", account))


@pytest.fixture
def desk(evm: Evm) -> Desk:
    return Desk(evm)


def test_the_sandbox_lists_three_of_the_kind(evm: Evm) -> None:
    for name, symbol, scale in (("USD Coin", "USDC", 6), ("Euro Coin", "EURC", 6),
                                ("Dai", "DAI", 18)):  # fmt: skip
        desk = Desk(evm, name, symbol, scale)
        told = [evm.call(desk.token, one) for one in ("name", "symbol", "decimals", "totalSupply")]
        assert told == [name, symbol, scale, SUPPLY]


def test_a_permit_allows_once_and_in_time(desk: Desk) -> None:
    spender = desk.evm.accounts[2]
    values = {"owner": who(HOLDER), "spender": spender, "value": 55, "nonce": 0,
              "deadline": FOREVER}  # fmt: skip
    signed = desk.sign("permit", **values)
    args = (who(HOLDER), spender, 55, FOREVER, signed.v, *(_word(x) for x in (signed.r, signed.s)))
    desk.evm.send(desk.token, "permit", *args)
    assert desk.evm.call(desk.token, "allowance", who(HOLDER), spender) == 55
    with pytest.raises(Reverted, match="ERC2612InvalidSigner"):
        desk.evm.send(desk.token, "permit", *args)
    late = desk.sign("permit", **(values | {"nonce": 1, "deadline": 1}))
    with pytest.raises(Reverted, match="ERC2612ExpiredSignature"):
        desk.evm.send(
            desk.token, "permit", who(HOLDER), spender, 55, 1, late.v, _word(late.r), _word(late.s)
        )


def _word(number: int) -> bytes:
    return int(number).to_bytes(32, "big")


class TestAuthorizations:
    def test_anybody_may_relay_it_once(self, desk: Desk) -> None:
        values = desk.authorization()
        signature = desk.sign("transfer", **values).signature
        done = desk.relay("transferWithAuthorization", values, signature, desk.evm.accounts[5])
        assert "AuthorizationUsed" in [event.name for event in done.events]
        assert (desk.holds(who(HOLDER)), desk.holds(desk.evm.accounts[3])) == (960, 40)
        with pytest.raises(Reverted, match="AuthorizationUsedOrCanceled"):
            desk.relay("transferWithAuthorization", values, signature, desk.evm.accounts[5])

    def test_only_the_payee_relays_a_receive(self, desk: Desk) -> None:
        values = desk.authorization()
        signature = desk.sign("receive", **values).signature
        with pytest.raises(Reverted, match="CallerMustBePayee"):
            desk.relay("receiveWithAuthorization", values, signature, desk.evm.accounts[5])
        with pytest.raises(Reverted, match="WrongSigner"):  # one kind is not the other
            desk.relay("transferWithAuthorization", values, signature, desk.evm.accounts[5])
        desk.relay("receiveWithAuthorization", values, signature, desk.evm.accounts[3])
        assert desk.holds(desk.evm.accounts[3]) == 40

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"validAfter": FOREVER}, "AuthorizationNotYetValid"),
            ({"validBefore": 1}, "AuthorizationExpired"),
        ],
    )
    def test_too_early_and_too_late(self, desk: Desk, changes: Any, error: str) -> None:
        values = desk.authorization(**changes)
        signature = desk.sign("transfer", **values).signature
        with pytest.raises(Reverted, match=error):
            desk.relay("transferWithAuthorization", values, signature, desk.evm.accounts[5])

    def test_another_key_amount_chain_or_contract(self, desk: Desk) -> None:
        values = desk.authorization()
        wrong = [
            desk.sign("transfer", OTHER, **values),
            desk.sign("transfer", **(values | {"value": 41})),
            desk.sign("transfer", domain={"chainId": 1}, **values),
            desk.sign("transfer", domain={"verifyingContract": who(OTHER)}, **values),
        ]
        for signed in wrong:
            with pytest.raises(Reverted, match="WrongSigner"):
                desk.relay(
                    "transferWithAuthorization", values, signed.signature, desk.evm.accounts[5]
                )
        assert desk.holds(who(HOLDER)) == 1000

    def test_a_mirrored_signature_is_refused(self, desk: Desk) -> None:
        order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
        values = desk.authorization()
        signed = desk.sign("transfer", **values)
        mirrored = _word(signed.r) + _word(order - signed.s) + bytes([55 - signed.v])
        with pytest.raises(Reverted, match="ECDSAInvalidSignatureS"):
            desk.relay("transferWithAuthorization", values, mirrored, desk.evm.accounts[5])

    @pytest.mark.parametrize("kind", ["transfer", "receive"])
    def test_a_signature_in_three_parts_is_the_same(self, desk: Desk, kind: str) -> None:
        function, payee = f"{kind}WithAuthorization", desk.evm.accounts[3]
        values = desk.authorization()
        signed = desk.sign(kind, **values)
        parts = (signed.v, _word(signed.r), _word(signed.s))
        if kind == "receive":
            with pytest.raises(Reverted, match="CallerMustBePayee"):
                desk.evm.send(desk.token, function, *values.values(), *parts)
        with pytest.raises(Reverted, match=r"WrongSigner|ECDSAInvalidSignature"):
            swapped = (55 - signed.v, *parts[1:])
            desk.evm.send(desk.token, function, *values.values(), *swapped, sender=payee)
        desk.evm.send(desk.token, function, *values.values(), *parts, sender=payee)
        assert desk.holds(payee) == 40
        assert desk.evm.call(desk.token, "authorizationState", who(HOLDER), NONCE) is True
        with pytest.raises(Reverted, match="AuthorizationUsedOrCanceled"):
            desk.relay(function, values, signed.signature, payee)

    def test_a_cancellation_in_three_parts_is_told(self, desk: Desk) -> None:
        signed = desk.sign("cancel", authorizer=who(HOLDER), nonce=NONCE)
        parts = (signed.v, _word(signed.r), _word(signed.s))
        done = desk.evm.send(desk.token, "cancelAuthorization", who(HOLDER), NONCE, *parts)
        assert [(e.name, e.values) for e in done.events] == [
            ("AuthorizationCanceled", {"authorizer": who(HOLDER).lower(), "nonce": NONCE})
        ]

    def test_cancelled_before_it_is_used(self, desk: Desk) -> None:
        values = desk.authorization()
        signature = desk.sign("transfer", **values).signature
        cancel = desk.sign("cancel", authorizer=who(HOLDER), nonce=NONCE).signature
        with pytest.raises(Reverted, match="WrongSigner"):
            forged = desk.sign("cancel", OTHER, authorizer=who(HOLDER), nonce=NONCE).signature
            desk.evm.send(desk.token, "cancelAuthorization", who(HOLDER), NONCE, bytes(forged))
        desk.evm.send(desk.token, "cancelAuthorization", who(HOLDER), NONCE, bytes(cancel))
        with pytest.raises(Reverted, match="AuthorizationUsedOrCanceled"):
            desk.relay("transferWithAuthorization", values, signature, desk.evm.accounts[5])
        with pytest.raises(Reverted, match="AuthorizationUsedOrCanceled"):
            desk.evm.send(desk.token, "cancelAuthorization", who(HOLDER), NONCE, bytes(cancel))


def test_the_issuer_may_block_and_pause_and_nobody_else(desk: Desk) -> None:
    issuer, stranger = desk.evm.accounts[0], desk.evm.accounts[5]
    for function, args in (("setBlacklisted", (stranger, True)), ("pause", ()), ("unpause", ())):
        with pytest.raises(Reverted, match="OwnableUnauthorizedAccount"):
            desk.evm.send(desk.token, function, *args, sender=stranger)
    told = desk.evm.send(desk.token, "setBlacklisted", stranger, True).events
    assert [(e.name, e.values) for e in told] == [
        ("BlacklistChanged", {"account": stranger.lower(), "blocked": True})
    ]
    with pytest.raises(Reverted, match="Blacklisted"):
        desk.evm.send(desk.token, "transfer", stranger, 1)
    desk.evm.send(desk.token, "setBlacklisted", stranger, False)
    desk.evm.send(desk.token, "transfer", stranger, 1)
    with pytest.raises(Reverted, match="ERC20InsufficientBalance"):
        desk.evm.send(desk.token, "transfer", issuer, 2, sender=stranger)
    desk.evm.send(desk.token, "pause")
    with pytest.raises(Reverted, match="EnforcedPause"):
        desk.evm.send(desk.token, "transfer", stranger, 1)
