"""What could not be read as one text would stop the seal for ever: it is not written."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.errors import ProgramLimitExceeded

from wallet.testing.databases import ScratchDatabase

LONG = "jsonb_build_object('a', repeat(chr(1), 200000))"  # six bytes each as JSON text


@pytest.mark.parametrize(
    "role, deed",
    [
        ("bifold_app", f"INSERT INTO outbox (type, ref, data) VALUES ('x', 'y', {LONG})"),
        ("bifold_owner", "INSERT INTO entries (id, kind, ref, event_at, meta)"
                         f" VALUES ('ent_x', 'x', 'y', now(), {LONG})"),
    ],
)  # fmt: skip
def test_what_the_seal_cannot_read_is_refused(
    database: ScratchDatabase, role: str, deed: str
) -> None:
    with psycopg.connect(database.conninfo(role)) as connection:
        connection.execute(deed.replace("200000", "20000").encode())
        with pytest.raises(ProgramLimitExceeded, match="longer than the seal reads"):
            connection.execute(deed.replace("ent_x", "ent_y").replace("'y'", "'z'").encode())
