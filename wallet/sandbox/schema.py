"""Short-lived child: bring the database to the newest schema, as the owner."""

from __future__ import annotations

import os

from wallet.migrate import upgrade

if __name__ == "__main__":
    upgrade(os.environ["BIFOLD_MIGRATION_DATABASE_URL"])
