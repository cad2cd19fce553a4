"""Wallets that are contracts (EIP-1271), and messages that belong to one browser."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address

from chain.errors import NodeUnavailable
from chain.failover import FailoverRpc
from chain.rpc import JsonRpc
from chain.testing import AnvilMissing, AnvilProcess, FakeNode
from chain.testing.evm import Evm
from tests.api.conftest import PASSWORD
from tests.chain.benches import local_network
from tests.nodes.test_nodes_differ import Liar
from tests.siwe.test_siwe import KEY, OTHER, enter, sign, who
from wallet.identity import wallets
from wallet.identity.contracts import ContractSilent, signed_by_contract
from wallet.identity.errors import InvalidCredentials

ELSEWHERE = 31338


class Agreeing:
    """A node of another chain, where whatever stands at any address says yes to everything."""

    async def call(self, method: str, params: Any = ()) -> object:
        return "0x60" if method == "eth_getCode" else "0x1626ba7e" + "00" * 28


class Away:
    """A node that is not there."""

    def __init__(self) -> None:
        self.asked = 0

    async def call(self, method: str, params: Any = ()) -> object:
        self.asked += 1
        raise NodeUnavailable("away")


@pytest.fixture(scope="module")
def evm() -> Iterator[Evm]:
    process = AnvilProcess()
    try:
        process.start()
    except AnvilMissing as error:
        pytest.skip(f"anvil: {error}")
    evm = Evm(process.url)
    evm.url = process.url  # type: ignore[attr-defined]
    yield evm
    evm.close()
    process.stop()


@pytest.fixture
def contract(evm: Evm) -> str:
    """A wallet whose owner is KEY."""
    return evm.deploy("ContractWallet", who(KEY))


@pytest.fixture
async def chained(world: Any, evm: Evm) -> Any:
    """The world on a real node, and a second chain beside it."""
    services = world.services
    real = services.rpcs["local"] = JsonRpc(evm.url)  # type: ignore[attr-defined]
    services.networks["other"] = replace(
        services.networks["local"], name="other", chain_id=ELSEWHERE
    )
    services.rpcs["other"] = Agreeing()
    yield world
    await real.aclose()


async def ask(person: Any, address: str, path: str, chain_id: int = 31337) -> str:
    asked = await person.post(path, {"address": address, "chain_id": chain_id})
    assert asked.status_code == 201, asked.text
    return str(asked.json()["message"])


async def join(person: Any, address: str, chain_id: int = 31337, key: bytes = KEY) -> Any:
    message = await ask(person, address, "/v1/me/wallets/nonces", chain_id)
    body = {"message": message, "signature": sign(message, key), "password": PASSWORD}
    return await person.post("/v1/me/wallets", body)


async def come(
    world: Any, person: Any, address: str, chain_id: int = 31337, key: bytes = KEY
) -> Any:
    message = await ask(person, address, "/v1/siwe/nonces", chain_id)
    return await enter(world, message, sign(message, key))


class TestContracts:
    async def test_its_owner_links_it_and_signs_in(self, chained: Any, contract: str) -> None:
        ada = await chained.person()
        done = await join(ada, contract)
        assert (done.status_code, done.json()["address"]) == (201, contract), done.text
        assert done.json()["chain_id"] == 31337
        opened = await come(chained, ada, contract)
        assert (opened.status_code, opened.json()["user"]["id"]) == (201, ada.id)
        assert (await come(chained, ada, contract, key=OTHER)).status_code == 401

    async def test_a_namesake_on_another_chain_opens_nothing(
        self, chained: Any, contract: str
    ) -> None:
        """At the same address of the other chain stands a contract that says yes to anybody."""
        ada = await chained.person()
        assert (await join(ada, contract)).status_code == 201
        assert (await come(chained, ada, contract, ELSEWHERE, OTHER)).status_code == 401
        bob = await chained.person()
        assert (await join(bob, who(KEY))).status_code == 201  # linked by its key
        assert (await come(chained, bob, who(KEY), ELSEWHERE, OTHER)).status_code == 401
        assert (await come(chained, bob, who(KEY), ELSEWHERE)).status_code == 201

    async def test_a_contract_gone_silent_is_told_and_keeps_the_message(
        self, chained: Any, contract: str
    ) -> None:
        ada = await chained.person()
        assert (await join(ada, contract)).status_code == 201
        message = await ask(ada, contract, "/v1/siwe/nonces")
        real, chained.services.rpcs["local"] = chained.services.rpcs["local"], Away()
        away = await enter(chained, message, sign(message))
        assert (away.status_code, away.json()["code"]) == (503, "chain_unavailable")
        chained.services.rpcs["local"] = real
        assert (await enter(chained, message, sign(message))).status_code == 201

    async def test_no_node_is_asked_about_messages_that_are_not_open(self, chained: Any) -> None:
        ada = await chained.person()
        message = await ask(ada, who(), "/v1/siwe/nonces")
        node = chained.services.rpcs["local"] = Away()
        foreign = message.replace("Nonce: ", "Nonce: ffff")
        assert (await enter(chained, foreign, sign(foreign, OTHER))).status_code == 401
        assert node.asked == 0
        assert (await enter(chained, message, sign(message, OTHER))).status_code == 503
        assert node.asked == 1

    @pytest.mark.parametrize("name", ["EchoWallet", "WordyWallet", "EndlessWallet", "FloodWallet"])
    async def test_only_the_exact_yes_is_one(self, evm: Evm, name: str) -> None:
        rpc = JsonRpc(evm.url)  # type: ignore[attr-defined]
        strange = evm.deploy(name)
        try:
            assert not await signed_by_contract(
                rpc, address=strange, message="hello", signature=sign("hello")
            )
        finally:
            await rpc.aclose()

    async def test_what_is_no_signature_of_it(self, evm: Evm, contract: str) -> None:
        rpc = JsonRpc(evm.url)  # type: ignore[attr-defined]

        async def says(address: str, signature: str, message: str = "hello") -> bool:
            return await signed_by_contract(
                rpc, address=address, message=message, signature=signature
            )

        try:
            assert await says(contract, sign("hello"))
            assert not await says(contract, sign("hello"), "hello you")
            assert not await says(contract, sign("hello", OTHER))
            assert not await says(contract, "0x")
            assert not await says(contract, "0xzz")
            assert not await says(contract, sign("hello")[2:])
            assert not await says(contract, "0x" + "00" * 1_901)
            nowhere = to_checksum_address("0x" + secrets.token_hex(20))
            assert not await says(nowhere, sign("hello"))
            identity = "0x0000000000000000000000000000000000000004"  # a precompile: no code
            assert not await says(identity, sign("hello"))
        finally:
            await rpc.aclose()
        with pytest.raises(ContractSilent):
            await signed_by_contract(
                Away(),
                address=contract,
                message="hello",
                signature=sign("hello"),  # type: ignore[arg-type]
            )


class TestSeveralNodes:
    """Whoever runs one of them opens nobody's account by it."""

    @pytest.mark.parametrize(
        ("liars", "honest", "opens"),
        [(1, 0, True), (1, 1, False), (1, 2, False), (2, 1, True)],
    )
    async def test_one_alone_says_yes_for_no_contract(
        self, liars: int, honest: int, opens: bool
    ) -> None:
        node = FakeNode()
        strange = [Liar(node, yes).node for _ in range(liars)]
        doors = [one.transport() for one in [*strange, *([node] * honest)]]
        network = local_network(rpc_urls=("http://node.invalid",) * len(doors))
        said = await signed_by_contract(
            FailoverRpc(network, doors, retry_reads=True), address=who(KEY), message="hello",
            signature=sign("hello", OTHER),
        )  # fmt: skip
        assert said is opens


def yes(call: dict[str, Any], result: Any) -> Any:
    """There is a contract, and it takes everything for its own."""
    code = {"eth_getCode": "0x60", "eth_call": "0x1626ba7e" + "00" * 28}
    return code.get(call["method"], result)


class TestBrowsers:
    async def prove(self, world: Any, purpose: Any, asked: Any, seen: Any, who_asks: Any) -> Any:
        """Ask as one browser, come back as another (None: over the API)."""
        services = world.services
        site = wallets.Site(services.settings.base_url, {31337: world.node.rpc})
        owner = who_asks.id if purpose == "link" else None
        async with services.db.transaction() as session:
            message = await wallets.ask(
                session, site=site, address=who(), purpose=purpose, principal_id=owner,
                browser=asked,
            )  # fmt: skip
        proof = await wallets.prove(
            services.db, site=site, message=message.text(), signature=sign(message.text()),
            purpose=purpose, principal_id=owner, browser=seen,
        )  # fmt: skip
        async with services.db.transaction() as session:
            if purpose == "link":
                return await wallets.link(
                    session, principal_id=who_asks.id, proof=proof, browser=seen
                )
            return await wallets.sign_in(session, proof=proof, browser=seen)

    @pytest.mark.parametrize("purpose", ["sign_in", "link"])
    async def test_a_message_opens_in_the_browser_that_asked(
        self, world: Any, purpose: Any
    ) -> None:
        ada = await world.person()
        here, there = wallets.browser_of("here"), wallets.browser_of("there")
        assert here != there and len(here) == 32
        await self.prove(world, "link", here, here, ada)
        for asked, seen in ((here, there), (here, None), (None, here)):
            with pytest.raises(InvalidCredentials):
                await self.prove(world, purpose, asked, seen, ada)
        assert await self.prove(world, purpose, here, here, ada)

    async def test_a_proof_serves_its_own_purpose(self, world: Any) -> None:
        ada = await world.person()
        made = wallets.Proof(parse_of(world), "sign_in", None)
        async with world.services.db.transaction() as session:
            with pytest.raises(InvalidCredentials):
                await wallets.link(session, principal_id=ada.id, proof=made)
            with pytest.raises(InvalidCredentials):
                await wallets.sign_in(session, proof=replace(made, purpose="link"))


def parse_of(world: Any) -> Any:
    """A message nobody asked for."""
    from tests.siwe.test_siwe import TestTheText

    return replace(TestTheText.BASE, address=str(Account.from_key(KEY).address))
