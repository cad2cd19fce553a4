"""Whether a contract says that a signature is its own (EIP-1271)."""

from __future__ import annotations

import asyncio

from chain import parse
from chain.abi import encode
from chain.errors import AnswerTooLarge, ChainError, NodeGarbage, NodeRejected
from chain.rpc import Rpc
from keys.personal import personal_digest
from wallet.errors import ChainUnavailable

IS_VALID_SIGNATURE = bytes.fromhex("1626ba7e")  # isValidSignature(bytes32,bytes), also its yes
YES = IS_VALID_SIGNATURE.ljust(32, b"\0")
ANSWER_SECONDS = 4.0
GAS = 3_000_000  # Strangers choose what runs: too little to keep a node busy or to flood us.
MAX_SIGNATURE_BYTES = 1_900


class ContractSilent(ChainUnavailable):
    """The chain that would have to ask the contract does not answer."""


async def signed_by_contract(rpc: Rpc, *, address: str, message: str, signature: str) -> bool:
    """Whether the contract at `address` takes `signature` (`0x…`) for its own under `message`.

    A read-only call of code that is not ours: its answer counts only word for word, a revert or an
    address without code is a no. Of several nodes half of all are enough for a no: whoever runs one
    would open accounts by it. Raises ContractSilent.
    """
    try:
        raw = bytes.fromhex(signature.removeprefix("0x"))
    except ValueError:
        return False
    if not signature.startswith("0x") or len(raw) > MAX_SIGNATURE_BYTES:
        return False
    data = IS_VALID_SIGNATURE + encode(["bytes32", "bytes"], [personal_digest(message), raw])
    call = {"to": address, "data": "0x" + data.hex(), "gas": hex(GAS)}

    async def asked(node: Rpc) -> bool:
        try:
            return await _says_yes(node, address, call)
        except (NodeRejected, AnswerTooLarge):
            return False

    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            if not await _says_yes(rpc, address, call):
                return False
            each = getattr(rpc, "each", None)
            told = [] if each is None else [yes for _, yes in await each(asked)]
            return 2 * told.count(False) < 1 + len(told)
    except (NodeRejected, NodeGarbage):
        return False
    except (ChainError, TimeoutError):
        raise ContractSilent("The network of this wallet does not answer right now.") from None


async def _says_yes(rpc: Rpc, address: str, call: dict[str, str]) -> bool:
    code = parse.data(await rpc.call("eth_getCode", (address, "latest")), "eth_getCode")
    if not code:
        return False
    return parse.data(await rpc.call("eth_call", (call, "latest")), "eth_call") == YES
