"""What the service makes of the independent auditor's reports: it pauses, and opens cases.

The auditor itself is `wallet/auditor`, which nobody imports: it runs as a process of its own and is
read from the tables that it alone can write (docs/audit.md).
"""

from wallet.audits.acts import accept, act, open_pauses
from wallet.audits.watch import TICK_SECONDS, AuditWatch

__all__ = ["TICK_SECONDS", "AuditWatch", "accept", "act", "open_pauses"]
