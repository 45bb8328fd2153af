WITH all_users AS (
  SELECT DISTINCT member FROM (SELECT concat('u:', s.user_key) AS member FROM (SELECT nullif(CAST(t.`id` AS STRING), '') AS user_key, CAST(NULL AS INT64) AS ts FROM `shop`.`users` t WHERE 1 = 1 UNION ALL SELECT nullif(CAST(t.`user_id` AS STRING), '') AS user_key, CAST(NULL AS INT64) AS ts FROM `shop`.`staff` t WHERE 1 = 1) s WHERE s.user_key IS NOT NULL) k
),
account_users AS (
  SELECT DISTINCT member, account FROM (SELECT concat('u:', s.user_key) AS member, concat('g:', s.group_key) AS account FROM (SELECT * FROM (SELECT nullif(CAST(t.`user_id` AS STRING), '') AS user_key, nullif(CAST(t.`group_id` AS STRING), '') AS group_key FROM `shop`.`staff` t WHERE 1 = 1 AND NOT coalesce(t.`has_left`, false)) g WHERE group_key IS NOT NULL) s WHERE s.user_key IS NOT NULL) b
),
all_accounts AS (
  SELECT member FROM (SELECT concat('g:', id) AS member, min(ts) AS first_at, max(ts) AS last_at FROM (SELECT nullif(CAST(t.`id` AS STRING), '') AS id, CAST(0 AS INT64) AS ts FROM `shop`.`companies` t WHERE 1 = 1 UNION ALL SELECT nullif(CAST(t.`group_id` AS STRING), '') AS id, CAST(0 AS INT64) AS ts FROM `shop`.`staff` t WHERE 1 = 1) a WHERE id IS NOT NULL GROUP BY id) k
),
v0 AS (
  SELECT q.member, q.v FROM (SELECT member, to_json_string(array_agg(v ORDER BY v)) AS v FROM (SELECT DISTINCT r.owner AS member, r.c0 AS v FROM (SELECT r.*, b.account AS owner FROM (SELECT CASE WHEN s.user_key IS NOT NULL THEN concat('u:', s.user_key) WHEN s.anonymous_key IS NOT NULL THEN concat('a:', s.anonymous_key) END AS member, s.ts, s.message_id, s.source, s.c0 FROM (SELECT nullif(CAST(t.`user_id` AS STRING), '') AS user_key, nullif(CAST(t.`anonymous_id` AS STRING), '') AS anonymous_key, unix_micros(t.`timestamp`) AS ts, nullif(CAST(t.`id` AS STRING), '') AS message_id, CAST(CAST(NULL AS STRING) AS STRING) AS source, CASE WHEN json_type(t.`properties`['words']) IN ('array', 'object') THEN to_json_string(t.`properties`['words']) ELSE json_value(t.`properties`['words']) END AS c0 FROM `shop`.`events` t WHERE CAST(t.`name` AS STRING) = 'Searched' AND t.`timestamp` <= TIMESTAMP '2026-03-01 00:00:00.000000+00:00') s) r JOIN account_users b ON b.member = r.member JOIN all_users u ON u.member = r.member WHERE 1 = 1) r WHERE 1 = 1 AND r.c0 IS NOT NULL) q GROUP BY member) q WHERE q.v IS NOT NULL
)
SELECT 'group_id' AS kind, substr(x.member, 3) AS id, nullif(json_type(parse_json(v0.v, wide_number_mode => 'round')), 'null') AS value_kind, CASE WHEN json_type(parse_json(v0.v, wide_number_mode => 'round')) IN ('array', 'object') THEN to_json_string(parse_json(v0.v, wide_number_mode => 'round')) ELSE json_value(parse_json(v0.v, wide_number_mode => 'round')) END AS value
FROM all_accounts x JOIN v0 ON v0.member = x.member
