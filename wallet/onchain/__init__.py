"""Sending on chain: one intent, one nonce, one set of bytes at a time, paid exactly once."""
