"""A file or folder that cannot be used is told by its kind and its path, on one line."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from keys.files import in_words
from wallet.cli import main
from wallet.cli_files import Unusable, make, naming

House = Callable[..., Path]
BY = ("--by", "ada")
VAULT = ("--vault", "vault", "--passphrase-fd", "{fd}")


@pytest.fixture
def descriptor() -> int:
    """One to read a passphrase from; what reads it closes it."""
    reading, writing = os.pipe()
    os.write(writing, b"a passphrase")
    os.close(writing)
    return reading


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("ledger", "post", "no.json", *BY), "there is no file of entries no.json."),
        (("ledger", "post", "folder", *BY), "folder is a folder, and no file of entries."),
        (
            ("treasury", "send", "--unsigned", "no", "--signed", "no"),
            "there is no unsigned sheet no.",
        ),
        (
            ("treasury", "unsigned", "--from", "0x" + "1" * 40, "--asset", "ETH", "--amount", "1",
             "--out", "no/sheet"),
            "there is no folder for the sheet no/sheet; make it first.",
        ),
        (("keys", "show", "--public", "no.json"), "there is no file of public keys no.json"),
        (("keys", "import", "no.json", *VAULT), "there is no key file no.json."),
        (
            ("keys", "import", "keys.json", "--password-file", "no", *VAULT),
            "there is no password file no.",
        ),
        (
            ("keys", "import", "keys.json", "--public", "no.json", *VAULT),
            "there is no file of public keys no.json",
        ),
        (
            ("keys", "export", "--out", "no/key", *VAULT),
            "there is no folder for the key file no/key; make it first.",
        ),
        (("keys", "export", "--out", "keys.json", *VAULT), "keys.json is there already."),
        (
            ("keys", "public", "--public", "no/keys.json", *VAULT),
            "there is no folder for the file of public keys no/keys.json; make it first.",
        ),
        (("keys", "public", "--public", "new", *VAULT), "there is no vault vault/vault.json"),
        (("keys", "warm", *VAULT), "there is no vault vault/vault.json"),
    ],
)  # fmt: skip
def test_what_is_missing_is_told(
    house: House,
    descriptor: int,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    says: str,
) -> None:
    (house() / "folder").mkdir()
    assert main([word.format(fd=descriptor) for word in words]) == 1
    seen = capsys.readouterr()
    assert (seen.out, seen.err) == ("", f"bifold: {says}\n")


@pytest.mark.parametrize(
    ("gone", "says"),
    [("keys.json", "there is no file of public keys"), ("networks.toml", "there is no networks")],
)
def test_what_every_command_reads_is_told_too(
    house: House, capsys: pytest.CaptureFixture[str], gone: str, says: str
) -> None:
    file = house() / gone
    file.unlink()
    assert main(["cases", "list"]) == 1
    seen = capsys.readouterr().err
    assert says in seen and str(file) in seen and seen.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "making", "says"),
    [
        (errno.EACCES, False, "the key file k may not be read by this user"),
        (errno.EACCES, True, "the key file k may not be written by this user"),
        (errno.ENOENT, True, "there is no folder for the key file k; make it first"),
        (errno.EEXIST, True, "the key file k is there already"),
        (errno.ENOTDIR, False, "the key file k cannot be: a part of that path is no folder"),
        (errno.ENOSPC, True, "the key file k cannot be used: No space left on device"),
    ],
)
def test_the_words_of_each_error(number: int, making: bool, says: str) -> None:
    error = OSError(number, os.strerror(number), "k")
    assert in_words(error, "key file", "k", making=making) == says
    with pytest.raises(Unusable, match=says), naming("key file", "k", making=making):
        raise error


def test_a_file_that_is_there_is_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / "key"
    make("key file", str(file), "one")
    with pytest.raises(Unusable, match="is there already"):
        make("key file", str(file), "two")
    assert file.read_text() == "one" and file.stat().st_mode & 0o777 == 0o600


def test_the_socket_has_no_error_number_either() -> None:
    """Whatever else the system refuses comes without `[Errno …]`."""
    from wallet.cli_files import system_words

    with socket.socket() as closed:
        try:
            closed.connect(("127.0.0.1", 9))
        except OSError as error:
            assert system_words(error) == "Connection refused."
