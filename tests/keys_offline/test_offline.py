"""A sheet is signed for what its bytes say, by the right key, or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account

from keys import mnemonic
from keys.derivation import derive_key, path
from keys.errors import InvalidMnemonic
from keys.keystore import encrypt
from keys.offline import (
    OfflineRefused,
    Sheet,
    explain,
    payment,
    read_sheet,
    read_signed,
    sign_with_key,
    sign_with_words,
)
from keys.payload import Authorization, UnsignedTx
from keys.secret import Secret, SecretText
from tests.keys_offline.test_backup import Terminal
from wallet.sandbox.temporary import ROOT
from wallet.testing.pace import patience

WORDS = SecretText("test test test test test test test test test test test junk")
NONE = SecretText("")
TO = bytes.fromhex("70997970c51812dc3a010c7d01b50e0d17dc79c8")
COIN = bytes.fromhex("5fbdb2315678afecb367f032d93f642f64180aa3")
TRANSFER = bytes.fromhex("a9059cbb") + bytes(12) + TO
COLD = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"  # index 0 of WORDS
TX = UnsignedTx(31337, 5, 10**9, 2 * 10**9, 21_000, TO, 15 * 10**17, b"")


def sheet(tx: UnsignedTx = TX, sender: str = COLD) -> Sheet:
    return Sheet(sender, tx.encode(), "local: 1.5 ETH")


def test_there_and_back() -> None:
    out = read_sheet(sheet().text())
    assert out == sheet()
    raw = read_signed(out, sign_with_words(out, WORDS, NONE))
    assert Account.recover_transaction(raw) == COLD


def test_words_of_another_index_and_a_passphrase() -> None:
    seed = mnemonic.to_seed(WORDS, SecretText("extra"))
    sender = Account.from_key(derive_key(seed, path(0, 19)).reveal()).address
    one = sheet(sender=sender)
    raw = read_signed(one, sign_with_words(one, WORDS, SecretText("extra")))
    assert Account.recover_transaction(raw) == sender
    with pytest.raises(OfflineRefused, match="do not have"):
        sign_with_words(one, WORDS, NONE)
    with pytest.raises(InvalidMnemonic):
        sign_with_words(one, SecretText("test " * 12), NONE)


@pytest.mark.parametrize("language", mnemonic.LANGUAGES)
def test_every_word_list_signs(language: str) -> None:
    phrase = mnemonic.generate(12, language)
    key = derive_key(mnemonic.to_seed(phrase), path(0, 0))
    one = sheet(sender=Account.from_key(key.reveal()).address)
    raw = read_signed(one, sign_with_words(one, phrase, NONE))
    assert Account.recover_transaction(raw) == one.sender


def test_it_is_explained_from_the_bytes_not_from_the_summary() -> None:
    said = "\n".join(explain(replace(sheet(), summary="1 wei to yourself")))
    assert "1.5 coins (1500000000000000000 wei)" in said
    assert "0x70997970C51812dc3A010C7d01b50e0d17dc79C8" in said
    assert "31337" in said and "0.000042 coins" in said and "yourself" not in said
    token = replace(TX, to=COIN, value=0, data=TRANSFER + (7).to_bytes(32, "big"))
    said = "\n".join(explain(sheet(token)))
    assert "7 smallest units of the token 0x5FbDB2315678afecb367f032d93F642f64180aa3" in said
    assert "to       0x70997970C51812dc3A010C7d01b50e0d17dc79C8" in said
    assert "MUCH" not in said
    assert "MUCH" in "\n".join(explain(sheet(replace(TX, cap=10**13))))


@pytest.mark.parametrize(
    "changes",
    [
        {"to": b""}, {"to": bytes(20)}, {"value": 0}, {"chain_id": 0}, {"tip": 3 * 10**9},
        {"data": b"\x01"},
        {"authorizations": (Authorization(31337, COIN, 0, 0, 1, 1),)},
        {"to": COIN, "data": TRANSFER + (7).to_bytes(32, "big")},  # with coins beside
        {"to": COIN, "value": 0, "data": TRANSFER + bytes(32)},
        {"to": COIN, "value": 0, "data": TRANSFER + (7).to_bytes(33, "big")},
        {"to": COIN, "value": 0, "data": b"\x09\x5e\xa7\xb3" + bytes(12) + TO + b"\x01" * 32},
        {"to": COIN, "value": 0, "data": TRANSFER[:4] + b"\x01" * 12 + TO + b"\x01" * 32},
        {"to": COIN, "value": 0, "data": TRANSFER[:16] + COIN + b"\x01" * 32},
        {"to": COIN, "value": 0, "data": TRANSFER[:16] + bytes(20) + b"\x01" * 32},
    ],
)  # fmt: skip
def test_nothing_but_a_plain_payment_is_signed(changes: dict[str, object]) -> None:
    tx = replace(TX, **changes)  # type: ignore[arg-type]
    with pytest.raises(OfflineRefused):
        payment(tx)
    with pytest.raises(OfflineRefused):
        sheet(tx).text()
    with pytest.raises(OfflineRefused):
        sign_with_words(sheet(tx), WORDS, NONE)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("1.5 ETH", "1.6 ETH"),
        lambda text: text.replace("bytes 02", "bytes 01"),
        lambda text: text.replace("unsigned-1", "unsigned-2"),
        lambda text: text.replace("from", "form"),
        lambda text: text.replace("\nsays", "\n\nsays"),
        lambda text: text[: len(text) // 2],
        lambda text: text + "more\n",
        lambda text: "",
        lambda text: "x" * 1_000_000,
    ],
)
def test_a_damaged_sheet_is_refused(damage: Callable[[str], str]) -> None:
    damaged = damage(sheet().text())
    assert damaged != sheet().text()
    with pytest.raises(OfflineRefused):
        read_sheet(damaged)


def test_line_ends_of_another_system_do_no_harm() -> None:
    assert read_sheet(sheet().text().replace("\n", "\r\n")) == sheet()


@pytest.mark.parametrize(
    "changes", [{"nonce": 6}, {"value": 1}, {"to": COIN}, {"cap": 3 * 10**9}, {"chain_id": 1}]
)
def test_other_signed_bytes_than_what_went_out_are_refused(changes: dict[str, object]) -> None:
    other = sheet(replace(TX, **changes))  # type: ignore[arg-type]
    back = sign_with_words(other, WORDS, NONE)
    assert read_signed(other, back)
    with pytest.raises(OfflineRefused):
        read_signed(sheet(), back)


def test_another_key_is_refused() -> None:
    with pytest.raises(OfflineRefused):
        sign_with_key(sheet(), Secret(b"\x07" * 32))


def test_the_cold_machine_loads_no_database_and_no_node() -> None:
    code = (
        "import sys, wallet.cli_commands, wallet.cli_keys_sign;"
        "print(sorted({'sqlalchemy', 'psycopg', 'chain.client', 'chain.rpc', 'httpx', 'aiohttp',"
        " 'web3', 'wallet.db', 'wallet.bootstrap'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=patience(30),
    )  # fmt: skip
    assert (ran.stdout, ran.returncode) == ("[]\n", 0), ran.stderr


class TestOnATerminal:
    """What the person at the cold machine sees and types."""

    def test_words_are_typed_unseen(self, tmp_path: Path) -> None:
        (tmp_path / "sheet").write_text(sheet().text())
        person = Terminal("sign", str(tmp_path / "sheet"), "--out", str(tmp_path / "signed"))
        person.until("Type 'sign'")
        assert "1.5 coins" in person.said and "0x7099" in person.said
        person.type("sign")
        person.until("The cold words")
        person.type(WORDS.reveal())
        person.until("passphrase")
        person.type("")
        assert person.end() == 0, person.said
        assert "junk" not in person.said
        raw = read_signed(sheet(), (tmp_path / "signed").read_text())
        assert Account.recover_transaction(raw) == COLD

    def test_bytes_of_no_text_and_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "sheet").write_bytes(b"\xff\xfe\x00")
        wrong = Terminal("sign", str(tmp_path / "sheet"), "--out", str(tmp_path / "signed"))
        assert wrong.end() == 1
        assert "not a sheet" in wrong.said and "Traceback" not in wrong.said
        there = Terminal("sign", str(tmp_path / "sheet"), "--out", str(tmp_path / "sheet"))
        assert there.end() == 1
        assert "there already" in there.said

    def test_no_is_no(self, tmp_path: Path) -> None:
        (tmp_path / "sheet").write_text(sheet().text())
        person = Terminal("sign", str(tmp_path / "sheet"), "--out", str(tmp_path / "signed"))
        person.until("Type 'sign'")
        person.type("yes")
        assert person.end() == 1
        assert not (tmp_path / "signed").exists()

    def test_a_key_file_serves_too(self, tmp_path: Path) -> None:
        key = derive_key(mnemonic.to_seed(WORDS), path(0, 0))
        (tmp_path / "key").write_text(json.dumps(encrypt(key, SecretText("pw"))))
        (tmp_path / "sheet").write_text(sheet().text())
        person = Terminal(
            "sign", str(tmp_path / "sheet"), "--out", str(tmp_path / "signed"),
            "--keystore", str(tmp_path / "key"),
        )  # fmt: skip
        person.until("Type 'sign'")
        person.type("sign")
        person.until("Password of the key file")
        person.type("pw")
        assert person.end() == 0, person.said
        assert read_signed(sheet(), (tmp_path / "signed").read_text())
