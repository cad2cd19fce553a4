"""Alembic revisions. Tables and functions are written in SQL, one file a revision."""
