"""The networks file of the sandbox: the local chain, beside networks the operator brings."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from chain.errors import InvalidNetworks
from chain.registry import Network, Token, dump_networks, load_networks
from wallet.sandbox.config import SandboxConfig, SandboxError

LOCAL = "local"
CONFIRMATIONS = 8
BLOCK_TIME_MS = 1_000
LOGS_WINDOW_BLOCKS = 1_000
MIN_TIP_WEI = 10**9
MAX_FEE_WEI = 500 * 10**9
BUMP_PERCENT = 15
OWN_NODE_SUPPORTS = ("traces",)
"""What our own Anvil can do beyond the common ground. It runs a fork without EIP-7702: see HARDFORK
in `wallet.sandbox.anvil`."""
TOKENS = (("USDC", "USD Coin", 6), ("EURC", "Euro Coin", 6), ("DAI", "Dai", 18))
"""Code, name and decimals of the test tokens, in the order they are deployed and listed."""


@dataclass(frozen=True)
class LocalChain:
    """What was found out about the local chain when it was prepared."""

    chain_id: int
    block1_hash: str
    tokens: dict[str, str]
    """Code → contract."""
    contracts: dict[str, str] = dataclasses.field(default_factory=dict)
    """Our own by role; sweeps go to the hot address itself."""

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> LocalChain:
        return LocalChain(**json.loads(text))


def read_local(path: Path) -> Network | None:
    """The local network as the last start left it; None before the first one ended.

    Raises SandboxError when the file is there and cannot be read.
    """
    if not path.exists():
        return None
    try:
        return load_networks(path).get(LOCAL)
    except InvalidNetworks as error:
        raise SandboxError(f"{path}: {error}; mend it, or run ./dev clean.") from error


def first_network(chain: LocalChain, *, rpc_url: str, own_node: bool) -> Network:
    """The local network, pinned to its block 1."""
    return Network(
        name=LOCAL,
        chain_id=chain.chain_id,
        rpc_urls=(rpc_url,),
        native_asset="ETH",
        block_time_ms=BLOCK_TIME_MS,
        confirmations=CONFIRMATIONS,
        finality="depth",
        logs_window=LOGS_WINDOW_BLOCKS,
        min_tip_wei=MIN_TIP_WEI,
        max_fee_wei=MAX_FEE_WEI,
        bump_percent=BUMP_PERCENT,
        tokens=tuple(Token(code, chain.tokens[code], decimals) for code, _, decimals in TOKENS),
        block1_hash=chain.block1_hash,
        local_snapshots=own_node,
        supports=OWN_NODE_SUPPORTS if own_node else (),
        contracts=chain.contracts,
    )


def write(config: SandboxConfig, local: Network) -> None:
    """Write the file of this run: the local network first, then the operator's others."""
    networks = {LOCAL: local}
    if config.networks_file is not None:
        try:
            theirs = load_networks(config.networks_file)
        except InvalidNetworks as error:
            raise SandboxError(f"{config.networks_file}: {error}") from error
        networks |= {name: network for name, network in theirs.items() if name != LOCAL}
    dump_networks(config.networks_path, networks)


def at_address(local: Network, rpc_url: str) -> Network:
    """The same network, reached where its node listens now, with what that node can do."""
    supports = OWN_NODE_SUPPORTS if local.local_snapshots else ()
    return dataclasses.replace(local, rpc_urls=(rpc_url,), supports=supports)
