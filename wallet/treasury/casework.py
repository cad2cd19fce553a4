"""Cases of the treasury: what the signer refused, and a float that has nowhere to go.

While the case of a refused move is open the house neither proposes nor sends the like: it would be
refused again, and each refusal costs a nonce and its gas. A person changes what was wrong (the
signer's `treasury_to`, its limits, the cold address, who signs) and closes the case, orders the
evacuation again, or proposes a move that goes through.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases
from wallet.cases import HOUSE
from wallet.money import Money
from wallet.onchain.intents import Intent
from wallet.treasury.routes import ROUTES, Tier

OUT_OF_WARM = tuple(kind for kind, (source, _) in ROUTES.items() if source == "warm")
MENDS = {
    "above_per_tx_limit": "its recipient is not in the signer's treasury_to and it is above the"
    " limit of one payment",
    "day_limit_reached": "its recipient is not in the signer's treasury_to and the day's limit did"
    " not leave room for it",
    "approval_needed": "its recipient is not in the signer's treasury_to and no operator has"
    " signed for it",
    "asset_not_allowed": "the signer's policy does not list this asset",
    "recipient_not_allowed": "the signer's policy forbids this recipient",
}
WARM_MENDS = {
    "above_per_tx_limit": "it is above the signer's limit of one payment out of warm",
    "day_limit_reached": "the signer's limit out of warm did not leave room for it that day",
    "approval_needed": "too few operators whom the signer's policy names have signed for it",
    "approval_invalid": "somebody signed for it whom the signer's policy does not name",
    "asset_not_allowed": "the signer's policy does not list this asset under warm",
    "recipient_not_allowed": "its recipient is neither a hot address whose key the signer holds"
    " nor in the signer's treasury_to",
}


def about(network: str, asset: str, kind: str, sender: str | None) -> str:
    """The subject of a refused move. An evacuation is held back for each hot address by itself."""
    place = f"{network}/{asset}/{kind}"
    return place if kind != "evacuate" else f"{place}/{sender}"


async def refused(
    session: AsyncSession, *, move_id: str, kind: str, intent: Intent, money: Money, reason: str
) -> None:
    """The signer would not sign a move; in the transaction that books its end."""
    sender = intent.from_address or intent.pinned_address
    mends = WARM_MENDS if kind in OUT_OF_WARM else MENDS
    why = mends.get(reason, "see the signer's policy, docs/custody.md")
    await cases.open_case(
        session,
        kind="treasury_refused",
        subject=about(intent.network, intent.asset, kind, sender),
        network=intent.network,
        asset=intent.asset,
        what=f"The signer refused to move {money} from {sender} to {intent.to_address} ({kind}):"
        f" {reason}; {why}. The house neither proposes nor sends the like while this case is open.",
        evidence={
            "move": move_id, "intent": intent.id, "reason": reason, "from_address": sender,
            "to_address": intent.to_address, "amount_minor": str(intent.amount_minor),
            "gas_burnt_wei": str(intent.gas_fee_wei or 0),
        },
    )  # fmt: skip


async def went(session: AsyncSession, *, kind: str, intent: Intent) -> None:
    """A move of this kind went through: whatever was refused before is mended."""
    sender = intent.from_address or intent.pinned_address
    await cases.close_all(
        session, kinds=["treasury_refused"], by=HOUSE, note=f"{intent.ref} went through",
        subjects=[about(intent.network, intent.asset, kind, sender)],
    )  # fmt: skip


async def held_back(session: AsyncSession, subject: str) -> bool:
    """Whether a refusal of this kind of move waits for a person."""
    return bool(
        await session.scalar(
            text(
                "SELECT EXISTS (SELECT FROM cases WHERE kind = 'treasury_refused'"
                " AND subject = :subject AND status = 'open')"
            ),
            {"subject": subject},
        )
    )


async def stopped(session: AsyncSession, network: str) -> list[str]:
    """What the signer refused of an evacuation and waits for a person, in words."""
    rows = await session.execute(
        text(
            "SELECT what FROM cases WHERE kind = 'treasury_refused' AND status = 'open'"
            " AND network = :network AND subject LIKE '%/evacuate/%' ORDER BY opened_at, id"
        ),
        {"network": network},
    )
    return list(rows.scalars())


async def try_again(session: AsyncSession, network: str, *, by: str) -> None:
    """An evacuation was ordered: what was refused before is tried once more."""
    rows = await session.execute(
        text(
            "SELECT subject FROM cases WHERE kind = 'treasury_refused' AND status = 'open'"
            " AND network = :network AND subject ~ '/evacuate(/|_warm$)'"
        ),
        {"network": network},
    )
    await cases.close_all(
        session, kinds=["treasury_refused"], subjects=list(rows.scalars()), by=by,
        note="the evacuation was ordered again",
    )  # fmt: skip


def _place(network: str, asset: str, tier: Tier) -> str:
    return f"{network}/{asset}" if tier == "hot" else f"{network}/{asset}/{tier}"


async def no_cold(session: AsyncSession, *, network: str, above: Money, tier: Tier) -> None:
    """The float is above its upper bound and there is no cold address to propose a move to."""
    await cases.open_case(
        session,
        kind="treasury_no_cold",
        subject=_place(network, above.asset.code, tier),
        network=network,
        asset=above.asset.code,
        what=f"{above} more than wanted lies {tier} on {network}, and no cold address is known: no"
        " move can be proposed.",
        evidence={"above_minor": str(above.minor)},
    )


async def cold_or_within(session: AsyncSession, *, network: str, asset: str, tier: Tier) -> None:
    """There is a cold address, or nothing that needs one."""
    await cases.close_all(
        session, kinds=["treasury_no_cold"], by=HOUSE,
        subjects=[_place(network, asset, tier)],
        note="a cold address is known, or the float is within its bounds",
    )  # fmt: skip
