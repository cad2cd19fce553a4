"""Conversions: one quote, one entry."""
