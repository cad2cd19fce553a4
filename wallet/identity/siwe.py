"""Messages of Sign-In with Ethereum: written, read strictly, compared with what we asked for.

Standard: https://eips.ethereum.org/EIPS/eip-4361. Reading is strict: what is read is written again
and must be the same text, so that nothing hides behind a line we do not understand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from chain.address import checked
from chain.errors import InvalidAddress
from wallet.errors import WalletError

VERSION = "1"
MAX_MESSAGE_CHARS = 2_000
CLOCK_SKEW = timedelta(seconds=60)
_HEAD = " wants you to sign in with your Ethereum account:"
_FORM = re.compile(
    r"(?P<domain>[A-Za-z0-9.\-:\[\]]{1,253}) wants you to sign in with your Ethereum account:\n"
    r"(?P<address>0x[0-9a-fA-F]{40})\n"
    r"\n"
    r"(?P<statement>[ -~]{1,300})\n"
    r"\n"
    r"URI: (?P<uri>[!-~]{1,300})\n"
    r"Version: (?P<version>1)\n"
    r"Chain ID: (?P<chain_id>[1-9][0-9]{0,18})\n"
    r"Nonce: (?P<nonce>[a-zA-Z0-9]{8,64})\n"
    r"Issued At: (?P<issued_at>[0-9T:.Z+\-]{20,35})\n"
    r"Expiration Time: (?P<expires_at>[0-9T:.Z+\-]{20,35})",
    re.ASCII,
)


class InvalidSiwe(WalletError):
    """The message is not the one that was asked for; the detail says in which part."""

    code = "siwe_invalid"


@dataclass(frozen=True, slots=True)
class SiweMessage:
    """The fields of one message. Times are aware, UTC, to the second."""

    domain: str
    address: str
    statement: str
    uri: str
    chain_id: int
    nonce: str
    issued_at: datetime
    expires_at: datetime

    def text(self) -> str:
        """As EIP-4361 writes it; this is what is signed."""
        return (
            f"{self.domain}{_HEAD}\n{self.address}\n\n{self.statement}\n\nURI: {self.uri}\n"
            f"Version: {VERSION}\nChain ID: {self.chain_id}\nNonce: {self.nonce}\n"
            f"Issued At: {_rfc3339(self.issued_at)}\nExpiration Time: {_rfc3339(self.expires_at)}"
        )


def parse(text: str) -> SiweMessage:
    """Read a message of the form we write. Raises InvalidSiwe."""
    found = _FORM.fullmatch(text) if len(text) <= MAX_MESSAGE_CHARS else None
    if found is None:
        raise InvalidSiwe("This is not the message that was asked to be signed.")
    try:
        address = checked(found["address"])
    except InvalidAddress:
        raise InvalidSiwe("The address has a wrong checksum.") from None
    if address != found["address"]:
        raise InvalidSiwe("The address must be written with its checksum (EIP-55).")
    message = SiweMessage(
        domain=found["domain"],
        address=address,
        statement=found["statement"],
        uri=found["uri"],
        chain_id=int(found["chain_id"]),
        nonce=found["nonce"],
        issued_at=_moment(found["issued_at"]),
        expires_at=_moment(found["expires_at"]),
    )
    if message.text() != text:
        raise InvalidSiwe("This is not the message that was asked to be signed.")
    return message


def demand(
    message: SiweMessage, *, domain: str, uri: str, statement: str, chain_ids: set[int],
    now: datetime,
) -> None:  # fmt: skip
    """Every field is what this service asks for, now. Raises InvalidSiwe naming the first that is
    not. The nonce and the signature are the caller's to check."""
    for holds, what in (
        (message.domain == domain, "It was made for another site."),
        (message.uri == uri, "Its URI is another one."),
        (message.statement == statement, "It was made for another purpose."),
        (message.chain_id in chain_ids, "Its chain is not served here."),
        (message.issued_at <= now + CLOCK_SKEW, "It is not valid yet."),
        (message.expires_at > now, "It has expired."),
        (message.expires_at > message.issued_at, "It expires before it was issued."),
    ):
        if not holds:
            raise InvalidSiwe(what)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise InvalidSiwe("A time is not written as it was asked for.") from None
