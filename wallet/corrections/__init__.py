"""Corrections: a reversal or a batch of entries, proposed by one, approved by another."""
