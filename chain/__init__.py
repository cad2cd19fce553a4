"""The chain room: build transactions, broadcast them, observe blocks. No database, no web.

Only `chain.erc20` imports web3; every other module stays importable without it.
"""
