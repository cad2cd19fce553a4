"""Files that survive a crash: written whole or not at all, readable by their owner only.

Also what is wrong with a file, for people.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

OWNER_ONLY: Final = 0o600


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` by `content`: temporary file beside it (0600), fsync, rename, fsync folder."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), OWNER_ONLY)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def in_words(
    error: OSError, what: str, path: str | os.PathLike[str], *, making: bool = False
) -> str:
    """What stands in the way, on one line, with the kind of file that was meant and its path: the
    system's own words (`[Errno 2] …`) do not say what it was needed for. `making`: the file or
    folder is new, so what is missing is the folder it would lie in."""
    match error:
        case FileNotFoundError() if making:
            return f"there is no folder for the {what} {path}; make it first"
        case FileNotFoundError():
            return f"there is no {what} {path}"
        case FileExistsError():
            return f"the {what} {path} is there already"
        case IsADirectoryError():
            return f"{path} is a folder, and no {what}"
        case NotADirectoryError():
            return f"the {what} {path} cannot be: a part of that path is no folder"
        case PermissionError():
            return f"the {what} {path} may not be {'written' if making else 'read'} by this user"
        case _:
            return f"the {what} {path} cannot be used: {error.strerror or error}"


def sync_directory(directory: Path) -> None:
    """Make a rename or a new file in `directory` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
