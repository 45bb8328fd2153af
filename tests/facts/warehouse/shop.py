"""A small shop in PostgreSQL: its own tables and names, and the mapping of them."""

from typing import Any

import yaml

from tests.computing.desk import Desk

AT_US = 1_772_323_200_000_000
"""2026-03-01T00:00:00Z."""

TABLES = """
CREATE SCHEMA shop;
CREATE TABLE shop.customers(customer_no bigint, mail text, plan_name varchar(10));
CREATE TABLE shop.companies(id uuid, tier text);
CREATE TABLE shop.staff(customer_no bigint, company uuid, has_left boolean);
CREATE TABLE shop.order_completed(customer_no bigint, sent_at timestamptz, total_amount numeric(12, 2), id text);
CREATE TABLE shop.signed_in(customer_no bigint, ts bigint);
INSERT INTO shop.customers SELECT i, 'c' || i || '@x.test', CASE WHEN i % 3 = 0 THEN 'pro' ELSE 'free' END FROM generate_series(1, 60) i;
INSERT INTO shop.companies SELECT ('00000000-0000-0000-0000-' || lpad(i::text, 12, '0'))::uuid, CASE WHEN i % 2 = 0 THEN 'business' END
    FROM generate_series(1, 10) i;
INSERT INTO shop.staff SELECT i, ('00000000-0000-0000-0000-' || lpad((1 + i % 9)::text, 12, '0'))::uuid, i % 7 = 0
    FROM generate_series(1, 60) i;
INSERT INTO shop.order_completed
    SELECT 1 + i % 60, timestamptz '2026-03-01 00:00+00' - (i % 90) * interval '1 day', (i % 50) + 0.99, 'o' || i
    FROM generate_series(1, 600) i;
INSERT INTO shop.signed_in SELECT i, 1772323200000 - (i % 50) * 86400000::bigint FROM generate_series(1, 60) i;
"""

MAPPING: dict[str, Any] = {
    "url": "env:SHOP_URL",
    "schema": "shop",
    "tables": {
        "users": {"table": "customers", "user_id": "customer_no", "traits": {"email": "mail", "plan": "plan_name"}},
        "accounts": {"table": "companies", "traits": {"tier": "tier"}},
        "memberships": {"table": "staff", "user_id": "customer_no", "group_id": "company", "left": "has_left"},
        "events": [
            {
                "table": "order_completed",
                "event": "Order Completed",
                "user_id": "customer_no",
                "timestamp": "sent_at",
                "message_id": "id",
                "properties": {"total": "total_amount"},
            },
            {"table": "signed_in", "event": "Signed In", "user_id": "customer_no", "timestamp": {"column": "ts", "type": "epoch_ms"}},
        ],
    },
}

SPENDERS = "event('Order Completed').within(30 days).sum(property('total')) >= 100 AND trait('plan') = 'pro'"
BY_HAND = """
SELECT o.customer_no::text FROM shop.order_completed o JOIN shop.customers c USING (customer_no)
WHERE c.plan_name = 'pro' AND o.sent_at BETWEEN timestamptz '2026-03-01 00:00+00' - interval '720 hours' AND '2026-03-01 00:00+00'
GROUP BY 1 HAVING sum(o.total_amount) >= 100 ORDER BY 1"""

DOCUMENT: dict[str, Any] = {
    "space": {"key": "shop", "evaluate_at": "2026-03-01T00:00:00Z", "facts": MAPPING},
    "audiences": [
        {"key": "spenders", "definition": SPENDERS, "cadence": "manual"},
        {
            "key": "sleeping",
            "level": "account",
            "definition": "ALL NOT event('Signed In').within(21 days).count() >= 1",
            "cadence": "manual",
        },
    ],
}


def apply_document(desk: Desk, document: dict[str, Any]) -> int:
    path = desk.folder / "shop.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return desk.say("apply", str(path))
