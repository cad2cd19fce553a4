"""Every column of every table of ours, altered in one row at a time: what names it, what does not.

The catalogue tells tables, columns and their types; the values are of the column's type, and such
as its CHECKs allow. Of each table one row of every sort is taken: of every kind, state and place
that it has. What a constraint refuses is tried with the constraints away only where the database
refuses all else. `UNSEEN` (audit_unseen.py) says what nothing names, and why.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from inspect import getsource
from itertools import islice
from types import ModuleType
from typing import Any

import psycopg
from psycopg import sql

from bench.campaigns.audit_unseen import UNSEEN, Unseen
from wallet.auditor import chainread, computed, prices
from wallet.auditor.check import Check, Pass, Scope
from wallet.auditor.instance import Instance
from wallet.auditor.run import ROOMS

Connection = psycopg.Connection[tuple[Any, ...]]
SCHEMAS = ("public", "simbank", "simgate")
FRAMEWORKS = ("alembic_version",)
"""Beside the schema `jobs`: the tables of Alembic and Procrastinate are not ours."""
SORTS_AT_MOST = 12
LEAVES_AT_MOST = 4
READER = "bifold_audit"
_ALLOWED = re.compile(r"\(?\(?(\w+)\)?(?:::text)?\)? = ANY \(\(?ARRAY\[(.*?)\]")
_WORD = re.compile(r"'((?:[^']|'')*)'")
_OFTEN = ("kind", "type", "route", "reason", "halted_reason", "waiting_for")
"""Text without a CHECK that tells sorts of rows apart, too."""
_REFUSED = (psycopg.errors.IntegrityError, psycopg.errors.DataError)
_FILLED = {
    "text": "'x'", "boolean": "true", "jsonb": "'{\"x\": 1}'", "bytea": "'\\x01'",
    "timestamp with time zone": "clock_timestamp()", "uuid": "gen_random_uuid()",
    "text[]": "ARRAY['x']",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `told`: the auditor may read it. `allowed`: the words that its CHECK lists."""

    table: str
    name: str
    type: str
    nullable: bool
    told: bool
    allowed: tuple[str, ...] = ()
    target: tuple[str, str] | None = None
    """Table and column that it names rows of."""
    counted: bool = False
    """The database gives it its numbers itself."""

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"


@dataclass(frozen=True, slots=True)
class Alteration:
    """One value of one row: `new` is SQL, `t` the row as it was."""

    column: Column
    row: str
    sort: str
    how: str
    new: str

    def __str__(self) -> str:
        return f"{self.column} of {self.sort or 'a row'}: {self.how}"


@dataclass(slots=True)
class Figures:
    """What came of all that was altered."""

    tables: int = 0
    empty: list[str] = field(default_factory=list)
    columns: int = 0
    unread: int = 0
    altered: int = 0
    named: int = 0
    refused: int = 0
    listed: int = 0
    wrong: list[str] = field(default_factory=list)
    by: dict[str, dict[str, int]] = field(default_factory=dict)
    """Column → what named it, and how often; "" stands for nothing."""

    def lines(self) -> list[str]:
        """In words."""
        return [
            *self.wrong,
            f"{self.tables} tables ({len(self.empty)} empty), {self.columns} columns"
            f" ({self.unread} that the auditor may not read); {self.altered} values altered:"
            f" {self.named} named, {self.listed} of listed exceptions,"
            f" {len(self.wrong)} not as listed; {self.refused} refused by the database",
        ]


def columns(connection: Connection) -> list[Column]:
    """All of ours, by table and place."""
    rows = connection.execute(
        "SELECT CASE n.nspname WHEN 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END,"
        " a.attname, format_type(a.atttypid, NULL), NOT a.attnotnull,"
        " has_column_privilege(%s, c.oid, a.attnum, 'SELECT')"
        "  AND has_schema_privilege(%s, n.oid, 'USAGE'),"
        " coalesce((SELECT array_agg(pg_get_constraintdef(k.oid)) FROM pg_constraint k"
        "  WHERE k.conrelid = c.oid AND k.contype = 'c' AND a.attnum = ANY (k.conkey)), '{}'),"
        " (SELECT ARRAY[k.confrelid::regclass::text, b.attname] FROM pg_constraint k"
        "  JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = k.confkey[1]"
        "  WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.conkey = ARRAY[a.attnum] LIMIT 1),"
        " a.attidentity = 'a'"
        " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'p') AND a.attnum > 0"
        "  AND NOT a.attisdropped AND c.relname <> ALL (%s) ORDER BY 1, a.attnum",
        (READER, READER, list(SCHEMAS), list(FRAMEWORKS)),
    ).fetchall()
    return [
        Column(
            table, name, type_, nullable, told,
            tuple(word for check in checks for word in _allowed(name, check)),
            None if target is None else (target[0], target[1]), counted,
        )
        for table, name, type_, nullable, told, checks, target, counted in rows
    ]  # fmt: skip


def _allowed(name: str, check: str) -> list[str]:
    return [
        word
        for column, words in _ALLOWED.findall(check)
        if column == name
        for word in _WORD.findall(words)
    ]


def _name(table: str) -> str:
    return ".".join(f'"{part}"' for part in table.split("."))


def rows_of(
    connection: Connection, table: str, of_it: Sequence[Column], seed: int = 0
) -> list[tuple[str, str]]:
    """One row of every sort, others with another seed: where it lies, and its sort in words."""
    telling = [
        f'"{one.name}"::text' if one.allowed or one.type == "boolean" or one.name in _OFTEN
        else f"CASE WHEN \"{one.name}\" IS NULL THEN 'no ' ELSE 'with ' END || '{one.name}'"
        for one in of_it
        if one.allowed or one.type == "boolean" or one.name in _OFTEN
        or (one.nullable and one.name.endswith(("_id", "_minor", "address", "_by", "nonce")))
    ]  # fmt: skip
    sort = f"concat_ws(', ', {', '.join(telling)})" if telling else "''"
    found = connection.execute(
        f"SELECT DISTINCT ON (sort) sort, place FROM (SELECT {sort} AS sort, ctid::text AS place"
        f" FROM {_name(table)}) r ORDER BY sort, md5(place || {seed})"
    ).fetchall()
    return [(place, words) for words, place in found]


def alterations(
    connection: Connection, column: Column, row: str, sort: str, seed: int = 0
) -> list[Alteration]:
    """Values of its type for one row, each of which the column may have as far as its type goes."""
    c = f't."{column.name}"'
    old = _one(
        connection, f"SELECT {c}::text FROM {_name(column.table)} t WHERE ctid = '{row}'"
    )  # fmt: skip
    another = (
        f'(SELECT o."{column.name}" FROM {_name(column.table)} o'
        f' WHERE o."{column.name}" <> {c} ORDER BY md5(o.ctid::text || {seed}) LIMIT 1)'
    )
    found: list[tuple[str, str]] = []
    if old is None:
        found.append(("filled", _filling(column)))
    else:
        if column.nullable:
            found.append(("emptied", "NULL"))
        if column.type in ("numeric", "integer", "bigint", "smallint"):
            found.append(("one more", f"{c} + 1"))
        elif column.type == "boolean":
            found.append(("turned", f"NOT {c}"))
        elif column.type == "timestamp with time zone":
            found += [("a day later", f"{c} + interval '1 day'"),
                      ("a day earlier", f"{c} - interval '1 day'")]  # fmt: skip
        elif column.allowed:
            found += [(f"to {word}", f"'{word}'") for word in column.allowed if word != old]
        elif column.type in ("text", "character"):
            found += [("another's", another), ("made up", _made_up(c))]
        elif column.type == "jsonb":
            found += _leaves(c, json.loads(old))
        elif column.type == "bytea":
            found.append(("a bit turned", f"set_bit({c}, 0, 1 - get_bit({c}, 0))"))
        elif column.type == "text[]":
            found.append(("one less", f"trim_array({c}, 1)"))
        else:
            found.append(("another's", another))
    return [Alteration(column, row, sort, how, new) for how, new in found]


def _filling(column: Column) -> str:
    """A value where none is: that of another row, of what it names, or any of its type."""
    known = [f'(SELECT o."{column.name}" FROM {_name(column.table)} o'
             f' WHERE o."{column.name}" IS NOT NULL LIMIT 1)']  # fmt: skip
    if column.target is not None:
        table, name = column.target
        known.insert(0, f'(SELECT o."{name}" FROM {table} o ORDER BY md5(o.ctid::text) LIMIT 1)')
    rest = f"'{column.allowed[0]}'" if column.allowed else _FILLED.get(column.type, "1")
    return f"coalesce({', '.join([*known, rest])})"


def _made_up(c: str) -> str:
    """Its last letter is another one: an address stays an address, an id an id."""
    letters = "'0123456789abcdefABCDEF'", "'1234567890bcdefaBCDEFA'"
    other = f"translate(right({c}, 1), {letters[0]} || right({c}, 1), {letters[1]} || 'x')"
    return f"(CASE {c} WHEN '' THEN 'x' ELSE left({c}, -1) || {other} END)"


def _leaves(c: str, document: object) -> list[tuple[str, str]]:
    """Some values inside a document, one at a time."""
    return [
        (f"{'.'.join(path)} in it",
         f"jsonb_set({c}, '{{{','.join(path)}}}', {_literal(json.dumps(_other(leaf)))})")
        for path, leaf in islice(_walk(document, ()), LEAVES_AT_MOST)
    ] or [("something in it", f"{c} || '{{\"x\": 1}}'")]  # fmt: skip


def _literal(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"


def _walk(value: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _walk(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _walk(inner, (*path, str(number)))
    else:
        yield path, value


def _other(leaf: object) -> object:
    if isinstance(leaf, bool):
        return not leaf
    if isinstance(leaf, int | float):
        return leaf + 1
    return f"{leaf}x"


def _one(connection: Connection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    return None if row is None else row[0]


# Asking


@cache
def _about(table: str) -> tuple[Check | Pass, ...]:
    """The questions that read a table: all others answer as before."""
    word = re.compile(rf"\b{re.escape(table)}\b")
    return tuple(one for room in ROOMS.values() for one in room if word.search(one.sql))


@cache
def _mentions(module: ModuleType, table: str) -> bool:
    return re.search(rf"\b{re.escape(table)}\b", getsource(module)) is not None


def named(connection: Connection, instance: Instance, table: str) -> set[str]:
    """What the auditor names, with its own rights, by all that reads this table."""
    found: set[str] = set()
    for question in _about(table):
        query = question.sql
        for name in ("after", "base", "sealed"):
            query = query.replace(f"{{{name}}}", str(getattr(Scope(), name)))
        if isinstance(question, Check):
            if connection.execute(f"SELECT FROM ({query}) q LIMIT 1").fetchone() is not None:
                found.add(question.code)
        else:
            told = f"SELECT DISTINCT code FROM ({query}) q(code, subject, net, asset, due, got)"
            found |= {code for (code,) in connection.execute(told)}
    for module in (computed, prices):
        if _mentions(module, table):
            found |= {one.code for one in module.findings(connection, instance)}
    if not found and _mentions(chainread, table):  # the node is asked last, for it takes longest
        words = chainread.ask(connection, instance)
        found |= {one.code for word in words for one in word.findings}
    return found


@contextmanager
def altered(connection: Connection, one: Alteration, *, free: bool) -> Iterator[bool]:
    """The row as altered, and as it was again; False: there is no such other value. `free`: without
    the CHECKs of its table. Raises what the database refuses it by."""
    connection.execute("SAVEPOINT before_it")
    try:
        connection.execute("SET LOCAL session_replication_role = replica")
        if free:
            _free(connection, one.column.table)
        if one.column.counted:
            connection.execute(
                f'ALTER TABLE {_name(one.column.table)} ALTER "{one.column.name}"'
                " SET GENERATED BY DEFAULT"
            )
        is_other = f'{one.new} <> t."{one.column.name}"'
        if one.how in ("emptied", "filled"):
            is_other = "true"
        touched = connection.execute(
            f'UPDATE {_name(one.column.table)} t SET "{one.column.name}" = {one.new}'
            f" WHERE ctid = '{one.row}' AND {is_other}"
        ).rowcount
        connection.execute(f"SET LOCAL ROLE {READER}")
        yield touched == 1
    finally:
        connection.execute("ROLLBACK TO before_it")
        connection.execute("RELEASE before_it")


def _free(connection: Connection, table: str) -> None:
    for (name,) in connection.execute(
        "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'",
        (table,),
    ).fetchall():
        connection.execute(
            sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
                sql.SQL(_name(table)), sql.Identifier(name)
            )
        )


def excused(connection: Connection, one: Alteration) -> list[Unseen]:
    """What the list says of this."""
    return [
        item for item in UNSEEN if item.names(str(one.column)) and _applies(connection, item, one)
    ]


def _applies(connection: Connection, item: Unseen, one: Alteration) -> bool:
    if item.how and not re.fullmatch(item.how, one.how):
        return False
    if not item.where:
        return True
    query = f"SELECT ({item.where}) FROM {_name(one.column.table)} t WHERE ctid = '{one.row}'"
    return bool(_one(connection, query))


# The sweep


def plan(
    connection: Connection, figures: Figures, *, only: str | None = None, seed: int = 0
) -> Iterator[list[Alteration]]:
    """All alterations, those of one column together; what the auditor may not read is left out, and
    stands in the figures as wrong where the list does not say so."""
    everything = [one for one in columns(connection) if only is None or one.table == only]
    tables = list(dict.fromkeys(one.table for one in everything))
    figures.tables, figures.columns = len(tables), len(everything)
    for table in tables:
        of_it = [one for one in everything if one.table == table]
        sorts = rows_of(connection, table, of_it, seed)
        if not sorts:
            figures.empty.append(table)
        for column in of_it:
            if not column.told:
                figures.unread += 1
                if not any(item.names(str(column)) and not item.where for item in UNSEEN):
                    figures.wrong.append(f"{column}: the auditor may not read it, and no list says")
                continue
            yield [
                one
                for row, sort in sorts[:SORTS_AT_MOST]
                for one in alterations(connection, column, row, sort, seed)
            ]


def try_one(
    connection: Connection, instance: Instance, one: Alteration, figures: Figures,
    *, free: bool = False,
) -> bool:  # fmt: skip
    """Alter, look, put it back. False: the database refuses it."""
    listed = excused(connection, one)
    try:
        with altered(connection, one, free=free) as there:
            if not there:
                return False
            found = named(connection, instance, one.column.table)
    except _REFUSED:
        figures.refused += not free
        return False
    figures.altered += 1
    figures.named += bool(found)
    figures.listed += bool(listed) and not found
    counts = figures.by.setdefault(str(one.column), {})
    for code in found or {""}:
        counts[code] = counts.get(code, 0) + 1
    if not found and not listed:
        figures.wrong.append(f"{one}: nothing names it, and no list says so")
    if found and any(item.always for item in listed):
        told = ", ".join(sorted(found))
        figures.wrong.append(f"{one}: listed as unseen, and named by {told}")
    return True


def sweep(
    connection: Connection, instance: Instance, *, seed: int = 0, sample: int | None = None,
    only: str | None = None,
) -> Figures:  # fmt: skip
    """Everything, or so many alterations of it, in a transaction that `connection` has open. `seed`
    chooses rows and sample."""
    figures = Figures()
    groups = list(plan(connection, figures, only=only, seed=seed))
    if sample is not None:
        every = [one for group in groups for one in group]
        some = random.Random(seed).sample(every, min(sample, len(every)))
        groups = [[one] for one in some]
    for group in groups:
        taken = [try_one(connection, instance, one, figures) for one in group]
        if sample is None and group and not any(taken):
            for one in group:
                try_one(connection, instance, one, figures, free=True)
    return figures
