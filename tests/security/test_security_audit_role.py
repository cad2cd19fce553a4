"""What the auditor's role reads: what `wallet/auditor` asks for, and no secret."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from wallet import migrate
from wallet.auditor.run import ROOMS
from wallet.testing.databases import ScratchCluster, ScratchDatabase
from wallet.testing.revisions import take_back

SECRETS = (
    # Whoever has these signs in, or finds out a password at leisure.
    "users.password_hash", "sessions.token_hash", "siwe_nonces.nonce", "siwe_nonces.browser",
    # Sealed words, boxes between a browser and the signer, payments that may still be sent.
    "selfcustody_accounts.sealed", "selfcustody_requests.box", "selfcustody_requests.reply",
    "selfcustody_requests.nonce", "selfcustody_sends.unsigned", "selfcustody_sends.raw",
    "selfcustody_sends.grant_name", "chain_approvals.signature", "chain_attempts.unsigned",
    "nonce_burns.raw",
    # Whoever has these charges a card, confirms its payment, or sees all of a person's addresses.
    "cards.token", "simgate.tokens.token", "simgate.charges.token", "topups.action_url",
    "watched.xpub",
    # Who people are, what they wrote, and hashes of what they asked for.
    "users.email", "users.display_name", "recipients.name", "recipients.details",
    "payments.travel_rule", "payments.purpose", "payments.reference", "payouts.remittance",
    "transfers.note", "payment_holds.note", "sessions.user_agent",
    "idempotency_answers.fingerprint", "bank_strays.about", "simbank.statement.about",
    "cards.last4", "outbox.data", "jobs.procrastinate_jobs.args", "activity.note",
    "linked_wallets.address",
)  # fmt: skip
SECRET_WORDS = (
    "hash", "secret", "token", "sealed", "password", "passphrase", "mnemonic", "words", "seed",
    "totp", "otp", "key", "xpub", "raw", "box", "signature", "salt", "pin", "code", "browser",
    "nonce", "email", "note", "args", "recovery", "credential",
)  # fmt: skip
NO_SECRET = {
    "asset_terms.code": "the name of an asset",
    "audit_accepted.code": "the name of a check",
    "fork_proposals.fork_hash": "a block of a public chain",
    "fork_proposals.next_hash": "a block of a public chain",
    "chain_attempts.raw": "signed bytes are decoded, and their signer recovered; they went out, or"
    " will: they pay whom the books say, once",
    "chain_attempts.tx_hash": "a transaction's name on a public chain",
    "chain_blocks.hash": "a block of a public chain",
    "chain_blocks.parent_hash": "a block of a public chain",
    "chain_intents.mined_block_hash": "a block of a public chain",
    "chain_intents.mined_tx_hash": "a transaction's name on a public chain",
    "chain_intents.nonce": "a count of transactions, public on the chain",
    "chain_signers.next_nonce": "a count of transactions, public on the chain",
    "cold_gas.block_hash": "a block of a public chain",
    "cold_gas.tx_hash": "a transaction's name on a public chain",
    "deposit_losses.again_block_hash": "a block of a public chain",
    "deposits.block_hash": "a block of a public chain",
    "deposits.tx_hash": "a transaction's name on a public chain",
    "idempotency_answers.key": "names a request; the answer to it is held against the books",
    "network_state.block1_hash": "a block of a public chain",
    "network_state.head_hash": "a block of a public chain",
    "network_state.snapshot_hash": "a block of a sandbox's chain",
    "nonce_burns.tx_hash": "a transaction's name on a public chain",
    "scan_state.final_hash": "a block of a public chain",
    "scan_state.tip_hash": "a block of a public chain",
    "seals.hash": "the chain of hashes over the books, which is computed anew",
    "treasury_moves.tx_hash": "a transaction's name on a public chain",
    "unattributed_arrivals.block_hash": "a block of a public chain",
    "unattributed_arrivals.tx_hash": "a transaction's name on a public chain",
    "audit_findings.code": "the name of a check; the auditor's own",
    "withdrawals.failure_code": "the name of an error",
    "chain_intents.pinned_address": "an address of the house",
    "seals.sealed_at": "a time",
}  # fmt: skip
READABLE = """
SELECT CASE WHEN n.nspname = 'public' THEN '' ELSE n.nspname || '.' END
       || c.relname || '.' || a.attname
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE n.nspname !~ '^(pg_|information_schema)' AND c.relkind IN ('r', 'p', 'v', 'm')
   AND has_schema_privilege('bifold_audit', n.oid, 'USAGE')
   AND has_column_privilege('bifold_audit', c.oid, a.attnum, 'SELECT')"""


@pytest.fixture
def audit(database: ScratchDatabase) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.conninfo("bifold_audit"), autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("column", SECRETS)
def test_no_secret_is_read(audit: psycopg.Connection, column: str) -> None:
    table, _, name = column.rpartition(".")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        audit.execute(f"SELECT {name} FROM {table}".encode())


def test_they_are_columns(database: ScratchDatabase) -> None:
    """A misspelt one would be refused by nobody's rights."""
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        for column in SECRETS:
            table, _, name = column.rpartition(".")
            owner.execute(f"SELECT {name} FROM {table} LIMIT 0".encode())


def _named_like_secrets(connection: psycopg.Connection) -> set[str]:
    readable = {name for (name,) in connection.execute(READABLE)}
    assert "postings.amount_minor" in readable
    return {n for n in readable if any(word in n.rpartition(".")[2] for word in SECRET_WORDS)}


def test_what_is_named_like_a_secret_is_read_for_a_reason(database: ScratchDatabase) -> None:
    """A new column that looks like one: take it from the role, or say here why not."""
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        assert _named_like_secrets(owner) == set(NO_SECRET)
        owner.execute("ALTER TABLE accounts ADD COLUMN totp_secret bytea")
        assert _named_like_secrets(owner) == {*NO_SECRET, "accounts.totp_secret"}


def test_a_new_table_is_closed_until_it_is_opened(database: ScratchDatabase) -> None:
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        owner.execute("CREATE TABLE second_factors (totp_secret bytea)")
        assert owner.execute(
            "SELECT has_table_privilege('bifold_audit', 'second_factors', 'SELECT'),"
            " has_table_privilege('bifold_app', 'second_factors', 'SELECT')"
        ).fetchone() == (False, True)


def test_every_question_of_the_auditor_may_be_asked(audit: psycopg.Connection) -> None:
    for questions in ROOMS.values():
        for question in questions:
            query = question.sql
            for name in ("after", "base", "sealed"):
                query = query.replace(f"{{{name}}}", "-1")
            audit.execute(f"SELECT * FROM ({query}) q LIMIT 0".encode())


def test_the_revision_can_be_taken_back(cluster: ScratchCluster) -> None:
    """Down and up again."""
    database = cluster.create()
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        before = owner.execute(READABLE).fetchall()
    take_back(database, "r0034")
    with psycopg.connect(database.conninfo("bifold_audit")) as audit:
        for column in SECRETS:
            table, _, name = column.rpartition(".")
            audit.execute(f"SELECT {name} FROM {table} LIMIT 0".encode())
    migrate.upgrade(database.owner_url)
    with psycopg.connect(database.conninfo("bifold_owner")) as owner:
        assert sorted(owner.execute(READABLE).fetchall()) == sorted(before)
