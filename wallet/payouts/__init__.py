"""Payouts: rails to banks, the simulated bank behind them, and what it says against our books."""
