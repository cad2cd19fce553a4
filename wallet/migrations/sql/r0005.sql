-- Each branch has an index on (owner, created_at DESC, id DESC), so a page costs a page.
-- `direction`: in, out, or exchange (source shown, target beside it).
CREATE VIEW activity AS
    SELECT t.id, t.payer_id AS principal_id, 'transfer' AS kind, 'completed' AS status,
           'out' AS direction, t.asset, t.amount_minor, NULL::text AS fee_asset,
           NULL::numeric AS fee_minor, NULL::text AS target_asset, NULL::numeric AS target_minor,
           '@' || u.handle AS counterparty, u.display_name AS counterparty_name,
           t.note, t.created_at
      FROM transfers t JOIN users u ON u.id = t.payee_id
    UNION ALL
    SELECT t.id, t.payee_id, 'transfer', 'completed', 'in', t.asset, t.amount_minor, NULL, NULL,
           NULL, NULL, '@' || u.handle, u.display_name, t.note, t.created_at
      FROM transfers t JOIN users u ON u.id = t.payer_id
    UNION ALL
    SELECT d.id, d.principal_id, 'deposit', d.status, 'in', d.asset, d.amount_minor, NULL, NULL,
           NULL, NULL, d.from_address, d.network, NULL, d.created_at
      FROM deposits d WHERE d.principal_id IS NOT NULL
    UNION ALL
    SELECT w.id, w.principal_id, 'withdrawal', w.status, 'out', w.asset, w.amount_minor, w.asset,
           coalesce(w.fee_minor, w.fee_bound_minor), NULL, NULL, w.to_address, w.network, NULL,
           w.created_at
      FROM withdrawals w
    UNION ALL
    SELECT c.id, c.principal_id, 'conversion', c.status, 'exchange', c.source_asset, c.source_minor,
           NULL, NULL, c.target_asset, c.target_minor, NULL, NULL, NULL, c.created_at
      FROM conversions c
    UNION ALL
    SELECT p.id, p.principal_id, 'payment', p.status, 'out', q.source_asset, q.source_minor,
           q.source_asset, q.fee_minor, q.target_asset, q.target_minor, p.corridor, r.name,
           p.reference, p.created_at
      FROM payments p JOIN quotes q ON q.id = p.quote_id JOIN recipients r ON r.id = p.recipient_id
    UNION ALL
    SELECT b.bank_reference, b.principal_id, 'topup', 'succeeded', 'in', b.asset, b.amount_minor,
           NULL, NULL, NULL, NULL, NULL, 'bank_transfer', NULL, b.created_at
      FROM bank_credits b;
