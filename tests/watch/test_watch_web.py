"""The pages about watching, by plain forms: import, look, remove; and a secret goes nowhere."""

from __future__ import annotations

import base64
import html
import re
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from api.app import create_app
from chain.testing.fake_node import FakeNode
from tests.api.conftest import BASE_URL, PASSWORD
from tests.watch.test_watch_api import COLD, SECRETS, child, reader, xpub

HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


class Browser:
    """Pages and forms, as a browser without JavaScript."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client
        self.page: Any = None

    async def get(self, path: str) -> str:
        self.page = await self.client.get(path)
        return str(self.page.text)

    async def send(self, action: str, **fields: str) -> str:
        found = re.search(
            rf'<form[^>]*action="{re.escape(action)}"[^>]*>(.*?)</form>', self.page.text, re.S
        )
        assert found, f"no form {action}"
        hidden = {name: html.unescape(value) for name, value in HIDDEN.findall(found.group(1))}
        self.page = await self.client.post(action, data={**hidden, **fields})
        return str(self.page.text)

    @property
    def plain(self) -> str:
        """The page's words, without its tags."""
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", self.page.text)).split())


@pytest.fixture
async def browse(observed: Any) -> Any:
    """A way to open browsers, each somebody else's."""
    opened = []

    async def somebody() -> Browser:
        transport = httpx2.ASGITransport(app=create_app(observed.services))
        client = httpx2.AsyncClient(
            transport=transport, base_url=BASE_URL, follow_redirects=True,
            headers={"Origin": BASE_URL, "Accept-Language": "en"},
        )  # fmt: skip
        opened.append(client)
        browser = Browser(client)
        await browser.get("/register")
        await browser.send(
            "/register", display_name="Ada", email=f"web{len(opened)}@example.org",
            password=PASSWORD, country="DE",
        )  # fmt: skip
        assert browser.page.url.path == "/home", browser.page.text[:2000]
        return browser

    yield somebody
    for client in opened:
        await client.aclose()


async def test_from_nothing_to_a_figure_and_back(
    observed: Any, node: FakeNode, browse: Any
) -> None:
    ada = await browse()
    await ada.get("/watched")
    assert "Nothing watched yet" in ada.plain
    await ada.send("/watched", source=COLD, label="Cold <b>& mine")
    assert "Cold <b>& mine" in ada.plain
    assert "<b>& mine" not in ada.page.text
    assert "Watched, not held here" in ada.plain
    assert "Not everything has been read yet" in ada.plain
    node.fund(COLD, 15 * 10**17)
    await reader(observed).tick()
    one = ada.page.url.path
    await ada.get(one)
    assert "1.500000 ETH" in ada.plain.replace("\u00a0", " ").replace(" .", ".")
    assert "Not everything" not in ada.plain
    assert f"Block {node.chain.head.number}" in ada.plain
    await ada.get("/watched")
    assert "Watched, not held here" in ada.plain
    assert "1.500000" in ada.plain.replace(" .", ".")
    await ada.get("/home")
    assert "1.5" not in ada.plain  # in no balance of theirs
    await ada.get(one)
    await ada.send(f"{one}/remove")
    assert "Nothing watched yet" in ada.plain
    await ada.get(one)
    assert ada.page.status_code == 404


async def test_a_key_shows_its_addresses(observed: Any, node: FakeNode, browse: Any) -> None:
    ada = await browse()
    await ada.get("/watched")
    node.fund(child(3, 2), 5 * 10**18)
    await ada.send("/watched", source=xpub(), label="Ledger")
    await reader(observed).tick()
    await ada.get(ada.page.url.path)
    assert "1 in use of 23 looked at" in ada.plain
    assert child(3, 2) in ada.page.text
    assert child(3, 0) in ada.page.text
    assert xpub() not in ada.page.text


@pytest.mark.parametrize("kind", sorted(SECRETS))
async def test_a_secret_comes_back_nowhere(observed: Any, browse: Any, kind: str) -> None:
    """Neither on the page nor in a cookie: drafts are kept in one."""
    ada, secret = await browse(), SECRETS[kind]
    await ada.get("/watched")
    await ada.send("/watched", source="nonsense", label="My label")
    assert "My label" in ada.page.text  # an ordinary mistake loses nothing
    await ada.send("/watched", source=secret, label="My label")
    assert "Consider it compromised" in ada.plain
    cookies = " ".join(str(value) for value in ada.client.cookies.values())
    decoded = "".join(
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode("latin-1")
        for part in re.findall(r"[A-Za-z0-9_-]{20,}", cookies)
    )
    for place in (ada.page.text, cookies, decoded):
        assert secret not in place
        assert "My label" not in place
    async with observed.services.db.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM watched")) == 0
        assert await session.scalar(text("SELECT count(*) FROM idempotency_answers")) == 0


async def test_refusals_stand_beside_their_field(browse: Any) -> None:
    ada = await browse()
    await ada.get("/watched")
    await ada.send("/watched", source="0x" + "ab" * 19, label="x")
    assert "Neither an address nor the xpub" in ada.plain
    assert 'aria-invalid="true"' in ada.page.text
    await ada.send("/watched", source=COLD, label=" ")
    assert "Give it a name" in ada.plain
    await ada.send("/watched", source=COLD, label="Cold")
    await ada.get("/watched")
    await ada.send("/watched", source=COLD, label="Again")
    assert "You watch this already" in ada.plain


async def test_a_form_sent_twice_imports_once(observed: Any, browse: Any) -> None:
    ada = await browse()
    await ada.get("/watched")
    form = ada.page
    await ada.send("/watched", source=COLD, label="Cold")
    first = ada.page.url.path
    ada.page = form
    await ada.send("/watched", source=COLD, label="Cold")
    assert ada.page.url.path == first


async def test_another_persons_is_not_there(browse: Any) -> None:
    ada, bob = await browse(), await browse()
    await ada.get("/watched")
    await ada.send("/watched", source=COLD, label="Cold")
    mine = ada.page.url.path
    await bob.get(mine)
    assert bob.page.status_code == 404
    await bob.get("/watched")
    assert "Nothing watched yet" in bob.plain
    csrf = re.search(r'name="csrf" value="([^"]+)"', bob.page.text)
    assert csrf is not None
    gone = await bob.client.post(f"{mine}/remove", data={"csrf": csrf.group(1)})
    assert gone.status_code == 404
    await ada.get(mine)
    assert ada.page.status_code == 200


async def test_chinese(browse: Any) -> None:
    ada = await browse()
    await ada.get("/watched")
    await ada.send("/preferences", language="zh-Hans")
    await ada.get("/watched")
    assert "观察钱包" in ada.page.text
