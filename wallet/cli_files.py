"""Files and folders that a command is given: what is wrong with one is told in words, by its kind.

Raises `Unusable` with one plain line, for what is read and for what is made.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from keys.files import OWNER_ONLY, in_words


class Unusable(OSError):
    """A file or folder that is missing, there already, or not ours; the message names it."""


@contextmanager
def naming(what: str, path: str, *, making: bool = False) -> Iterator[None]:
    """Say of the system's errors inside what `path` was needed for. Raises Unusable."""
    try:
        yield
    except Unusable:
        raise
    except OSError as error:
        raise Unusable(f"{in_words(error, what, path, making=making)}.") from None


def read_bytes(what: str, path: str, *, most: int) -> bytes:
    """At most one byte more than `most`, enough to refuse it. Raises Unusable."""
    with naming(what, path), Path(path).open("rb") as file:
        return file.read(most + 1)


def read_text(what: str, path: str) -> str:
    """All of it; bytes that are no UTF-8 come as marks. Raises Unusable."""
    with naming(what, path):
        return Path(path).read_text("utf-8", errors="replace")


def may_be_made(what: str, path: str) -> None:
    """Nothing is there, and a folder for it is: told before anything is typed. Raises Unusable."""
    if os.path.lexists(path):
        raise Unusable(f"{path} is there already.")
    has_folder(what, path)


def has_folder(what: str, path: str) -> None:
    """Whether the folder is there that it would lie in. Raises Unusable."""
    if not Path(path).absolute().parent.is_dir():
        raise Unusable(f"there is no folder for the {what} {path}; make it first.")


def make(what: str, path: str, text: str, *, mode: int = OWNER_ONLY) -> None:
    """A file that was not there. Raises Unusable."""
    with naming(what, path, making=True):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)


def system_words(error: OSError) -> str:
    """What the system refused where no command knew a better word. One line."""
    if isinstance(error, Unusable):
        return str(error)
    if error.filename is None:
        return f"{error.strerror or error}."
    return f"{in_words(error, 'file or folder', str(error.filename))}."
