"""Who listens is counted for as long, and no longer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.web.events import STREAMS_PER_SESSION, Hub
from api.web.pages.live import _Stream
from wallet.bootstrap import Services
from wallet.identity import SignedIn


async def test_who_left_before_it_began_keeps_no_place() -> None:
    """Five such left a session without live pages, until the process ended."""
    hub, gone = Hub(cast(Services, None)), OSError("the client is gone")
    session = cast(SignedIn, SimpleNamespace(id="ses_1", principal_id="usr_1"))

    async def send(_message: Any) -> None:
        raise gone

    async def receive() -> Any:
        await asyncio.sleep(60)

    for _ in range(STREAMS_PER_SESSION + 1):
        hub.admit(session)
        with pytest.raises((OSError, ExceptionGroup)):
            await _Stream(hub, session, None)({"type": "http"}, receive, send)
    assert not hub._by_session
