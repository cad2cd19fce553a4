"""This room's tests stand on the whole seam."""

from __future__ import annotations

from tests.seam_fixtures import db, seam

__all__ = ["db", "seam"]
