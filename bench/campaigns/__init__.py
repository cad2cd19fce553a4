"""Long searches for the schedule that breaks a promise; CI runs each at reduced size."""
