"""The timeline of one person: transfers, deposits, withdrawals, conversions, payments, top-ups."""

from wallet.activity.repository import KINDS, Activity, ActivityFilter, get, page

__all__ = ["KINDS", "Activity", "ActivityFilter", "get", "page"]
