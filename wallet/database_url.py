"""What is wrong with a database's address, before anybody connects: never a word of the address."""

from __future__ import annotations

import re
from typing import Final

SCHEMES: Final = ("postgresql+psycopg://", "postgresql://")
PORT_MOST = 65_535
# As SQLAlchemy divides it.
_PARTS = re.compile(
    r"(?:[^:/]*(?::[^@]*)?@)?(?P<host>\[[^/?]+\]|[^/:?]*)(?::(?P<port>[^/?]*))?"
    r"(?:/(?P<database>[^?]*))?(?:\?(?P<query>.*))?"
)
_HOST_IN_QUERY = re.compile(r"(?:^|&)(?:host|hostaddr|service)=[^&]")


def fault(url: str) -> str | None:
    """In words that follow the setting's name; None where nothing is wrong."""
    scheme = next((one for one in SCHEMES if url.startswith(one)), None)
    if scheme is None:
        return f"does not begin with {SCHEMES[0]}"
    parts = _PARTS.fullmatch(url.removeprefix(scheme))
    if parts is None:
        return "cannot be read as an address"
    host, port, database, query = (parts[name] or "" for name in _PARTS.groupindex)
    if "@" in host + port + database:
        return "has one @ too many: in a name or password it is written %40"
    if parts["port"] is not None and not _is_port(port):
        return f"has no port from 1 to {PORT_MOST} behind the colon of its host"
    if not host and not _HOST_IN_QUERY.search(query):
        return "names no host (the folder of a socket as ?host=/run/postgresql)"
    return None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 1 <= int(text[:6]) <= PORT_MOST
