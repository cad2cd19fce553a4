"""`bifold cases list|show|close`: what stands still or needs a person's eye.

Most cases close with their cause. By hand one is closed only when its cause has ended, or when
nothing but a person's word can end it: a halt must not be forgotten while it lasts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Container, Sequence

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from wallet import cases
from wallet.bootstrap import build
from wallet.cases import KINDS, Case, Kind
from wallet.clock import rfc3339
from wallet.errors import InvalidField, InvalidState
from wallet.settings import Settings

# True while the cause stands; `:subject` as the case has it. Kinds without a row end by hand.
STANDS: dict[Kind, str] = {
    "signer_halted": "SELECT 1 FROM chain_signers WHERE network || '/' || address = :subject"
    " AND halted_reason IS NOT NULL",
    "network_halted": "SELECT 1 FROM network_state WHERE network = :subject"
    " AND halted_reason IS NOT NULL",
    "wrong_chain": "SELECT 1 FROM network_state WHERE network = :subject AND as_of IS NULL",
    "nodes_disagree": "SELECT 1 FROM network_state WHERE network = :subject AND as_of IS NULL",
    "token_halted": "SELECT 1 FROM halted_tokens WHERE network || '/' || asset = :subject",
    "payment_in_review": "SELECT 1 FROM chain_intents WHERE id = :subject AND state = 'in_review'",
    "payment_late": "SELECT 1 FROM chain_intents WHERE id = :subject"
    " AND state IN ('allocated', 'signed', 'sent', 'mined')",
    "payment_unsent": "SELECT 1 FROM chain_intents i WHERE i.id = :subject"
    " AND i.state IN ('queued', 'allocated', 'signed') AND NOT EXISTS (SELECT FROM"
    " chain_attempts a WHERE a.intent_id = i.id AND a.first_sent_at IS NOT NULL)",
    # An account that nothing reads any more (its network is not configured) ends by hand.
    "books_differ": "SELECT 1 FROM (SELECT l.balanced FROM reconcile_lines l JOIN reconcile_runs r"
    " ON r.id = l.run_id WHERE l.account = :subject AND r.started_at > clock_timestamp()"
    " - interval '1 hour' ORDER BY l.run_id DESC LIMIT 1) AS newest WHERE NOT newest.balanced",
    "books_broken": "SELECT 1 FROM audit_pauses WHERE asset = :subject",
    "deposit_unattributed": "SELECT 1 FROM unattributed_arrivals WHERE id = :subject"
    " AND deposit_id IS NULL",
    "transfer_unattributed": "SELECT 1 FROM bank_strays WHERE id = :subject AND topup_id IS NULL",
}
# The worker of the network sees whether these stand, and closes them: until it has, they do.
OBSERVED: frozenset[Kind] = frozenset({"nonce_of_nobody"})


async def command(settings: Settings, chosen: argparse.Namespace) -> int:
    """List (1 while any is open), show one, or close one."""
    if chosen.action == "list" and chosen.kind is not None and chosen.kind not in KINDS:
        raise InvalidField(f"There is no such kind; there are {', '.join(KINDS)}.")
    services = build(settings, role="cli")
    try:
        async with services.db.transaction() as session:
            if chosen.action == "list":
                found = await cases.listed(session, open_only=not chosen.all, kind=chosen.kind)
                _show_list(found, as_json=chosen.json)
                return int(any(one.status == "open" for one in found))
            if chosen.action == "show":
                _show(await cases.get(session, chosen.case), as_json=chosen.json)
                return 0
            done = await close(session, chosen.case, by=chosen.by, note=chosen.note,
                               networks=services.networks)  # fmt: skip
        print(f"{done.id} is closed.")
        return 0
    finally:
        await services.aclose()


async def close(
    session: AsyncSession, case_id: str, *, by: str, note: str, networks: Container[str]
) -> Case:
    """Close one by hand. `networks`: those that a worker looks at, by name. Raises NotFound,
    InvalidField, InvalidState (closed, or it stands)."""
    found = await cases.get(session, case_id, lock=True)
    query = STANDS.get(found.kind)
    observed = found.kind in OBSERVED and found.network in networks
    stands = observed or (
        query is not None
        and await session.scalar(text(query), {"subject": found.subject}) is not None
    )
    if stands and found.status == "open":
        way = KINDS[found.kind].ends_by
        raise InvalidState(
            f"Its cause still stands; what ends it closes the case: {way}.",
            extra={"state": found.status},
        )
    return await cases.close_by_hand(session, case_id=case_id, by=by, note=note)


def _show_list(found: Sequence[Case], *, as_json: bool) -> None:
    if as_json:
        _print([document(one) for one in found])
        return
    for one in found:
        ended = "" if one.closed_at is None else f"  closed by {one.closed_by}"
        print(f"{one.id}  {rfc3339(one.opened_at)}  {one.severity:<8}  {one.kind:<20}  {one.what}"
              + ended)  # fmt: skip
    if not found:
        print("No case is open.")


def _show(one: Case, *, as_json: bool) -> None:
    if as_json:
        _print(document(one))
        return
    lines = {
        "case": one.id,
        "kind": f"{one.kind} ({one.severity})",
        one.subject_type: one.subject,
        "opened": rfc3339(one.opened_at),
        "what": one.what,
        **{name: value for name, value in one.evidence.items() if value is not None},
    }
    if one.closed_at is None:
        lines["ends by"] = KINDS[one.kind].ends_by or "bifold cases close"
    else:
        lines["closed"] = f"{rfc3339(one.closed_at)} by {one.closed_by}"
        lines["note"] = one.closing_note
    for name, value in lines.items():
        print(f"{name:<14} {', '.join(map(str, value)) if isinstance(value, list) else value}")


def document(one: Case) -> dict[str, object]:
    """A case as JSON."""
    return {
        "id": one.id,
        "kind": one.kind,
        "severity": one.severity,
        "subject": {"type": one.subject_type, "id": one.subject},
        "network": one.network,
        "asset": one.asset,
        "what": one.what,
        "evidence": one.evidence,
        "status": one.status,
        "opened_at": rfc3339(one.opened_at),
        "closed_at": None if one.closed_at is None else rfc3339(one.closed_at),
        "closed_by": one.closed_by,
        "closing_note": one.closing_note,
    }


def _print(whole: object) -> None:
    sys.stdout.write(orjson.dumps(whole, option=orjson.OPT_INDENT_2).decode() + "\n")
