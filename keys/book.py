"""What the journal says, in memory: which payloads each nonce has signed, and the day's sums.

Rules: a nonce belongs to one intent for ever; it signs the identical payload again, a bump of what
it already signed (only the fees differ), or a cancel. An intent that was paid or cancelled at one
nonce is never paid at another, also when the database was restored from a backup.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any, Final, Self

from keys.errors import NonceConflict
from keys.request import ENTRY_KINDS, MAX_ASKED, EntryKind, SignedBefore

Slot = tuple[int, str, int]
MAX_NONCES_AHEAD: Final = 64
"""How far above the newest nonce of an address a fresh one may lie. Further ahead nobody needs one
now, and a payment signed for later is one that nobody watches."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One signed payload. `address` is EIP-55; `cap` and `tip` are wei per gas; `asset` is
    `native`, a contract or `""` (pays nobody, or no limit applies), with `warm:` before it out of
    warm; `day` is the UTC day its amount counts for. `fee`: wei that its gas may cost at most, 0
    where the policy has no limit of fees (and in journals older than that limit)."""

    at: str
    day: str
    chain_id: int
    address: str
    nonce: int
    intent_id: str
    kind: EntryKind
    payload_hash: str
    body_hash: str
    cap: int
    tip: int
    asset: str
    amount: int
    fee: int = 0

    @property
    def slot(self) -> Slot:
        """The nonce this entry uses."""
        return (self.chain_id, self.address, self.nonce)

    def document(self) -> dict[str, Any]:
        """As JSON holds it; numbers that may pass 2**53 are strings."""
        document = {name: getattr(self, name) for name in _FIELDS}
        for name in _LARGE:
            document[name] = str(document[name])
        if not self.fee:
            del document["fee"]  # a signer of before that limit reads on
        return document

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The inverse of `document`. Raises `ValueError`, `TypeError` or `KeyError`."""
        numbers = {name: int(document[name]) for name in _LARGE if name in document}
        entry = cls(**(document | numbers))
        if entry.kind not in ENTRY_KINDS or type(entry.nonce) is not int:
            raise ValueError("unknown kind or nonce")
        return entry


_FIELDS: Final = tuple(each.name for each in fields(Entry))
_LARGE: Final[tuple[str, ...]] = ("cap", "tip", "amount", "fee")


@dataclass(slots=True)
class _Used:
    """What one nonce has signed: payload hashes, and per body the fees it was first signed with."""

    intent_id: str
    payloads: set[bytes] = field(default_factory=set)
    bodies: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    fee: int = 0


class Book:
    """Answers whether an entry may be signed; `learn` is told of each that was."""

    def __init__(self) -> None:
        self.day = ""
        self._used: dict[Slot, _Used] = {}
        self._intents: dict[str, Slot] = {}
        self._spent: dict[tuple[int, str], int] = {}
        self._fees: dict[int, int] = {}
        self._next_nonce: dict[tuple[int, str], int] = {}

    def __len__(self) -> int:
        return len(self._used)

    def effective_day(self, today: str) -> str:
        """Today, or the last day seen when the clock was set back: a spent day never reopens."""
        return max(today, self.day)

    def spent(self, chain_id: int, asset: str, day: str) -> int:
        """The sum of payments signed on `day`, which is the last day or a later one."""
        return self._spent.get((chain_id, asset), 0) if day == self.day else 0

    def fees(self, chain_id: int, day: str) -> int:
        """Wei that the gas of all that was signed on `day`, the last or a later one, may cost."""
        return self._fees.get(chain_id, 0) if day == self.day else 0

    def fee_counted(self, slot: Slot) -> int:
        """The dearest that was signed at this nonce: only one of all is ever mined."""
        used = self._used.get(slot)
        return 0 if used is None else used.fee

    def next_nonce(self, chain_id: int, address: str) -> int:
        """One above the highest nonce signed for."""
        return self._next_nonce.get((chain_id, address), 0)

    def signed_before(self, intent_ids: Iterable[str]) -> list[SignedBefore]:
        """Where these intents were paid or cancelled; those that never were are left out."""
        slots = [self._intents[one] for one in intent_ids if one in self._intents]
        return [self._place(slot) for slot in slots]

    def signed_from(self, chain_id: int, address: str, nonce: int) -> list[SignedBefore]:
        """What was signed at this nonce and above, the lowest first and `MAX_ASKED` at most."""
        nonces = range(max(nonce, 0), self.next_nonce(chain_id, address))
        slots = ((chain_id, address, one) for one in nonces)
        return [self._place(one) for one in islice(filter(self.uses, slots), MAX_ASKED)]

    def _place(self, slot: Slot) -> SignedBefore:
        used = self._used[slot]
        cap, tip = next(iter(used.bodies.values()))
        return SignedBefore(used.intent_id, *slot, tip=tip, cap=cap)

    def uses(self, slot: Slot) -> bool:
        """Whether anything was signed at this nonce."""
        return slot in self._used

    def signed(self, slot: Slot, payload: bytes) -> bool:
        """Whether this very payload was signed there."""
        used = self._used.get(slot)
        return used is not None and hashlib.sha256(payload).digest() in used.payloads

    def knows(self, entry: Entry) -> bool:
        """True: this very payload was signed, sign it again. False: new and allowed.
        Raises `NonceConflict` with reason `nonce_used`, `nonce_unknown`, `nonce_ahead`,
        `intent_reused` or `not_a_fee_bump`."""
        used = self._used.get(entry.slot)
        if used is None:
            self._check_fresh(entry)
            return False
        if used.intent_id != entry.intent_id:
            raise NonceConflict("nonce_used", f"nonce {entry.nonce} belongs to another intent")
        if bytes.fromhex(entry.payload_hash) in used.payloads:
            return True
        if entry.kind == "bump":
            self._check_bump(used, entry)
        elif entry.kind != "cancel":
            raise NonceConflict("nonce_used", f"nonce {entry.nonce} signed another payload")
        return False

    def learn(self, entry: Entry) -> None:
        """Remember a signed entry. An authorisation uses up nothing here: it is kept to be read."""
        if entry.kind == "authorize":
            return
        used = self._used.setdefault(entry.slot, _Used(entry.intent_id))
        used.payloads.add(bytes.fromhex(entry.payload_hash))
        used.bodies.setdefault(bytes.fromhex(entry.body_hash), (entry.cap, entry.tip))
        account = entry.slot[:2]
        self._next_nonce[account] = max(self._next_nonce.get(account, 0), entry.nonce + 1)
        if entry.kind in ("pay", "cancel"):
            self._intents.setdefault(entry.intent_id, entry.slot)
        if entry.day > self.day:
            self.day = entry.day
            self._spent.clear()
            self._fees.clear()
        if entry.kind != "bump":  # transfers of nothing count where they have an amount
            asset = (entry.chain_id, entry.asset)
            self._spent[asset] = self._spent.get(asset, 0) + entry.amount
        more = max(entry.fee - used.fee, 0)
        used.fee += more
        self._fees[entry.chain_id] = self._fees.get(entry.chain_id, 0) + more

    def _check_fresh(self, entry: Entry) -> None:
        newest = self._next_nonce.get(entry.slot[:2])
        if newest is not None and entry.nonce >= newest + MAX_NONCES_AHEAD:
            raise NonceConflict("nonce_ahead", f"nonce {entry.nonce}, while {newest} is next")
        if entry.kind == "bump":
            raise NonceConflict("nonce_unknown", f"nothing was signed at nonce {entry.nonce}")
        elsewhere = self._intents.get(entry.intent_id)
        if entry.kind == "pay" and elsewhere is not None:
            raise NonceConflict("intent_reused", f"this intent used nonce {elsewhere[2]}")

    def _check_bump(self, used: _Used, entry: Entry) -> None:
        """Only the fees may differ, and above those the body was first signed with. (Not above the
        newest: a database restored from a backup may not know the newest.)"""
        first = used.bodies.get(bytes.fromhex(entry.body_hash))
        if first is None or entry.cap <= first[0] or entry.tip < first[1]:
            raise NonceConflict("not_a_fee_bump", "a bump changes the fees only, upwards")
