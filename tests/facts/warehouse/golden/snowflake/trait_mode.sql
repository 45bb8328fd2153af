WITH all_users AS (
  SELECT DISTINCT member FROM (SELECT concat('u:', s.user_key) AS member FROM (SELECT nullif(CAST(t."id" AS VARCHAR), '') AS user_key, CAST(NULL AS NUMBER(38, 0)) AS ts FROM "shop"."users" t WHERE 1 = 1 UNION ALL SELECT nullif(CAST(t."user_id" AS VARCHAR), '') AS user_key, CAST(NULL AS NUMBER(38, 0)) AS ts FROM "shop"."staff" t WHERE 1 = 1) s WHERE s.user_key IS NOT NULL) k
),
account_users AS (
  SELECT DISTINCT member, account FROM (SELECT concat('u:', s.user_key) AS member, concat('g:', s.group_key) AS account FROM (SELECT * FROM (SELECT nullif(CAST(t."user_id" AS VARCHAR), '') AS user_key, nullif(CAST(t."group_id" AS VARCHAR), '') AS group_key FROM "shop"."staff" t WHERE 1 = 1 AND NOT coalesce(t."has_left", false)) g WHERE group_key IS NOT NULL) s WHERE s.user_key IS NOT NULL) b
),
all_accounts AS (
  SELECT member FROM (SELECT concat('g:', id) AS member, min(ts) AS first_at, max(ts) AS last_at FROM (SELECT nullif(CAST(t."id" AS VARCHAR), '') AS id, CAST(0 AS NUMBER(38, 0)) AS ts FROM "shop"."companies" t WHERE 1 = 1 UNION ALL SELECT nullif(CAST(t."group_id" AS VARCHAR), '') AS id, CAST(0 AS NUMBER(38, 0)) AS ts FROM "shop"."staff" t WHERE 1 = 1) a WHERE id IS NOT NULL GROUP BY id) k
),
v0 AS (
  SELECT q.member, q.v FROM (SELECT member, v FROM (SELECT member, v, row_number() OVER (PARTITION BY member ORDER BY n DESC, v) AS k FROM (SELECT member, v, count(*) AS n FROM (SELECT r.owner AS member, r.c0 AS v FROM (SELECT r.*, b.account AS owner FROM (SELECT CASE WHEN s.user_key IS NOT NULL THEN concat('u:', s.user_key) WHEN s.anonymous_key IS NOT NULL THEN concat('a:', s.anonymous_key) END AS member, s.ts, s.message_id, s.source, s.c0 FROM (SELECT nullif(CAST(t."user_id" AS VARCHAR), '') AS user_key, nullif(CAST(t."anonymous_id" AS VARCHAR), '') AS anonymous_key, date_part(epoch_microsecond, t."timestamp") AS ts, nullif(CAST(t."id" AS VARCHAR), '') AS message_id, CAST(CAST(NULL AS VARCHAR) AS VARCHAR) AS source, CASE WHEN typeof(get(as_object(to_variant(t."properties")), 'words')) <> 'NULL_VALUE' THEN to_varchar(get(as_object(to_variant(t."properties")), 'words')) END AS c0 FROM "shop"."events" t WHERE CAST(t."name" AS VARCHAR) = 'Searched' AND t."timestamp" <= '2026-03-01 00:00:00.000000+00:00'::TIMESTAMP_TZ) s) r JOIN account_users b ON b.member = r.member JOIN all_users u ON u.member = r.member WHERE 1 = 1) r WHERE 1 = 1) q WHERE v IS NOT NULL GROUP BY member, v) q WHERE n >= 3) q WHERE k = 1) q WHERE q.v IS NOT NULL
)
SELECT 'group_id' AS kind, substr(x.member, 3) AS id, CASE WHEN v0.v IS NOT NULL THEN 'string' END AS value_kind, v0.v AS value
FROM all_accounts x JOIN v0 ON v0.member = x.member
