"""Typed reads of token contracts through web3.py: the only module that imports web3.

web3 gets our own provider over an Rpc, so that size limits, time limits and "one request, one
attempt" hold here too, and CCIP-Read is off: a hostile token must not make us fetch its URLs.
Import it where it is needed at start-up, not in the hot path: about 0.5–1.5 s and 8 MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from web3 import AsyncWeb3
from web3.contract import AsyncContract
from web3.exceptions import BadFunctionCallOutput, ContractLogicError, OffchainLookup, Web3Exception
from web3.providers.async_base import AsyncBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from chain.address import checked
from chain.errors import ChainError, NodeGarbage, NodeRejected
from chain.registry import Network, Token
from chain.rpc import Rpc
from contracts.loader import artifact

MAX_TOKEN_TEXT = 64  # Characters kept of a token's own name or symbol.


class TokenMismatch(ChainError):
    """A listed token's contract is not what the networks file says."""

    code = "token_mismatch"


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What a contract says of itself. `name` and `symbol` are its own claim, clipped."""

    name: str
    symbol: str
    decimals: int
    total_supply: int


class RpcProvider(AsyncBaseProvider):
    """web3's provider over our transport: no retries, no cache, no redirects, no CCIP-Read."""

    global_ccip_read_enabled = False

    def __init__(self, rpc: Rpc) -> None:
        super().__init__()
        self._rpc = rpc

    async def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """One call. A rejection is handed to web3 as the node's error object."""
        try:
            result = await self._rpc.call(method, params)
        except NodeRejected as error:
            details: dict[str, object] = {"code": error.rpc_code, "message": error.message}
            if error.data is not None:
                details["data"] = error.data
            return cast(RPCResponse, {"jsonrpc": "2.0", "id": 0, "error": details})
        return cast(RPCResponse, {"jsonrpc": "2.0", "id": 0, "result": result})

    async def is_connected(self, show_traceback: bool = False) -> bool:
        """Whether the node answers now."""
        try:
            await self._rpc.call("eth_chainId")
        except ChainError:
            return False
        return True


class Erc20:
    """Reads of one token contract. Raises NodeRejected, NodeGarbage and the transport's errors."""

    def __init__(self, rpc: Rpc, contract: str) -> None:
        web3 = AsyncWeb3(RpcProvider(rpc), middleware=[])  # Its own would ask more than we do.
        self._contract: AsyncContract = web3.eth.contract(
            address=web3.to_checksum_address(checked(contract)),
            abi=cast(Any, list(artifact("TestToken").abi)),
        )

    async def facts(self) -> TokenFacts:
        """Name, symbol, decimals and supply in the smallest unit."""
        name, symbol = await self._read("name"), await self._read("symbol")
        decimals, supply = await self._read("decimals"), await self._read("totalSupply")
        return TokenFacts(
            name=str(name)[:MAX_TOKEN_TEXT],
            symbol=str(symbol)[:MAX_TOKEN_TEXT],
            decimals=int(cast(int, decimals)),
            total_supply=int(cast(int, supply)),
        )

    async def decimals(self) -> int:
        """The contract's `decimals()`."""
        return int(cast(int, await self._read("decimals")))

    async def balance_of(self, address: str, *, block_number: int) -> int:
        """A balance at a block, in the smallest unit."""
        return int(cast(int, await self._read("balanceOf", checked(address), at=block_number)))

    async def _read(self, function: str, *arguments: object, at: int | None = None) -> object:
        bound = self._contract.functions[function](*arguments)
        try:
            return await bound.call(
                block_identifier="latest" if at is None else at, ccip_read_enabled=False
            )
        except (OffchainLookup, ContractLogicError) as error:
            raise NodeRejected(3, f"{function} reverted: {type(error).__name__}") from None
        except BadFunctionCallOutput:
            raise NodeGarbage(f"{function} answered nothing a token would answer") from None
        except Web3Exception as error:
            raise NodeRejected(-32000, f"{function}: {type(error).__name__}") from None


async def verify_tokens(network: Network, rpc: Rpc) -> None:
    """Check at start that each listed contract exists and has the listed decimals.

    Raises TokenMismatch naming the token. Never compares symbols: anybody can copy one.
    """
    for token in network.tokens:
        await _verify(network, token, rpc)


async def _verify(network: Network, token: Token, rpc: Rpc) -> None:
    try:
        decimals = await Erc20(rpc, token.contract).decimals()
    except (NodeGarbage, NodeRejected) as error:
        raise TokenMismatch(
            f"{network.name}: {token.code} has no token contract at its address ({error.code})"
        ) from None
    if decimals != token.decimals:
        raise TokenMismatch(
            f"{network.name}: {token.code} has {decimals} decimals on chain, "
            f"{token.decimals} in the networks file"
        )
