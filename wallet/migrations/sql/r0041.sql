-- r0041: the bound of openings counts every one of its kind that stands before it in the same batch.
-- Those that name no bound of their own were left out.
CREATE OR REPLACE FUNCTION ledger_odd_opening(commands jsonb, start integer) RETURNS integer
LANGUAGE sql STABLE AS $$
    WITH opening AS MATERIALIZED (
        SELECT o.ordinality::integer - 1 AS n, a.principal_id AS owner, p.kind, p.most
          FROM jsonb_array_elements(commands) WITH ORDINALITY o,
               jsonb_to_record(o.value->'open') AS p(account text, kind text, most integer)
          JOIN accounts a ON a.id = p.account
         WHERE o.ordinality > start),
    counted AS MATERIALIZED (
        SELECT g.owner, g.kind, ledger_open_holds(g.owner, g.kind, g.most) AS open
          FROM (SELECT o.owner, o.kind, max(o.most) AS most FROM opening o GROUP BY 1, 2) g
         WHERE g.most IS NOT NULL)
    SELECT min(k.n) FROM (
        SELECT o.n, c.open + row_number() OVER (PARTITION BY o.owner, o.kind ORDER BY o.n) > o.most
               AS odd
          FROM opening o JOIN counted c ON c.owner = o.owner AND c.kind = o.kind) k
     WHERE k.odd
$$;
