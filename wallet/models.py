"""Collects every slice's tables into one metadata, for Alembic's comparison."""

from __future__ import annotations

from sqlmodel import SQLModel

from wallet import kernel_models
from wallet.audits import models as audits
from wallet.cases import models as cases
from wallet.conversions import models as conversions
from wallet.corrections import models as corrections
from wallet.custody import models as custody
from wallet.deposits import models as deposits
from wallet.fx import models as fx
from wallet.identity import models as identity
from wallet.ledger import models as ledger
from wallet.onchain import models as onchain
from wallet.oplog import models as oplog
from wallet.payments import models as payments
from wallet.payouts import models as payouts
from wallet.reconcile import models as reconcile
from wallet.risk import models as risk
from wallet.seal import models as seal
from wallet.selfcustody import models as selfcustody
from wallet.sweeps import models as sweeps
from wallet.topups import models as topups
from wallet.treasury import models as treasury
from wallet.watch import models as watch
from wallet.withdrawals import models as withdrawals

ROOMS_WITH_TABLES = (
    audits,
    cases,
    conversions,
    corrections,
    custody,
    deposits,
    fx,
    identity,
    kernel_models,
    ledger,
    onchain,
    oplog,
    payments,
    payouts,
    reconcile,
    risk,
    seal,
    selfcustody,
    sweeps,
    topups,
    treasury,
    watch,
    withdrawals,
)

metadata = SQLModel.metadata
