"""Checks that SQL cannot make: signed bytes, derived addresses, and what the networks file says;
prices are beside this."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from contracts.loader import artifact
from wallet.auditor.check import Finding
from wallet.auditor.derive import Branch, keyless
from wallet.auditor.instance import Instance, Network
from wallet.auditor.rows import Connection, finding, stream
from wallet.auditor.signed import TRANSFER, Signed, Unreadable, read

MEANS = {
    "attempt_unreadable": "signed bytes are a transaction that somebody signed",
    "attempt_hash_off": "a transaction's hash is the hash of its bytes",
    "attempt_sender_off": "bytes are signed by the address that the nonce was given to",
    "attempt_nonce_off": "bytes use the nonce that was given",
    "attempt_chain_off": "bytes are for the chain of their network",
    "attempt_pays_off": "bytes pay what was asked for, to whom it was asked for",
    "attempt_gas_off": "bytes burn no more than the intent allows",
    "address_off": "a deposit address comes from the house's key at its index",
    "asset_terms_off": "an asset counts by as many digits as the networks file lists",
    "network_off": "a network is the chain that its file names, and its addresses' factory, too",
}


def findings(connection: Connection, instance: Instance) -> Iterator[Finding]:
    """All of them, in the snapshot that `connection` has open."""
    yield from _attempts(connection, instance)
    yield from _addresses(connection, instance)
    yield from _listed(connection, instance)


def _finding(
    code: str, subject: object, network: str | None, asset: str | None, want: object, got: object
) -> Finding:
    return finding(MEANS, code, subject, network, asset, want, got)


# Signed bytes


def _attempts(connection: Connection, instance: Instance) -> Iterator[Finding]:
    rows = stream(
        connection,
        "SELECT a.intent_id, a.seq, a.kind, a.raw, a.tx_hash, i.network, i.asset, i.to_address,"
        " i.amount_minor, i.data, i.from_address, i.nonce, i.gas_limit, i.fee_ceiling_wei,"
        " s.chain_id FROM chain_attempts a JOIN chain_intents i ON i.id = a.intent_id"
        " LEFT JOIN network_state s ON s.network = i.network WHERE a.raw IS NOT NULL",
    )
    for row in rows:
        subject, network, asset = f"{row[0]}/{row[1]}", row[5], row[6]
        try:
            signed = read(bytes(row[3]))
        except Unreadable as error:
            yield _finding("attempt_unreadable", subject, network, asset, "signed bytes", error)
            continue
        told = instance.networks.get(network)
        chain_id = told.chain_id if told is not None else row[14]
        wanted = (
            ("attempt_hash_off", row[4], signed.tx_hash),
            ("attempt_sender_off", str(row[10]).lower(), signed.sender),
            ("attempt_nonce_off", row[11], signed.nonce),
            ("attempt_chain_off", chain_id or signed.chain_id, signed.chain_id),
        )
        for code, want, got in wanted:
            if want != got:
                yield _finding(code, subject, network, asset, want, got)
        yield from _pays(subject, row, signed, told)


def _pays(
    subject: str, row: tuple[Any, ...], signed: Signed, told: Network | None
) -> Iterator[Finding]:
    kind, network, asset, to, minor, data = row[2], row[5], row[6], row[7], int(row[8]), row[9]
    found = f"{signed.value} wei to {signed.to} data {signed.data.hex()[:160]}"
    if kind in ("cancel", "noop"):
        if signed.value or signed.data:
            yield _finding("attempt_pays_off", subject, network, asset, "nothing", found)
        return
    if signed.gas > row[12]:
        yield _finding("attempt_gas_off", subject, network, asset, row[12], signed.gas)
    token = None if told is None else told.tokens.get(asset)
    if data is not None:
        right = (signed.to, signed.value, signed.data) == (to.lower(), minor, bytes(data))
    elif signed.data[:4] == TRANSFER:
        call = TRANSFER + bytes.fromhex(to[2:]).rjust(32, b"\0") + minor.to_bytes(32, "big")
        right = signed.data == call and signed.value == 0
        right = right and (told is None or (token is not None and signed.to == token[0]))
    else:
        right = (signed.to, signed.value, signed.data) == (to.lower(), minor, b"")
        right = right and (told is None or asset == told.native)
    if not right:
        yield _finding(
            "attempt_pays_off", subject, network, asset, f"{minor} {asset} to {to}", found
        )


# Addresses


def _addresses(connection: Connection, instance: Instance) -> Iterator[Finding]:
    parent = None if instance.xpub is None else Branch.parse(instance.xpub).child(0)
    code = bytes(artifact("EphemeralForwarder").bytecode)
    rows = stream(
        connection, "SELECT id, network, derivation_index, address FROM deposit_addresses"
    )
    for address_id, name, index, address in rows:
        network = instance.networks.get(name)
        if network is not None and network.keyless:
            want = keyless(network.contracts["forwarder_factory"], name, index, code)
        elif parent is not None:
            want = parent.child(index).address()
        else:
            continue
        if want != address.lower():
            yield _finding("address_off", address_id, name, None, want, address)


# What the networks file says


def _listed(connection: Connection, instance: Instance) -> Iterator[Finding]:
    terms = instance.terms()
    for code, kind, scale in connection.execute("SELECT code, kind, scale FROM asset_terms"):
        if code in terms and (kind, scale) not in terms[code]:
            want = " or ".join(f"{one} of {digits}" for one, digits in sorted(terms[code]))
            yield _finding("asset_terms_off", code, None, code, want, f"{kind} of {scale}")
    rows = connection.execute("SELECT network, chain_id, factory FROM network_state")
    for name, chain_id, factory in rows:
        network = instance.networks.get(name)
        if network is None:
            continue
        if chain_id not in (None, network.chain_id):
            yield _finding("network_off", name, name, None, network.chain_id, chain_id)
        told = network.contracts.get("forwarder_factory", "")
        if factory is not None and network.keyless and factory.lower() != told.lower():
            yield _finding("network_off", name, name, None, told, factory)
