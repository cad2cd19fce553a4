"""The faults of the mutation campaign are what they say; the campaign itself is too long for CI."""

from __future__ import annotations

import ast
import inspect

import psycopg
import pytest

from bench.campaigns.mutation import ROOT, all_mutants
from bench.campaigns.mutation_python import mutants
from bench.campaigns.mutation_sql import PATCHES, Patch, patched
from wallet.testing.databases import ScratchDatabase

SOURCE = '''
def over(balance: int, amount: int) -> bool:
    """Whether -1 is spent."""
    if amount < 0 and not balance:
        raise ValueError(f"below {0}")
    log("seen")
    return balance - amount >= 1
'''


class TestPython:
    def test_each_kind_of_fault_is_found_once(self) -> None:
        assert [(one.line, one.what) for one in mutants("a.py", SOURCE)] == [
            (4, "condition always true"),
            (4, "and to or"),
            (4, "Lt to LtE"),
            (4, "Not removed"),
            (4, "0 to 1"),
            (5, "raise removed"),
            (6, "call removed"),
            (7, "returns None"),
            (7, "GtE to Gt"),
            (7, "Sub to Add"),
            (7, "1 to 2"),
        ]

    def test_a_fault_changes_one_thing(self) -> None:
        plain = ast.unparse(ast.parse(SOURCE)).splitlines()
        for one in mutants("a.py", SOURCE):
            changed = one.of(SOURCE).splitlines()
            assert changed != plain
            assert len(changed) == len(plain)
            off = [n for n, (a, b) in enumerate(zip(plain, changed, strict=True)) if a != b]
            assert len(off) == 1, one.name

    def test_the_books_have_enough_of_them_and_each_compiles(self) -> None:
        known = all_mutants()
        assert len(known) >= 150
        sources = {one.file: (ROOT / one.file).read_text() for one in known}
        for one in known[::10]:
            compile(one.of(sources[one.file]), one.file, "exec")


class TestSql:
    def test_forty_patches_each_fit_the_newest_definition(self, database: ScratchDatabase) -> None:
        """Applied one on top of the other: a patch whose place is gone is an error."""
        assert len({patch.name for patch in PATCHES}) == len(PATCHES) == 40
        conninfo = database.conninfo("bifold_owner")
        with psycopg.connect(conninfo, autocommit=True) as owner:
            before = dict(owner.execute(_DEFINITIONS).fetchall())
            for patch in PATCHES:
                patched(conninfo, patch)
                now = dict(owner.execute(_DEFINITIONS).fetchall())
                assert {name for name in now if now[name] != before[name]} == {patch.function}
                owner.execute(before[patch.function].encode())

    def test_a_patch_that_fits_nowhere_is_refused(self, database: ScratchDatabase) -> None:
        with pytest.raises(ValueError, match="found 0 times"):
            patched(database.conninfo("bifold_owner"), Patch("x", "ledger_post", "nowhere", ""))


_DEFINITIONS = inspect.cleandoc("""
    SELECT proname, pg_get_functiondef(oid) FROM pg_proc
     WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'ledger%' AND prokind = 'f'
""")
