"""Money out to an address outside: held, signed, broadcast, mined, settled."""
