"""Every entry and the row that caused it: transfers, holds, withdrawals, deposits, exchange.

The causes of top-ups are in their own room, corrections and payments in theirs.
"""

from __future__ import annotations

from wallet.auditor.check import Check
from wallet.auditor.expected import NATIVE, Cause, checks_of
from wallet.auditor.rooms import topups

_COIN = "coalesce((SELECT asset FROM native n WHERE n.network = {0}.network), '?')"

TRANSFERS = Cause(
    "transfer",
    "a transfer moves its amount from payer to payee",
    ("transfer",),
    "SELECT entry_id, 'customer:' || payer_id || ':' || asset AS path, asset,"
    " -amount_minor AS amount FROM transfers UNION ALL"
    " SELECT entry_id, 'customer:' || payee_id || ':' || asset, asset, amount_minor FROM transfers",
    "SELECT entry_id FROM transfers",
)
HOLD_CAPTURES = Cause(
    "hold_capture",
    "what is captured of a hold goes from payer to payee",
    ("hold_capture",),
    "SELECT c.entry_id, 'customer:' || p.payer_id || ':' || h.asset AS path, h.asset,"
    " -c.amount_minor AS amount FROM hold_captures c JOIN holds h ON h.id = c.hold_id"
    " JOIN payment_holds p ON p.id = h.id UNION ALL"
    " SELECT c.entry_id, 'customer:' || p.payee_id || ':' || h.asset, h.asset, c.amount_minor"
    " FROM hold_captures c JOIN holds h ON h.id = c.hold_id JOIN payment_holds p ON p.id = h.id",
    "SELECT c.entry_id FROM hold_captures c JOIN payment_holds p ON p.id = c.hold_id",
)
_ENDED = (
    "ended AS (SELECT w.*, CASE WHEN i.state = 'final_ok' THEN w.amount_minor ELSE 0 END AS paid,"
    " coalesce(i.gas_fee_wei, 0) AS gas, coalesce(w.fee_minor, 0) AS fee"
    " FROM withdrawals w JOIN chain_intents i ON i.id = w.intent_id WHERE w.entry_id IS NOT NULL)"
)
WITHDRAWALS = Cause(
    "withdrawal",
    "a withdrawal takes amount and fee from its owner and the gas from the house",
    ("withdrawal", "withdrawal_failed", "withdrawal_cancelled"),
    "SELECT entry_id, 'customer:' || principal_id || ':' || asset AS path, asset,"
    " -(paid + fee) AS amount FROM ended UNION ALL"
    " SELECT entry_id, 'chain:' || network || ':' || asset || ':hot', asset, paid FROM ended"
    " UNION ALL SELECT entry_id, 'income:fee:withdrawal:' || asset, asset, fee FROM ended"
    f" UNION ALL SELECT entry_id, 'expense:gas:' || network || ':' || {_COIN.format('ended')},"
    f" {_COIN.format('ended')}, -gas FROM ended"
    f" UNION ALL SELECT entry_id, 'chain:' || network || ':' || {_COIN.format('ended')} || ':hot',"
    f" {_COIN.format('ended')}, gas FROM ended",
    "SELECT entry_id FROM withdrawals",
    f"{NATIVE}, {_ENDED}",
)
_ARRIVED = (
    "arrived AS (SELECT d.*, d.log_index < -1 AS by_hand FROM deposits d"
    " WHERE d.entry_id IS NOT NULL AND d.principal_id IS NOT NULL)"
)
DEPOSITS = Cause(
    "deposit",
    "a deposit credits its owner with what arrived",
    ("deposit",),
    # Assigned by hand: in the books already, as money of nobody known.
    "SELECT entry_id, CASE WHEN by_hand THEN 'unattributed:' || network || ':' || asset"
    "  ELSE 'chain:' || network || ':' || asset || ':deposit' END AS path, asset,"
    " -amount_minor AS amount FROM arrived UNION ALL"
    " SELECT entry_id, CASE WHEN status = 'quarantined' THEN 'unattributed:' || network || ':'"
    "  || asset ELSE 'customer:' || principal_id || ':' || asset END, asset, amount_minor"
    " FROM arrived",
    "SELECT entry_id FROM deposits",
    _ARRIVED,
)
ARRIVALS = Cause(
    "arrival",
    "what is found by balances is in the books as nobody's",
    ("unattributed",),
    "SELECT entry_id, 'chain:' || network || ':' || asset || ':deposit' AS path, asset,"
    " -amount_minor AS amount FROM unattributed_arrivals UNION ALL"
    " SELECT entry_id, 'unattributed:' || network || ':' || asset, asset, amount_minor"
    " FROM unattributed_arrivals",
    "SELECT entry_id FROM unattributed_arrivals",
)
COLD_GAS = Cause(
    "cold_gas",
    "gas of a cold address is an expense",
    ("cold_gas",),
    f"SELECT entry_id, 'chain:' || network || ':' || {_COIN.format('cold_gas')} || ':cold' AS path,"
    f" {_COIN.format('cold_gas')} AS asset, fee_minor AS amount FROM cold_gas UNION ALL"
    f" SELECT entry_id, 'expense:gas:' || network || ':' || {_COIN.format('cold_gas')},"
    f" {_COIN.format('cold_gas')}, -fee_minor FROM cold_gas",
    "SELECT entry_id FROM cold_gas",
    NATIVE,
)
_CAME = (
    "EXISTS (SELECT FROM deposits d WHERE d.network = i.network AND d.tx_hash = i.mined_tx_hash"
    " AND d.entry_id IS NOT NULL AND NOT d.is_move AND d.log_index >= -1 AND d.principal_id {}"
    " AND d.asset = i.asset AND d.to_address = i.to_address AND d.amount_minor = i.amount_minor)"
)
_MOVED = (
    "moved AS (SELECT m.*, CASE WHEN m.kind IN ('to_hot', 'warm_to_cold', 'evacuate_warm')"
    "  THEN 'warm' ELSE 'hot' END AS payer, CASE m.kind WHEN 'to_warm' THEN 'warm'"
    "  WHEN 'to_hot' THEN 'hot' ELSE 'cold' END AS payee,"
    " CASE WHEN i.state = 'final_ok' THEN i.amount_minor ELSE 0 END AS paid,"
    # Its row was lost for a while, and what it brought booked as an arrival.
    f" {_CAME.format('IS NULL')} AS came,"
    " coalesce(i.gas_fee_wei, 0) AS gas FROM treasury_moves m"
    " JOIN chain_intents i ON i.id = m.intent_id WHERE m.entry_id IS NOT NULL)"
)
TREASURY = Cause(
    "treasury",
    "a treasury move takes from its tier what it says",
    (
        "treasury_to_cold",
        "treasury_profit",
        "treasury_evacuate",
        "treasury_refill",
        "treasury_to_warm",
        "treasury_to_hot",
        "treasury_warm_to_cold",
        "treasury_evacuate_warm",
    ),
    "SELECT entry_id, CASE WHEN kind = 'profit' THEN 'house:profit_taken:' || asset"
    "  WHEN came THEN 'unattributed:house:' || asset"
    "  ELSE 'chain:' || network || ':' || asset || ':' || payee END AS path, asset,"
    " -paid AS amount FROM moved UNION ALL"
    " SELECT entry_id, 'chain:' || network || ':' || asset || ':' || payer, asset, paid FROM moved"
    f" UNION ALL SELECT entry_id, 'expense:gas:' || network || ':' || {_COIN.format('moved')},"
    f" {_COIN.format('moved')}, -gas FROM moved"
    f" UNION ALL SELECT entry_id, 'chain:' || network || ':' || {_COIN.format('moved')} || ':'"
    f"  || payer, {_COIN.format('moved')}, gas FROM moved",
    "SELECT entry_id FROM treasury_moves",
    f"{NATIVE}, {_MOVED}",
)
_SWEPT = (
    # What a top-up brought counts as gas where the address's owner was credited with it, its row
    # being lost.
    "swept AS (SELECT s.*, coalesce(i.gas_fee_wei, 0) AS gas, CASE WHEN s.kind = 'top_up'"
    f"  AND i.state = 'final_ok' AND {_CAME.format('IS NOT NULL')} THEN i.amount_minor ELSE 0"
    "  END AS given,"
    " CASE WHEN s.kind IN ('coin', 'token') THEN 'deposit' ELSE 'hot' END AS payer"
    " FROM sweeps s JOIN chain_intents i ON i.id = s.intent_id WHERE s.entry_id IS NOT NULL),"
    # What left each address without the gas, which its own row of moves carries too.
    f" gone AS (SELECT w.entry_id, w.network, w.place, m.asset, sum(m.minor) + CASE"
    f"  WHEN w.payer = 'deposit' AND m.asset = {_COIN.format('w')} THEN w.gas ELSE 0 END AS minor"
    " FROM swept w JOIN deposit_moves m ON m.sweep_id = w.id"
    " GROUP BY w.entry_id, w.network, w.place, w.payer, w.gas, m.asset)"
)
SWEEPS = Cause(
    "sweep",
    "a sweep moves what its addresses gave, and its gas is an expense",
    ("sweep",),
    "SELECT entry_id, 'chain:' || network || ':' || asset || ':deposit' AS path, asset,"
    " -minor AS amount FROM gone UNION ALL"
    " SELECT entry_id, 'chain:' || network || ':' || asset || ':' || place, asset, minor FROM gone"
    f" UNION ALL SELECT entry_id, 'expense:gas:' || network || ':' || {_COIN.format('swept')},"
    f" {_COIN.format('swept')}, -gas - given FROM swept"
    f" UNION ALL SELECT entry_id, 'chain:' || network || ':' || {_COIN.format('swept')} || ':'"
    f"  || payer, {_COIN.format('swept')}, gas + given FROM swept",
    "SELECT entry_id FROM sweeps",
    f"{NATIVE}, {_SWEPT}",
)
CONVERSIONS = Cause(
    "conversion",
    "a conversion moves what its quote says",
    ("conversion",),
    "SELECT entry_id, 'customer:' || principal_id || ':' || source_asset AS path,"
    " source_asset AS asset, -source_minor AS amount FROM conv UNION ALL"
    " SELECT entry_id, 'house:fx_position:' || source_asset, source_asset,"
    "  source_minor - fee_minor - spread_minor FROM conv UNION ALL"
    " SELECT entry_id, 'income:fx_spread:' || source_asset, source_asset, spread_minor FROM conv"
    " UNION ALL SELECT entry_id, 'income:fee:conversion:' || source_asset, source_asset, fee_minor"
    " FROM conv UNION ALL"
    " SELECT entry_id, 'house:fx_position:' || target_asset, target_asset, -target_minor FROM conv"
    " UNION ALL SELECT entry_id, 'customer:' || principal_id || ':' || target_asset, target_asset,"
    "  target_minor FROM conv",
    "SELECT entry_id FROM conversions",
    "conv AS (SELECT c.entry_id, c.principal_id, q.source_asset, q.source_minor, q.target_asset,"
    " q.target_minor, q.fee_minor, q.spread_minor FROM conversions c"
    " JOIN quotes q ON q.id = c.quote_id)",
)

# There are more transfers than anything else: the same question in one pass over their postings.
_TRANSFER_ENTRY_OFF = Check(
    "transfer_entry_off",
    f"{TRANSFERS.means}: its entry moves exactly that",
    "SELECT t.entry_id, NULL, t.asset, t.payer_id || ' to ' || t.payee_id || ' ' || t.amount_minor,"
    " string_agg(a.path || ' ' || p.amount_minor, ', ') FROM transfers t"
    " JOIN postings p ON p.entry_id = t.entry_id JOIN accounts a ON a.id = p.account_id"
    " WHERE p.id > {after} GROUP BY t.id HAVING count(*) <> 2"
    " OR count(*) FILTER (WHERE p.asset = t.asset AND a.kind = 'customer'"
    "  AND a.principal_id = t.payer_id AND p.amount_minor = -t.amount_minor) <> 1"
    " OR count(*) FILTER (WHERE p.asset = t.asset AND a.kind = 'customer'"
    "  AND a.principal_id = t.payee_id AND p.amount_minor = t.amount_minor) <> 1",
)
_CAUSES = (
    TRANSFERS, HOLD_CAPTURES, WITHDRAWALS, DEPOSITS, ARRIVALS, COLD_GAS, TREASURY, SWEEPS,
    CONVERSIONS,
)  # fmt: skip
_ALL = (*_CAUSES, *topups.CAUSES)
# Kinds that other rooms explain, each with a check of its own there.
_ELSEWHERE = (
    "reversal", "deposit_lost", "deposit_loss_settled", "deposit_loss_returned",
    "receivable_collected", "nonce_burn", "payout_batch", "allowance", "treasury_fund",
    "correction", "bank.opening", "payout.contradicted", "payment.funded",
    "payment.converted", "payment.submitted", "payment.completed", "payment.paid",
    "payment.returned", "payment.failed", "payment.cancelled",
)  # fmt: skip
_KNOWN = ", ".join(f"'{k}'" for k in (*_ELSEWHERE, *(k for c in _ALL for k in c.kinds)))

CHECKS = (
    _TRANSFER_ENTRY_OFF,
    *(
        check
        for cause in _CAUSES
        for check in checks_of(cause)
        if check.code != _TRANSFER_ENTRY_OFF.code
    ),
    Check(
        "entry_kind_unknown",
        "an entry is of a kind that has a cause",
        "SELECT e.id, NULL, (SELECT min(p.asset) FROM postings p WHERE p.entry_id = e.id),"
        f" 'a known kind', e.kind FROM entries e WHERE e.kind NOT IN ({_KNOWN})",
    ),
    Check(
        "entry_claimed_twice",
        "an entry is the booking of one row",
        "SELECT entry_id, NULL, NULL, 1, count(*) FROM ("
        + " UNION ALL ".join(
            f"SELECT entry_id FROM ({c.named}) n{i} WHERE entry_id IS NOT NULL"
            for i, c in enumerate(_ALL)
            if c is not HOLD_CAPTURES
        )
        + ") n GROUP BY entry_id HAVING count(*) > 1",
    ),
)
