"""Sweeps, batches, allowances, delegations and approvals: what a hot or deposit key may sign."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_keys.datatypes import Signature
from eth_utils.crypto import keccak

from keys import policy_file
from keys.calls import (
    APPROVE,
    APPROVE_SELECTOR,
    PAY_NATIVE,
    PAY_NATIVE_SELECTOR,
    PAY_TOKEN,
    PAY_TOKEN_SELECTOR,
    SWEEP,
    SWEEP_SELECTOR,
    TRANSFER,
    TRANSFER_SELECTOR,
)
from keys.deposit_keys import HdDepositKeys
from keys.derivation import DEPOSIT_ACCOUNT, DepositDeriver, account_xpub
from keys.desk import SigningDesk
from keys.errors import InvalidPolicy, NonceConflict, SignerRefused
from keys.payload import Authorization, UnsignedTx, authorization_message, decode_unsigned
from keys.policy import DEPOSIT_NOTHINGS_A_DAY, ChainPolicy, Limit, Policy
from keys.remote import limits_of
from keys.request import Kind, SignedTx, SignRequest, approval_text
from keys.secret import SecretText
from keys.testing import (
    GWEI,
    LOCAL_CHAIN_ID,
    TEST_HOT_ADDRESSES,
    TEST_MNEMONIC,
    native_payload,
    open_desk,
    test_seed,
    token_payload,
)

HOT = TEST_HOT_ADDRESSES[0]
PAYEE = "0x00000000000000000000000000000000000000AA"
TOKEN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
TREASURY = "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc"
SWEEPER = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"
SWEEP_BATCH = "0x9fE46736679d2D9a65F0992F2272dE9f3c7fa6e0"
PAYOUT = "0xCf7Ed3AccA5a467e9e704C703E8D87F634fB0Fc9"
OPERATOR = Account.from_key(b"\x07" * 32)
RULES = Policy(
    {
        LOCAL_CHAIN_ID: ChainPolicy(
            fee_ceiling_wei=100 * GWEI,
            native=Limit(10**18, 10**19, approve_above=10**17),
            tokens={TOKEN: Limit(1_000, 5_000)},
            contracts={"batch_payout": PAYOUT, "sweep_batch": SWEEP_BATCH},
            treasury_to=frozenset({TREASURY}),
            sweep_to=frozenset({TREASURY, HOT}),
            sweeper=SWEEPER,
        )
    },
    operators=frozenset({OPERATOR.address}),
)
DERIVER = DepositDeriver(account_xpub(test_seed(), DEPOSIT_ACCOUNT))
DEPOSIT = DERIVER.address(3)


@pytest.fixture
def desk() -> SigningDesk:
    return open_desk(policy=RULES)


def sign(
    desk: SigningDesk,
    payload: bytes,
    *,
    address: str = HOT,
    intent: str = "int_1",
    kind: Kind = "pay",
    index: int | None = None,
    approval: bytes = b"",
) -> SignedTx:
    request = SignRequest(address, payload, intent, kind, index, approval)
    admitted = desk.admit(request)
    desk.journal.flush()
    return desk.sign(admitted)


def refusal(desk: SigningDesk, payload: bytes, **more: object) -> str:
    with pytest.raises(SignerRefused) as caught:
        sign(desk, payload, **more)  # type: ignore[arg-type]
    return caught.value.reason


def call(to: str, data: bytes, *, value: int = 0, nonce: int = 0) -> bytes:
    return native_payload(nonce, to=to, value=value, data=data, gas=200_000)


def raw_address(text: str) -> bytes:
    return bytes.fromhex(text[2:])


class TestDepositKeys:
    def test_coins_and_tokens_go_to_the_list_only(self, desk: SigningDesk) -> None:
        assert sign(desk, native_payload(to=TREASURY, value=5), address=DEPOSIT, index=3)
        paid = token_payload(1, contract=TOKEN, to=HOT, amount=10**9)
        assert sign(desk, paid, address=DEPOSIT, index=3, intent="int_2")

    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            (native_payload(to=PAYEE, value=5), "recipient_not_allowed"),
            (token_payload(contract=TOKEN, to=PAYEE, amount=5), "recipient_not_allowed"),
            (token_payload(contract=PAYEE, to=TREASURY, amount=5), "asset_not_allowed"),
            (native_payload(to=TREASURY, value=0), "zero_value"),
            (call(SWEEP_BATCH, b"\1"), "selector_not_allowed"),
            (native_payload(to=TREASURY, value=5, chain_id=1), "chain_not_allowed"),
        ],
    )
    def test_nothing_else(self, desk: SigningDesk, payload: bytes, reason: str) -> None:
        assert refusal(desk, payload, address=DEPOSIT, index=3) == reason

    def test_the_index_must_lead_to_the_address(self, desk: SigningDesk) -> None:
        payload = native_payload(to=TREASURY, value=5)
        assert refusal(desk, payload, address=DEPOSIT, index=4) == "unknown_address"
        assert refusal(desk, payload, address=DEPOSIT) == "unknown_address"
        assert refusal(desk, payload, address=DEPOSIT, index=-1) == "unknown_address"

    def test_a_signer_without_deposit_keys_refuses(self, desk: SigningDesk) -> None:
        bare = SigningDesk(
            hot_keys=[], deposit_xpub="", policy=RULES, journal=desk.journal, deposit_keys=None
        )
        payload = native_payload(to=TREASURY, value=5)
        assert refusal(bare, payload, address=DEPOSIT, index=3) == "unknown_address"

    def test_transfers_of_nothing_are_counted(self, desk: SigningDesk) -> None:
        """Each burns coins that lie there; those of hot addresses are counted apart."""
        for nonce in range(DEPOSIT_NOTHINGS_A_DAY):
            index = nonce // 32
            address = DERIVER.address(index)
            empty = native_payload(nonce % 32, to=address, value=0)
            sign(desk, empty, address=address, index=index, intent=f"int_{nonce}", kind="noop")
        more = native_payload(0, to=DEPOSIT, value=0)
        assert refusal(desk, more, address=DEPOSIT, index=3, kind="noop") == "day_limit_reached"
        first = DERIVER.address(0)
        again = native_payload(0, to=first, value=0, cap=3 * GWEI)
        assert sign(desk, again, address=first, index=0, intent="int_0", kind="bump")
        assert sign(desk, native_payload(0, to=HOT, value=0), intent="int_h", kind="noop")
        swept = native_payload(0, to=TREASURY, value=5)
        assert sign(desk, swept, address=DEPOSIT, index=3, intent="int_s")

    def test_no_secret_is_shown(self) -> None:
        assert repr(HdDepositKeys(SecretText(TEST_MNEMONIC))) == "HdDepositKeys(***)"


def delegation(desk: SigningDesk, *, chain_id: int = LOCAL_CHAIN_ID, nonce: int = 0) -> bytes:
    admitted = desk.admit_delegation(
        address=DEPOSIT, deposit_index=3, chain_id=chain_id, nonce=nonce, delegate=SWEEPER
    )
    desk.journal.flush()
    return desk.delegate(admitted)


def authorization(signature: bytes, *, chain_id: int = LOCAL_CHAIN_ID) -> Authorization:
    return Authorization(
        chain_id,
        raw_address(SWEEPER),
        0,
        signature[64],
        int.from_bytes(signature[:32], "big"),
        int.from_bytes(signature[32:64], "big"),
    )


def sweep_data() -> bytes:
    return SWEEP_SELECTOR + encode(list(SWEEP), [[DEPOSIT], TOKEN])


def delegating(item: Authorization, *, to: str = SWEEP_BATCH) -> bytes:
    return UnsignedTx(
        LOCAL_CHAIN_ID, 0, GWEI, 2 * GWEI, 200_000, raw_address(to), 0, sweep_data(), (item,)
    ).encode()


class TestDelegation:
    def test_it_recovers_to_the_deposit_address(self, desk: SigningDesk) -> None:
        signature = delegation(desk)
        message = authorization_message(LOCAL_CHAIN_ID, raw_address(SWEEPER), 0)
        key = Signature(
            vrs=(
                signature[64],
                int.from_bytes(signature[:32], "big"),
                int.from_bytes(signature[32:64], "big"),
            )
        ).recover_public_key_from_msg_hash(keccak(message))
        assert key.to_checksum_address() == DEPOSIT
        assert delegation(desk) == signature

    def test_only_the_sweeper_and_never_chain_zero(self, desk: SigningDesk) -> None:
        for chain_id, delegate, index, reason in (
            (LOCAL_CHAIN_ID, PAYEE, 3, "delegate_not_allowed"),
            (0, SWEEPER, 3, "chain_not_allowed"),
            (1, SWEEPER, 3, "chain_not_allowed"),
            (LOCAL_CHAIN_ID, SWEEPER, 4, "unknown_address"),
        ):
            with pytest.raises(SignerRefused) as caught:
                desk.admit_delegation(
                    address=DEPOSIT,
                    deposit_index=index,
                    chain_id=chain_id,
                    nonce=0,
                    delegate=delegate,
                )
            assert caught.value.reason == reason
        open_zero = open_desk(policy=Policy({0: ChainPolicy(1, sweeper=SWEEPER)}))
        with pytest.raises(SignerRefused, match="chain_not_allowed"):
            delegation(open_zero, chain_id=0)

    def test_it_is_in_the_journal_and_uses_no_nonce(
        self, desk: SigningDesk, tmp_path: Path
    ) -> None:
        kept = open_desk(policy=RULES, directory=tmp_path)
        delegation(kept)
        kept.journal.close()
        assert b'"kind":"authorize"' in (tmp_path / "journal.log").read_bytes()
        again = open_desk(policy=RULES, directory=tmp_path)
        assert sign(again, native_payload(to=TREASURY, value=5), address=DEPOSIT, index=3)

    def test_a_hot_address_carries_it_to_the_sweeping_contract(self, desk: SigningDesk) -> None:
        signed = sign(desk, delegating(authorization(delegation(desk))))
        assert signed.raw[0] == 4
        assert Account.recover_transaction(signed.raw) == HOT

    def test_and_nowhere_else(self, desk: SigningDesk) -> None:
        good = authorization(delegation(desk))
        elsewhere = Authorization(1, good.delegate, 0, good.parity, good.r, good.s)
        stranger = Authorization(LOCAL_CHAIN_ID, raw_address(PAYEE), 0, good.parity, good.r, good.s)
        zero = Authorization(0, good.delegate, 0, good.parity, good.r, good.s)
        for payload in (
            delegating(elsewhere),
            delegating(stranger),
            delegating(zero),
            delegating(good, to=PAYEE),
        ):
            assert refusal(desk, payload) == "delegate_not_allowed"

    def test_type_four_reads_back_to_the_byte(self, desk: SigningDesk) -> None:
        payload = delegating(authorization(delegation(desk)))
        assert decode_unsigned(payload).encode() == payload
        with pytest.raises(SignerRefused):
            decode_unsigned(b"\x02" + payload[1:])


def batch(asset: str | None, payments: list[tuple[str, int]], *, value: int | None = None) -> bytes:
    rows = [(to, amount, bytes(32)) for to, amount in payments]
    if asset is None:
        data = PAY_NATIVE_SELECTOR + encode(list(PAY_NATIVE), [bytes(32), rows])
    else:
        data = PAY_TOKEN_SELECTOR + encode(list(PAY_TOKEN), [bytes(32), asset, rows])
    total = sum(amount for _, amount in payments) if asset is None else 0
    return call(PAYOUT, data, value=total if value is None else value)


class TestBatch:
    def test_each_payment_has_its_limit_and_the_sum_counts_for_the_day(
        self, desk: SigningDesk
    ) -> None:
        assert sign(desk, batch(TOKEN, [(PAYEE, 1_000), (HOT, 900)]))
        book = desk.journal.book
        assert book.spent(LOCAL_CHAIN_ID, TOKEN, book.day) == 1_900
        other = open_desk(policy=RULES)
        assert refusal(other, batch(TOKEN, [(PAYEE, 1_001), (HOT, 1)])) == "above_per_tx_limit"
        assert refusal(other, batch(TOKEN, [(PAYEE, 1_000)] * 6)) == "day_limit_reached"

    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            (batch(PAYEE, [(HOT, 1)]), "asset_not_allowed"),
            (batch(TOKEN, []), "selector_not_allowed"),
            (batch(TOKEN, [("0x" + "00" * 20, 1)]), "recipient_not_allowed"),
            (batch(TOKEN, [(PAYEE, 0)]), "recipient_not_allowed"),
            (batch(TOKEN, [(TOKEN, 1)]), "recipient_not_allowed"),
            (batch(TOKEN, [(PAYOUT, 1)]), "recipient_not_allowed"),
            (batch(TOKEN, [(PAYEE, 1)], value=1), "wrong_value"),
            (batch(None, [(PAYEE, 5)], value=6), "wrong_value"),
            (call(PAYOUT, b""), "selector_not_allowed"),
            (call(PAYOUT, PAY_TOKEN_SELECTOR + bytes(96)), "selector_not_allowed"),
            (call(SWEEP_BATCH, sweep_data(), value=1), "selector_not_allowed"),
            (call(SWEEP_BATCH, PAY_TOKEN_SELECTOR), "selector_not_allowed"),
            (batch(None, [(PAYEE, 2 * 10**17), (HOT, 1)]), "approval_needed"),
        ],
    )
    def test_refused(self, desk: SigningDesk, payload: bytes, reason: str) -> None:
        assert refusal(desk, payload) == reason

    def test_trailing_bytes_are_no_call(self, desk: SigningDesk) -> None:
        data = decode_unsigned(batch(TOKEN, [(PAYEE, 1)])).data + bytes(32)
        assert refusal(desk, call(PAYOUT, data)) == "selector_not_allowed"


class TestAllowance:
    def test_for_our_payout_contract_only(self, desk: SigningDesk) -> None:
        def approve(spender: str, token: str = TOKEN) -> bytes:
            return call(token, APPROVE_SELECTOR + encode(list(APPROVE), [spender, 2**256 - 1]))

        assert refusal(desk, approve(PAYEE)) == "recipient_not_allowed"
        assert refusal(desk, approve(PAYOUT, PAYEE)) == "asset_not_allowed"
        assert sign(desk, approve(PAYOUT))
        assert refusal(desk, approve(PAYOUT), address=DEPOSIT, index=3) == "selector_not_allowed"


class TestTreasury:
    def test_no_limit_to_the_list(self, desk: SigningDesk) -> None:
        assert sign(desk, native_payload(to=TREASURY, value=10**21))
        amount = TRANSFER_SELECTOR + encode(list(TRANSFER), [TREASURY, 10**9])
        assert sign(desk, call(TOKEN, amount, nonce=1), intent="int_2")
        assert desk.journal.book.spent(LOCAL_CHAIN_ID, "native", desk.journal.book.day) == 0


def approved(intent: str, *, to: str = PAYEE, amount: int, chain_id: int = LOCAL_CHAIN_ID) -> bytes:
    text = approval_text(intent_id=intent, chain_id=chain_id, to=to, asset="native", amount=amount)
    return bytes(OPERATOR.sign_message(encode_defunct(text=text)).signature)


class TestApproval:
    AMOUNT = 2 * 10**17

    def test_an_operator_lets_one_payment_pass(self, desk: SigningDesk) -> None:
        payload = native_payload(to=PAYEE, value=self.AMOUNT)
        assert refusal(desk, payload) == "approval_needed"
        given = approved("int_1", amount=self.AMOUNT)
        assert sign(desk, payload, approval=given)
        dearer = native_payload(to=PAYEE, value=self.AMOUNT, cap=4 * GWEI, tip=2 * GWEI)
        assert refusal(desk, dearer, kind="bump") == "approval_needed"
        assert sign(desk, dearer, kind="bump", approval=given)

    def test_of_another_payment_or_person_it_is_none(self, desk: SigningDesk) -> None:
        payload = native_payload(to=PAYEE, value=self.AMOUNT)
        stranger = Account.from_key(b"\x08" * 32)
        text = approval_text(
            intent_id="int_1",
            chain_id=LOCAL_CHAIN_ID,
            to=PAYEE,
            asset="native",
            amount=self.AMOUNT,
        )
        for given in (
            approved("int_2", amount=self.AMOUNT),
            approved("int_1", amount=self.AMOUNT + 1),
            approved("int_1", to=HOT, amount=self.AMOUNT),
            approved("int_1", amount=self.AMOUNT, chain_id=1),
            bytes(stranger.sign_message(encode_defunct(text=text)).signature),
            approved("int_1", amount=self.AMOUNT)[:-1],
            bytes(65),
        ):
            assert refusal(desk, payload, approval=given) == "approval_invalid"

    def test_it_lifts_no_limit(self, desk: SigningDesk) -> None:
        payload = native_payload(to=PAYEE, value=10**18 + 1)
        given = approved("int_1", amount=10**18 + 1)
        assert refusal(desk, payload, approval=given) == "above_per_tx_limit"

    def test_the_limits_are_told(self, desk: SigningDesk) -> None:
        told = desk.approval_limits()
        assert told == {
            str(LOCAL_CHAIN_ID): {
                "above": {"native": str(10**17)},
                "exempt": sorted(desk.policy.chains[LOCAL_CHAIN_ID].treasury_to),
                "operators": sorted(desk.policy.operators),
                "fee_ceiling": str(desk.policy.chains[LOCAL_CHAIN_ID].fee_ceiling_wei),
            }
        }
        limits = limits_of(told)[LOCAL_CHAIN_ID]
        assert limits.asks(asset="native", amount=10**17 + 1, to=PAYEE)
        assert not limits.asks(asset="native", amount=10**17, to=PAYEE)
        assert not limits.asks(asset=PAYEE, amount=10**30, to=PAYEE)
        [cold] = limits.exempt
        assert not limits.asks(asset="native", amount=10**30, to=cold)


class TestNonces:
    def test_none_far_ahead(self, desk: SigningDesk) -> None:
        sign(desk, native_payload(5, to=PAYEE, value=1))
        with pytest.raises(NonceConflict) as caught:
            sign(desk, native_payload(70, to=PAYEE, value=1), intent="int_2")
        assert caught.value.reason == "nonce_ahead"
        assert sign(desk, native_payload(69, to=PAYEE, value=1), intent="int_2")


class TestFile:
    def test_it_is_written_and_read_back(self, tmp_path: Path) -> None:
        policy_file.dump(tmp_path / "policy.json", RULES)
        assert policy_file.load(tmp_path / "policy.json") == RULES

    @pytest.mark.parametrize(
        "document",
        [
            {"1": {"fee_ceiling_wei": "1", "contracts": {"other": TOKEN}}},
            {"1": {"fee_ceiling_wei": "1", "sweep_to": TOKEN}},
            {"1": {"fee_ceiling_wei": "1", "sweep_to": [TOKEN.lower()]}},
            {"1": {"fee_ceiling_wei": "1", "sweeper": 5}},
            {"operators": ["0x1"]},
            {
                "1": {
                    "fee_ceiling_wei": "1",
                    "native": {"per_tx": "1", "per_day": "1", "approve_above": "1"},
                }
            },
        ],
    )
    def test_malformed(self, tmp_path: Path, document: object) -> None:
        file = tmp_path / "policy.json"
        file.write_text(json.dumps(document))
        file.chmod(0o600)
        with pytest.raises(InvalidPolicy):
            policy_file.load(file)
