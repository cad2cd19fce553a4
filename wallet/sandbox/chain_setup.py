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
from chain.dev_contracts import deploy_contracts
from chain.errors import ChainError
from chain.rpc import JsonRpc
from contracts.loader import artifact
from keys.policy import CONTRACT_ROLES, ChainPolicy, Limit, Policy
from keys.policy_file import dump
from wallet.sandbox.config import SandboxConfig
from wallet.sandbox.networks import CONFIRMATIONS, MAX_FEE_WEI, TOKENS, LocalChain

ETHER = 10**18

HOT_FUNDS_WEI = 1_000 * ETHER
HOT_FUNDS_TOKENS = 5_000_000  # whole tokens of each
TOKEN_SUPPLY = 1_000_000_000
NATIVE_LIMIT = Limit(per_tx=100 * ETHER, per_day=1_000 * ETHER)
FEES_PER_DAY = 100 * ETHER
TOKEN_PER_TX, TOKEN_PER_DAY = 1_000_000, 5_000_000


async def prepare(rpc_url: str, *, hot: str, mine: bool) -> LocalChain:
    """Deploy, fund, and where the node is ours mine the confirmations. Raises ChainError."""
    rpc = JsonRpc(rpc_url)
    try:
        node = DevNode(rpc)
        sender = next(iter(await node.accounts()), None)
        if sender is None:
            raise ChainError("the local node has no unlocked account to pay from")
        tokens: dict[str, str] = {}
        for code, name, decimals in TOKENS:
            arguments = (name, code, decimals, TOKEN_SUPPLY * 10**decimals, sender)
            contract = await node.deploy(artifact("RegulatedToken"), arguments)
            funds = HOT_FUNDS_TOKENS * 10**decimals
            await node.wait_mined(await node.send_token(contract, hot, funds))
            tokens[code] = contract
        contracts = await deploy_contracts(node, treasury=hot, owner=sender, operators=[hot])
        have = _number(await rpc.call("eth_getBalance", (hot, "latest")))
        # A node as it comes may hold no more than that: half is left to the faucet.
        spare = _number(await rpc.call("eth_getBalance", (sender, "latest"))) // 2
        if have < HOT_FUNDS_WEI and spare:
            await node.wait_mined(await node.send_native(hot, min(HOT_FUNDS_WEI - have, spare)))
        if mine:
            await node.mine(CONFIRMATIONS)
        first = await rpc.call("eth_getBlockByNumber", ("0x1", False))
        if not isinstance(first, dict):
            raise ChainError("the local node has no block 1")
        return LocalChain(
            chain_id=_number(await rpc.call("eth_chainId")),
            block1_hash=str(first["hash"]),
            tokens=tokens,
            contracts=contracts,
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
    allowed = {
        chain.tokens[code]: Limit(TOKEN_PER_TX * 10**decimals, TOKEN_PER_DAY * 10**decimals)
        for code, _, decimals in TOKENS
    }
    limits = ChainPolicy(
        MAX_FEE_WEI,
        fees_per_day=FEES_PER_DAY,
        native=NATIVE_LIMIT,
        tokens=allowed,
        contracts={role: held for role, held in chain.contracts.items() if role in CONTRACT_ROLES},
        sweep_to=frozenset({chain.contracts["treasury"]}),
        sweeper=chain.contracts["sweeper"],
    )
    dump(config.policy_path, Policy({chain.chain_id: limits}))
    print(chain.to_json())
    return 0


if __name__ == "__main__":
    sys.exit(main())
