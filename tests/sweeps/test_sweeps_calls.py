"""What receipts of sweeps say moved."""

from __future__ import annotations

from chain.address import to_checksum
from chain.blocks import Log, Receipt
from chain.observe import TRANSFER_TOPIC
from chain.registry import Network, Token
from wallet.sweeps.calls import swept

TOKEN, FROM, TREASURY = ("0x" + digits * 20 for digits in ("aa", "bb", "cc"))
BLOCK, TX = "0x" + "1" * 64, "0x" + "2" * 64


def said(*amounts: int) -> Receipt:
    topics = (TRANSFER_TOPIC, "0x" + "0" * 24 + FROM[2:], "0x" + "0" * 24 + TREASURY[2:])
    logs = tuple(
        Log(TOKEN, topics, amount.to_bytes(32, "big"), BLOCK, 7, TX, index)
        for index, amount in enumerate(amounts)
    )
    return Receipt(TX, BLOCK, 7, 0, 1, 50_000, 1, None, logs)


def test_a_token_that_says_absurd_things_moved_nothing() -> None:
    """Nine times 2^256 − 1 is no number that the books can hold: the sweep would never end, nor any
    payment of its hot address."""
    network = Network(
        name="local", chain_id=1, rpc_urls=("http://fake.invalid",), native_asset="ETH",
        block_time_ms=1000, confirmations=2, finality="depth", logs_window=10, min_tip_wei=0,
        max_fee_wei=1, bump_percent=15, tokens=(Token("USDC", to_checksum(TOKEN), 6),),
    )  # fmt: skip
    told = swept(said(5, *[2**256 - 1] * 9, 7), network, accounts={FROM}, treasury=TREASURY)
    assert told == {(FROM, "USDC"): 12}
