"""The signer's language: length-prefixed JSON over a unix socket, opened by a mutual proof.

A frame is four big-endian bytes of length and a JSON object. The server opens with a challenge; the
client answers with an HMAC under the capability over challenge and its own nonce; the server proves
the same. Whoever sits on either end without the capability learns nothing that helps later.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import struct
from typing import Any, Final

from keys.errors import SignerUnavailable
from keys.secret import Secret

PROTOCOL: Final = "bifold-signer-1"
ETH1_LABEL: Final = b"bifold-signer-eth1"
MAX_FRAME_BYTES: Final = 65_536
NONCE_BYTES: Final = 32
FRAMES_TOGETHER: Final = 16
"""So many frames are not held back any longer, so that the peer works while we do."""
MIN_CAPABILITY_BYTES: Final = 32
HEADER: Final = struct.Struct(">I")
MAX_SOCKET_PATH_BYTES: Final = 107
"""Linux keeps 108 bytes for a unix socket's path, the closing zero included."""


class ConnectionLost(Exception):
    """The peer went away or does not speak this protocol. Never leaves this room."""


def new_capability() -> Secret:
    """A fresh capability, handed to the signer and its one caller by inherited descriptors."""
    return Secret(os.urandom(MIN_CAPABILITY_BYTES))


def frame(message: dict[str, Any]) -> bytes:
    """One message as bytes on the wire."""
    body = json.dumps(message, separators=(",", ":")).encode("utf-8")
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError("message too long for one frame")
    return HEADER.pack(len(body)) + body


class Outbox:
    """Frames for one peer. Those of one turn of the event loop leave together: each write of its
    own wakes the peer, which costs both more than the message does."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._frames: list[bytes] = []

    def put(self, message: dict[str, Any]) -> None:
        """Send `message` in this turn. Raises `ValueError` when it is too long for a frame."""
        self._frames.append(frame(message))
        if len(self._frames) >= FRAMES_TOGETHER:
            self.flush()
        elif len(self._frames) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what waits, now."""
        if self._frames:
            frames, self._frames = b"".join(self._frames), []
            self._writer.write(frames)

    @property
    def is_behind(self) -> bool:
        """Whether the peer has not yet taken all that was sent."""
        return self._writer.transport.get_write_buffer_size() > 0

    async def drained(self) -> None:
        """Return when the peer has taken enough of what was sent."""
        if self.is_behind:
            await self._writer.drain()


async def receive(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next message. Raises `ConnectionLost` at the end or for anything but a JSON object."""
    try:
        (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
        if length > MAX_FRAME_BYTES:
            raise ConnectionLost("frame too long")
        message = json.loads(await reader.readexactly(length))
    except (OSError, EOFError, ValueError, RecursionError) as error:
        raise ConnectionLost(type(error).__name__) from None
    if not isinstance(message, dict):
        raise ConnectionLost("not an object")
    return message


def proof(capability: Secret, role: str, challenge: str, nonce: str) -> str:
    """HMAC-SHA256 that its role knows the capability, for this connection only."""
    text = "|".join((PROTOCOL, role, challenge, nonce)).encode("utf-8")
    return hmac.digest(capability.reveal(), text, "sha256").hex()


def proves(
    message: dict[str, Any], capability: Secret, role: str, challenge: str, nonce: str
) -> bool:
    """True when `message` carries the right proof (constant time)."""
    given = message.get("proof")
    expected = proof(capability, role, challenge, nonce)
    return isinstance(given, str) and hmac.compare_digest(given.encode(), expected.encode())


def eth1_token(capability: Secret) -> Secret:
    """What opens the eth1 door and nothing else: HTTP gives it to whoever listens there."""
    return Secret(hmac.digest(capability.reveal(), ETH1_LABEL, "sha256"))


def fresh_nonce() -> str:
    """A nonce for one connection."""
    return os.urandom(NONCE_BYTES).hex()


def check_socket_path(path: str) -> str:
    """The path, or `SignerUnavailable` when the kernel would refuse its length."""
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise SignerUnavailable(f"socket path longer than {MAX_SOCKET_PATH_BYTES} bytes")
    return path
