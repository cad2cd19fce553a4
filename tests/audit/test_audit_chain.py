"""The chain's word: a coin that is not there is named; a node that is away is no deficit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.audit.conftest import Books
from wallet.auditor.instance import Instance


def with_node(books: Books, *urls: str, chain_id: int | None = None) -> Instance:
    network = books.instance.networks["local"]
    changed = replace(network, rpc_urls=urls, chain_id=chain_id or network.chain_id)
    return replace(books.instance, networks={"local": changed})


@pytest.mark.parametrize("place", ["hot", "cold", "deposit"])
@pytest.mark.parametrize(("sign", "code"), [(-1, "chain_deficit"), (1, "chain_surplus")])
def test_books_and_chain_differ_by_one_wei(books: Books, place: str, sign: int, code: str) -> None:
    """Balanced in the books and in every balance: only the chain knows better."""
    books.plant(
        "INSERT INTO postings (entry_id, account_id, asset, amount_minor) SELECT 'ent_p', id,"
        f" asset, {sign} FROM accounts WHERE path = 'chain:local:ETH:{place}'"
    )
    report = books.audit(ask_chain=True)
    found = [one for one in report.findings if one.code.startswith("chain_")]
    assert [(one.code, one.asset, one.network) for one in found] == [(code, "ETH", "local")]
    assert int(found[0].found) - int(found[0].expected) == sign
    assert found[0].pauses is (code == "chain_deficit")


def test_a_payment_that_the_chain_does_not_have_is_named(books: Books) -> None:
    books.plant(
        "UPDATE chain_intents SET mined_tx_hash = '0x' || repeat('ab', 32) WHERE state = 'final_ok'"
    )
    assert "chain_receipt_off" in books.codes(ask_chain=True)


def test_a_payment_in_another_block_than_the_books_name_is_named(books: Books) -> None:
    books.plant(
        "UPDATE chain_intents SET mined_tx_hash = '0x' || repeat('ab', 32),"
        " mined_block_hash = '0x' || repeat('cd', 32) WHERE state = 'final_ok'"
    )
    found = [one.found for one in books.audit(ask_chain=True).findings if "receipt" in one.code]
    assert any(" is 0x" in str(one) for one in found)


def without_receipts(books: Books, httpserver: HTTPServer) -> Instance:
    """The same chain behind a node that keeps no index of transactions."""
    [url] = books.instance.networks["local"].rpc_urls

    def forward(request: Request) -> Response:
        asked = json.loads(request.get_data())
        answers: list[dict[str, Any]] = httpx2.post(url, json=asked).json()
        blind = {one["id"] for one in asked if one["method"] == "eth_getTransactionReceipt"}
        for answer in answers:
            if answer["id"] in blind:
                answer["result"] = None
        return Response(json.dumps(answers), content_type="application/json")

    httpserver.expect_request("/").respond_with_handler(forward)
    return with_node(books, httpserver.url_for("/"))


def test_a_node_without_receipts_breaks_nothing(books: Books, httpserver: HTTPServer) -> None:
    report = books.audit(instance=without_receipts(books, httpserver), ask_chain=True)
    assert report.findings == []
    assert "no receipt of a payment that its block has" in (report.chains[0].unknown or "")


def test_receipts_too_long_for_one_answer_are_asked_one_by_one(
    books: Books, httpserver: HTTPServer
) -> None:
    """Whom we pay decides how long they are; geth answers 25 MB at once."""
    [url] = books.instance.networks["local"].rpc_urls
    refused = []

    def forward(request: Request) -> Response:
        asked = json.loads(request.get_data())
        answers: list[dict[str, Any]] = httpx2.post(url, json=asked).json()
        if len([one for one in asked if one["method"] == "eth_getTransactionReceipt"]) > 1:
            refused.append(len(asked))
            error = {"code": -32003, "message": "response too large"}
            answers = [{"jsonrpc": "2.0", "id": one["id"], "error": error} for one in asked]
        return Response(json.dumps(answers), content_type="application/json")

    httpserver.expect_request("/").respond_with_handler(forward)
    report = books.audit(instance=with_node(books, httpserver.url_for("/")), ask_chain=True)
    assert refused and report.findings == [] and report.chains[0].unknown is None


def test_a_node_without_receipts_still_shows_a_deficit(
    books: Books, httpserver: HTTPServer
) -> None:
    books.plant(
        "INSERT INTO postings (entry_id, account_id, asset, amount_minor) SELECT 'ent_p', id,"
        " asset, -1 FROM accounts WHERE path = 'chain:local:ETH:hot'"
    )
    report = books.audit(instance=without_receipts(books, httpserver), ask_chain=True)
    assert "chain_deficit" in {one.code for one in report.findings}
    assert report.chains[0].unknown is not None


def test_a_payment_that_only_its_nonce_shows_leaves_the_balances_open(
    books: Books, httpserver: HTTPServer
) -> None:
    """It is in a final block and not booked: no deficit, whatever the node says of its receipt."""
    books.plant(
        "UPDATE chain_intents SET state = 'sent' WHERE id ="
        " (SELECT max(id) FROM chain_intents WHERE state = 'final_ok' AND nonce IS NOT NULL)"
    )
    report = books.audit(instance=without_receipts(books, httpserver), ask_chain=True)
    assert not [one for one in report.findings if one.code.startswith("chain_")]
    assert "was not seen yet" in (report.chains[0].unknown or "")


def test_bytes_for_another_chain_are_named(books: Books) -> None:
    other = with_node(books, "http://127.0.0.1:1", chain_id=1)
    assert "attempt_chain_off" in books.codes(instance=other)


def test_a_node_that_is_away_is_not_a_deficit(books: Books) -> None:
    report = books.audit(instance=with_node(books, "http://127.0.0.1:1"), ask_chain=True)
    assert report.findings == []
    assert report.chains[0].unknown is not None and "does not answer" in report.chains[0].unknown


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("[]", "something else"),
        ("no JSON", "does not answer"),
        ('[{"id": 0, "jsonrpc": "2.0", "error": {"code": -32000, "message": "busy"}}]', "error"),
        ('[{"id": 0, "jsonrpc": "2.0", "result": "0x1"}]', "another chain"),
    ],
)
def test_a_node_that_answers_badly_is_not_a_deficit(
    books: Books, httpserver: HTTPServer, body: str, why: str
) -> None:
    httpserver.expect_request("/").respond_with_data(body, content_type="application/json")
    report = books.audit(instance=with_node(books, httpserver.url_for("/")), ask_chain=True)
    assert report.findings == []
    assert why in (report.chains[0].unknown or "")


def test_the_second_node_is_asked_when_the_first_is_away(books: Books) -> None:
    [url] = books.instance.networks["local"].rpc_urls
    report = books.audit(instance=with_node(books, "http://127.0.0.1:1", url), ask_chain=True)
    assert report.clean and report.chains[0].unknown is None


def test_a_node_on_another_fork_says_nothing(books: Books) -> None:
    books.plant("UPDATE scan_state SET final_hash = '0xelse'")
    report = books.audit(ask_chain=True)
    # That the kept block is another is a break by itself, and no word of the node's.
    assert {one.code for one in report.findings} == {"scan_place_off"}
    assert "does not have the block" in (report.chains[0].unknown or "")
