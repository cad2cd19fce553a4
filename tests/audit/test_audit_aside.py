"""A line kept aside is held against the entry that settles it, once there is one."""

from __future__ import annotations

import pytest

from tests.audit.breaking import new_entry
from tests.audit.conftest import Broken

BANK, NOBODY = "'bank:simbank:EUR'", "'unattributed:simbank:EUR'"
LISTED = 404


@pytest.mark.parametrize(("settled", "named"), [(LISTED, False), (LISTED - 1, True)])
def test_it_is_settled_to_the_unit(broken: Broken, settled: int, named: bool) -> None:
    (line,) = broken.connection.execute("SELECT line_id FROM bank_lines_aside").fetchone() or (0,)
    lines = ((BANK, -settled), (NOBODY, settled))
    broken.plant(*new_entry("correction", *lines, ref=f"line {line}"))
    assert ("bank_books_off" in broken.codes()) is named
