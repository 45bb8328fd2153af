WITH account_users AS (
  SELECT DISTINCT member, account FROM (SELECT concat('u:', s.user_key) AS member, concat('g:', s.group_key) AS account FROM (SELECT * FROM (SELECT nullif(CAST(t."user_id" AS VARCHAR(65535)), '') AS user_key, nullif(CAST(t."group_id" AS VARCHAR(65535)), '') AS group_key FROM "shop"."staff" t WHERE 1 = 1 AND NOT coalesce(t."has_left", false)) g WHERE group_key IS NOT NULL) s WHERE s.user_key IS NOT NULL) b
),
all_users AS (
  SELECT DISTINCT member FROM (SELECT concat('u:', s.user_key) AS member FROM (SELECT nullif(CAST(t."id" AS VARCHAR(65535)), '') AS user_key, CAST(NULL AS BIGINT) AS ts FROM "shop"."users" t WHERE 1 = 1 UNION ALL SELECT nullif(CAST(t."user_id" AS VARCHAR(65535)), '') AS user_key, CAST(NULL AS BIGINT) AS ts FROM "shop"."staff" t WHERE 1 = 1) s WHERE s.user_key IS NOT NULL) k
),
all_accounts AS (
  SELECT member FROM (SELECT concat('g:', id) AS member, min(ts) AS first_at, max(ts) AS last_at FROM (SELECT nullif(CAST(t."id" AS VARCHAR(65535)), '') AS id, CAST(0 AS BIGINT) AS ts FROM "shop"."companies" t WHERE 1 = 1 UNION ALL SELECT nullif(CAST(t."group_id" AS VARCHAR(65535)), '') AS id, CAST(0 AS BIGINT) AS ts FROM "shop"."staff" t WHERE 1 = 1) a WHERE id IS NOT NULL GROUP BY id) k
),
e0 AS (
  SELECT r.member, coalesce(count(CASE WHEN r.w0 THEN 1 END) >= CAST('1.0' AS DOUBLE PRECISION), false) AS b0 FROM (SELECT r.*, (r.ts BETWEEN 1770508800000000 AND 1772323200000000) AS w0 FROM (SELECT CASE WHEN s.user_key IS NOT NULL THEN concat('u:', s.user_key) WHEN s.anonymous_key IS NOT NULL THEN concat('a:', s.anonymous_key) END AS member, s.ts, s.message_id, s.source FROM (SELECT nullif(CAST(t."user_id" AS VARCHAR(65535)), '') AS user_key, nullif(CAST(t."anonymous_id" AS VARCHAR(65535)), '') AS anonymous_key, datediff(us, TIMESTAMP '1970-01-01 00:00:00', (t."timestamp" AT TIME ZONE 'UTC')) AS ts, nullif(CAST(t."id" AS VARCHAR(65535)), '') AS message_id, CAST(CAST(NULL AS VARCHAR(65535)) AS VARCHAR(65535)) AS source FROM "shop"."Order Completed" t WHERE 1 = 1 AND t."timestamp" <= TIMESTAMPTZ '2026-03-01 00:00:00.000000+00:00' AND t."timestamp" >= TIMESTAMPTZ '2026-02-08 00:00:00.000000+00:00' UNION ALL SELECT nullif(CAST(t."user_id" AS VARCHAR(65535)), '') AS user_key, nullif(CAST(t."anonymous_id" AS VARCHAR(65535)), '') AS anonymous_key, datediff(us, TIMESTAMP '1970-01-01 00:00:00', (t."timestamp" AT TIME ZONE 'UTC')) AS ts, nullif(CAST(t."id" AS VARCHAR(65535)), '') AS message_id, CAST(CAST(NULL AS VARCHAR(65535)) AS VARCHAR(65535)) AS source FROM "shop"."events" t WHERE CAST(t."name" AS VARCHAR(65535)) = 'Order Completed' AND t."timestamp" <= TIMESTAMPTZ '2026-03-01 00:00:00.000000+00:00' AND t."timestamp" >= TIMESTAMPTZ '2026-02-08 00:00:00.000000+00:00') s) r) r GROUP BY r.member
),
t1 AS (
  SELECT r.member, coalesce(((r.c1 IN ('string') AND r.c0 = 'business')), false) AS b0 FROM (SELECT v.*, row_number() OVER (PARTITION BY v.member ORDER BY v.ts DESC, v.message_id DESC) AS n FROM (SELECT concat('g:', s.group_key) AS member, s.ts, s.message_id, s.c0, s.c1 FROM (SELECT nullif(CAST(t."id" AS VARCHAR(65535)), '') AS group_key, CAST(0 AS BIGINT) AS ts, CAST(CAST(NULL AS VARCHAR(65535)) AS VARCHAR(65535)) AS message_id, CAST(t."tier" AS VARCHAR(65535)) AS c0, CASE WHEN CAST(t."tier" AS VARCHAR(65535)) IS NOT NULL THEN 'string' END AS c1 FROM "shop"."companies" t WHERE 1 = 1) s WHERE s.group_key IS NOT NULL) v) r WHERE r.n = 1
),
a0 AS (
  SELECT b.account, max(CASE WHEN (NOT coalesce(e0.b0, false)) THEN 1 ELSE 0 END) AS any0, min(CASE WHEN (NOT coalesce(e0.b0, false)) THEN 1 ELSE 0 END) AS all0 FROM account_users b JOIN all_users u ON u.member = b.member LEFT JOIN e0 ON e0.member = u.member GROUP BY b.account
)
SELECT 'group_id' AS kind, substr(x.member, 3) AS id FROM (
  SELECT a.member FROM all_accounts a LEFT JOIN a0 ON a0.account = a.member LEFT JOIN t1 ON t1.member = a.member WHERE (coalesce(t1.b0, false) AND (CASE WHEN a0.account IS NULL THEN true ELSE a0.all0 = 1 END))
) x
