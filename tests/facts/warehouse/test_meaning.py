"""PostgreSQL, DuckDB and the reference meaning agree, on random definitions and random facts in two shapes of tables."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from engage_pipelines.domain.computation import Audience, EmptyAccounts, Level
from engage_pipelines.domain.query import Definition, to_text
from engage_pipelines.domain.query.meaning import Asked, account_matches, user_matches
from engage_pipelines.facts.audience_order import Readable
from engage_pipelines.facts.evaluate import evaluate
from engage_pipelines.facts.warehouse.catalog import Catalog
from engage_pipelines.facts.warehouse.dialects import find_dialect
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.select import select_members
from engage_pipelines.facts.warehouse.session import Home, open_warehouse_session
from engage_pipelines.testing.plain_facts import Facts, profile_of, session_of
from engage_pipelines.testing.random_definitions import AT_US, definitions, event_definitions, facts
from engage_pipelines.testing.warehouse_postgres import create_tables, fill_tables
from engage_pipelines.testing.warehouse_tables import DOCUMENTS, SHAPES, Shape

pytestmark = pytest.mark.postgres
EXAMPLES = int(os.environ.get("ENGAGE_TEST_EXAMPLES", "200"))
AUDIENCES = (("ua", Level.USER), ("ub", Level.USER), ("aa", Level.ACCOUNT))
_LENIENT = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def _meant(definition: Definition, given_facts: Facts, asked: Asked, memberships: dict[int, dict[str, bool]]) -> set[int]:
    """Members by the reference meaning."""
    matches, everyone = (user_matches, given_facts.users) if definition.level is Level.USER else (account_matches, given_facts.accounts)
    return {each.member for each in everyone if matches(definition.condition, profile_of(each, given_facts, AT_US, memberships), asked)}


def _selected(cursor: Any, shape: Shape, definition: Definition) -> list[int]:
    warehouse = Warehouse(shape.facts, find_dialect("postgres"), Catalog(shape.facts), AT_US)
    cursor.execute(select_members(warehouse, Readable(Audience("x", "x", definition.level, ""), definition), {}))
    return sorted(int(id_) for _, id_ in cursor.fetchall())


@pytest.mark.parametrize("shape", [pytest.param(shape, id=name) for name, shape in SHAPES.items()])
def test_the_select_finds_whom_the_reference_means(cursor: Any, shape: Shape) -> None:
    create_tables(cursor, shape.tables(Facts()))

    @settings(max_examples=max(1, EXAMPLES // 5), **_LENIENT)
    @given(given_facts=facts(), data=st.data())
    def agree(given_facts: Facts, data: st.DataObject) -> None:
        held = shape.fit(given_facts)
        fill_tables(cursor, shape.tables(held))
        of_users = data.draw(st.lists(st.one_of(definitions(Level.USER, []), event_definitions()), min_size=3, max_size=3))
        for definition in [*of_users, data.draw(definitions(Level.ACCOUNT, []))]:
            note(to_text(definition))
            assert _selected(cursor, shape, definition) == sorted(_meant(definition, held, Asked(AT_US), {}))

    agree()


def test_three_homes_of_the_same_facts_agree_on_audiences_that_refer_to_each_other(cursor: Any, warehouse_url: str, tmp_path: Path) -> None:
    create_tables(cursor, DOCUMENTS.tables(Facts()))

    @settings(max_examples=max(1, EXAMPLES // 25), **_LENIENT)
    @given(given_facts=facts(), data=st.data())
    def agree(given_facts: Facts, data: st.DataObject) -> None:
        fill_tables(cursor, DOCUMENTS.tables(given_facts))
        audiences: list[Audience] = []
        expected: dict[str, set[int]] = {}
        memberships: dict[int, dict[str, bool]] = {}
        for number, (key, level) in enumerate(AUDIENCES):
            definition = data.draw(definitions(level, [each for each, _ in AUDIENCES[:number]]), label=key)
            empty = data.draw(st.sampled_from(EmptyAccounts))
            note(f"{key}: {to_text(definition)}")
            audiences.append(Audience(key, key, level, to_text(definition), empty))
            expected[key] = _meant(definition, given_facts, Asked(AT_US, empty, frozenset({"ua", "ub"})), memberships)
            _remember(key, level, expected[key], given_facts, memberships)
        assert _embedded(given_facts, audiences) == expected
        assert _in_postgres(warehouse_url, tmp_path, audiences) == expected

    agree()


def _embedded(given_facts: Facts, audiences: list[Audience]) -> dict[str, set[int]]:
    with session_of(given_facts, AT_US) as session:
        found = evaluate(session, audiences)
    members = {key: each.members for key, each in found.items()}
    return {each.key: set(_own(members[each.key], each.level).tolist()) for each in audiences}


def _in_postgres(url: str, folder: Path, audiences: list[Audience]) -> dict[str, set[int]]:
    """By the ids that the tables have."""
    with open_warehouse_session(Home(DOCUMENTS.facts, url), folder, "test", at_us=AT_US) as session:
        names = dict(session.connection.execute("SELECT subject, id FROM subjects_known").fetchall())
        found = evaluate(session, audiences)
        assert [str(each.error) for each in found.values() if each.error] == []
        members = {key: each.members for key, each in found.items()}
        return {each.key: {int(names[one]) for one in _own(members[each.key], each.level).tolist()} for each in audiences}


def _own(members: Any, level: Level) -> Any:
    return members.users if level is Level.USER else members.accounts


def _remember(key: str, level: Level, members: set[int], given_facts: Facts, memberships: dict[int, dict[str, bool]]) -> None:
    """Users are asked about audiences of both levels, accounts about those of accounts."""
    for user in given_facts.users:
        of_user = {account.member for account in given_facts.accounts if user.member in account.users}
        memberships.setdefault(user.member, {})[key] = user.member in members if level is Level.USER else bool(of_user & members)
    if level is Level.ACCOUNT:
        for account in given_facts.accounts:
            memberships.setdefault(account.member, {})[key] = account.member in members
