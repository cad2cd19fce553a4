"""Prices: rates, their feed, corridors, and quotes that lock a price for a while."""
