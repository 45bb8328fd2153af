"""Computed traits in PostgreSQL agree with the reference meaning, and so do audiences and traits that refer to them and to each other."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engage_pipelines.domain.computation import Level
from engage_pipelines.facts.audience_order import Readable
from engage_pipelines.facts.evaluate import evaluate
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.warehouse.catalog import Catalog
from engage_pipelines.facts.warehouse.dialects import find_dialect
from engage_pipelines.facts.warehouse.documents import told
from engage_pipelines.facts.warehouse.people import Warehouse
from engage_pipelines.facts.warehouse.select import select_members, select_values
from engage_pipelines.facts.warehouse.session import Home, open_warehouse_session
from engage_pipelines.testing.plain_facts import Facts
from engage_pipelines.testing.random_computations import World, as_kept
from engage_pipelines.testing.random_definitions import AT_US, facts
from engage_pipelines.testing.warehouse_postgres import create_tables, fill_tables
from engage_pipelines.testing.warehouse_tables import SHAPES, Shape

pytestmark = pytest.mark.postgres
EXAMPLES = int(os.environ.get("ENGAGE_TEST_EXAMPLES", "100"))
_LENIENT = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def _answered(cursor: Any, shape: Shape, world: World, key: str) -> object:
    """Members of an audience, or values of a trait by member, as the SELECT gives them."""
    warehouse = Warehouse(shape.facts, find_dialect("postgres"), Catalog(shape.facts), AT_US)
    each = world.readable[key]
    if isinstance(each, Readable):
        cursor.execute(select_members(warehouse, each, world.readable))
        return {int(id_) for _, id_ in cursor.fetchall()}
    cursor.execute(select_values(warehouse, each, world.readable))
    return {int(id_): as_kept(told(kind, text)) for _, id_, kind, text in cursor.fetchall() if text is not None}


@pytest.mark.parametrize("shape", [pytest.param(shape, id=name) for name, shape in SHAPES.items()])
def test_the_select_of_each_computation_says_what_the_reference_means(cursor: Any, shape: Shape) -> None:
    create_tables(cursor, shape.tables(Facts()))

    @settings(max_examples=max(1, EXAMPLES // 5), **_LENIENT)
    @given(given_facts=facts(), data=st.data())
    def agree(given_facts: Facts, data: st.DataObject) -> None:
        world = World(shape.fit(given_facts))
        world.draw(data)
        fill_tables(cursor, shape.tables(world.facts))
        for key, expected in world.expected.items():
            assert _answered(cursor, shape, world, key) == expected, key

    agree()


@pytest.mark.parametrize("shape", [pytest.param(shape, id=name) for name, shape in SHAPES.items()])
def test_a_session_on_the_warehouse_keeps_the_values_of_everyone(cursor: Any, warehouse_url: str, tmp_path: Path, shape: Shape) -> None:
    create_tables(cursor, shape.tables(Facts()))

    @settings(max_examples=max(1, EXAMPLES // 50), **_LENIENT)
    @given(given_facts=facts(), data=st.data())
    def agree(given_facts: Facts, data: st.DataObject) -> None:
        world = World(shape.fit(given_facts))
        world.draw(data)
        fill_tables(cursor, shape.tables(world.facts))
        with open_warehouse_session(Home(shape.facts, warehouse_url), tmp_path, "test", at_us=AT_US) as session:
            assert _kept(session, world) == world.expected

    agree()


def _kept(session: FactsSession, world: World) -> dict[str, object]:
    names = dict(session.connection.execute("SELECT subject, id FROM subjects_known").fetchall())
    found: dict[str, object] = {}
    for key, each in evaluate(session, world.wanted).items():
        assert each.error is None, each.error
        assert each.members
        level = next(one.level for one in world.wanted if one.key == key)
        chosen = each.members.users if level is Level.USER else each.members.accounts
        found[key] = {int(names[one]) for one in chosen.tolist()}
        if each.values is not None:
            rows = session.connection.execute(each.values.rows).fetchall()
            assert sorted(member for member, _ in rows) == chosen.tolist()
            found[key] = {int(names[member]): json.loads(value) for member, value in rows}
    return found
