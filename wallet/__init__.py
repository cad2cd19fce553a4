"""Accounts, ledger, flows and jobs: everything that owns rows. Knows no web framework and no web3."""
