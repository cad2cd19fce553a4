"""Which handler serves which job, and which loops run: the whole list in one place."""

from __future__ import annotations

from functools import partial

from keys.signer import RemoteSigner
from wallet import audits, holds, outbox
from wallet.bootstrap import NoSigner, Services
from wallet.deposits import Scanner, SurplusFinder
from wallet.deposits.scanner import TICK_SECONDS as SCAN_SECONDS
from wallet.deposits.surplus import TICK_SECONDS as SURPLUS_SECONDS
from wallet.followers import followers
from wallet.fx.corridors import corridors
from wallet.fx.feed import DUE as RATE_DUE
from wallet.fx.feed import TICK_SECONDS as RATE_SECONDS
from wallet.fx.feed import RateFeed, SimulatedRates
from wallet.holds.expiry import DUE as EXPIRE_DUE
from wallet.holds.expiry import TICK_SECONDS as EXPIRE_SECONDS
from wallet.jobs import JobRunner, Loop
from wallet.onchain import Desk, IntentRunner, NetworkObserver
from wallet.onchain.casework import TICK_SECONDS as LATE_SECONDS
from wallet.onchain.casework import LateWatch
from wallet.onchain.network import TICK_SECONDS as OBSERVE_SECONDS
from wallet.onchain.repository import DUE as SEND_DUE
from wallet.onchain.runner import TICK_SECONDS as SEND_SECONDS
from wallet.onchain.tokens import TICK_SECONDS as TOKEN_SECONDS
from wallet.onchain.tokens import TokenWatch
from wallet.onchain.unsent import TICK_SECONDS as UNSENT_SECONDS
from wallet.onchain.unsent import UnsentWatch
from wallet.payments import ADVANCE, PaymentTasks
from wallet.payments.tasks import DUE as PAYMENT_DUE
from wallet.payments.tasks import TICK_SECONDS as PAYMENT_SECONDS
from wallet.payouts import SimulatedBank, StatementReader
from wallet.payouts.simbank import DUE as BANK_DUE
from wallet.payouts.simbank import TICK_SECONDS as BANK_SECONDS
from wallet.payouts.statement import DUE as STATEMENT_DUE
from wallet.payouts.statement import TICK_SECONDS as STATEMENT_SECONDS
from wallet.receivables import COLLECT_SECONDS, Collector
from wallet.reconcile import TICK_SECONDS as RECONCILE_SECONDS
from wallet.reconcile import ReconcileWatch
from wallet.seal import DUE as SEAL_DUE
from wallet.seal import TICK_SECONDS as SEAL_SECONDS
from wallet.seal import Sealer
from wallet.seed import HouseSeed
from wallet.selfcustody import TICK_SECONDS as OWN_SECONDS
from wallet.selfcustody import SelfCustodyWorker
from wallet.selfcustody.worker import DUE as OWN_DUE
from wallet.sweeps import TICK_SECONDS as SWEEP_SECONDS
from wallet.sweeps import Sweeper
from wallet.topups import IncomingTransfers, SimulatedGateway, TopupTasks, cards
from wallet.topups import service as topup_jobs
from wallet.topups.simgate import DUE as GATEWAY_DUE
from wallet.topups.simgate import TICK_SECONDS as GATEWAY_SECONDS
from wallet.topups.tasks import DUE as TOPUP_DUE
from wallet.topups.tasks import TICK_SECONDS as TOPUP_SECONDS
from wallet.treasury import TreasuryWatch
from wallet.treasury.watch import TICK_SECONDS as TREASURY_SECONDS
from wallet.watch import TICK_SECONDS as WATCH_SECONDS
from wallet.watch import BalanceReader
from wallet.withdrawals import SUBMIT, OwedWithdrawals, WithdrawalTasks


def wire(services: Services, runner: JobRunner) -> list[Loop]:
    """Register every job handler with `runner`; returns every loop of the rooms."""
    return [
        Loop("outbox.relay", outbox.Relay(services.db).tick, outbox.TICK_SECONDS, due=outbox.DUE),
        Loop("seal", Sealer(services.db).tick, SEAL_SECONDS, due=SEAL_DUE),
        Loop(
            "receivables",
            Collector(
                services.db, services.assets, [OwedWithdrawals(services.db, services.assets)]
            ).tick,
            COLLECT_SECONDS,
        ),
        Loop(
            "holds.expire",
            partial(holds.expire_all, services.db, services.assets),
            EXPIRE_SECONDS,
            due=EXPIRE_DUE,
        ),
        Loop(
            "reconcile",
            ReconcileWatch(services.db, services.chains, services.assets).tick,
            RECONCILE_SECONDS,
        ),
        Loop(
            "audit",
            audits.AuditWatch(services.db, services.settings).tick,
            audits.TICK_SECONDS,
        ),
        *_chain(services, runner),
        *_own_accounts(services),
        *_bank(services, runner),
    ]


def _chain(services: Services, runner: JobRunner) -> list[Loop]:
    """Per network: what its node says, what arrives, what is sent."""
    db, assets = services.db, services.assets
    seed = HouseSeed(services)
    told = followers(assets, services.networks)
    senders: dict[str, IntentRunner] = {}
    loops = []
    for name, chain in services.chains.items():
        scanner = Scanner(db, chain, assets)
        loops += [
            Loop(
                f"observe.{name}",
                NetworkObserver(db, chain, nodes=services.failovers.get(name)).tick,
                OBSERVE_SECONDS,
            ),
            Loop(f"scan.{name}", seed.before(scanner.tick), SCAN_SECONDS),
            Loop(f"tokens.{name}", TokenWatch(db, chain).tick, TOKEN_SECONDS),
            Loop(f"late.{name}", LateWatch(db, chain.network).tick, LATE_SECONDS),
            Loop(f"unsent.{name}", UnsentWatch(db, chain.network).tick, UNSENT_SECONDS),
            Loop(f"watch.{name}", BalanceReader(db, chain).tick, WATCH_SECONDS),
            Loop(
                f"surplus.{name}",
                SurplusFinder(db, chain, assets, services.deriver_of(name)).tick,
                SURPLUS_SECONDS,
            ),
        ]
        if not isinstance(services.signer, NoSigner):  # it would lead, and keep others from signing
            senders[name] = IntentRunner(Desk(db, chain, services.signer, told))
            watch = TreasuryWatch(db, chain, assets)
            sweeper = Sweeper(db, chain, assets, services.signer)
            loops += [
                Loop(f"send.{name}", senders[name].tick, SEND_SECONDS, due=SEND_DUE, about=(name,)),
                Loop(f"sweep.{name}", sweeper.tick, SWEEP_SECONDS),
                Loop(f"treasury.{name}", watch.tick, TREASURY_SECONDS),
            ]
    runner.register(SUBMIT, WithdrawalTasks(db, senders).submit)
    return loops


def _own_accounts(services: Services) -> list[Loop]:
    """People's own accounts, where our own signer is behind its socket."""
    if not isinstance(services.signer, RemoteSigner):
        return []
    worker = SelfCustodyWorker(services.db, services.chains, services.signer)
    return [Loop("selfcustody", worker.tick, OWN_SECONDS, due=OWN_DUE)]


def _bank(services: Services, runner: JobRunner) -> list[Loop]:
    """Simulated rates; payments, transfers and cards over a simulated bank and gateway.

    In production none of these exist yet: quotes answer `rate_stale`, and that is right there.
    """
    if not services.settings.sandbox:
        return []
    bank = SimulatedBank(services.db)
    reader = StatementReader(services.db, bank, services.assets, IncomingTransfers())
    payments = PaymentTasks(
        services.db,
        services.assets,
        {corridor.rail: bank for corridor in corridors(services.assets)},
    )
    runner.register(ADVANCE, payments.advance)
    base = services.settings.base_url
    gateway = SimulatedGateway(services.db, services.assets, action_base=base)
    topups = TopupTasks(services.db, services.assets, gateway)
    runner.register(topup_jobs.ADVANCE, topups.advance)
    runner.register(cards.FORGET, topups.forget)
    feed = RateFeed(services.db, source=SimulatedRates())
    return [
        Loop("fx.rates", feed.tick, RATE_SECONDS, due=RATE_DUE),
        Loop("payments.sweep", payments.tick, PAYMENT_SECONDS, due=PAYMENT_DUE),
        Loop("simbank", bank.tick, BANK_SECONDS, due=BANK_DUE),
        Loop("bank.statement", reader.tick, STATEMENT_SECONDS, due=STATEMENT_DUE),
        Loop("simgate", gateway.tick, GATEWAY_SECONDS, due=GATEWAY_DUE),
        Loop("topups", topups.tick, TOPUP_SECONDS, due=TOPUP_DUE),
    ]
