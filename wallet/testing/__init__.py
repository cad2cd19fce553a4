"""Real things made small for tests: databases by the second, whole sandboxes by the minute."""
