"""The live stream: who may listen, how many, and what is replayed."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator

import httpx2
import pytest

from wallet.listener import parse

pytestmark = [pytest.mark.web, pytest.mark.slow, pytest.mark.timeout(180)]
STREAMS = 5


@pytest.fixture
def member(plain_client: httpx2.Client) -> httpx2.Client:
    """Somebody who has just registered."""
    page = plain_client.get("/register").text
    token = page.split('name="csrf" value="')[1].split('"')[0]
    fields = {
        "csrf": token,
        "display_name": "Lia Live",
        "email": f"{secrets.token_hex(6)}@example.org",
        "password": "an unlikely passphrase 7",
        "country": "DE",
    }
    assert plain_client.post("/register", data=fields).url.path == "/home"
    return plain_client


@contextlib.contextmanager
def stream(client: httpx2.Client, **headers: str) -> Iterator[httpx2.Response]:
    with client.stream("GET", "/live", headers=headers) as answer:
        yield answer


def test_strangers_hear_nothing(plain_client: httpx2.Client) -> None:
    assert plain_client.get("/live").status_code == 401


def test_five_streams_and_no_more(member: httpx2.Client) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(STREAMS):
            assert opened.enter_context(stream(member)).status_code == 200
        assert member.get("/live").status_code == 429
    deadline = time.monotonic() + 20
    while True:  # a place is free again once the server has noticed
        with stream(member) as answer:
            if answer.status_code == 200:
                return
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_last_event_id_replays(member: httpx2.Client) -> None:
    page = member.get("/receive").text
    token = page.split('name="csrf" value="')[1].split('"')[0]
    member.post("/receive/local/faucet", data={"csrf": token, "coin": "ETH"})
    with stream(member, **{"Last-Event-ID": "0"}) as answer:
        heard = []
        for line in answer.iter_lines():
            heard.append(line)
            if "deposit.credited" in line:
                break
    ids = [int(line.removeprefix("id: ")) for line in heard if line.startswith("id: ")]
    assert ids == sorted(ids)
    with stream(member, **{"Last-Event-ID": str(ids[0])}) as answer:
        first = next(line for line in answer.iter_lines() if line.startswith("id: "))
    assert int(first.removeprefix("id: ")) == ids[1]


@pytest.mark.parametrize(
    "payload", ["", "nonsense", "[]", '{"seq": 1}', '{"seq": "x", "principals": []}', "null"]
)
def test_an_unreadable_notice_wakes_everybody(payload: str) -> None:
    assert parse(payload).concerns("usr_anybody")


def test_a_notice_wakes_only_those_it_names() -> None:
    wake = parse('{"seq": 7, "principals": ["usr_a"]}')
    assert wake.concerns("usr_a")
    assert not wake.concerns("usr_b")
    assert parse('{"seq": 7, "principals": "*"}').concerns("usr_b")
