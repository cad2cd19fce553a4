"""The chain's own word by raw JSON-RPC: what house and deposit addresses hold at a named block.

The block is the final one that the books name, so that nothing on its way counts. A node that does
not answer, answers an error or does not have that block leaves the question open: "not known" is
never a deficit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import psycopg

from wallet.auditor.check import Finding
from wallet.auditor.instance import Instance, Network

TIMEOUT_SECONDS = 10.0
CALLS_AT_ONCE = 100
MEANS = {
    "chain_deficit": "the chain holds what the books say lies there",
    "chain_surplus": "the chain holds no more than the books say",
    "chain_receipt_off": "what the books say was paid is in the chain, and succeeded",
}
RECEIPTS_AT_MOST = 200
"""The newest ones: older ones are below finality and were read by earlier runs."""


class NotKnown(Exception):
    """The chain did not answer so that something could be said."""


@dataclass(frozen=True, slots=True)
class ChainWord:
    """What came of one network."""

    network: str
    block: int | None
    findings: tuple[Finding, ...]
    unknown: str | None = None


class Node:
    """One node over HTTP. Reads only; every failure is NotKnown."""

    def __init__(self, url: str) -> None:
        self._http = httpx2.Client(timeout=TIMEOUT_SECONDS)
        self._url = url

    def close(self) -> None:
        """Let the connection go."""
        self._http.close()

    def call(self, requests: Sequence[tuple[str, list[object]]]) -> list[Any]:
        """Answers in order. Raises NotKnown."""
        answers: list[Any] = []
        for first in range(0, len(requests), CALLS_AT_ONCE):
            answers += self._some(requests[first : first + CALLS_AT_ONCE])
        return answers

    def _some(self, requests: Sequence[tuple[str, list[object]]]) -> list[Any]:
        body = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in enumerate(requests)
        ]
        try:
            answer = self._http.post(self._url, json=body)
            told = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            raise NotKnown(f"the node does not answer ({type(error).__name__})") from error
        if not isinstance(told, list) or len(told) != len(body):
            raise NotKnown("the node answers something else than was asked")
        by_id = {one.get("id"): one for one in told if isinstance(one, dict)}
        found = []
        for number in range(len(body)):
            one = by_id.get(number)
            if one is None or "error" in one or "result" not in one:
                raise NotKnown("the node answers with an error")
            found.append(one["result"])
        return found


def ask(connection: psycopg.Connection[tuple[Any, ...]], instance: Instance) -> list[ChainWord]:
    """Every network of the networks file, each by the first of its nodes that answers; and every
    other that the books have coins on, of which nothing can be known here."""
    told = [_network(connection, network) for _, network in sorted(instance.networks.items())]
    booked = connection.execute(
        "SELECT DISTINCT split_part(path, ':', 2) FROM accounts"
        " WHERE path LIKE 'chain:%%' ORDER BY 1"
    )
    return told + [
        ChainWord(str(name), None, (), "no networks file here names it")
        for (name,) in booked
        if name not in instance.networks
    ]


def _network(connection: psycopg.Connection[tuple[Any, ...]], network: Network) -> ChainWord:
    final = connection.execute(
        "SELECT final_number, final_hash FROM scan_state WHERE network = %s"
        " AND final_hash IS NOT NULL AND final_number >= 0",
        (network.name,),
    ).fetchone()
    if final is None:
        return ChainWord(network.name, None, (), "no block is final yet")
    number, why = int(final[0]), "no node"
    found: list[Finding] = []
    for url in network.rpc_urls:
        node = Node(url)
        try:
            found = _compare(connection, network, node, number, str(final[1]))
            for one in _receipts(connection, network, node, number):
                found.append(one)
            return ChainWord(network.name, number, tuple(found))
        except NotKnown as error:
            why = str(error)
        finally:
            node.close()
    return ChainWord(network.name, number, tuple(found), why)  # balances may be known all the same


def _compare(
    connection: psycopg.Connection[tuple[Any, ...]],
    network: Network, node: Node, number: int, block_hash: str,
) -> list[Finding]:  # fmt: skip
    if int(node.call([("eth_chainId", [])])[0], 16) != network.chain_id:
        raise NotKnown("the node is on another chain")
    _same_block(node, number, block_hash)
    _nothing_between(connection, network, node, number)
    found = []
    for (place, asset), books in _books(connection, network, number).items():
        chain = _held(connection, network, node, place, asset, number)
        if chain != books:
            code = "chain_deficit" if chain < books else "chain_surplus"
            found.append(
                Finding(
                    code, MEANS[code], f"chain:{network.name}:{asset}:{place}",
                    network.name, asset, str(books), str(chain),
                    code == "chain_deficit",
                )
            )  # fmt: skip
    _same_block(node, number, block_hash)
    return found


def _same_block(node: Node, number: int, block_hash: str) -> None:
    block = node.call([("eth_getBlockByNumber", [hex(number), False])])[0]
    if not isinstance(block, Mapping) or str(block.get("hash")).lower() != block_hash.lower():
        raise NotKnown("the node does not have the block that the books name")


def _nothing_between(
    connection: psycopg.Connection[tuple[Any, ...]], network: Network, node: Node, number: int
) -> None:
    """Every payment of ours in a final block is booked by now. Raises NotKnown."""
    late = connection.execute(
        "SELECT (SELECT count(*) FROM chain_intents WHERE network = %(n)s AND batch_id IS NULL"
        "  AND state IN ('mined', 'in_review') AND coalesce(mined_block, 0) <= %(f)s)"
        " + (SELECT count(*) FROM nonce_burns WHERE network = %(n)s AND entry_id IS NULL"
        "  AND sent_at IS NOT NULL)",
        {"n": network.name, "f": number},
    ).fetchone()
    if late is not None and late[0]:
        raise NotKnown(f"{late[0]} payments in final blocks are not booked yet")
    sent = connection.execute(
        "SELECT from_address, nonce FROM chain_intents WHERE network = %s AND nonce IS NOT NULL"
        " AND state IN ('allocated', 'signed', 'sent')",
        (network.name,),
    ).fetchall()
    # By nonce, not by receipt: a node may keep no index, and the books may lack a hash.
    told = node.call([("eth_getTransactionCount", [row[0], hex(number)]) for row in sent])
    for (_, nonce), used in zip(sent, told, strict=True):
        if _number(used) > nonce:
            raise NotKnown("a payment in a final block was not seen yet")


def _number(told: object) -> int:
    try:
        return int(str(told), 16)
    except ValueError as error:
        raise NotKnown("the node answers something else than a number") from error


_BLOCKS = """blocks AS (
    SELECT entry_id, block_number AS block FROM deposits WHERE network = %(n)s
    UNION ALL SELECT x.entry_id, i.mined_block FROM chain_intents i JOIN (
        SELECT intent_id, entry_id FROM withdrawals UNION ALL
        SELECT intent_id, entry_id FROM sweeps UNION ALL
        SELECT intent_id, entry_id FROM treasury_moves) x ON x.intent_id = i.id
     WHERE i.network = %(n)s
    UNION ALL SELECT e.id, i.mined_block FROM entries e JOIN chain_intents i
        ON i.id = e.ref AND i.purpose = e.kind WHERE i.network = %(n)s
    UNION ALL SELECT entry_id, block_number FROM cold_gas WHERE network = %(n)s
    UNION ALL SELECT entry_id, at_block FROM unattributed_arrivals WHERE network = %(n)s
    UNION ALL SELECT return_entry_id, again_block_number FROM deposit_losses
     WHERE network = %(n)s)"""
"""At which block an entry's coins moved. What has none (a loss, a burnt nonce) is below it."""
_UNBOOKED = """
    SELECT CASE WHEN d.principal_id IS NOT NULL THEN 'deposit' ELSE coalesce(h.place, 'hot') END,
           d.asset, d.amount_minor
      FROM deposits d LEFT JOIN house_addresses h
        ON h.network = d.network AND h.address = d.to_address
     WHERE d.network = %(n)s AND d.entry_id IS NULL AND d.status NOT IN ('orphaned', 'ignored')
       AND d.block_number <= %(f)s
    UNION ALL SELECT 'cold', d.asset, -d.amount_minor FROM deposits d JOIN house_addresses h
        ON h.network = d.network AND h.address = d.from_address AND h.place = 'cold'
     WHERE d.network = %(n)s AND d.entry_id IS NULL AND d.status NOT IN ('orphaned', 'ignored')
       AND d.block_number <= %(f)s AND d.principal_id IS NULL
    UNION ALL SELECT 'deposit', asset, -amount_minor FROM deposits
     WHERE network = %(n)s AND entry_id IS NULL AND status NOT IN ('orphaned', 'ignored')
       AND block_number <= %(f)s AND is_move
    UNION ALL SELECT CASE WHEN d.principal_id IS NOT NULL THEN 'deposit'
             ELSE coalesce(h.place, 'hot') END, d.asset, d.amount_minor FROM deposit_losses l
      JOIN deposits d ON d.id = l.deposit_id LEFT JOIN house_addresses h
        ON h.network = d.network AND h.address = d.to_address WHERE l.network = %(n)s
       AND l.return_entry_id IS NULL AND l.again_block_number <= %(f)s
    UNION ALL SELECT 'deposit', d.asset, -d.amount_minor FROM deposit_losses l
      JOIN deposits d ON d.id = l.deposit_id WHERE l.network = %(n)s AND d.is_move
       AND l.return_entry_id IS NULL AND l.again_block_number <= %(f)s"""


def _books(
    connection: psycopg.Connection[tuple[Any, ...]], network: Network, number: int
) -> dict[tuple[str, str], int]:
    """Place and asset → units that should lie there at block `number`: booked, and seen only."""
    named = {"n": network.name, "f": number}
    books: dict[tuple[str, str], int] = {}
    rows = connection.execute(
        f"WITH {_BLOCKS} SELECT split_part(a.path, ':', 4), a.asset, coalesce(-sum(p.amount_minor)"
        "  FILTER (WHERE b.block IS NULL OR b.block <= %(f)s), 0) FROM accounts a"
        " LEFT JOIN postings p ON p.account_id = a.id LEFT JOIN blocks b ON b.entry_id = p.entry_id"
        " WHERE a.path LIKE 'chain:' || %(n)s || ':%%' GROUP BY 1, 2",
        named,
    ).fetchall()
    for place, asset, minor in [*rows, *connection.execute(_UNBOOKED, named).fetchall()]:
        books[place, asset] = books.get((place, asset), 0) + int(minor)
    gas = connection.execute(
        "SELECT coalesce(sum(fee_minor), 0) FROM cold_gas WHERE network = %(n)s"
        " AND entry_id IS NULL AND block_number <= %(f)s",
        named,
    ).fetchone()
    if gas is not None and gas[0]:
        books["cold", network.native] = books.get(("cold", network.native), 0) - int(gas[0])
    return books


def _held(
    connection: psycopg.Connection[tuple[Any, ...]],
    network: Network, node: Node, place: str, asset: str, number: int,
) -> int:  # fmt: skip
    if place == "deposit":
        # What balances alone found may lie at an address of another network, or nobody's yet.
        query = (
            "SELECT address FROM deposit_addresses WHERE network = %(n)s"
            " UNION SELECT address FROM unattributed_arrivals WHERE network = %(n)s"
        )
        addresses = [row[0] for row in connection.execute(query, {"n": network.name}).fetchall()]
    else:
        query = "SELECT address FROM house_addresses WHERE network = %s AND place = %s"
        rows = connection.execute(query, (network.name, place)).fetchall()
        addresses = [row[0] for row in rows]
    if asset == network.native:
        asked = [("eth_getBalance", [address, hex(number)]) for address in addresses]
    elif asset in network.tokens:
        contract = network.tokens[asset][0]
        asked = [
            (
                "eth_call",
                [
                    {"to": contract, "data": "0x70a08231" + address[2:].lower().rjust(64, "0")},
                    hex(number),
                ],
            )
            for address in addresses
        ]
    else:
        raise NotKnown(f"{asset} is not in the networks file")
    try:
        return sum(int(answer, 16) for answer in node.call(asked))
    except (TypeError, ValueError) as error:
        raise NotKnown("the node answers something else than a number") from error


def _receipts(
    connection: psycopg.Connection[tuple[Any, ...]], network: Network, node: Node, number: int
) -> Iterator[Finding]:
    """The newest payments that count as made, asked of the chain one by one. Raises NotKnown after
    the last when one of them is not known."""
    rows = connection.execute(
        "SELECT id, asset, mined_tx_hash, mined_block_hash, mined_block FROM chain_intents"
        " WHERE network = %s AND state = 'final_ok' AND mined_tx_hash IS NOT NULL"
        " AND coalesce(mined_block, 0) <= %s ORDER BY mined_block DESC LIMIT %s",
        (network.name, number, RECEIPTS_AT_MOST),
    ).fetchall()
    told = _together_or_alone(node, [("eth_getTransactionReceipt", [row[2]]) for row in rows])
    code, unknown = "chain_receipt_off", None
    for (intent, asset, tx, block_hash, height), receipt in zip(rows, told, strict=True):
        try:
            if isinstance(receipt, Mapping):
                got = f"status {_number(receipt.get('status'))} in {receipt.get('blockHash')}"
            else:
                got = _not_there(node, tx, block_hash, height)
        except NotKnown as error:
            unknown = error
            continue
        want = f"status 1 in {block_hash}"
        if got != want:
            yield Finding(code, MEANS[code], intent, network.name, asset, want, got, True)
    if unknown is not None:
        raise unknown


def _together_or_alone(node: Node, requests: list[tuple[str, list[object]]]) -> list[Any]:
    """Whom we pay decides how long a receipt is, and a node answers so much at once only. Raises
    NotKnown."""
    try:
        return node.call(requests)
    except NotKnown:
        return [answer for request in requests for answer in node.call([request])]


def _not_there(node: Node, tx: str, block_hash: str, height: int | None) -> str:
    """What the block, read whole, has instead of this transaction. Raises NotKnown: that a node
    shows no receipt proves nothing."""
    [block] = node.call([("eth_getBlockByNumber", [hex(height or 0), False])])
    if not isinstance(block, Mapping) or not isinstance(block.get("transactions"), list):
        raise NotKnown("the node has neither a payment's receipt nor its block")
    if str(block.get("hash")).lower() != str(block_hash).lower():
        return f"block {height} is {block.get('hash')}"
    if tx.lower() in {str(one).lower() for one in block["transactions"]}:
        raise NotKnown("the node has no receipt of a payment that its block has")
    return f"no {tx} in {block_hash}"
