"""Computed traits in DuckDB agree with the reference meaning, and so do audiences and traits that refer to them."""

import json
import os
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engage_pipelines.domain.computation import Computation, Level, TraitComputation
from engage_pipelines.facts.evaluate import Evaluated, evaluate
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.testing.plain_facts import Facts, open_engine, session_of
from engage_pipelines.testing.random_computations import World
from engage_pipelines.testing.random_definitions import AT_US, facts

EXAMPLES = int(os.environ.get("ENGAGE_TEST_EXAMPLES", "100"))


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_engine() as connection:
        yield connection


def _found(session: FactsSession, result: Evaluated, computation: Computation) -> object:
    if result.error:
        pytest.fail(f"{computation.definition}: {result.error}")
    assert result.members
    chosen = result.members.users if computation.level is Level.USER else result.members.accounts
    if result.values is None:
        return set(chosen.tolist())
    found = {member: json.loads(value) for member, value in session.connection.execute(result.values.rows).fetchall()}
    assert sorted(found) == chosen.tolist()
    return found


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(given_facts=facts(), data=st.data())
def test_traits_and_what_refers_to_them_agree_with_the_reference(
    engine: duckdb.DuckDBPyConnection, given_facts: Facts, data: st.DataObject
) -> None:
    world = World(given_facts)
    world.draw(data)
    session = session_of(given_facts, AT_US, engine)
    results = evaluate(session, world.wanted)
    for computation in world.wanted:
        assert _found(session, results[computation.key], computation) == world.expected[computation.key], computation.definition
    assert not [name for (name,) in engine.execute("SELECT table_name FROM duckdb_tables()").fetchall() if name.startswith("members_")]
    for (name,) in engine.execute("SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'kept_values_%'").fetchall():
        engine.execute(f"DROP TABLE {name}")


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param("event('B').within(parent: 1 day).count() != trait('t')", id="with a trait"),
        pytest.param("event('B').within(parent: 1 day).sum(property('p')) != property('p')", id="with the row at hand"),
    ],
)
def test_a_session_over_a_funnel_that_is_compared_is_computed(engine: duckdb.DuckDBPyConnection, condition: str) -> None:
    trait = TraitComputation("x", "x", Level.USER, f"event('A').where({condition}).expires_after(1 hour).count()")
    assert evaluate(session_of(Facts(), AT_US, engine), [trait])["x"].error is None
