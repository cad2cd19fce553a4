"""The warm key: two operators for every payment, two kinds of recipients, limits of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount

from keys import policy_file
from keys.backup import import_hot, rotate_house, warm_address
from keys.derivation import WARM_ACCOUNT, address_of, derive_key, path
from keys.desk import SigningDesk
from keys.errors import (
    InvalidDerivation,
    InvalidPolicy,
    KeyKnown,
    NonceConflict,
    SecretMissing,
    SignerRefused,
)
from keys.house import MNEMONIC, OWNER, WARM_KEY, has_warm, warm_key
from keys.journal import JOURNAL_FILE, Journal
from keys.kdf import KdfCost
from keys.keystore import encrypt
from keys.payload import Authorization, decode_unsigned
from keys.policy import NOTHINGS_A_DAY, ChainPolicy, Limit, Policy, WarmPolicy
from keys.public import read_public, write_public
from keys.remote import limits_of
from keys.request import Kind, SignRequest, approval_text
from keys.secret import Secret, SecretText
from keys.setup import create_house, extend_hot, extend_warm, public_of
from keys.testing import (
    GWEI,
    LOCAL_CHAIN_ID,
    TEST_HOT_ADDRESSES,
    TEST_JOURNAL_KEY,
    TEST_MNEMONIC,
    TEST_PASSPHRASE,
    native_payload,
    open_desk,
    test_seed,
    token_payload,
)
from keys.vault import VAULT_FILE, Vault

HOT = TEST_HOT_ADDRESSES[0]
COLD = "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc"
STRANGER = "0x00000000000000000000000000000000000000AA"
TOKEN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
OTHER_TOKEN = "0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"
PAYOUT = "0xCf7Ed3AccA5a467e9e704C703E8D87F634fB0Fc9"
ADA, BOB, CY = (Account.from_key(bytes([number]) * 32) for number in (7, 8, 9))
NOBODY = Account.from_key(b"\x0a" * 32)
KEY = derive_key(test_seed(), path(WARM_ACCOUNT, 0))
WARM = address_of(KEY)
DAY = datetime(2026, 1, 5, 12, tzinfo=UTC)
RULES = Policy(
    {
        LOCAL_CHAIN_ID: ChainPolicy(
            fee_ceiling_wei=100 * GWEI,
            native=Limit(10**15, 10**15),
            tokens={TOKEN: Limit(10, 10), OTHER_TOKEN: Limit(10, 10)},
            contracts={"batch_payout": PAYOUT},
            treasury_to=frozenset({COLD}),
            warm=WarmPolicy(native=Limit(10**18, 2 * 10**18), tokens={TOKEN: Limit(1_000, 1_500)}),
        )
    },
    operators=frozenset({ADA.address, BOB.address, CY.address}),
)


class Clock:
    now = DAY

    def __call__(self) -> datetime:
        return self.now


def new_desk(folder: Path, policy: Policy = RULES, clock: Any = None) -> SigningDesk:
    file = folder / JOURNAL_FILE
    opened = (Journal.open if file.exists() else Journal.create)(file, TEST_JOURNAL_KEY)
    return SigningDesk(
        hot_keys=[derive_key(test_seed(), path(0, index)) for index in range(2)],
        deposit_xpub="", policy=policy, journal=opened, clock=clock or Clock(), warm_key=KEY,
    )  # fmt: skip


@pytest.fixture
def desk(tmp_path: Path) -> SigningDesk:
    return new_desk(tmp_path)


def signed(
    *by: LocalAccount, intent: str = "int_1", to: str = HOT, asset: str = "native",
    amount: int = 5, chain_id: int = LOCAL_CHAIN_ID, warm: str | None = WARM,
) -> bytes:  # fmt: skip
    words = approval_text(
        intent_id=intent, chain_id=chain_id, to=to, asset=asset, amount=amount, warm=warm
    )
    return b"".join(bytes(one.sign_message(encode_defunct(text=words)).signature) for one in by)


def sign(
    desk: SigningDesk, payload: bytes, approval: bytes = b"", *, intent: str = "int_1",
    kind: Kind = "pay", address: str = WARM,
) -> bytes:  # fmt: skip
    admitted = desk.admit(SignRequest(address, payload, intent, kind, None, approval))
    desk.journal.flush()
    return desk.sign(admitted).raw


def refusal(desk: SigningDesk, payload: bytes, approval: bytes = b"", **more: Any) -> str:
    with pytest.raises(SignerRefused) as caught:
        sign(desk, payload, approval, **more)
    return caught.value.reason


COINS = native_payload(to=HOT, value=5)
BOTH = signed(ADA, BOB)


class TestWhoMustSign:
    def test_two_operators_move_coins_to_hot(self, desk: SigningDesk) -> None:
        assert Account.recover_transaction(sign(desk, COINS, BOTH)) == WARM

    def test_any_two_of_three_and_three_as_well(self, desk: SigningDesk) -> None:
        assert sign(desk, COINS, signed(CY, BOB)) == sign(desk, COINS, signed(ADA, BOB, CY))

    @pytest.mark.parametrize(
        ("approval", "reason"),
        [
            (b"", "approval_needed"),
            (signed(ADA), "approval_needed"),
            (signed(ADA, ADA), "approval_needed"),
            (signed(ADA, NOBODY), "approval_invalid"),
            (signed(NOBODY), "approval_invalid"),
            (signed(ADA) + signed(BOB, amount=6), "approval_invalid"),
            (signed(ADA, BOB, amount=6), "approval_invalid"),
            (signed(ADA, BOB, to=COLD), "approval_invalid"),
            (signed(ADA, BOB, intent="int_2"), "approval_invalid"),
            (signed(ADA, BOB, chain_id=1), "approval_invalid"),
            (signed(ADA, BOB, asset=TOKEN), "approval_invalid"),
            (signed(ADA, BOB, warm=None), "approval_invalid"),
            (signed(ADA, BOB, warm=COLD), "approval_invalid"),
            (BOTH[:-1], "approval_invalid"),
            (BOTH + BOTH[:1], "approval_invalid"),
            (BOTH * 9, "approval_invalid"),
        ],
    )  # fmt: skip
    def test_nothing_less(self, desk: SigningDesk, approval: bytes, reason: str) -> None:
        assert refusal(desk, COINS, approval) == reason
        assert len(desk.journal.book) == 0

    def test_the_same_operators_signature_in_another_form_is_not_a_second_one(
        self, desk: SigningDesk
    ) -> None:
        one = signed(ADA)
        other = one[:64] + bytes([one[64] - 27])  # v as 0 or 1
        assert refusal(desk, COINS, one + other) == "approval_needed"

    def test_to_the_treasury_two_as_well_and_no_limit(self, desk: SigningDesk) -> None:
        payload = native_payload(to=COLD, value=50 * 10**18)
        assert refusal(desk, payload, signed(ADA, to=COLD, amount=50 * 10**18)) == "approval_needed"
        assert sign(desk, payload, signed(ADA, BOB, to=COLD, amount=50 * 10**18))

    def test_a_bump_needs_them_too(self, desk: SigningDesk) -> None:
        sign(desk, COINS, BOTH)
        dearer = native_payload(to=HOT, value=5, cap=3 * GWEI)
        assert refusal(desk, dearer, kind="bump") == "approval_needed"
        assert sign(desk, dearer, BOTH, kind="bump")

    def test_as_many_as_the_policy_says(self, tmp_path: Path) -> None:
        chain = RULES.chains[LOCAL_CHAIN_ID]
        assert chain.warm is not None
        three = replace(chain, warm=replace(chain.warm, signatures=3))
        desk = new_desk(tmp_path, replace(RULES, chains={LOCAL_CHAIN_ID: three}))
        assert refusal(desk, COINS, BOTH) == "approval_needed"
        assert sign(desk, COINS, signed(ADA, BOB, CY))

    def test_it_is_told(self, desk: SigningDesk) -> None:
        limits = limits_of(desk.approval_limits())[LOCAL_CHAIN_ID]
        assert limits.asks(asset="native", amount=1, to=COLD, sender=WARM) == 2
        assert limits.asks(asset="native", amount=1, to=COLD, sender=HOT) == 0
        assert WARM in limits.exempt


class TestWhatMayLeave:
    def test_tokens(self, desk: SigningDesk) -> None:
        payload = token_payload(contract=TOKEN, to=HOT, amount=1_000)
        assert sign(desk, payload, signed(ADA, BOB, asset=TOKEN, amount=1_000))

    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            (native_payload(to=STRANGER, value=5), "recipient_not_allowed"),
            (native_payload(to=WARM, value=5), "recipient_not_allowed"),
            (token_payload(contract=TOKEN, to=STRANGER, amount=5), "recipient_not_allowed"),
            (token_payload(contract=OTHER_TOKEN, to=HOT, amount=5), "asset_not_allowed"),
            (token_payload(contract=STRANGER, to=HOT, amount=5), "asset_not_allowed"),
            (native_payload(to=HOT, value=0), "zero_value"),
            (native_payload(to=PAYOUT, value=5, data=b"\1\2\3\4"), "selector_not_allowed"),
            (native_payload(to=PAYOUT, value=5), "recipient_not_allowed"),
            (
                native_payload(to=TOKEN, value=0, data=bytes.fromhex("095ea7b3") + bytes(64)),
                "selector_not_allowed",
            ),
            (native_payload(to=HOT, value=5, cap=101 * GWEI), "fee_above_ceiling"),
            (native_payload(to=HOT, value=5, chain_id=1), "chain_not_allowed"),
            (native_payload(to=HOT, value=10**18 + 1), "above_per_tx_limit"),
            (token_payload(contract=TOKEN, to=HOT, amount=1_001), "above_per_tx_limit"),
        ],
    )
    def test_nothing_else(self, desk: SigningDesk, payload: bytes, reason: str) -> None:
        assert refusal(desk, payload, BOTH) == reason

    def test_a_chain_without_a_warm_policy(self, tmp_path: Path) -> None:
        chain = replace(RULES.chains[LOCAL_CHAIN_ID], warm=None)
        desk = new_desk(tmp_path, replace(RULES, chains={LOCAL_CHAIN_ID: chain}))
        assert refusal(desk, COINS, BOTH) == "warm_not_allowed"
        assert refusal(desk, native_payload(to=WARM, value=0), kind="noop") == "warm_not_allowed"
        assert "warm" not in desk.approval_limits()[str(LOCAL_CHAIN_ID)]

    def test_no_delegations_and_nothing_to_itself(self, tmp_path: Path) -> None:
        """Not even where a policy lists too much."""
        chain = replace(
            RULES.chains[LOCAL_CHAIN_ID], sweeper=OTHER_TOKEN,
            contracts={"sweep_batch": PAYOUT}, treasury_to=frozenset({WARM, PAYOUT}),
        )  # fmt: skip
        desk = new_desk(tmp_path, replace(RULES, chains={LOCAL_CHAIN_ID: chain}))
        given = Authorization(
            LOCAL_CHAIN_ID, bytes.fromhex(OTHER_TOKEN[2:]), nonce=0, parity=0, r=1, s=1
        )
        plain = decode_unsigned(native_payload(to=PAYOUT, value=5))
        payload = replace(plain, authorizations=(given,)).encode()
        assert refusal(desk, payload, signed(ADA, BOB, to=PAYOUT)) == "delegate_not_allowed"
        itself = native_payload(to=WARM, value=5)
        assert refusal(desk, itself, signed(ADA, BOB, to=WARM)) == "recipient_not_allowed"

    def test_the_day_has_a_sum_of_its_own(self, tmp_path: Path) -> None:
        clock = Clock()
        desk = new_desk(tmp_path, clock=clock)
        hot = native_payload(to=STRANGER, value=10**15)
        assert sign(desk, hot, intent="int_hot", address=HOT)  # hot's day is used up

        def pay(nonce: int, amount: int) -> bytes:
            return native_payload(nonce, to=HOT, value=amount)

        def ask(nonce: int, amount: int) -> Any:
            name = f"int_{nonce}"
            given = signed(ADA, BOB, intent=name, amount=amount)
            return sign(desk, pay(nonce, amount), given, intent=name)

        ask(0, 10**18)
        ask(1, 10**18)
        with pytest.raises(SignerRefused, match="day_limit_reached"):
            ask(2, 1)
        desk.journal.close()
        desk = new_desk(tmp_path, clock=clock)  # the journal remembers
        with pytest.raises(SignerRefused, match="day_limit_reached"):
            ask(2, 1)
        clock.now = DAY.replace(day=6)
        assert ask(2, 1)

    def test_what_goes_to_warm_is_under_no_limit_of_hot(self, desk: SigningDesk) -> None:
        paid = token_payload(contract=TOKEN, to=WARM, amount=10**9)
        assert sign(desk, paid, address=HOT)
        assert refusal(desk, native_payload(to=COLD, value=1), address=WARM) == "approval_needed"


class TestReplay:
    def test_two_signatures_pay_once(self, desk: SigningDesk) -> None:
        sign(desk, COINS, BOTH)
        with pytest.raises(NonceConflict, match="intent_reused"):
            sign(desk, native_payload(1, to=HOT, value=5), BOTH)
        assert refusal(desk, native_payload(1, to=HOT, value=5), BOTH, intent="int_2") == (
            "approval_invalid"
        )
        assert sign(desk, COINS, BOTH)  # the same bytes again

    def test_nonces_stay_in_order(self, desk: SigningDesk) -> None:
        sign(desk, COINS, BOTH)
        far = native_payload(65, to=HOT, value=5)
        with pytest.raises(NonceConflict, match="nonce_ahead"):
            sign(desk, far, signed(ADA, BOB, intent="int_2"), intent="int_2")

    def test_transfers_of_nothing_are_counted(self, tmp_path: Path) -> None:
        """They need no operator, so that a refused payment holds up none behind it; but each costs
        gas, and who has the worker must not burn what lies there."""
        desk = new_desk(tmp_path)
        for nonce in range(NOTHINGS_A_DAY):
            kind: Kind = "noop" if nonce % 2 else "cancel"
            empty = native_payload(nonce, to=WARM, value=0)
            sign(desk, empty, intent=f"int_{nonce}", kind=kind)
            sign(desk, native_payload(nonce, to=WARM, value=0, cap=3 * GWEI),
                 intent=f"int_{nonce}", kind="bump")  # fmt: skip
        desk.journal.close()
        desk = new_desk(tmp_path)
        more = native_payload(NOTHINGS_A_DAY, to=WARM, value=0)
        assert refusal(desk, more, intent="int_x", kind="noop") == "day_limit_reached"
        paid = native_payload(NOTHINGS_A_DAY, to=HOT, value=5)
        sign(desk, paid, signed(ADA, BOB, intent="int_y"), intent="int_y")
        empty = native_payload(NOTHINGS_A_DAY, to=WARM, value=0, cap=3 * GWEI)
        assert sign(desk, empty, intent="int_y", kind="cancel")  # its nonce is used already


class TestFile:
    def test_it_is_written_and_read_back(self, tmp_path: Path) -> None:
        policy_file.dump(tmp_path / "policy.json", RULES)
        assert policy_file.load(tmp_path / "policy.json") == RULES

    @pytest.mark.parametrize(
        ("warm", "operators"),
        [
            ({"native": {"per_tx": "1", "per_day": "1"}, "signatures": 1}, 3),
            ({"native": {"per_tx": "1", "per_day": "1"}, "signatures": 4}, 3),
            ({"native": {"per_tx": "1", "per_day": "1"}, "signatures": True}, 3),
            ({"native": {"per_tx": "1", "per_day": "1"}}, 1),
            ({"native": {"per_tx": "1", "per_day": "1", "approve_above": "1"}}, 3),
            ({"signatures": 2}, 3),
            ({"native": None, "tokens": {}}, 3),
            ({"native": {"per_tx": "1", "per_day": "1"}, "other": 1}, 3),
            ([], 3),
        ],
    )
    def test_malformed(self, tmp_path: Path, warm: object, operators: int) -> None:
        known = [one.address for one in (ADA, BOB, CY)][:operators]
        document = {"1": {"fee_ceiling_wei": "1", "warm": warm}, "operators": known}
        file = tmp_path / "policy.json"
        file.write_text(json.dumps(document))
        file.chmod(0o600)
        with pytest.raises(InvalidPolicy):
            policy_file.load(file)


class TestVault:
    def test_a_house_has_one_from_the_start(self, tmp_path: Path, light: KdfCost) -> None:
        words = SecretText(TEST_MNEMONIC)
        made = create_house(tmp_path, TEST_PASSPHRASE, mnemonic=words, hot=2, cost=light)
        assert made.warm == WARM == warm_address(tmp_path, TEST_PASSPHRASE)
        assert WARM not in made.hot
        rotate_house(tmp_path, TEST_PASSPHRASE, SecretText("new"))
        vault = Vault.open(tmp_path / VAULT_FILE, SecretText("new"))
        assert address_of(warm_key(vault)) == WARM

    def test_a_vault_of_an_older_release_gets_it_without_loss(
        self, tmp_path: Path, light: KdfCost
    ) -> None:
        old = _older_vault(tmp_path, light)
        before = {name: old.get(*name) for name in old.names()}
        public = public_of(old)
        assert public.warm is None
        with pytest.raises(SecretMissing):
            warm_key(old)
        assert warm_address(tmp_path, TEST_PASSPHRASE) == WARM
        vault = Vault.open(tmp_path / VAULT_FILE, TEST_PASSPHRASE)
        assert {name: vault.get(*name) for name in before} == before
        assert set(vault.names()) - set(before) == {(OWNER, WARM_KEY)}
        kept = (tmp_path / VAULT_FILE).read_bytes()
        assert extend_warm(vault) == WARM
        assert (tmp_path / VAULT_FILE).read_bytes() == kept  # again changes nothing
        extend_hot(vault, 3)
        assert public_of(vault).warm == WARM

    def test_keys_json_of_an_older_release_is_read(self, tmp_path: Path, light: KdfCost) -> None:
        public = public_of(_older_vault(tmp_path, light))
        file = tmp_path / "keys.json"
        write_public(file, public)
        assert "warm" not in json.loads(file.read_text())
        assert read_public(file) == public
        write_public(file, replace(public, warm=WARM))
        assert read_public(file).warm == WARM
        for wrong in (public.hot[0], WARM.lower(), 5, ""):
            document = json.loads(file.read_text()) | {"warm": wrong}
            file.write_text(json.dumps(document))
            with pytest.raises(InvalidDerivation):
                read_public(file)

    def test_it_never_becomes_a_hot_key(self, tmp_path: Path, light: KdfCost) -> None:
        vault = _older_vault(tmp_path, light)
        password = SecretText("of the file")
        with pytest.raises(KeyKnown):
            import_hot(tmp_path, TEST_PASSPHRASE, encrypt(KEY, password), password=password)
        assert not has_warm(vault)
        with pytest.raises(InvalidDerivation):
            SigningDesk(hot_keys=[KEY], deposit_xpub="", policy=RULES, warm_key=KEY,
                        journal=open_desk().journal)  # fmt: skip

    def test_a_signer_without_the_key_signs_nothing_for_it(self) -> None:
        assert refusal(open_desk(policy=RULES), COINS, BOTH) == "unknown_address"


def _older_vault(folder: Path, light: KdfCost) -> Vault:
    """As a release without a warm tier made it."""
    words = SecretText(TEST_MNEMONIC)
    create_house(folder / "new", TEST_PASSPHRASE, mnemonic=words, cost=light)
    made = Vault.open(folder / "new" / VAULT_FILE, TEST_PASSPHRASE)
    rows = {name: made.get(*name) for name in made.names() if name != (OWNER, WARM_KEY)}
    assert (OWNER, MNEMONIC) in rows
    contents: dict[tuple[str, str], Secret] = dict(rows)
    Vault.create(folder / VAULT_FILE, TEST_PASSPHRASE, contents=contents, cost=light)
    return Vault.open(folder / VAULT_FILE, TEST_PASSPHRASE)
