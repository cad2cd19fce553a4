"""Accounts, ledger, flows, jobs: everything that owns rows. Knows no web framework, no web3."""
