"""One module of this room stands on the whole seam."""

from __future__ import annotations

from tests.seam_fixtures import db

__all__ = ["db"]
