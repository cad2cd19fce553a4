"""What is bid for a nonce: within the quote and the bound, and within the signer's own ceiling.

What the signer would not let pass gets no nonce. Where it has one all the same (its ceiling was
lowered since, or it tells of none) it bids less: what is refused for its price is not refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import structlog

from chain.errors import FeeCeiling
from chain.fees import FeeQuote
from chain.transactions import TxFields, decode_unsigned
from keys.errors import SignerUnavailable
from wallet import clock
from wallet.onchain import journal
from wallet.onchain.desk import Desk
from wallet.onchain.replace import MAX_ATTEMPTS_OF_HOUSE, Replacement, cancelling
from wallet.onchain.repository import Attempt, Intent

TOO_DEAR_SECONDS = 3600.0
"""What a signer that tells of no ceiling called too dear is not bid again for so long."""
NEAR = 8
"""Less than this part above the least that outbids, the least is bid: each try is an attempt."""
log = structlog.get_logger(__name__)


def affordable(fees: FeeQuote, ceiling_wei: int) -> tuple[int, int]:
    """(tip, cap) to send with: the quote's, as far as the intent's ceiling allows."""
    cap = min(fees.cap, ceiling_wei)
    return min(fees.tip, cap), cap


async def signed_up_to(desk: Desk, *, asked: int = 0) -> int | None:
    """Wei per gas that the signer says it signs at most; None where it does not say. `asked`: what
    the network asks for now; an operator should know where that is more."""
    try:
        limits = (await desk.signer.approval_limits()).get(desk.chain.network.chain_id)
    except SignerUnavailable:
        return None
    told = None if limits is None else limits.fee_ceiling
    if told is not None and told < asked:
        log.warning("signer.ceiling_below_fees", network=desk.network, wei=told, asked=asked)
    return told


class Bids:
    """Of one network's payments that have their nonce."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._too_dear = (0, 0.0)

    async def most(self, intent: Intent) -> int | None:
        """Wei per gas that a transfer of nothing may bid which an operator asked for: it is the
        house's, and what waits behind its nonce may be everybody's. None: the bound."""
        if intent.cancel_asked_by is None:
            return None
        return (await self._let())[0]

    async def now(self, intent: Intent, replacement: Replacement) -> Replacement:
        """Such a one bids what the network asks at once; by steps it might never get there."""
        kind, fields = replacement
        if kind != "cancel" or intent.cancel_asked_by is None:
            return replacement
        most, learned = await self._let()
        try:
            fees = await self._desk.chain.fees()
            cap, tip = fees.cap, fees.tip
        except FeeCeiling:
            cap, tip = most, fields.tip
        if learned:
            most = (fields.cap + most) // 2  # the signer's ceiling is somewhere between
        return kind, _at(fields, max(fields.cap, min(cap, most)), tip=max(fields.tip, tip))

    async def less(
        self, intent: Intent, attempt: Attempt, attempts: Sequence[Attempt]
    ) -> Replacement | None:
        """In place of what the signer calls too dear: the same for less. None: there is no less
        that a node would take beside what is signed, or it is asked for again as it is."""
        self._too_dear = (attempt.cap_wei, clock.steady() + TOO_DEAR_SECONDS)
        if attempt.seq >= MAX_ATTEMPTS_OF_HOUSE:
            return None
        fields, least = decode_unsigned(attempt.unsigned), 0
        signed = [one for one in attempts if one.raw is not None]
        if signed:
            if attempt.kind != "cancel" or intent.cancel_asked_by is None:
                return None
            percent, below = self._desk.chain.network.bump_percent, attempt.cap_wei - 1
            found = cancelling(intent, signed, percent, ceiling_wei=below)
            if found is None:
                return None
            tip = min(max(found[1].tip, fields.tip), found[1].cap)
            fields = replace(found[1], tip=tip, gas=fields.gas)
            least = fields.cap
        elif attempt.kind == "pay" and await self._known(intent):
            return None  # it signs no other payment there, but a transfer of nothing
        told = await signed_up_to(self._desk)
        cap = (least + attempt.cap_wei) // 2
        if told is not None and told < attempt.cap_wei:
            cap = told
        if cap - least < least // NEAR:
            cap = least
        return None if not 0 < cap < attempt.cap_wei else (attempt.kind, _at(fields, cap))

    async def _let(self) -> tuple[int, bool]:
        """What network and signer let pass, and whether that is known by a refusal alone."""
        most, told = self._desk.chain.network.max_fee_wei, await signed_up_to(self._desk)
        if told is not None:
            return min(most, told), False
        refused, until = self._too_dear
        learned = clock.steady() < until and refused <= most
        return (refused - 1 if learned else most), learned

    async def _known(self, intent: Intent) -> bool:
        try:
            return bool(await journal.known(self._desk, [intent]))
        except SignerUnavailable:
            return True


def _at(fields: TxFields, cap: int, *, tip: int | None = None) -> TxFields:
    return replace(fields, cap=cap, tip=min(fields.tip if tip is None else tip, cap))
