"""Procrastinate 3.10.0 in its own schema `jobs`, from the SQL that release ships."""

from __future__ import annotations

from importlib import resources

from wallet.migrations.load import run_script, run_sql

revision = "r0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    schema = resources.files("procrastinate").joinpath("sql", "schema.sql").read_text("utf-8")
    run_script("CREATE SCHEMA jobs; SET LOCAL search_path = jobs, public;\n" + schema)
    run_script("SET LOCAL search_path = public, jobs;")
    run_sql("r0001.sql")
