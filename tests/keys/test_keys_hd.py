"""BIP-32 against the public vectors, valid and invalid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bip_utils import Bip32KeyNetVersions

from keys.errors import InvalidDerivation
from keys.hd import HARDENED, MAINNET, HdNode
from keys.secret import Secret, SecretText

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent / "vectors" / "bip32.json").read_text("utf-8")
)
LITECOIN = Bip32KeyNetVersions(bytes.fromhex("019da462"), bytes.fromhex("019d9cfe"))
VERSIONS = {"bitcoin": MAINNET, "litecoin": LITECOIN}
CHILDREN = [
    pytest.param(tree, child, id=f"{number}-{child['path']}")
    for number, tree in enumerate(VECTORS["valid"])
    for child in tree["children"]
]


def _master(tree: dict[str, Any]) -> HdNode:
    versions = VERSIONS[tree["network"]]
    if "seed" in tree["master"]:
        return HdNode.from_seed(Secret(bytes.fromhex(tree["master"]["seed"])), versions)
    return HdNode.from_extended(SecretText(tree["master"]["base58Priv"]), versions)


def _assert_node(node: HdNode, expected: dict[str, Any]) -> None:
    assert node.private_key().reveal().hex() == expected["privKey"]
    assert node.public_key().hex() == expected["pubKey"]
    assert node.chain_code().hex() == expected["chainCode"]
    assert node.xpub() == expected["base58"]
    assert node.xprv().reveal() == expected["base58Priv"]
    assert node.identifier().hex() == expected["identifier"]
    assert node.identifier()[:4].hex() == expected["fingerprint"]


class TestValid:
    @pytest.mark.parametrize("tree", VECTORS["valid"])
    def test_the_master(self, tree: dict[str, Any]) -> None:
        _assert_node(_master(tree), tree["master"])

    @pytest.mark.parametrize(("tree", "child"), CHILDREN)
    def test_a_child_by_its_path(self, tree: dict[str, Any], child: dict[str, Any]) -> None:
        node = _master(tree).derive(child["path"])
        _assert_node(node, child)
        versions = VERSIONS[tree["network"]]
        _assert_node(HdNode.from_extended(SecretText(child["base58Priv"]), versions), child)
        public = HdNode.from_extended(SecretText(child["base58"]), versions)
        assert public.is_public_only
        assert public.public_key().hex() == child["pubKey"]

    @pytest.mark.parametrize(("tree", "child"), CHILDREN)
    def test_a_public_parent_has_the_same_children(
        self, tree: dict[str, Any], child: dict[str, Any]
    ) -> None:
        parent = _master(tree).derive(child["path"])
        public = HdNode.from_extended(SecretText(child["base58"]), VERSIONS[tree["network"]])
        assert public.child(7).xpub() == parent.child(7).xpub()


class TestInvalid:
    @pytest.mark.parametrize("case", VECTORS["invalid"]["fromBase58"])
    def test_extended_keys(self, case: dict[str, str]) -> None:
        versions = VERSIONS[case.get("network", "bitcoin")]
        with pytest.raises(InvalidDerivation) as caught:
            HdNode.from_extended(SecretText(case["string"]), versions)
        assert case["string"] not in str(caught.value)
        assert caught.value.__context__ is None

    @pytest.mark.parametrize("case", VECTORS["invalid"]["fromSeed"])
    def test_seeds(self, case: dict[str, str]) -> None:
        with pytest.raises(InvalidDerivation):
            HdNode.from_seed(Secret(bytes.fromhex(case["seed"])))

    @pytest.mark.parametrize("case", VECTORS["invalid"]["deriveHardened"])
    def test_hardened_indexes(self, case: dict[str, Any]) -> None:
        with pytest.raises(InvalidDerivation):
            _master(VECTORS["valid"][0]).child(case["index"], hardened=True)

    @pytest.mark.parametrize("case", VECTORS["invalid"]["derive"])
    def test_indexes(self, case: dict[str, Any]) -> None:
        with pytest.raises(InvalidDerivation):
            _master(VECTORS["valid"][0]).child(case["index"])

    @pytest.mark.parametrize("case", VECTORS["invalid"]["derivePath"])
    def test_paths(self, case: dict[str, Any]) -> None:
        with pytest.raises(InvalidDerivation):
            _master(VECTORS["valid"][0]).derive(case["derivationPath"])

    @pytest.mark.parametrize("path", ["", "m/", "m//0", "0/", "m/-1", "m/2147483648", "m/٣", "M/0"])
    def test_more_paths(self, path: str) -> None:
        with pytest.raises(InvalidDerivation):
            _master(VECTORS["valid"][0]).derive(path)

    def test_a_path_from_m_needs_a_master(self) -> None:
        with pytest.raises(InvalidDerivation):
            _master(VECTORS["valid"][0]).derive("m/0").derive("m/0")


class TestPublicOnly:
    def test_no_private_half_and_no_hardened_child(self) -> None:
        node = HdNode.from_extended(SecretText(_master(VECTORS["valid"][0]).xpub()))
        with pytest.raises(InvalidDerivation):
            node.private_key()
        with pytest.raises(InvalidDerivation):
            node.xprv()
        with pytest.raises(InvalidDerivation):
            node.child(0, hardened=True)
        with pytest.raises(InvalidDerivation):
            node.child(HARDENED)

    def test_a_node_shows_nothing(self) -> None:
        assert repr(_master(VECTORS["valid"][0])) == "HdNode(***)"
