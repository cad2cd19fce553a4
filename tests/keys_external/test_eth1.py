"""Web3signer's eth1 API: our signer speaks it, and whatever speaks it can take its place."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from eth_account import Account
from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak

from chain.testing import AnvilProcess
from keys.derivation import HOT_ACCOUNT, derive_key, path
from keys.desk import SigningDesk
from keys.errors import NonceConflict, SignerRefused, SignerUnavailable
from keys.eth1_client import Eth1Signer
from keys.eth1_server import Eth1Server
from keys.secret import Secret
from keys.server import SignerServer
from keys.testing import GWEI, TEST_HOT_ADDRESSES, native_payload, open_desk, test_seed
from keys.wire import eth1_token, new_capability
from wallet.db import Database
from wallet.onchain import Desk, IntentRunner
from wallet.testing.seam import FIRST_HOT_INDEX, Seam

HOT, PAYEE = TEST_HOT_ADDRESSES


@pytest.fixture
def capability() -> Secret:
    return new_capability()


@pytest.fixture
def desk() -> SigningDesk:
    return open_desk()


@pytest.fixture
async def url(desk: SigningDesk, capability: Secret) -> AsyncIterator[str]:
    door = Eth1Server(desk, SignerServer(desk, capability), capability)
    port = await door.start("127.0.0.1", 0)
    yield f"http://127.0.0.1:{port}"
    await door.aclose()


@pytest.fixture
async def signer(url: str, capability: Secret) -> AsyncIterator[Eth1Signer]:
    client = Eth1Signer(url, hot=[HOT, PAYEE], deposit_xpub="xpub", capability=capability)
    yield client
    await client.aclose()


async def sign(signer: Eth1Signer, payload: bytes) -> bytes:
    signed = await signer.sign_transaction(
        address=HOT, payload=payload, intent_id="int_1", kind="pay"
    )
    return signed.raw


class TestOurServer:
    async def test_the_same_bytes_as_by_the_socket(
        self, signer: Eth1Signer, desk: SigningDesk
    ) -> None:
        assert await signer.hot_addresses() == [HOT, PAYEE]
        payload = native_payload(to=PAYEE, value=5)
        raw = await sign(signer, payload)
        assert Account.recover_transaction(raw) == HOT
        assert await sign(signer, payload) == raw
        assert len(desk.journal.book) == 1

    async def test_policy_and_journal_stand_before_the_key(self, signer: Eth1Signer) -> None:
        await sign(signer, native_payload(to=PAYEE, value=5))
        with pytest.raises(SignerRefused) as refused:
            await sign(signer, native_payload(chain_id=5))
        assert refused.value.reason == "chain_not_allowed"
        with pytest.raises(NonceConflict):
            await sign(signer, native_payload(to=PAYEE, value=6))

    async def test_bumps_and_cancels_are_read_from_the_bytes(self, signer: Eth1Signer) -> None:
        await sign(signer, native_payload(to=PAYEE, value=5))
        await sign(signer, native_payload(to=PAYEE, value=5, cap=4 * GWEI, tip=2 * GWEI))
        await sign(signer, native_payload(to=HOT, value=0, cap=8 * GWEI, tip=4 * GWEI))
        await sign(signer, native_payload(1, to=HOT, value=0))

    async def test_bare_hashes_and_messages_are_refused(
        self, url: str, signer: Eth1Signer, capability: Secret
    ) -> None:
        headers = {"Authorization": f"Bearer {eth1_token(capability).reveal().hex()}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            async with http.get(f"{url}/api/v1/eth1/publicKeys") as answer:
                [identifier, *_] = await answer.json()
            for data in ("0x" + "11" * 32, "0x19", "0x", "no hex", 5):
                place = f"{url}/api/v1/eth1/sign/{identifier}"
                async with http.post(place, json={"data": data}) as answer:
                    assert answer.status in (400, 403)
                    assert "0x" not in await answer.text()
            async with http.post(f"{url}/api/v1/eth1/sign/0x00", json={"data": "0x"}) as answer:
                assert answer.status == 404
            async with http.get(f"{url}/upcheck") as answer:
                assert await answer.text() == "OK"

    async def test_nobody_without_the_capability(self, url: str) -> None:
        stranger = Eth1Signer(url, hot=[HOT], deposit_xpub="", capability=new_capability())
        with pytest.raises(SignerUnavailable):
            await stranger.hot_addresses()
        await stranger.aclose()

    async def test_who_holds_the_port_learns_nothing_that_opens_the_socket(
        self, url: str, capability: Secret
    ) -> None:
        heard: list[bytes] = []

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.close()

        squatter = await asyncio.start_server(listen, "127.0.0.1", 0)
        port = squatter.sockets[0].getsockname()[1]
        client = Eth1Signer(
            f"http://127.0.0.1:{port}", hot=[HOT], deposit_xpub="", capability=capability
        )
        with pytest.raises(SignerUnavailable):
            await client.hot_addresses()
        await client.aclose()
        squatter.close()
        head, *_ = heard  # a request that got no answer is sent once more
        [token] = [x.split()[-1] for x in head.split(b"\r\n") if x.startswith(b"Authorization")]
        assert bytes.fromhex(token.decode()) != capability.reveal()
        # This door it does open, and the capability itself does not.
        assert await ask(url, b"Bearer " + token, b"{}") == 400
        assert await ask(url, f"Bearer {capability.reveal().hex()}".encode(), b"{}") == 401

    async def test_strange_heads_and_bodies_are_refused_and_are_no_defect(
        self, url: str, capability: Secret
    ) -> None:
        token = f"Bearer {eth1_token(capability).reveal().hex()}".encode()
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(1_000)  # the signer's own; a test runner may have raised it
        try:
            assert await ask(url, b"Bearer \xff\xfe", b"{}") == 401
            assert await ask(url, token, b"[" * 50_000) == 400
            assert await ask(url, token, b"{" * 131_073) == 413
        finally:
            sys.setrecursionlimit(limit)


async def ask(url: str, authorization: bytes, body: bytes) -> int:
    """The status of one request to sign, sent byte for byte."""
    point = PrivateKey(derive_key(test_seed(), path(HOT_ACCOUNT, 0)).reveal()).public_key
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST /api/v1/eth1/sign/{point.to_hex()} HTTP/1.1\r\nHost: x\r\n".encode()
        + b"Authorization: " + authorization + b"\r\nConnection: close\r\n"
        + f"Content-Length: {len(body)}\r\n\r\n".encode() + body
    )  # fmt: skip
    try:
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()


class Web3signer:
    """Web3signer as it answers: no capability, no policy, v of 27 or 28, `text/plain`."""

    def __init__(self, keys: list[Secret]) -> None:
        self.keys = {PrivateKey(k.reveal()).public_key.to_hex(): k for k in keys}
        self.answer: str | None = None
        self.status = 200

    async def start(self) -> tuple[web.AppRunner, str]:
        app = web.Application()
        app.router.add_get("/api/v1/eth1/publicKeys", self._public)
        app.router.add_post("/api/v1/eth1/sign/{identifier}", self._sign)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _public(self, _: web.Request) -> web.Response:
        return web.json_response(list(self.keys))

    async def _sign(self, request: web.Request) -> web.Response:
        if self.status != 200 or self.answer is not None:
            return web.Response(status=self.status, text=self.answer or "")
        key = self.keys.get(request.match_info["identifier"])
        if key is None:
            return web.Response(status=404)
        data = bytes.fromhex((await request.json())["data"][2:])
        made = PrivateKey(key.reveal()).sign_msg_hash(keccak(data))
        text = made.r.to_bytes(32, "big") + made.s.to_bytes(32, "big") + bytes([27 + made.v])
        return web.Response(text="0x" + text.hex())


class TestWeb3signer:
    async def test_garbage_refusals_and_silence(self) -> None:
        other = Web3signer([derive_key(test_seed(), path(HOT_ACCOUNT, 0))])
        runner, url = await other.start()
        signer = Eth1Signer(url, hot=[HOT], deposit_xpub="", timeout_seconds=1.0)
        payload = native_payload(to=PAYEE, value=5)
        assert Account.recover_transaction(await sign(signer, payload)) == HOT
        other.answer = "0x" + "11" * 65
        with pytest.raises(SignerRefused, match="signing_failed"):
            await sign(signer, payload)
        for answer in ("", "0x", "nonsense", "0x" + "00" * 64):
            other.answer = answer
            with pytest.raises(SignerUnavailable):
                await sign(signer, payload)
        other.answer, other.status = "", 400
        with pytest.raises(SignerRefused):
            await sign(signer, payload)
        for status in (401, 403, 404, 500):
            other.status = status
            with pytest.raises(SignerUnavailable):
                await sign(signer, payload)
        await runner.cleanup()
        with pytest.raises(SignerUnavailable):
            await sign(signer, payload)
        await signer.aclose()

    async def test_one_that_is_still_loading_its_keys_refuses_nobody_for_good(
        self, db: Database, anvil: AnvilProcess, tmp_path: Path
    ) -> None:
        """It starts anew: no key is there yet, or one that it told of is not. What is refused ends
        as failed, and its nonce is used up by a transfer of nothing, which is refused as well."""
        seam = await Seam.open(db, anvil.url, tmp_path / "signer")
        await seam.fund_house()
        keys = [derive_key(test_seed(), path(HOT_ACCOUNT, FIRST_HOT_INDEX))]
        other = Web3signer(keys)
        runner, url = await other.start()
        hot = await seam.signer.hot_addresses()
        signer = Eth1Signer(url, hot=hot, deposit_xpub=await seam.signer.deposit_xpub())
        seam.runner = IntentRunner(
            Desk(db, seam.chain, signer, seam.runner._desk.followers), rebroadcast_seconds=0.0
        )
        ada = await seam.funded_person()
        await seam.withdraw(ada, "1", "USDC", PAYEE)
        await seam.finish()
        held, other.keys = other.keys, {}
        made = await seam.withdraw(ada, "7", "USDC", PAYEE)
        for _ in range(3):
            await seam.pass_once()
        other.keys = held
        await seam.finish()
        assert (await seam.withdrawal(ada, made.id)).status == "settled"
        again = Eth1Signer(url, hot=hot, deposit_xpub="")
        held, other.keys = other.keys, {}
        assert await again.hot_addresses() == []
        other.keys = held
        assert await again.hot_addresses() == hot
        await signer.aclose()
        await again.aclose()
        await runner.cleanup()
        await seam.close()

    async def test_withdrawals_go_through_it(
        self, db: Database, anvil: AnvilProcess, tmp_path: Path
    ) -> None:
        seam = await Seam.open(db, anvil.url, tmp_path / "signer")
        await seam.fund_house()
        other = Web3signer([derive_key(test_seed(), path(HOT_ACCOUNT, FIRST_HOT_INDEX))])
        runner, url = await other.start()
        hot = await seam.signer.hot_addresses()
        signer = Eth1Signer(url, hot=hot, deposit_xpub=await seam.signer.deposit_xpub())
        seam.runner = IntentRunner(
            Desk(db, seam.chain, signer, seam.runner._desk.followers), rebroadcast_seconds=0.0
        )
        ada = await seam.funded_person()
        made = await seam.withdraw(ada, "7", "USDC", PAYEE)
        await seam.finish()
        assert (await seam.withdrawal(ada, made.id)).status == "settled"
        assert await seam.differences() == []
        await signer.aclose()
        await runner.cleanup()
        await seam.close()
