"""Secrets handed to a child process through an inherited descriptor: never argv, never environ."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from keys.errors import KeysError
from keys.secret import Secret, SecretText

MAX_SECRET_BYTES: Final = 4_096
"""Also what a pipe takes without a reader, so `offer` never blocks."""


class UnreadableDescriptor(KeysError):
    """An inherited descriptor is closed, empty, too long, or lies where it must not."""

    code = "unreadable_descriptor"


def offer(secret: Secret) -> int:
    """A fresh descriptor from which a child reads `secret` once. Pass it in `pass_fds`, then close
    it here."""
    if not 0 < len(secret.reveal()) <= MAX_SECRET_BYTES:
        raise ValueError("a secret of 1 to 4096 bytes")
    reading, writing = os.pipe()
    try:
        os.write(writing, secret.reveal())
    finally:
        os.close(writing)
    return reading


def take(descriptor: int) -> Secret:
    """Read an inherited descriptor to its end and close it. Raises `UnreadableDescriptor`."""
    problem = ""
    try:
        with os.fdopen(descriptor, "rb") as file:
            secret = Secret(file.read(MAX_SECRET_BYTES + 1))
    except OSError as error:
        problem = f"descriptor {descriptor}: {error.strerror}"
    if problem:
        raise UnreadableDescriptor(problem)
    if not 0 < len(secret.reveal()) <= MAX_SECRET_BYTES:
        raise UnreadableDescriptor(f"descriptor {descriptor} is empty or too long")
    return secret


def take_passphrase(descriptor: int, *, outside: Path) -> SecretText:
    """Read a passphrase (UTF-8, one closing line end is dropped). Refuses a file inside `outside`,
    the vault's folder: who copies that folder must not get the passphrase with it."""
    if _file_behind(descriptor).is_relative_to(outside.resolve()):
        raise UnreadableDescriptor("the passphrase lies in the vault's own folder")
    secret = take(descriptor)
    text = None
    with contextlib.suppress(UnicodeDecodeError):  # raised below: this one would carry the bytes
        text = SecretText(secret.reveal().decode("utf-8").removesuffix("\n").removesuffix("\r"))
    if text is None or not text.reveal():
        raise UnreadableDescriptor("the passphrase is empty or not UTF-8")
    return text


def _file_behind(descriptor: int) -> Path:
    """Where the descriptor points, as the kernel tells it (`pipe:[…]` for a pipe)."""
    try:
        return Path(os.readlink(f"/dev/fd/{descriptor}"))
    except OSError:
        return Path()
