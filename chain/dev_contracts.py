"""Our own contracts on a development node, by the roles the networks file gives them."""

from __future__ import annotations

from collections.abc import Sequence

from eth_utils.crypto import keccak

from chain.abi import encode
from chain.dev import DevNode
from chain.errors import DevNodeFailed
from contracts.loader import artifact

_SET_OPERATOR = keccak(text="setOperator(address,bool)")[:4]


async def deploy_contracts(
    node: DevNode, *, treasury: str, owner: str, operators: Sequence[str]
) -> dict[str, str]:
    """Role → EIP-55 address. `owner` (the node's sender) owns the payout contract and is where it
    drains to; `operators` may pay batches. Raises DevNodeFailed."""
    return {
        "treasury": treasury,
        "sweeper": await node.deploy(artifact("DepositSweeper"), (treasury,)),
        "sweep_batch": await node.deploy(artifact("SweepBatch"), ()),
        "forwarder_factory": await node.deploy(artifact("ForwarderFactory"), (treasury,)),
        "batch_payout": await deploy_payout(node, owner=owner, operators=operators),
    }


async def deploy_payout(node: DevNode, *, owner: str, operators: Sequence[str]) -> str:
    """The payout contract alone; its EIP-55 address. As `deploy_contracts`."""
    contract = await node.deploy(artifact("BatchPayout"), (owner, owner))
    for operator in operators:
        data = bytes(_SET_OPERATOR + encode(["address", "bool"], [operator, True]))
        done = await node.wait_mined(await node.call_contract(contract, data))
        if done.status != 1:
            raise DevNodeFailed("the payout contract did not take its operator")
    return contract
