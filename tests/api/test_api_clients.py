"""Whose try it is: the peer's, or what a proxy of ours wrote, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fastapi import Request
from pydantic import ValidationError

from api.authentication import client_of
from wallet.settings import Settings


def _settings(proxies: str) -> Settings:
    return Settings(
        mode="production",
        database_url="postgresql+psycopg://a@localhost/b",
        trusted_proxies=proxies,
    )


def _client(peer: str, *said: str, proxies: str = "") -> str:
    state = SimpleNamespace(services=SimpleNamespace(settings=_settings(proxies)))
    headers = [(b"x-forwarded-for", line.encode()) for line in said]
    app = SimpleNamespace(state=SimpleNamespace(bifold=state))
    return client_of(Request({"type": "http", "app": app, "client": (peer, 1), "headers": headers}))


def test_nobody_is_believed_who_is_not_named() -> None:
    assert _client("198.51.100.7", "203.0.113.1") == "198.51.100.7"
    assert _client("198.51.100.7", "203.0.113.1", proxies="10.0.0.0/8") == "198.51.100.7"


@pytest.mark.parametrize(
    ("said", "whose"),
    [
        (["203.0.113.1"], "203.0.113.1"),
        (["1.1.1.1, 203.0.113.1"], "203.0.113.1"),  # what the client wrote itself stands in front
        (["1.1.1.1", "203.0.113.1"], "203.0.113.1"),
        (["1.1.1.1, 203.0.113.1, 10.0.0.9"], "203.0.113.1"),  # two proxies, one behind the other
        (["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
        (["1.1.1.1, 203.0.113.1:49152"], "203.0.113.1"),  # some proxies write the port, too
        (["1.1.1.1:5, 203.0.113.1:5, 10.0.0.9:80"], "203.0.113.1"),
        (["1.1.1.1, [2001:db8:1:2::1]:49152"], "2001:db8:1:2::/64"),
        (["1.1.1.1, [2001:db8:1:2::1]"], "2001:db8:1:2::/64"),
        (["1.1.1.1, [203.0.113.1"], "10.0.0.5"),
        (["1.1.1.1, nonsense"], "10.0.0.5"),
        (["1.1.1.1, "], "10.0.0.5"),
        ([], "10.0.0.5"),
    ],
)
def test_a_proxy_of_ours_is_believed_about_whom_it_serves(said: list[str], whose: str) -> None:
    assert _client("10.0.0.5", *said, proxies="10.0.0.0/8, fd00::1") == whose


def test_who_has_one_ipv6_address_has_a_whole_network() -> None:
    here = {_client("2001:db8:1:2::1"), _client("2001:db8:1:2:ffff::9")}
    assert here == {"2001:db8:1:2::/64"}
    assert _client("2001:db8:1:3::1") not in here
    assert _client("::ffff:198.51.100.7") == "198.51.100.7"
    assert _client("fe80::1%eth0") == "fe80::/64"


def test_what_is_no_network_is_refused_at_the_start() -> None:
    for proxies in ("proxy.example", "10.0.0.1/8", "10.0.0.0/33"):
        with pytest.raises(ValidationError):
            _settings(proxies)
