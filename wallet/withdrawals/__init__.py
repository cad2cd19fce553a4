"""Money out to an address outside: held, signed, broadcast, mined, settled."""

from wallet.withdrawals.debt import OwedWithdrawals
from wallet.withdrawals.errors import MaxFeeTooLow
from wallet.withdrawals.operator import cancel_for, speed_up_for
from wallet.withdrawals.plan import Plan, Planner
from wallet.withdrawals.service import (
    PURPOSE,
    SUBMIT,
    AttemptView,
    EventView,
    Withdrawal,
    cancel,
    create,
    get,
    page,
    speed_up,
)
from wallet.withdrawals.settle import WithdrawalFollower
from wallet.withdrawals.states import Status
from wallet.withdrawals.tasks import WithdrawalTasks

__all__ = [
    "PURPOSE",
    "SUBMIT",
    "AttemptView",
    "EventView",
    "MaxFeeTooLow",
    "OwedWithdrawals",
    "Plan",
    "Planner",
    "Status",
    "Withdrawal",
    "WithdrawalFollower",
    "WithdrawalTasks",
    "cancel",
    "cancel_for",
    "create",
    "get",
    "page",
    "speed_up",
    "speed_up_for",
]
