"""Cold signing: unsigned bytes on a sheet, read and signed by a machine without a network.

A sheet is five lines of text, small enough for a QR code. Its summary is for people who pass it
on; who signs is shown what the bytes say, and bytes that are not a plain payment are refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from eth_utils.address import is_checksum_address, to_checksum_address

from keys import mnemonic
from keys.address import address_of
from keys.derivation import HOT_ACCOUNT, path
from keys.desk import sign_exactly, signed_matches
from keys.errors import KeysError, SignerRefused
from keys.hd import HdNode
from keys.payload import ADDRESS_BYTES, UnsignedTx, decode_unsigned
from keys.request import MAX_PAYLOAD_BYTES
from keys.secret import Secret, SecretText

UNSIGNED: Final = "bifold-unsigned-1"
SIGNED: Final = "bifold-signed-1"
MAX_SHEET_BYTES: Final = 4 * MAX_PAYLOAD_BYTES
CHECK_DIGITS: Final = 16
PLACES_SEARCHED: Final = 20
"""How many addresses of the words, from index 0, may be the sender."""
TRANSFER: Final = bytes.fromhex("a9059cbb") + bytes(12)
TRANSFER_BYTES: Final = 68
WEI: Final = 10**18


class OfflineRefused(KeysError):
    """A sheet that is damaged, does not say a plain payment, or is not for these keys."""

    code = "offline_refused"


@dataclass(frozen=True, slots=True)
class Sheet:
    """One unsigned transaction: `sender` EIP-55, `payload` as a signer takes it."""

    sender: str
    payload: bytes
    summary: str

    @property
    def tx(self) -> UnsignedTx:
        """What the bytes say."""
        return decode_unsigned(self.payload)

    def text(self) -> str:
        """The sheet as it is written to a file or a code. Raises `OfflineRefused`."""
        payment(self.tx)
        if not self.summary.isprintable():
            raise OfflineRefused("the summary is one line of printable text")
        return _text(UNSIGNED, self.sender, self.payload, self.summary)


@dataclass(frozen=True, slots=True)
class Payment:
    """What a plain payment moves. `token` None is the native coin; `amount` in smallest units."""

    to: str
    token: str | None
    amount: int


def payment(tx: UnsignedTx) -> Payment:
    """The payment the fields say: coins, or `transfer` of an ERC-20 token, and nothing else.

    Raises `OfflineRefused`: creation of contracts, other calls, value beside a call, nothing moved,
    delegations, a tip above the fee cap, chain 0, and payments to the token's own contract.
    """
    if tx.authorizations:
        raise OfflineRefused("it carries delegations of code beside the payment (EIP-7702)")
    if tx.chain_id < 1 or len(tx.to) != ADDRESS_BYTES or not any(tx.to) or tx.tip > tx.cap:
        raise OfflineRefused("not a payment that any chain takes")
    to = str(to_checksum_address(tx.to))
    if not tx.data:
        found = Payment(to, None, tx.value)
    elif tx.data[:16] == TRANSFER and len(tx.data) == TRANSFER_BYTES and tx.value == 0:
        payee = str(to_checksum_address(tx.data[16:36]))
        found = Payment(payee, to, int.from_bytes(tx.data[36:], "big"))
        if payee == to or not any(tx.data[16:36]):
            raise OfflineRefused("the token would be lost at this recipient")
    else:
        raise OfflineRefused("a call of a contract that is no plain transfer")
    if found.amount == 0:
        raise OfflineRefused("it moves nothing")
    return found


def explain(sheet: Sheet) -> list[str]:
    """What would be signed, a line each, from the bytes alone. Raises `OfflineRefused`."""
    tx = _decoded(sheet.payload)
    paid = payment(tx)
    if paid.token is None:
        what = f"{_coins(paid.amount)} coins ({paid.amount} wei)"
    else:
        what = f"{paid.amount} smallest units of the token {paid.token}"
    fee = f"at most {_coins(tx.gas * tx.cap)} coins"
    if tx.gas * tx.cap > WEI // 10:
        fee += "   <-- MUCH: look twice"
    return [
        f"chain    {tx.chain_id}",
        f"from     {sheet.sender}",
        f"pay      {what}",
        f"to       {paid.to}",
        f"fee      {fee} ({tx.gas} gas, {tx.cap} wei each)",
        f"nonce    {tx.nonce}",
    ]


def read_sheet(text: str) -> Sheet:
    """The sheet of such a text. Raises `OfflineRefused` for anything but an undamaged one."""
    sender, payload, summary = _read(UNSIGNED, text)
    payment(_decoded(payload))
    return Sheet(sender, payload, summary)


def signed_text(sheet: Sheet, raw: bytes) -> str:
    """The signed bytes as they go back. Raises `OfflineRefused` unless they are this sheet's."""
    _must_match(sheet, raw)
    return _text(SIGNED, sheet.sender, raw, sheet.summary)


def read_signed(sheet: Sheet, text: str) -> bytes:
    """Signed bytes that are exactly the sheet's transaction by its sender, ready to broadcast.

    Raises `OfflineRefused`: nothing that differs from what was exported is ever sent.
    """
    _, raw, _ = _read(SIGNED, text)
    _must_match(sheet, raw)
    return raw


def sign_with_words(sheet: Sheet, phrase: SecretText, passphrase: SecretText) -> str:
    """The signed text, by the key of the words (BIP-39, any list) that has the sender's address.

    Raises `InvalidMnemonic`; `OfflineRefused` when none of the first addresses is the sender.
    """
    node = HdNode.from_seed(mnemonic.to_seed(phrase, passphrase))
    parent = node.derive(path(HOT_ACCOUNT, 0).rpartition("/")[0])
    for index in range(PLACES_SEARCHED):
        key = parent.child(index).private_key()
        if address_of(key) == sheet.sender:
            return sign_with_key(sheet, key)
    raise OfflineRefused("these words (with this passphrase) do not have the sender's address")


def sign_with_key(sheet: Sheet, key: Secret) -> str:
    """The signed text by one key. Raises `OfflineRefused` when it is not the sender's."""
    if address_of(key) != sheet.sender:
        raise OfflineRefused("this key does not have the sender's address")
    tx = _decoded(sheet.payload)
    payment(tx)
    return signed_text(sheet, sign_exactly(key, tx, sheet.sender).raw)


def _must_match(sheet: Sheet, raw: bytes) -> None:
    if not signed_matches(raw, _decoded(sheet.payload), sheet.sender):
        raise OfflineRefused("the signed bytes are not what the sheet asked for")


def _decoded(payload: bytes) -> UnsignedTx:
    try:
        return decode_unsigned(payload)
    except SignerRefused as error:
        raise OfflineRefused(str(error)) from None


def _coins(wei: int) -> str:
    whole, rest = divmod(wei, WEI)
    return f"{whole}.{rest:018d}".rstrip("0").rstrip(".")


def _text(kind: str, sender: str, content: bytes, summary: str) -> str:
    body = f"{kind}\nfrom {sender}\nbytes {content.hex()}\nsays {summary}\n"
    return f"{body}check {_check(body)}\n"


def _check(body: str) -> str:
    """Against damage on the way, not against people: who signs reads the bytes' own words."""
    return hashlib.sha256(body.encode("utf-8")).hexdigest()[:CHECK_DIGITS]


def _read(kind: str, text: str) -> tuple[str, bytes, str]:
    """Sender, bytes and summary; only the one way of writing them. Raises `OfflineRefused`."""
    if len(text) > MAX_SHEET_BYTES:
        raise OfflineRefused("too long for a sheet")
    lines = text.replace("\r\n", "\n").strip("\n").split("\n")
    if lines[0] != kind or len(lines) != 5:
        raise OfflineRefused(f"not a sheet of the kind {kind}")
    words = [line.partition(" ") for line in lines[1:]]
    if [name for name, _, _ in words] != ["from", "bytes", "says", "check"]:
        raise OfflineRefused("a line of the sheet is missing or has another name")
    sender, content, summary, check = (value for _, _, value in words)
    if check != _check("\n".join(lines[:4]) + "\n"):
        raise OfflineRefused("the sheet was damaged on its way: its check does not fit")
    if not is_checksum_address(sender) or not summary.isprintable():
        raise OfflineRefused("the sheet's sender or summary is malformed")
    try:
        return sender, bytes.fromhex(content), summary
    except ValueError:
        raise OfflineRefused("the sheet's bytes are not hexadecimal") from None
