"""One module of this room stands on the whole seam."""

from __future__ import annotations

from tests.seam_fixtures import db
from tests.selfcustody.own_person import ada
from tests.selfcustody.own_stage import stage

__all__ = ["ada", "db", "stage"]
