"""The seal, computed anew by this room's own bytes (docs/ledger.md, "The seal").

Neither the functions nor the views of the database are used: the contents are spelled out here. As
every link stores its hash, each is checked against the stored one before it, all in one statement;
so every altered row and every torn link is named by itself. `{sealed}` is the newest link that a
sound run has read surely; -1 reads the chain from its beginning.
"""

from __future__ import annotations

from wallet.auditor.check import Check

LATE_SECONDS = 60
"""The sealer is a second behind; what waits longer says that it does not run."""


def _net(value: str) -> str:
    """A netstring of a value of type text; NULL is a minus."""
    return f"coalesce(octet_length({value})::text || ':' || {value} || ',', '-')"


def _bytes(*values: str) -> str:
    return "convert_to(" + " || ".join(values) + ", 'UTF8')"


def _moment(value: str) -> str:
    return f"trunc(extract(epoch FROM {value}) * 1000000)::text"


# The event a link names. No pattern: that alone would take as long as all the rest of a link.
_NUMBER = "CASE WHEN pg_input_is_valid(s.subject, 'bigint') THEN s.subject::bigint END"
# Values as text, made once a row (OFFSET 0 keeps the planner from making them once a use).
_ENTRIES = (
    "(SELECT id, kind, ref, reverses, meta::text AS meta, "
    f"{_moment('event_at')} AS event_at, {_moment('created_at')} AS created_at"
    " FROM entries OFFSET 0)"
)
_POSTINGS = (
    "(SELECT entry_id, id AS place, asset, id::text AS id, account_id, amount_minor::text AS"
    " amount, account_seq::text AS seq, balance_after_minor::text AS balance,"
    f" {_moment('created_at')} AS created_at FROM postings p"
    " WHERE {sealed} < 0 OR p.entry_id IN (SELECT subject FROM mine) OFFSET 0)"
)
_EVENTS = (
    "(SELECT s.seq AS link, s.subject, s.digest, v.seq::text AS seq, v.id, v.principal_id, v.type,"
    f" v.ref, v.data::text AS data, {_moment('v.created_at')} AS created_at FROM seals s"
    f" LEFT JOIN events v ON v.seq = {_NUMBER} WHERE s.kind = 'event' AND s.seq > {{sealed}}"
    " OFFSET 0)"
)
_LOG = (
    "(SELECT s.seq AS link, s.subject, s.digest, o.seq::text AS seq,"
    f" {_moment('o.at')} AS at, o.role, o.actor, o.action, o.object, o.object_id,"
    f" o.fields::text AS fields FROM seals s LEFT JOIN operator_log o ON o.seq = {_NUMBER}"
    " WHERE s.kind = 'log' AND s.seq > {sealed} OFFSET 0)"
)
_LINKS = (
    "(SELECT seq, hash, digest, seq::text AS number, lag(hash) OVER (ORDER BY seq) AS before,"
    f" {_moment('sealed_at')} AS sealed_at FROM seals WHERE seq > {{sealed}} OFFSET 0)"
)
_ENTRY = (
    "'7:entry.1,'", *map(_net, ("e.id", "e.kind", "e.ref", "e.reverses", "e.meta", "e.event_at",
    "e.created_at")), "coalesce(l.lines, '')",
)  # fmt: skip
_POSTING = " || ".join(
    map(_net, ("p.id", "p.account_id", "p.asset", "p.amount", "p.seq", "p.balance", "p.created_at"))
)
_EVENT = (
    "'7:event.1,'", *map(_net, ("v.seq", "v.id", "v.principal_id", "v.type", "v.ref", "v.data",
    "v.created_at")),
)  # fmt: skip
_LINE = (
    "'5:log.1,'", *map(_net, ("o.seq", "o.at", "o.role", "o.actor", "o.action", "o.object",
    "o.object_id", "o.fields")),
)  # fmt: skip
_FIRST = "decode(repeat('00', 32), 'hex')"

CHECKS = (
    Check(
        "seal_genesis_off",
        "the chain begins with its own name",
        "SELECT 'seal 0', NULL, NULL, 'the digest of its name', coalesce(encode(s.digest, 'hex'),"
        " 'no beginning') FROM (VALUES (0)) z(seq) LEFT JOIN seals s ON s.seq = z.seq"
        " WHERE s.kind IS DISTINCT FROM 'genesis' OR s.digest IS DISTINCT FROM"
        f"  sha256({_bytes(chr(39) + '9:genesis.1,' + chr(39), _net('s.subject'))})",
    ),
    Check(
        "seal_gap",
        "links are numbered 0, 1, 2 … without a gap",
        "SELECT 'seal ' || seq, NULL, NULL, before + 1, seq FROM (SELECT seq,"
        " coalesce(lag(seq) OVER (ORDER BY seq), {sealed}) AS before FROM seals"
        " WHERE seq > {sealed}) s WHERE seq <> before + 1 ORDER BY seq",
    ),
    Check(
        "seal_link_off",
        "every link continues the one before it",
        "SELECT 'seal ' || seq, NULL, NULL, encode(due, 'hex'), encode(hash, 'hex') FROM"
        " (SELECT seq, hash, sha256(coalesce(before, (SELECT b.hash FROM seals b"
        f"  WHERE b.seq = {{sealed}}), {_FIRST}) || digest"
        f"  || {_bytes(_net('number'), _net('sealed_at'))}) AS due FROM {_LINKS} k) s"
        " WHERE due <> hash ORDER BY seq",
    ),
    Check(
        "seal_entry_altered",
        "an entry and its postings are what was sealed",
        "WITH mine AS (SELECT seq, subject, digest FROM seals WHERE kind = 'entry'"
        "  AND seq > {sealed}), lines AS (SELECT p.entry_id, min(p.asset) AS asset,"
        f"  string_agg({_POSTING}, '' ORDER BY p.place) AS lines FROM {_POSTINGS} p GROUP BY 1)"
        " SELECT m.subject, NULL, l.asset, 'as sealed under ' || m.seq,"
        " CASE WHEN e.id IS NULL THEN 'gone' ELSE 'altered' END FROM mine m"
        f" LEFT JOIN {_ENTRIES} e ON e.id = m.subject LEFT JOIN lines l ON l.entry_id = m.subject"
        f" WHERE e.id IS NULL OR sha256({_bytes(*_ENTRY)}) <> m.digest ORDER BY m.seq",
    ),
    Check(
        "seal_event_altered",
        "an event is what was sealed",
        "SELECT v.subject, NULL, NULL, 'as sealed under ' || v.link,"
        f" CASE WHEN v.id IS NULL THEN 'gone' ELSE 'altered' END FROM {_EVENTS} v"
        f" WHERE v.id IS NULL OR v.seq <> v.subject OR sha256({_bytes(*_EVENT)}) <> v.digest"
        " ORDER BY v.link",
        pauses=False,
    ),
    Check(
        "seal_log_altered",
        "a line of the operator log is what was sealed",
        "SELECT o.subject, NULL, NULL, 'as sealed under ' || o.link,"
        f" CASE WHEN o.seq IS NULL THEN 'gone' ELSE 'altered' END FROM {_LOG} o"
        f" WHERE o.seq IS NULL OR o.seq <> o.subject OR sha256({_bytes(*_LINE)}) <> o.digest"
        " ORDER BY o.link",
    ),
    Check(
        "seal_event_order_off",
        "events are sealed in the order of their numbers, none passed over",
        "SELECT 'seal ' || seq, NULL, NULL, before + 1, told FROM (SELECT seq, told,"
        " lag(told) OVER (ORDER BY seq) AS before FROM"
        f" (SELECT s.seq, coalesce({_NUMBER}, -1) AS told FROM seals s WHERE s.kind = 'event'"
        "  AND (s.seq > {sealed} OR s.seq = (SELECT max(b.seq) FROM seals b"
        "   WHERE b.kind = 'event' AND b.seq <= {sealed}))"
        # Events are numbered from 1: a chain that is read whole must begin there.
        "  UNION ALL SELECT -2, 0 WHERE {sealed} < 0) n) s WHERE told <> before + 1 ORDER BY seq",
        pauses=False,
    ),
    Check(
        "seal_missing",
        "an entry, or a line of the operator log, is in the chain or waits for it",
        "SELECT e.id, NULL, (SELECT min(p.asset) FROM postings p WHERE p.entry_id = e.id),"
        " 'a seal', NULL FROM entries e WHERE NOT EXISTS (SELECT FROM seals s"
        "  WHERE s.subject = e.id AND s.kind = 'entry')"
        " AND NOT EXISTS (SELECT FROM unsealed u WHERE u.entry_id = e.id) UNION ALL"
        " SELECT 'log ' || o.seq, NULL, NULL, 'a seal', NULL FROM operator_log o WHERE NOT EXISTS"
        "  (SELECT FROM seals s WHERE s.subject = o.seq::text AND s.kind = 'log')"
        " AND NOT EXISTS (SELECT FROM unsealed_log u WHERE u.seq = o.seq)",
    ),
    Check(
        "seal_late",
        "nothing waits for its seal for long",
        "SELECT 'entry ' || e.id, NULL, NULL, 'sealed within a minute', e.created_at FROM"
        " unsealed u"
        f" JOIN entries e ON e.id = u.entry_id WHERE e.created_at < clock_timestamp()"
        f"  - interval '{LATE_SECONDS} seconds' UNION ALL"
        " SELECT 'log ' || o.seq, NULL, NULL, 'sealed within a minute', o.at FROM unsealed_log u"
        f" JOIN operator_log o ON o.seq = u.seq WHERE o.at < clock_timestamp()"
        f"  - interval '{LATE_SECONDS} seconds' UNION ALL"
        " (SELECT 'event ' || v.seq, NULL, NULL, 'sealed within a minute', v.created_at"
        f" FROM events v WHERE v.seq > coalesce((SELECT {_NUMBER} FROM seals s"
        "   WHERE s.kind = 'event' ORDER BY s.seq DESC LIMIT 1), 0)"
        # Events tell business time: they wait when the newest link is old as well.
        f" AND v.created_at < bifold_now() - interval '{LATE_SECONDS} seconds'"
        f" AND (SELECT s.sealed_at FROM seals s ORDER BY s.seq DESC LIMIT 1) < clock_timestamp()"
        f"  - interval '{LATE_SECONDS} seconds' ORDER BY v.seq LIMIT 1)",
        pauses=False,
    ),
)
