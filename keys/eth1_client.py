"""A `Signer` behind Web3signer's eth1 HTTP API: Web3signer itself, our own signer, or an HSM's.

https://docs.web3signer.consensys.io/reference/api/rest. The API signs keccak256 of the bytes it is
given: the unsigned transaction goes in, the signature comes out, and what was signed is read back
here. Web3signer keeps no journal and knows no policy: the safeguards of docs/custody.md are then
the caller's database alone, and the page says what that means.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
from eth_keys.datatypes import PublicKey
from eth_utils.crypto import keccak

from keys.desk import assemble
from keys.errors import NonceConflict, SignerRefused, SignerUnavailable
from keys.handles import canonical
from keys.payload import decode_unsigned
from keys.request import ApprovalLimits, Kind, SignedBefore, SignedTx
from keys.secret import Secret
from keys.wire import eth1_token

PATH: Final = "/api/v1/eth1"
TIMEOUT_SECONDS: Final = 5.0
MAX_ANSWER_BYTES: Final = 65_536
SIGNATURE_BYTES: Final = 65


class Eth1Signer:
    """Signs hot transactions over HTTP. Call `aclose` at the end.

    `hot`: the EIP-55 addresses that may be used, in order (the API names public keys without one).
    `capability`: what is sent as a bearer token is made of it (`keys.wire.eth1_token`).
    """

    def __init__(
        self,
        url: str,
        *,
        hot: Sequence[str],
        deposit_xpub: str,
        capability: Secret | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._url = url.rstrip("/")
        self._hot = list(hot)
        self._xpub = deposit_xpub
        self._token = None if capability is None else eth1_token(capability)
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None
        self._keys: dict[str, str] = {}

    def __repr__(self) -> str:
        return "Eth1Signer(***)"

    async def hot_addresses(self) -> list[str]:
        """Those of ours that the other side holds the key of now: it may lose one, or not have
        loaded it yet."""
        await self._load()
        return [address for address in self._hot if address in self._keys]

    async def deposit_xpub(self) -> str:
        """From our own public file: the API has no extended keys."""
        return self._xpub

    async def approval_limits(self) -> dict[int, ApprovalLimits]:
        """None are told over this API."""
        return {}

    async def signed_before(self, intent_ids: Sequence[str]) -> list[SignedBefore]:
        """None are told over this API."""
        del intent_ids
        return []

    async def signed_from(self, *, chain_id: int, address: str, nonce: int) -> list[SignedBefore]:
        """None are told over this API."""
        del chain_id, address, nonce
        return []

    async def sign_authorization(
        self, *, address: str, deposit_index: int, chain_id: int, nonce: int, delegate: str
    ) -> bytes:
        """Not in this API. Raises `SignerRefused`."""
        raise SignerRefused("unknown_method", "the eth1 API signs transactions only")

    async def sign_transaction(
        self,
        *,
        address: str,
        payload: bytes,
        intent_id: str,
        kind: Kind,
        deposit_index: int | None = None,
        approval: bytes = b"",
    ) -> SignedTx:
        """See `keys.signer.Signer`; deposit keys are not reached over this API."""
        tx = decode_unsigned(payload)
        if address not in self._hot or deposit_index is not None:
            raise SignerRefused("unknown_address", "not a hot address of ours")
        if address not in self._keys:
            await self._load()
        identifier = self._keys.get(address)
        if identifier is None:
            raise SignerUnavailable("the other side does not hold that key now")
        status, answer = await self._ask(
            "POST", f"{PATH}/sign/{identifier}", {"data": "0x" + payload.hex()}
        )
        if status == 404:  # of this key, or of everything: it is asked for its keys again
            self._keys.pop(address, None)
        if status != 200:
            raise _refusal(status, answer)
        signature = _hex(answer)
        if signature is None or len(signature) != SIGNATURE_BYTES:
            raise SignerUnavailable("the answer is no signature")
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        return assemble(tx, canonical(address, keccak(payload), r, s), address)

    async def aclose(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _load(self) -> None:
        """What it holds now; what it held before is forgotten."""
        status, answer = await self._ask("GET", f"{PATH}/publicKeys", None, as_json=True)
        if status != 200 or not isinstance(answer, list):
            raise SignerUnavailable(f"no public keys (HTTP {status})")
        found = {str(item): _hex(item) for item in answer}
        self._keys = {
            PublicKey(point).to_checksum_address(): item
            for item, point in found.items()
            if point is not None and len(point) == 64
        }

    async def _ask(
        self, method: str, path: str, body: Any, *, as_json: bool = False
    ) -> tuple[int, Any]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        headers = {}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.reveal().hex()}"
        try:
            async with self._session.request(
                method, self._url + path, json=body, headers=headers, allow_redirects=False
            ) as response:
                raw = b""
                async for chunk in response.content.iter_any():
                    raw += chunk
                    if len(raw) > MAX_ANSWER_BYTES:
                        raise SignerUnavailable("the answer is too long")
                if as_json and response.status == 200:
                    return response.status, json.loads(raw)
                return response.status, raw.decode("utf-8", "replace").strip()
        except (TimeoutError, aiohttp.ClientError, ValueError, OSError) as error:
            raise SignerUnavailable(f"the signer is not there ({type(error).__name__})") from None


def _refusal(status: int, answer: object) -> Exception:
    """What a refusal means: of ours it carries `code: reason`, of Web3signer it is status 400. A
    key that is not there (404), or a door that is shut, may be another thing in a moment: what is
    refused is never paid."""
    code, _, reason = str(answer).partition(": ")
    if code == NonceConflict.code:
        return NonceConflict(reason[:64])
    if code == SignerRefused.code:
        return SignerRefused(reason[:64])
    if status == 400:
        return SignerRefused("refused_by_web3signer", f"HTTP {status}")
    return SignerUnavailable(f"HTTP {status}")


def _hex(text: object) -> bytes | None:
    try:
        return bytes.fromhex(str(text).removeprefix("0x"))
    except ValueError:
        return None
