"""Whether an instance is reachable from this machine only."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from wallet.settings import Settings


def is_loopback(host: str) -> bool:
    """True for `localhost`, 127.0.0.0/8 and ::1."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_private(settings: Settings) -> bool:
    """Whether it both listens and is announced on this machine alone.

    Behind a proxy an instance listens on loopback and is open to everybody all the same.
    """
    announced = urlsplit(settings.base_url).hostname or ""
    return is_loopback(settings.host) and is_loopback(announced)
