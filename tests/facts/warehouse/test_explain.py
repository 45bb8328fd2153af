"""Explanations over a warehouse: the verdict is membership as PostgreSQL finds it, and the values shown are those of the tables."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from engage_pipelines.computing.explain import Clause, explain
from engage_pipelines.computing.member_names import find_member
from engage_pipelines.domain.computation import Audience, EmptyAccounts, Level
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.domain.query import to_text
from engage_pipelines.domain.warehouse_mapping import read_facts
from engage_pipelines.facts.evaluate import evaluate
from engage_pipelines.facts.warehouse.session import Home, open_warehouse_session
from engage_pipelines.testing.plain_facts import Facts
from engage_pipelines.testing.random_definitions import AT_US, HOUR_US, definitions, event_definitions, facts
from engage_pipelines.testing.warehouse_postgres import create_tables, fill_tables
from engage_pipelines.testing.warehouse_tables import SHAPES, Shape
from tests.facts.warehouse.shop import AT_US as SHOP_AT_US
from tests.facts.warehouse.shop import MAPPING, TABLES

pytestmark = pytest.mark.postgres
EXAMPLES = max(1, int(os.environ.get("ENGAGE_TEST_EXAMPLES", "200")) // 40)
_LENIENT = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.parametrize("shape", [pytest.param(shape, id=name) for name, shape in SHAPES.items()])
def test_the_verdict_is_membership(cursor: Any, warehouse_url: str, tmp_path: Path, shape: Shape) -> None:
    create_tables(cursor, shape.tables(Facts()))

    @settings(max_examples=EXAMPLES, **_LENIENT)
    @given(given_facts=facts(), data=st.data())
    def agree(given_facts: Facts, data: st.DataObject) -> None:
        fill_tables(cursor, shape.tables(shape.fit(given_facts)))
        first = Audience("first", "first", Level.USER, to_text(data.draw(definitions(Level.USER, []))))
        with open_warehouse_session(Home(shape.facts, warehouse_url), tmp_path, "test", at_us=AT_US) as session:
            for number in range(3):
                level = data.draw(st.sampled_from(Level))
                drawn = data.draw(st.one_of(definitions(level, ["first"]), event_definitions()) if level is Level.USER else
                                  definitions(level, ["first"]))  # fmt: skip
                empty, since = data.draw(st.sampled_from(EmptyAccounts)), data.draw(st.sampled_from([None, AT_US - HOUR_US]))
                asked = Audience(f"asked{number}", "asked", drawn.level, to_text(drawn), empty, events_since_us=since)
                note(f"{first.definition}: {asked.definition}")
                members = evaluate(session, [asked], context=[first])[asked.key].members
                assert members
                for relation, level, chosen in (("users", Level.USER, members.users), ("accounts", Level.ACCOUNT, members.accounts)):
                    if asked.level is Level.USER and level is Level.ACCOUNT:
                        continue
                    for (member,) in session.connection.execute(f"SELECT member FROM {relation} ORDER BY member LIMIT 3").fetchall():
                        explained = explain(session, asked, member, level=level, context=[first])
                        assert explained.verdict == (member in set(chosen.tolist())), (level, member)

    agree()


def _explained(url: str, folder: Path, mapping: dict[str, Any], name: str, audience: Audience) -> Clause:
    with open_warehouse_session(Home(read_facts(mapping), url), folder, "test", at_us=SHOP_AT_US) as session:
        named = find_member(session, name, audience)
        return explain(session, audience, named.member, level=named.level).clause


def test_values_are_those_of_the_tables(cursor: Any, warehouse_url: str, tmp_path: Path) -> None:
    cursor.execute(TABLES)
    definition = "event('Order Completed').within(30 days).sum(property('total')) >= 100 AND trait('plan') = 'pro'"
    clause = _explained(warehouse_url, tmp_path, MAPPING, "3", Audience("x", "x", Level.USER, definition))
    spent, plan = clause.parts
    cursor.execute("SELECT count(*), sum(total_amount) FILTER (WHERE sent_at >= timestamptz '2026-03-01 00:00+00' - interval '30 days')"
                   " FROM shop.order_completed WHERE customer_no = 3")  # fmt: skip
    rows, total = cursor.fetchone()
    assert (spent.seen["rows"], spent.seen["value"]) == (rows, float(total))
    assert plan.seen == {"trait": "plan", "value": "pro", "set_at": None}


def test_an_account_is_explained_through_its_users(cursor: Any, warehouse_url: str, tmp_path: Path) -> None:
    cursor.execute(TABLES)
    audience = Audience("x", "x", Level.ACCOUNT, "trait('tier') = 'business' AND ANY event('Signed In').within(5 days).count() >= 1")
    cursor.execute("SELECT company::text, count(*) FILTER (WHERE ts >= 1772323200000 - 5 * 86400000::bigint), count(*)"
                   " FROM shop.staff JOIN shop.signed_in USING (customer_no) WHERE NOT has_left GROUP BY 1 ORDER BY 2 DESC, 1")  # fmt: skip
    company, matching, users = cursor.fetchone()
    users_seen = _explained(warehouse_url, tmp_path, MAPPING, company, audience).parts[1].users
    assert users_seen
    assert (users_seen.matching, users_seen.total) == (matching, users)
    assert users_seen.example
    through = _explained(warehouse_url, tmp_path, MAPPING, "1", audience)
    assert (through.kind, through.users is not None and through.users.total) == ("accounts", 1)


def test_values_that_two_columns_tell_in_different_words_are_not_shown(cursor: Any, warehouse_url: str, tmp_path: Path) -> None:
    cursor.execute("CREATE TABLE people(id text, a text, b int); INSERT INTO people VALUES ('u', 'text', 5)")
    mapping = {"url": "env:X", "tables": {"users": {"table": "people", "traits": {"a": "a", "a.b": "b"}}}}
    both = Audience("x", "x", Level.USER, "trait('a') = 'text' AND trait('a.b') = 5")
    with pytest.raises(UsageError, match=r"'b' has a column of its own"):
        _explained(warehouse_url, tmp_path, mapping, "u", both)
    alone = Audience("x", "x", Level.USER, "trait('a.b') = 5")
    assert _explained(warehouse_url, tmp_path, mapping, "u", alone).seen["value"] == 5
