"""`bifold`: the operator's command line. Each command imports only what it needs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from wallet.cli_help import finish, unfinished
from wallet.cli_ledger_arguments import add_ledger
from wallet.cli_names import anchor, nonce, operator, shares
from wallet.cli_treasury_arguments import add_treasury

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

PROGRAM = "bifold"
MOST_SHOWN = 1_000
EPILOG = """\
Exit codes:
  0    done; of a list, that nothing waits
  1    asked rightly, and refused or failed, with the reason on standard error; or
       the answer is bad: a list that waits for somebody, books that do not agree
  2    wrong usage: an option or argument that is missing, unknown or malformed
  130  broken off (Ctrl-C)
Of their own: `bifold audit` 2 also when the books could not be read, so that 1 always
means breaks; `bifold signer` 3 when it could not write its journal.

Settings come from BIFOLD_* in the environment; see docs/configuration.md.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code says how it went."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["signer"]:  # its options are its own
        from keys.process import main as signer

        return signer(arguments[1:])
    if arguments[:1] == ["audit"] and arguments[1:2] not in (["pauses"], ["accept"]):
        from wallet.cli_audit import audit  # a process of its own, with its own options

        return audit(arguments[1:])
    parser = _parser()
    if command := unfinished(parser, arguments):
        command.print_help()
        return 2
    chosen = parser.parse_args(arguments)
    if chosen.command == "serve":
        _serve()
    from wallet import cli_commands  # `--help` needs none of it

    return cli_commands.run(chosen)


def _serve() -> NoReturn:
    """The HTTP room stands above this one, so it is started as a program, not imported.

    Before anything else is: what this process loads, that one loads again.
    """
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "api.server"])  # noqa: S606 - ourselves


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Bifold: a wallet service with one double-entry ledger for fiat and crypto.",
        epilog=EPILOG,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="serve the API and the web app")
    commands.add_parser("worker", help="do the promised work: jobs, scanner, observer, relay")
    commands.add_parser("signer", help="run the signer process (see: bifold signer --help)")
    commands.add_parser("migrate", help="bring the database to the newest schema")
    reconcile = commands.add_parser(
        "reconcile", help="books against chain and bank; exit 1 when a unit is unexplained"
    )
    reconcile.add_argument("--json", action="store_true", help="print the report as JSON")
    when = reconcile.add_mutually_exclusive_group()
    when.add_argument("--final", action="store_true", help="at the newest final blocks")
    when.add_argument(
        "--history", type=_count, nargs="?", const=10, metavar="N",
        help="the newest N readings that were kept (10); exit 1 unless the newest agrees",
    )  # fmt: skip
    _add_audit(commands)
    told = commands.add_parser("log", help="who decided what, and when; the newest first")
    told.add_argument(
        "--about", metavar="TEXT", help="only a kind of row (treasury_moves), one id, or a name"
    )
    told.add_argument("--last", type=_count, default=50, metavar="N", help="how many (50)")
    told.add_argument("--json", action="store_true", help="print them as JSON")
    keys = commands.add_parser("keys", help="make and look at the house's keys")
    actions = keys.add_subparsers(dest="action", metavar="ACTION", required=True)
    make = actions.add_parser("init", help="make a house mnemonic; words on a terminal only")
    make.add_argument("--vault", required=True, help="folder for vault and journal")
    make.add_argument("--public", required=True, help="file for the public half (keys.json)")
    make.add_argument(
        "--passphrase-fd", type=int, required=True, metavar="N", help="descriptor to read it from"
    )
    make.add_argument(
        "--words", type=int, default=24, choices=[12, 15, 18, 21, 24], help="how many (24)"
    )
    make.add_argument("--language", default="english", help="BIP-39 word list (english)")
    show = actions.add_parser("show", help="print the public half and the first deposit addresses")
    show.add_argument("--public", help="keys.json (default: the data folder's)")
    show.add_argument("--count", type=int, default=3, help="how many deposit addresses (3)")
    public = actions.add_parser("public", help="write a lost keys.json anew from the vault")
    public.add_argument("--vault", required=True, help="folder of the vault")
    public.add_argument(
        "--passphrase-fd", type=int, required=True, metavar="N", help="descriptor to read it from"
    )
    public.add_argument("--public", required=True, help="a file that does not exist yet")
    warm = actions.add_parser("warm", help="the warm address, made now in a vault of before it")
    warm.add_argument("--vault", required=True, help="folder of the vault")
    warm.add_argument(
        "--passphrase-fd", type=int, required=True, metavar="N", help="descriptor to read it from"
    )
    warm.add_argument("--public", help="keys.json, to write the address to")
    _add_backups(actions)
    rotate = actions.add_parser("rotate", help="a new passphrase and data key for the vault")
    rotate.add_argument("--vault", required=True, help="folder of the vault")
    rotate.add_argument(
        "--passphrase-fd", type=int, required=True, metavar="N", help="the old one, read here"
    )
    rotate.add_argument(
        "--new-passphrase-fd", type=int, required=True, metavar="N", help="the new one"
    )
    sign = actions.add_parser("sign", help="cold: sign a sheet on a machine without a network")
    sign.add_argument("sheet", help="file made by: bifold treasury unsigned")
    sign.add_argument("--out", required=True, help="file for the signed sheet")
    sign.add_argument("--keystore", help="a Web3 key file instead of typed words")
    _add_chain(commands)
    _add_deposits(commands)
    _add_topups(commands)
    _add_cases(commands)
    _add_seal(commands)
    add_treasury(commands)
    add_ledger(commands)
    finish(parser)
    return parser


def _count(text: str) -> int:
    """How many of something to show."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MOST_SHOWN:
        raise argparse.ArgumentTypeError(f"a number from 1 to {MOST_SHOWN}")
    return int(text)


def _add_backups(actions: Subparsers) -> None:
    split = actions.add_parser("split", help="SLIP-39 shares of the words; on a terminal only")
    split.add_argument(
        "--shares", type=shares, default="2of3", help="how many are enough of how many (2of3)"
    )
    restore = actions.add_parser(
        "restore", help="the house again from shares or its words; on a terminal only"
    )
    restore.add_argument("--words", action="store_true", help="type the words instead of shares")
    restore.add_argument("--public", required=True, help="file for the public half (keys.json)")
    restore.add_argument(
        "--language", default="english", help="BIP-39 word list of the words (english)"
    )
    restore.add_argument("--hot-keys", type=int, default=1, help="how many hot keys it had (1)")
    export = actions.add_parser("export", help="one key as a Web3 key file (version 3)")
    which = export.add_mutually_exclusive_group()
    which.add_argument("--index", type=int, default=0, help="which hot key (0)")
    which.add_argument("--path", help="another key of the words, m/44'/60'/A'/0/I; deposits never")
    export.add_argument("--out", required=True, help="a file that does not exist yet")
    bring = actions.add_parser("import", help="a Web3 key file (version 3) as the next hot key")
    bring.add_argument("keystore", metavar="FILE", help="the key file")
    bring.add_argument("--public", help="keys.json, to add the address to")
    for action in (export, bring):
        where = action.add_mutually_exclusive_group()
        where.add_argument(
            "--password-fd", type=int, metavar="N", help="the file's password, from here"
        )
        where.add_argument(
            "--password-file", metavar="FILE", help="a file with it; without either it is typed"
        )
    for action in (split, restore, export, bring):
        action.add_argument("--vault", required=True, help="folder of the vault")
        action.add_argument(
            "--passphrase-fd", type=int, required=True, metavar="N", help="the vault's, read here"
        )


def _add_audit(commands: Subparsers) -> None:
    """Without an action the auditor itself runs, and has its own options."""
    audit = commands.add_parser(
        "audit", help="independent audit of the books; exit 1 with every break by its name"
    )
    actions = audit.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("pauses", help="withdrawals that wait for the books; exit 1 while any")
    accept = actions.add_parser("accept", help="say that a break was looked at; it pauses no more")
    accept.add_argument("subject", help="an asset, * for all, or the code of a check")
    accept.add_argument("--run", required=True, type=int, help="the run that was looked at")
    accept.add_argument("--by", required=True, type=operator, metavar="NAME", help="who has looked")
    accept.add_argument("--note", required=True, metavar="TEXT", help="what was found and done")


def _add_chain(commands: Subparsers) -> None:
    chain = commands.add_parser("chain", help="what is stopped on the chain's side, and going on")
    actions = chain.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser(
        "status", help="networks, nodes, signers and tokens; exit 1 when one is halted or frozen"
    )
    review = actions.add_parser("resolve-review", help="end a payment in review by proof")
    review.add_argument("payment", help="wdr_…, or int_… as its case names it")
    review.add_argument("--by", required=True, type=operator, metavar="NAME", help="who asks")
    for name, what in (
        ("end-unsigned", "say that a payment whose address lost its key was never signed"),
        ("approve-unsigned", "agree: it ends, and what is held for it is given back"),
    ):
        unsigned = actions.add_parser(name, help=what)
        unsigned.add_argument("payment", help="wdr_…, or int_… of the house's own")
        unsigned.add_argument("--by", required=True, type=operator, metavar="NAME", help="you")
    for name, what in (
        ("cancel", "take a withdrawal back for its owner, at the house's cost, or let a nonce go"),
        ("speed-up", "send a withdrawal again with higher fees, inside its bound"),
    ):
        ask = actions.add_parser(name, help=what)
        ask.add_argument("withdrawal", help="wdr_…; to cancel a batch, sweep or move int_…")
        ask.add_argument("--by", required=True, type=operator, metavar="NAME", help="who asks")
    actions.add_parser("approvals", help="payments that wait for operators' signatures")
    approval = actions.add_parser("approve-payment", help="hand over an operator's signature")
    approval.add_argument("intent", help="int_…, from: bifold chain approvals")
    approval.add_argument(
        "--by", type=operator, metavar="NAME", help="your name; needed for what leaves warm"
    )
    how = approval.add_mutually_exclusive_group(required=True)
    how.add_argument("--signature", metavar="HEX", help="EIP-191, over the text that is shown")
    how.add_argument("--keystore", metavar="FILE", help="sign here with a Web3 key file")
    halt = actions.add_parser("halt-token", help="neither credit nor send a token until it resumes")
    halt.add_argument("network", help="its name")
    halt.add_argument("asset", help="the token's code")
    halt.add_argument("--reason", required=True, metavar="TEXT", help="why; its case says it")
    halt.add_argument("--by", required=True, type=operator, metavar="NAME", help="who you are")
    for name, what, where in (
        ("resume-network", "let a halted network go on", ("network",)),
        ("resume-signer", "let a halted hot address give nonces again", ("network", "address")),
        ("resume-token", "credit and send a halted token again", ("network", "asset")),
    ):
        action = actions.add_parser(name, help=what)
        for argument in where:
            action.add_argument(argument, help="as `bifold chain status` names it")
        action.add_argument(
            "--by", required=True, type=operator, metavar="NAME", help="who has looked"
        )
        if name == "resume-signer":
            action.add_argument(
                "--next-nonce", type=nonce, metavar="N",
                help="where the chain stands, when payments of it are in no row of these books",
            )  # fmt: skip


def _add_deposits(commands: Subparsers) -> None:
    deposits = commands.add_parser("deposits", help="arrivals of nobody, or set aside, and losses")
    actions = deposits.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("unattributed", help="list them; exit 1 while there are any")
    listed.add_argument("--json", action="store_true", help="print as JSON")
    propose = actions.add_parser("propose", help="say whose one is, for somebody else to approve")
    propose.add_argument("arrival", help="una_…")
    propose.add_argument("--to", required=True, metavar="USR", help="usr_…")
    propose.add_argument("--tx", required=True, metavar="HASH", help="what brought it (0x…)")
    propose.add_argument("--by", required=True, type=operator, metavar="NAME", help="who you are")
    approve = actions.add_parser("approve", help="agree: the person is credited")
    approve.add_argument("arrival", help="una_…")
    approve.add_argument("--to", required=True, metavar="USR", help="usr_…, as it was proposed")
    approve.add_argument("--by", required=True, type=operator, metavar="NAME", help="who you are")
    aside = actions.add_parser("quarantined", help="set aside, not credited; exit 1 while any")
    aside.add_argument("--json", action="store_true", help="print as JSON")
    good = actions.add_parser("release", help="say that one of those is good")
    good.add_argument("deposit", help="dep_…, from: bifold deposits quarantined")
    good.add_argument("--reason", required=True, metavar="TEXT", help="why; it is kept")
    good.add_argument("--by", required=True, type=operator, metavar="NAME", help="who you are")
    booked = actions.add_parser("approve-release", help="agree: it is credited if it is there")
    booked.add_argument("deposit", help="dep_…")
    booked.add_argument("--by", required=True, type=operator, metavar="NAME", help="who you are")
    kept = actions.add_parser("dismiss-release", help="take that back: it stays set aside")
    kept.add_argument("deposit", help="dep_…")
    kept.add_argument("--by", required=True, type=operator, metavar="NAME", help="who you are")
    lost = actions.add_parser("losses", help="credited and gone from the chain; exit 1 while any")
    lost.add_argument("--json", action="store_true", help="print as JSON")
    bearer = actions.add_parser("propose-bearer", help="say who bears a loss that stays")
    bearer.add_argument("loss", help="los_…, from: bifold deposits losses")
    bearer.add_argument("bearer", choices=("customer", "house"), help="who pays for it")
    bearer.add_argument("--by", required=True, type=operator, metavar="NAME", help="who you are")
    borne = actions.add_parser("approve-bearer", help="agree: the loss leaves suspense")
    borne.add_argument("loss", help="los_…")
    borne.add_argument("--by", required=True, type=operator, metavar="NAME", help="who you are")
    for name, what in (
        ("propose-fork", "say that the node's chain is the right one, below finality too"),
        ("approve-fork", "agree: losses are booked, the network goes on along that chain"),
    ):
        action = actions.add_parser(name, help=what)
        action.add_argument("network", help="its name")
        action.add_argument(
            "--by", required=True, type=operator, metavar="NAME", help="who you are"
        )


def _add_topups(commands: Subparsers) -> None:
    topups = commands.add_parser(
        "topups", help="bank transfers that name nobody here, and differences with the card gateway"
    )
    actions = topups.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("unattributed", help="list them; exit 1 while there are any")
    listed.add_argument("--json", action="store_true", help="print as JSON")
    for name, what in (
        ("propose", "say whose one is, for somebody else to approve"),
        ("approve", "agree: the person is credited"),
    ):
        action = actions.add_parser(name, help=what)
        action.add_argument("transfer", help="una_…, from: bifold topups unattributed")
        action.add_argument("--to", required=True, metavar="USR", help="usr_…")
        action.add_argument(
            "--by", required=True, type=operator, metavar="NAME", help="who you are"
        )
    differ = actions.add_parser(
        "differences", help="top-ups that the gateway's list has otherwise; exit 1 while any"
    )
    differ.add_argument("--json", action="store_true", help="print as JSON")
    resolve = actions.add_parser(
        "resolve", help="say that the list is right, for somebody else to approve"
    )
    resolve.add_argument("topup", help="top_…, from: bifold topups differences")
    resolve.add_argument("--asset", metavar="CODE", help="where it differs in several")
    resolve.add_argument("--reason", required=True, help="why; the owner is told it, too")
    resolve.add_argument("--by", required=True, type=operator, metavar="NAME", help="who you are")
    agree = actions.add_parser("approve-resolve", help="agree: the books follow the list")
    agree.add_argument("resolution", help="gtr_…, from: bifold topups differences")
    agree.add_argument("--by", required=True, type=operator, metavar="NAME", help="who you are")


def _add_cases(commands: Subparsers) -> None:
    cases = commands.add_parser("cases", help="what stands still or needs a person's eye")
    actions = cases.add_subparsers(dest="action", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="list them; exit 1 while any is open")
    listed.add_argument("--all", action="store_true", help="closed ones, too (the newest 500)")
    listed.add_argument("--kind", help="only this kind, for example payment_late")
    show = actions.add_parser("show", help="one case with all that was known when it was opened")
    show.add_argument("case", help="cas_…")
    for action in (listed, show):
        action.add_argument("--json", action="store_true", help="print as JSON")
    close = actions.add_parser("close", help="say that one is done with; not while its cause lasts")
    close.add_argument("case", help="cas_…")
    close.add_argument("--by", required=True, type=operator, metavar="NAME", help="who has looked")
    close.add_argument("--note", required=True, metavar="TEXT", help="what was found and done")


def _add_seal(commands: Subparsers) -> None:
    seal = commands.add_parser("seal", help="the chain of hashes over the books and the events")
    actions = seal.add_subparsers(dest="action", metavar="ACTION", required=True)
    newest = actions.add_parser("head", help="the newest link, to write down outside")
    verify = actions.add_parser("verify", help="compute all anew; exit 1 names what was altered")
    verify.add_argument(
        "--anchor", action="append", default=[], type=anchor, metavar="SEQ:HASH",
        help="a head that was written down earlier, to be found again; repeat for more",
    )  # fmt: skip
    for action in (newest, verify):
        action.add_argument("--json", action="store_true", help="print as JSON")


if __name__ == "__main__":
    sys.exit(main())
