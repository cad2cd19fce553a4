"""The house comes back from shares typed on a terminal; a hot key leaves as a key file only."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from eth_account import Account

from keys.backup import export_hot, restore_house, split_house
from keys.errors import SecretMissing, VaultExists, WrongPassphrase
from keys.kdf import KdfCost
from keys.keystore import decrypt
from keys.public import read_public
from keys.secret import SecretText
from keys.setup import create_house
from wallet.sandbox.temporary import ROOT
from wallet.testing.pace import patience

PASSPHRASE = SecretText("the vault's passphrase")
CHEAP = KdfCost(memory_kib=8_192, passes=1, lanes=1)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], str]:
    folder = tmp_path_factory.mktemp("house") / "vault"
    made = create_house(folder, PASSPHRASE, hot=2, cost=CHEAP)
    return folder, made.hot, made.fingerprint


class TestInCode:
    def test_the_same_house_from_two_of_three(
        self, house: tuple[Path, list[str], str], tmp_path: Path
    ) -> None:
        folder, hot, fingerprint = house
        shares = split_house(folder, PASSPHRASE, threshold=2, count=3)
        back = restore_house(tmp_path / "new", SecretText("another"), shares[1:], hot=2)
        assert (back.hot, back.fingerprint) == (hot, fingerprint)
        with pytest.raises(VaultExists):
            restore_house(tmp_path / "new", SecretText("another"), shares[1:])

    def test_the_passphrase_is_needed(self, house: tuple[Path, list[str], str]) -> None:
        with pytest.raises(WrongPassphrase):
            split_house(house[0], SecretText("no"), threshold=2, count=3)
        with pytest.raises(WrongPassphrase):
            export_hot(house[0], SecretText("no"), index=0, password=SecretText("x"))

    def test_a_hot_key_as_a_key_file_that_others_open(
        self, house: tuple[Path, list[str], str]
    ) -> None:
        folder, hot, _ = house
        document = export_hot(folder, PASSPHRASE, index=1, password=SecretText("a password"))
        assert (document["version"], document["crypto"]["kdf"]) == (3, "scrypt")
        assert Account.from_key(Account.decrypt(document, "a password")).address == hot[1]
        ours = decrypt(document, SecretText("a password"))
        assert Account.from_key(ours.reveal()).address == hot[1]

    @pytest.mark.parametrize("index", [-1, 2, 64])
    def test_nothing_but_hot_keys_leaves(
        self, house: tuple[Path, list[str], str], index: int
    ) -> None:
        with pytest.raises(SecretMissing):
            export_hot(house[0], PASSPHRASE, index=index, password=SecretText("x"))


def _at(terminal: str) -> None:
    """In the child: getpass opens /dev/tty, so the pty becomes its own terminal; Ctrl-C is heard
    also where whoever runs the tests hears none (in the background of a script)."""
    os.close(os.open(terminal, os.O_RDWR))
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A person in front of `bifold keys …`."""

    def __init__(
        self, *arguments: str, secrets: tuple[bytes, ...] = (), encoding: str = "utf-8"
    ) -> None:
        self._main, second = pty.openpty()
        pipes = []
        for secret in secrets:
            reading, writing = os.pipe()
            os.write(writing, secret)
            os.close(writing)
            pipes.append(reading)
        numbered = [part.format(*pipes) for part in arguments]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wallet.cli", "keys", *numbered],
            stdin=second, stdout=second, stderr=second, pass_fds=pipes, cwd=ROOT,
            start_new_session=True, env=os.environ | {"PYTHONIOENCODING": encoding},
            preexec_fn=lambda: _at(os.ttyname(second)),
        )  # fmt: skip
        os.close(second)
        for pipe in pipes:
            os.close(pipe)
        self.said = ""

    def until(self, text: str) -> None:
        deadline = time.monotonic() + patience(30)
        while text not in self.said and time.monotonic() < deadline:
            ready, _, _ = select.select([self._main], [], [], 0.2)
            if ready:
                try:
                    self.said += os.read(self._main, 65_536).decode()
                except OSError:
                    break
        assert text in self.said, self.said

    def type(self, text: str) -> None:
        os.write(self._main, text.encode() + b"\n")

    def press(self, key: str) -> None:
        time.sleep(0.2)  # getpass drops what was typed before it listens
        os.write(self._main, key.encode())

    def end(self) -> int:
        deadline = time.monotonic() + patience(30)
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._main], [], [], 0.2)
            try:
                chunk = os.read(self._main, 65_536) if ready else b""
            except OSError:
                break
            self.said += chunk.decode()
            if not chunk and self.process.poll() is not None:
                break
        os.close(self._main)
        return self.process.wait(patience(10))


def test_a_house_is_made_at_a_terminal(tmp_path: Path) -> None:
    """As docs/custody.md says: words once, on the screen; the rest in vault and keys.json."""
    vault, public = tmp_path / "vault", tmp_path / "keys.json"
    making = Terminal(
        "init", "--vault", str(vault), "--public", str(public), "--passphrase-fd", "{0}",
        secrets=(b"a long one",),
    )  # fmt: skip
    assert making.end() == 0, making.said
    (words,) = [line.strip() for line in making.said.splitlines() if len(line.split()) == 24]
    written = read_public(public)
    assert written.fingerprint in making.said
    before = public.read_bytes()
    for typed, code, told in (
        (" ".join(["abandon"] * 11 + ["about"]), 1, "Nothing was changed"),
        (words.replace(" ", "  "), 0, written.hot[0]),
    ):
        again = Terminal(
            "restore", "--words", "--vault", str(tmp_path / "again"), "--public", str(public),
            "--passphrase-fd", "{0}", secrets=(b"another",),
        )  # fmt: skip
        again.until("The house's words")
        again.type(typed)
        assert again.end() == code, again.said
        assert told in again.said and words not in again.said and "Traceback" not in again.said
    assert public.read_bytes() == before


def test_words_a_terminal_cannot_show_make_no_house(tmp_path: Path) -> None:
    making = Terminal(
        "init", "--vault", str(tmp_path / "vault"), "--public", str(tmp_path / "keys.json"),
        "--passphrase-fd", "{0}", "--language", "chinese_simplified", secrets=(b"a long one",),
        encoding="ascii",
    )  # fmt: skip
    assert making.end() == 1
    assert "cannot show chinese_simplified words" in making.said
    assert not (tmp_path / "vault").exists()


def test_a_second_house_takes_nobodys_place(
    house: tuple[Path, list[str], str], tmp_path: Path
) -> None:
    """Neither an existing keys.json nor an existing vault is written over."""
    public = tmp_path / "keys.json"
    public.write_text("somebody's")
    for vault, told in ((tmp_path / "vault", "is there already"), (house[0], "holds a house")):
        making = Terminal(
            "init", "--vault", str(vault), "--public", str(public), "--passphrase-fd", "{0}",
            secrets=(b"a long one",),
        )  # fmt: skip
        assert making.end() == 1
        assert told in making.said
    assert public.read_text() == "somebody's"
    assert not (tmp_path / "vault").exists()


def test_a_lost_keys_json_comes_back_from_the_vault(
    house: tuple[Path, list[str], str], tmp_path: Path
) -> None:
    folder, hot, fingerprint = house
    public = tmp_path / "keys.json"
    words = ("public", "--vault", str(folder), "--public", str(public), "--passphrase-fd", "{0}")
    for code in (0, 1):  # the second finds it there
        asked = Terminal(*words, secrets=(PASSPHRASE.reveal().encode(),))
        assert asked.end() == code, asked.said
    assert (read_public(public).fingerprint, list(read_public(public).hot)) == (fingerprint, hot)


@pytest.mark.parametrize(
    ("public", "language", "why"),
    [
        ("nowhere/keys.json", "english", "there is no folder"),
        ("keys.json", "klingon", "unknown wordlist"),
    ],
)
def test_what_cannot_be_done_makes_no_house(
    tmp_path: Path, public: str, language: str, why: str
) -> None:
    """No words are lost on the way: nothing was made that they would open."""
    making = Terminal(
        "init", "--vault", str(tmp_path / "vault"), "--public", str(tmp_path / public),
        "--passphrase-fd", "{0}", "--language", language, secrets=(b"a long one",),
    )  # fmt: skip
    assert making.end() != 0
    assert why in making.said
    assert "Traceback" not in making.said
    assert not (tmp_path / "vault").exists()


def test_shares_are_written_down_and_typed_in_again(
    house: tuple[Path, list[str], str], tmp_path: Path
) -> None:
    folder, hot, fingerprint = house
    vault = ("--vault", str(folder), "--passphrase-fd", "{0}")
    showing = Terminal("split", *vault, secrets=(PASSPHRASE.reveal().encode(),))
    showing.until("Passphrase of the shares")
    showing.type("")
    assert showing.end() == 0, showing.said
    shares = [line.strip() for line in showing.said.splitlines() if len(line.split()) == 33]
    assert len(shares) == 3
    new = tmp_path / "new"
    typing = restoring(new, tmp_path / "keys.json", [shares[2], shares[0]], hot=2)
    assert typing.end() == 0, typing.said
    assert fingerprint in typing.said and hot[1] in typing.said
    assert shares[0] not in typing.said  # not echoed
    assert json.loads((tmp_path / "keys.json").read_text())["hot"] == hot


def restoring(
    vault: Path, public: Path, shares: list[str], *, hot: int, extra: str = ""
) -> Terminal:
    typing = Terminal(
        "restore", "--vault", str(vault), "--passphrase-fd", "{0}", "--hot-keys", str(hot),
        "--public", str(public), secrets=(b"a new one",),
    )  # fmt: skip
    for number, share in enumerate(shares, 1):
        typing.until(f"Share {number}:")
        typing.type(share)
    typing.until(f"Share {len(shares) + 1}:")
    typing.type("")
    typing.until("Passphrase of the shares")
    typing.type(extra)
    return typing


def test_a_mistyped_passphrase_of_the_shares_writes_over_nothing(
    house: tuple[Path, list[str], str], tmp_path: Path
) -> None:
    """SLIP-39 answers with another house, not with an error: the file tells them apart."""
    folder, hot, fingerprint = house
    shares = [
        one.reveal()
        for one in split_house(
            folder, PASSPHRASE, threshold=2, count=2, share_passphrase=SecretText("the right one")
        )
    ]
    public, vault = tmp_path / "keys.json", tmp_path / "new"
    asked = Terminal(
        "public", "--vault", str(folder), "--public", str(public), "--passphrase-fd", "{0}",
        secrets=(PASSPHRASE.reveal().encode(),),
    )  # fmt: skip
    assert asked.end() == 0, asked.said
    before = public.read_bytes()
    wrong = restoring(vault, public, shares, hot=1, extra="the wrong one")
    assert wrong.end() == 1
    assert f"is of the house {fingerprint}" in wrong.said and "Traceback" not in wrong.said
    assert not vault.exists()
    right = restoring(vault, public, shares, hot=1, extra="the right one")
    assert right.end() == 0, right.said
    assert f"does not hold {hot[1]}" in right.said  # one hot key of two was asked for
    assert public.read_bytes() == before


def test_a_passphrase_of_shares_is_typed_twice(house: tuple[Path, list[str], str]) -> None:
    """Mistyped, it would make shares of another house, and nobody would know."""
    for second, code in (("the right one", 0), ("the wrong one", 1)):
        showing = Terminal(
            "split", "--vault", str(house[0]), "--passphrase-fd", "{0}",
            secrets=(PASSPHRASE.reveal().encode(),),
        )  # fmt: skip
        showing.until("Passphrase of the shares")
        showing.type("the right one")
        showing.until("The same again")
        showing.type(second)
        assert showing.end() == code, showing.said
        shown = [line for line in showing.said.splitlines() if len(line.split()) == 33]
        assert len(shown) == (0 if code else 3)
        assert ("the two were different" in showing.said) is bool(code)


@pytest.mark.parametrize(
    ("key", "code", "told"), [("\x04", 1, "the input ended"), ("\x03", 130, "broken off")]
)
def test_breaking_off_is_one_line(tmp_path: Path, key: str, code: int, told: str) -> None:
    vault = tmp_path / "vault"
    typing = Terminal(
        "restore", "--words", "--vault", str(vault), "--public", str(tmp_path / "keys.json"),
        "--passphrase-fd", "{0}", secrets=(b"another",),
    )  # fmt: skip
    typing.until("The house's words")
    typing.press(key)
    assert typing.end() == code, typing.said
    assert told in typing.said and "Traceback" not in typing.said
    assert not vault.exists()


def test_a_missing_keys_json_is_named(tmp_path: Path) -> None:
    nothing, other = tmp_path / "nothing.json", tmp_path / "other.json"
    other.write_text("a shopping list")
    for file in (nothing, other):
        asked = Terminal("show", "--public", str(file))
        assert asked.end() == 1
        assert str(file) in asked.said.replace("\r\n", "")


def test_no_terminal_no_shares(house: tuple[Path, list[str], str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "wallet.cli", "keys", "split", "--vault", str(house[0]),
         "--passphrase-fd", "0"],
        cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
        timeout=patience(30),
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "terminal" in ran.stderr
