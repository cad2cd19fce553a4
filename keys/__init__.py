"""Keys: mnemonics, derivation, the vault and the signer.

The only room that ever holds a seed or a private key. It knows no database and no web framework;
every library exception stops here, because some of them repeat the secret they were given.
"""
