"""Whether the address of the books is one, asked of the driver: never a word of it is said."""

from __future__ import annotations

import psycopg
from psycopg.conninfo import conninfo_to_dict

SCHEMES = ("postgresql+psycopg://", "postgresql://", "postgres://")
PORT_MOST = 65_535


def driver_url(url: str) -> str:
    """As the driver reads it; elsewhere it is written as SQLAlchemy does."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def fault(url: str) -> str | None:
    """What is wrong with it, in words that follow the setting's name; None where nothing is."""
    if not url.startswith(SCHEMES):
        return f"does not begin with {SCHEMES[0]}"
    try:
        told = conninfo_to_dict(driver_url(url))
    except psycopg.Error:
        return "cannot be read as an address"
    hosts = str(told.get("host") or told.get("hostaddr") or "")
    if "@" in hosts + str(told.get("dbname", "")) + str(told.get("port", "")):
        return "has one @ too many: in a name or password it is written %40"
    if not all(_is_port(one) for one in str(told.get("port") or "5432").split(",")):
        return f"has no port from 1 to {PORT_MOST} behind the colon of its host"
    if not hosts and "service" not in told:
        return "names no host (the folder of a socket as ?host=/run/postgresql)"
    return None


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 1 <= int(text[:6]) <= PORT_MOST
