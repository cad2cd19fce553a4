"""The independent auditor: reads what is stored with its own SQL and its own arithmetic.

It shares no code with the rest of `wallet`: what the application gets wrong it does not get wrong
with it. It reads as `bifold_audit`, which can write nothing but its own report (docs/audit.md).
"""
