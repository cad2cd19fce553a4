"""The sandbox: one supervisor that starts the whole house on one machine and keeps it running.

It stays small, so it speaks to the database by the bare driver and to its node by the standard
library; whatever needs heavy libraries (migrations, keys, contracts) runs in a short-lived child.
"""
