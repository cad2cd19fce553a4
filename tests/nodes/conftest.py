"""Fixtures of the tests with several nodes."""

from __future__ import annotations

from tests.seam_fixtures import db, seam

__all__ = ["db", "seam"]
