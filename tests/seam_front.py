"""API and pages in front of a seam: what people see of what arrives and leaves on its chain."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from api.app import create_app
from chain.faults import FaultSwitch
from keys.derivation import fingerprint
from keys.public import PublicKeys
from tests.api.conftest import BASE_URL, PASSWORD, Person
from tests.watch.test_watch_web import Browser
from wallet import identity
from wallet.bootstrap import NoSigner, Services
from wallet.settings import Settings
from wallet.testing.seam import Seam


@dataclass
class Front:
    """The app, and who uses it."""

    app: Any
    services: Services
    http: httpx2.AsyncClient
    opened: list[httpx2.AsyncClient] = field(default_factory=list)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def person(self) -> tuple[Person, Browser]:
        """Somebody new, by the API and at the pages."""
        transport = httpx2.ASGITransport(app=self.app)
        client = httpx2.AsyncClient(
            transport=transport, base_url=BASE_URL, follow_redirects=True,
            headers={"Origin": BASE_URL, "Accept-Language": "en"},
        )  # fmt: skip
        self.opened.append(client)
        browser = Browser(client)
        await browser.get("/register")
        email = f"front{next(self.numbers)}@example.org"
        await browser.send(
            "/register", display_name="Ada", email=email, password=PASSWORD, country="DE"
        )
        assert browser.page.url.path == "/home", browser.page.text[:2000]
        user = await identity.authenticate(self.services.db, email=email, password=PASSWORD)
        async with self.services.db.transaction() as session:
            opened = await identity.open_session(session, principal_id=user.id, kind="api")
        assert opened.token is not None
        return Person(user.id, opened.token, self.http), browser


@asynccontextmanager
async def front_of(seam: Seam) -> AsyncIterator[Front]:
    """The app over this seam's database, chain and house."""
    xpub = seam.desk.deposit_xpub
    services = Services(
        settings=Settings(
            mode="sandbox", database_url=seam.db.url.render_as_string(hide_password=False)
        ),
        db=seam.db,
        assets=seam.assets,
        networks={seam.network.name: seam.network},
        chains={seam.network.name: seam.chain},
        rpcs={seam.network.name: seam.opened[0]},
        failovers={},
        faults=FaultSwitch(),
        house=PublicKeys(xpub, fingerprint(xpub), tuple(seam.desk.hot_addresses)),
        deriver=seam.deriver,
        signer=NoSigner(),
    )
    app = create_app(services)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url=BASE_URL) as http:
        front = Front(app, services, http)
        try:
            yield front
        finally:
            for client in front.opened:
                await client.aclose()
            await app.state.bifold.writer.aclose()
