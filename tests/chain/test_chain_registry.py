"""The networks file: it survives a round trip, and each mistake in it is refused."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from chain import registry
from chain.address import checked
from chain.errors import InvalidNetworks
from chain.registry import Network, Token, dump_networks, load_networks
from tests.chain.benches import FAKE_CONTRACT, local_network

USDC = checked(FAKE_CONTRACT.lower())


def write(folder: Path, network: Network, **edits: str) -> Path:
    """The network's file, with lines replaced by key."""
    path = folder / "networks.toml"
    dump_networks(path, {network.name: network})
    lines = path.read_text().splitlines()
    for key, line in edits.items():
        lines = [line if item.startswith(f"{key} =") else item for item in lines]
    path.write_text("\n".join(lines))
    return path


def test_round_trip(tmp_path: Path) -> None:
    local = local_network(USDC, block1_hash="0x" + "ab" * 32)
    other = replace(
        local_network(), name="base-mainnet", chain_id=8453, finality="both", local_snapshots=False,
        rpc_urls=('https://node.example/v2/k"e\\y', "http://[::1]:8545"),
    )  # fmt: skip
    path = tmp_path / "networks.toml"
    dump_networks(path, {"local": local, "base-mainnet": other})
    assert load_networks(path) == {"local": local, "base-mainnet": other}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    dump_networks(path, {"local": local})
    assert load_networks(path) == {"local": local}
    assert [item.name for item in tmp_path.iterdir()] == ["networks.toml"]


def test_tokens_by_code() -> None:
    assert local_network(USDC).token("USDC") == Token("USDC", USDC, 6)
    assert local_network(USDC).token("ETH") is None


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("chain_id", "chain_id = 0"),
        ("chain_id", 'chain_id = "31337"'),
        ("chain_id", "chain_id = 1.0"),
        ("chain_id", ""),
        ("max_fee_wei", "max_fee_wie = 1"),
        ("max_fee_wei", "max_fee_wei = 0"),
        ("max_fee_wei", "max_fee_wei = 1"),
        ("max_fee_wei", "max_fee_wei = 1000000000000000"),
        ("max_fee_wei", "max_fee_wei = 1e9"),
        ("bump_percent", "bump_percent = 12"),
        ("bump_percent", "bump_percent = 12.5"),
        ("confirmations", "confirmations = 0"),
        ("confirmations", "confirmations = true"),
        ("finality", 'finality = "soon"'),
        ("rpc_urls", "rpc_urls = []"),
        ("rpc_urls", 'rpc_urls = ["file:///etc/passwd"]'),
        ("rpc_urls", "rpc_urls = [7]"),
        ("native_asset", 'native_asset = "USDC"'),
        ("contract", 'contract = "0x0000000000000000000000000000000000000000"'),
        ("contract", f'contract = "{USDC.lower()}"'),
        ("decimals", "decimals = 19"),
        ("decimals", "decimals = -1"),
        ("code", 'code = "usdc"'),
        ("local_snapshots", "local_snapshots = 1"),
    ],
)
def test_mistakes_are_refused(tmp_path: Path, key: str, line: str) -> None:
    path = write(tmp_path, local_network(USDC))
    assert load_networks(path)
    with pytest.raises(InvalidNetworks):
        load_networks(write(tmp_path, local_network(USDC), **{key: line}))


def test_other_shapes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "networks.toml"
    with pytest.raises(InvalidNetworks, match=f"there is no networks file {path}"):
        load_networks(path)
    for text in ("", "not toml", "networks = 1", "[other]\nx = 1", "[networks]\nlocal = 5"):
        path.write_text(text)
        with pytest.raises(InvalidNetworks):
            load_networks(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidNetworks):
        load_networks(path)
    twins = {
        "one": replace(local_network(), name="one"),
        "two": replace(local_network(), name="two"),
    }
    dump_networks(path, twins)
    with pytest.raises(InvalidNetworks, match="same chain_id"):
        load_networks(path)


def test_the_page_explains_every_key_and_its_example_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "chain.md").read_text("utf-8")
    part = page.partition("## The networks file\n")[2].partition("\n## ")[0]
    for key in (*registry._TYPES, "sweep_min"):
        assert f"`{key}`" in part, key
    path = tmp_path / "networks.toml"
    path.write_text(part.partition("```toml\n")[2].partition("```")[0])
    [read] = load_networks(path).values()
    assert read.finality == "both" and [token.code for token in read.tokens] == ["USDC"]
