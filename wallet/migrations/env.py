"""Alembic's entry: online only, one connection handed over by `wallet.migrate`."""

from __future__ import annotations

from typing import Any

from alembic import context

from wallet.models import metadata


def _ours(_object: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
    """Autogenerate looks at our tables only: `jobs` and `simbank` keep their own shape."""
    return not (kind == "table" and name is not None and name.startswith("procrastinate"))


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    include_object=_ours,
    include_schemas=False,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
