"""Definitions as large as the language allows are asked of a warehouse, and traits that refer to each other in a row."""

from pathlib import Path
from typing import Any

import pytest

from engage_pipelines.domain.computation import Audience, Level, TraitComputation
from engage_pipelines.domain.warehouse_mapping import read_facts
from engage_pipelines.facts.evaluate import evaluate
from engage_pipelines.facts.warehouse.session import Home, open_warehouse_session
from tests.facts.warehouse.shop import AT_US, MAPPING, TABLES

pytestmark = pytest.mark.postgres
_FUNNEL = "event('Order Completed').where(NOT event('Signed In').within(parent: {} hours).count() >= 1).count() >= 0"
DEFINITIONS = {
    "25 funnels, 50 expressions": " AND ".join(_FUNNEL.format(number) for number in range(1, 26)),
    "a list of 60 KB": "NOT trait('plan').one_of(" + ",".join(f"'{number:08}'" for number in range(5_500)) + ")",
    "99 deep": "NOT " * 98 + "event('Order Completed').count() >= 1",
    "50 traits compared": " AND ".join(["event('Order Completed').sum(property('total')) >= trait('spend')"] * 50),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_everyone_is_found_by_a_definition_at_the_limits(cursor: Any, warehouse_url: str, tmp_path: Path, name: str) -> None:
    cursor.execute(TABLES)
    spend = TraitComputation("spend", "spend", Level.USER, "event('Order Completed').sum(property('total'))")
    with open_warehouse_session(Home(read_facts(MAPPING), warehouse_url), tmp_path, "shop", at_us=AT_US) as session:
        found = evaluate(session, [Audience("x", "x", Level.USER, DEFINITIONS[name])], context=[spend])["x"]
        assert found.error is None
        assert found.members
        assert len(found.members.users) == 60


def test_a_row_of_traits_that_refer_to_each_other_is_one_question(cursor: Any, warehouse_url: str, tmp_path: Path) -> None:
    cursor.execute(TABLES)
    traits = [TraitComputation("t0", "t0", Level.USER, "event('Order Completed').count()")]
    for number in range(1, 12):
        query = f"event('Order Completed').where(property('total') >= trait('t{number - 1}')).count()"
        traits.append(TraitComputation(f"t{number}", f"t{number}", Level.USER, query))
    with open_warehouse_session(Home(read_facts(MAPPING), warehouse_url), tmp_path, "shop", at_us=AT_US) as session:
        found = evaluate(session, traits)
        assert [each.error for each in found.values()] == [None] * 12
