"""Private keys of deposit addresses, for a signer that may sweep: loaded only by its policy.

Everything it signs with them goes to the policy's sweep list: whoever takes over the caller can
move deposits to the treasury, and nowhere else.
"""

from __future__ import annotations

from keys import mnemonic as bip39
from keys.derivation import DEPOSIT_ACCOUNT, EXTERNAL_CHAIN
from keys.hd import HdNode
from keys.secret import Secret, SecretText


class HdDepositKeys:
    """Children of m/44'/60'/1'/0. Holds that node's private half; never printed."""

    def __init__(self, phrase: SecretText) -> None:
        """From the house's words. Raises `InvalidMnemonic`."""
        master = HdNode.from_seed(bip39.to_seed(phrase))
        self._parent = master.derive(f"m/44'/60'/{DEPOSIT_ACCOUNT}'/{EXTERNAL_CHAIN}")

    def __repr__(self) -> str:
        return "HdDepositKeys(***)"

    def key(self, index: int) -> Secret:
        """The 32-byte key at `index`. Raises `InvalidDerivation`."""
        return self._parent.child(index).private_key()
