"""Computed traits in DuckDB agree with the reference meaning, and so do audiences and traits that refer to them."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence

import duckdb
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from engage_pipelines.domain.computation import Audience, Computation, EmptyAccounts, Level, TraitComputation
from engage_pipelines.domain.query import to_text
from engage_pipelines.domain.query.meaning import Asked, account_matches, trait_value, user_matches
from engage_pipelines.domain.query.values import Json
from engage_pipelines.facts.evaluate import Evaluated, evaluate
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.testing.plain_facts import Facts, open_engine, profile_of, session_of
from engage_pipelines.testing.random_definitions import AT_US, Computed, definitions, facts, trait_definitions

EXAMPLES = int(os.environ.get("ENGAGE_TEST_EXAMPLES", "60"))
PLAN = (
    ("one", "trait", Level.USER),
    ("ua", "audience", Level.USER),
    ("other", "trait", Level.USER),
    ("pooled", "trait", Level.ACCOUNT),
    ("aa", "audience", Level.ACCOUNT),
    ("last", "trait", Level.ACCOUNT),
    ("ub", "audience", Level.USER),
)


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_engine() as connection:
        yield connection


class _World:
    """Computations one after the other, and what the reference says of each."""

    def __init__(self, given_facts: Facts) -> None:
        self.facts = given_facts
        self.wanted: list[Computation] = []
        self.computed = Computed()
        self.memberships: dict[int, dict[str, bool]] = {}
        self.values: dict[int, dict[str, Json]] = {}
        self.expected: dict[str, object] = {}

    def asked(self, empty: EmptyAccounts = EmptyAccounts.DEFAULT) -> Asked:
        of_users = frozenset(each.key for each in self.wanted if isinstance(each, Audience) and each.level is Level.USER)
        return Asked(AT_US, empty, of_users, frozenset(self.computed.user_traits))

    def trait(self, data: st.DataObject, key: str, level: Level) -> None:
        definition = data.draw(trait_definitions(level, self.computed), label=key)
        text, asked = to_text(definition), self.asked()
        note(f"{key}: {text}")
        everyone = self.facts.users if level is Level.USER else self.facts.accounts
        found = {each.member: trait_value(definition, self._profile(each.member), asked) for each in everyone}
        for member, value in found.items():
            self.values.setdefault(member, {})[key] = value
        self.expected[key] = {member: _as_kept(value) for member, value in found.items() if value is not None}
        users, accounts = [*self.computed.user_traits], [*self.computed.account_traits]
        (users if level is Level.USER else accounts).append(key)
        self.computed = Computed(self.computed.audiences, users, accounts)
        self.wanted.append(TraitComputation(key, key, level, text))

    def audience(self, data: st.DataObject, key: str, level: Level) -> None:
        definition = data.draw(definitions(level, self.computed.audiences, computed=self.computed), label=key)
        text, empty = to_text(definition), data.draw(st.sampled_from(EmptyAccounts))
        note(f"{key}: {text}")
        asked = self.asked(empty)
        matches, everyone = (user_matches, self.facts.users) if level is Level.USER else (account_matches, self.facts.accounts)
        members = {each.member for each in everyone if matches(definition.condition, self._profile(each.member), asked)}
        self.expected[key] = members
        for user in self.facts.users:
            through = {account.member for account in self.facts.accounts if user.member in account.users}
            self.memberships.setdefault(user.member, {})[key] = user.member in members if level is Level.USER else bool(through & members)
        if level is Level.ACCOUNT:
            for account in self.facts.accounts:
                self.memberships.setdefault(account.member, {})[key] = account.member in members
        self.computed = Computed([*self.computed.audiences, key], self.computed.user_traits, self.computed.account_traits)
        self.wanted.append(Audience(key, key, level, text, empty))

    def _profile(self, member: int):
        one = next(each for each in self.facts.everyone() if each.member == member)
        return profile_of(one, self.facts, AT_US, self.memberships, self.values)


def _as_kept(value: Json) -> Json:
    """Integers that no 64 bits hold are doubles, as all numbers are where they are compared."""
    if isinstance(value, Mapping):
        return {name: _as_kept(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_as_kept(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**64 else value


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
    world = _World(given_facts)
    for key, kind, level in PLAN:
        (world.trait if kind == "trait" else world.audience)(data, key, level)
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
