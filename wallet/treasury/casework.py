"""Cases of the treasury: what the signer refused, and a float that has nowhere to go.

While the case of a refused move is open the house neither proposes nor sends the like: it would be
refused again, and each refusal costs a nonce and its gas. A person changes what was wrong (the
signer's `treasury_to`, its limits, the cold address) and closes the case, orders the evacuation
again, or proposes a move that goes through.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases
from wallet.cases import HOUSE
from wallet.money import Money
from wallet.onchain.intents import Intent

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


def about(network: str, asset: str, kind: str, sender: str | None) -> str:
    """The subject of a refused move. An evacuation is held back for each hot address by itself."""
    place = f"{network}/{asset}/{kind}"
    return place if kind != "evacuate" else f"{place}/{sender}"


async def refused(
    session: AsyncSession, *, move_id: str, kind: str, intent: Intent, money: Money, reason: str
) -> None:
    """The signer would not sign a move; in the transaction that books its end."""
    sender = intent.from_address or intent.pinned_address
    why = MENDS.get(reason, "see the signer's policy, docs/custody.md")
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
            " AND network = :network AND subject LIKE '%/evacuate/%'"
        ),
        {"network": network},
    )
    await cases.close_all(
        session, kinds=["treasury_refused"], subjects=list(rows.scalars()), by=by,
        note="the evacuation was ordered again",
    )  # fmt: skip


async def no_cold(session: AsyncSession, *, network: str, above: Money) -> None:
    """The float is above its upper bound and there is no cold address to propose a move to."""
    await cases.open_case(
        session,
        kind="treasury_no_cold",
        subject=f"{network}/{above.asset.code}",
        network=network,
        asset=above.asset.code,
        what=f"{above} more than wanted lies hot on {network}, and no cold address is known: no"
        " move can be proposed.",
        evidence={"above_minor": str(above.minor)},
    )


async def cold_or_within(session: AsyncSession, *, network: str, asset: str) -> None:
    """There is a cold address, or nothing that needs one."""
    await cases.close_all(
        session, kinds=["treasury_no_cold"], subjects=[f"{network}/{asset}"], by=HOUSE,
        note="a cold address is known, or the float is within its bounds",
    )  # fmt: skip
