"""The operator log: every change of a row that people decide about, sealed with the books.

Triggers write it (r0051), in the transaction of the change; this room reads it. `wallet.db.ACTOR`
is the name that goes with a person's deed.
"""

from wallet.oplog.repository import Line, newest

__all__ = ["Line", "newest"]
