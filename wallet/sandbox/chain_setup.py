"""Short-lived child: test tokens, the house's funds and the signer's policy on a local chain.

Prints one JSON object about the chain. Runs until networks.toml is there, so it may run again
after a crash: it deploys a token of its own each time (nobody knows the older ones) and fills
the hot address up to its amount, never beyond. Works on any node with an unlocked account.
"""

from __future__ import annotations

import asyncio
import json
import sys

from chain.dev import DevNode
from chain.errors import ChainError
from chain.rpc import JsonRpc
from contracts.loader import artifact
from keys.policy import ChainPolicy, Limit, Policy, dump
from wallet.sandbox.config import SandboxConfig
from wallet.sandbox.networks import CONFIRMATIONS, MAX_FEE_WEI, USDC_DECIMALS, LocalChain

ETHER = 10**18

HOT_FUNDS_WEI = 1_000 * ETHER
HOT_FUNDS_USDC_MINOR = 5_000_000 * 10**USDC_DECIMALS
USDC_SUPPLY_MINOR = 1_000_000_000 * 10**USDC_DECIMALS
NATIVE_LIMIT = Limit(per_tx=100 * ETHER, per_day=1_000 * ETHER)
USDC_LIMIT = Limit(per_tx=1_000_000 * 10**USDC_DECIMALS, per_day=5_000_000 * 10**USDC_DECIMALS)


async def prepare(rpc_url: str, *, hot: str, mine: bool) -> LocalChain:
    """Deploy, fund, and where the node is ours mine the confirmations. Raises ChainError."""
    rpc = JsonRpc(rpc_url)
    try:
        node = DevNode(rpc)
        sender = next(iter(await node.accounts()), None)
        if sender is None:
            raise ChainError("the local node has no unlocked account to pay from")
        arguments = ("USD Coin", "USDC", USDC_DECIMALS, USDC_SUPPLY_MINOR, sender)
        token = await node.deploy(artifact("TestToken"), arguments)
        await node.wait_mined(await node.send_token(token, hot, HOT_FUNDS_USDC_MINOR))
        have = _number(await rpc.call("eth_getBalance", (hot, "latest")))
        if have < HOT_FUNDS_WEI:
            await node.wait_mined(await node.send_native(hot, HOT_FUNDS_WEI - have))
        if mine:
            await node.mine(CONFIRMATIONS)
        first = await rpc.call("eth_getBlockByNumber", ("0x1", False))
        if not isinstance(first, dict):
            raise ChainError("the local node has no block 1")
        return LocalChain(
            chain_id=_number(await rpc.call("eth_chainId")),
            block1_hash=str(first["hash"]),
            usdc=token,
        )
    finally:
        await rpc.aclose()


def _number(answer: object) -> int:
    if not isinstance(answer, str):
        raise ChainError("the local node answered no number")
    return int(answer, 16)


def main() -> int:
    """`python -m wallet.sandbox.chain_setup RPC_URL [--mine]`."""
    config = SandboxConfig.from_env()
    rpc_url, mine = sys.argv[1], "--mine" in sys.argv[2:]
    hot = json.loads(config.keys_path.read_text("utf-8"))["hot"][0]
    try:
        chain = asyncio.run(prepare(rpc_url, hot=hot, mine=mine))
    except ChainError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1
    limits = ChainPolicy(MAX_FEE_WEI, native=NATIVE_LIMIT, tokens={chain.usdc: USDC_LIMIT})
    dump(config.policy_path, Policy({chain.chain_id: limits}))
    print(chain.to_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
