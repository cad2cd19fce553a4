"""Collects every slice's tables into one metadata, for Alembic's comparison."""

from __future__ import annotations

from sqlmodel import SQLModel

import wallet.identity.models
import wallet.kernel_models
import wallet.ledger.models  # noqa: F401 - imported for its tables

metadata = SQLModel.metadata
