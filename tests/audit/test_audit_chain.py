"""The chain's word: a coin that is not there is named; a node that is away is no deficit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pytest_httpserver import HTTPServer

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
    assert report.findings == []
    assert "does not have the block" in (report.chains[0].unknown or "")
