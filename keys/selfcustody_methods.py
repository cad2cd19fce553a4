"""The signer's methods for people's own accounts, as its server serves them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from keys.errors import SignerRefused
from keys.selfcustody import SelfCustodyDesk
from keys.server import Method

log = logging.getLogger(__name__)


def methods(desk: SelfCustodyDesk, durable: Callable[[], Awaitable[None]]) -> dict[str, Method]:
    """By name. `durable` returns when the journal is on disk.

    Requests are opened in one thread of their own: argon2id for many people at once must neither
    take the house's memory nor the threads that write its journal.
    """
    opening = ThreadPoolExecutor(max_workers=1, thread_name_prefix="selfcustody")

    async def key(_params: Any) -> dict[str, Any]:
        desk.forget()  # asked every second
        return {"public_key": desk.opener.public_key().hex()}

    async def opened(params: Any) -> dict[str, Any]:
        names = {"purpose", "principal", "request_id", "box", "account"}
        texts = ("purpose", "principal", "request_id")
        if (
            not isinstance(params, dict)
            or set(params) != names
            or any(not isinstance(params[name], str) for name in texts)
            or not isinstance(params["box"], dict)
            or not isinstance(params["account"], dict | None)
        ):
            raise SignerRefused("malformed_request", f"needs {', '.join(sorted(names))}")
        try:
            loop = asyncio.get_running_loop()
            answer = await loop.run_in_executor(opening, lambda: desk.open(**params))
        except SignerRefused as refusal:
            log.warning("self-custody: refused %r: %s", params["purpose"][:16], refusal.reason)
            raise
        log.info("self-custody: %s", params["purpose"])
        return answer

    async def sign(params: Any) -> dict[str, Any]:
        names = {"principal", "grant", "payload", "intent_id"}
        if (
            not isinstance(params, dict)
            or set(params) != names
            or any(not isinstance(value, str) for value in params.values())
        ):
            raise SignerRefused("malformed_request", f"needs {', '.join(sorted(names))}")
        try:
            payload = bytes.fromhex(params["payload"])
        except ValueError:
            raise SignerRefused("malformed_request", "the payload is not hex") from None
        signed, _ = desk.sign(
            principal=params["principal"],
            grant=params["grant"],
            payload=payload,
            intent_id=params["intent_id"],
        )
        await durable()
        return {"raw": signed.raw.hex(), "tx_hash": signed.tx_hash}

    return {"selfcustody.key": key, "selfcustody.open": opened, "selfcustody.sign": sign}
