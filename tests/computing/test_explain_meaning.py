"""The verdict of an explanation is membership as evaluation finds it, on random definitions and random facts."""

import os
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from engage_pipelines.computing.explain import Clause, explain
from engage_pipelines.domain.computation import Audience, EmptyAccounts, Level, TraitComputation
from engage_pipelines.domain.query import to_text
from engage_pipelines.facts.evaluate import evaluate
from engage_pipelines.testing.plain_facts import Facts, open_engine, session_of
from engage_pipelines.testing.random_definitions import AT_US, HOUR_US, Computed, definitions, facts, trait_definitions

EXAMPLES = max(1, int(os.environ.get("ENGAGE_TEST_EXAMPLES", "200")) // 4)
AUDIENCES = (("ua", Level.USER), ("ub", Level.USER), ("aa", Level.ACCOUNT))


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_engine() as connection:
        yield connection


def leaves(clause: Clause) -> Iterator[Clause]:
    if clause.kind == "comparison":
        yield clause
    for part in clause.parts:
        yield from leaves(part)


_COMPUTED = Computed(("ua",), ("one",), ("pooled",))


@settings(max_examples=max(1, EXAMPLES // 2), deadline=None, suppress_health_check=list(HealthCheck))
@given(given_facts=facts(), data=st.data())
def test_the_verdict_is_membership_where_traits_are_computed(
    engine: duckdb.DuckDBPyConnection, given_facts: Facts, data: st.DataObject
) -> None:
    of_users, of_accounts = (data.draw(trait_definitions(level, Computed())) for level in (Level.USER, Level.ACCOUNT))
    level = data.draw(st.sampled_from(Level))
    context = [
        TraitComputation("one", "one", Level.USER, to_text(of_users)),
        TraitComputation("pooled", "pooled", Level.ACCOUNT, to_text(of_accounts)),
        Audience("ua", "ua", Level.USER, to_text(data.draw(definitions(Level.USER, [])))),
    ]
    asked = Audience("asked", "asked", level, to_text(data.draw(definitions(level, ["ua"], computed=_COMPUTED))))
    note(f"{[each.definition for each in context]}: {asked.definition}")
    session = session_of(given_facts, AT_US, engine)
    members = evaluate(session, [asked], context=context)["asked"].members
    assert members
    everyone, chosen = (given_facts.users, members.users) if level is Level.USER else (given_facts.accounts, members.accounts)
    for each in data.draw(st.lists(st.sampled_from(everyone), max_size=3) if everyone else st.just([])):
        explained = explain(session, asked, each.member, level=level, context=context)
        assert explained.verdict == (each.member in set(chosen.tolist())), each.member


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(given_facts=facts(), data=st.data())
def test_the_verdict_is_membership(engine: duckdb.DuckDBPyConnection, given_facts: Facts, data: st.DataObject) -> None:
    audiences: list[Audience] = []
    for number, (key, level) in enumerate(AUDIENCES):
        definition = data.draw(definitions(level, [each for each, _ in AUDIENCES[:number]]), label=key)
        empty, since = data.draw(st.sampled_from(EmptyAccounts)), data.draw(st.sampled_from([None, None, AT_US - HOUR_US, AT_US + 1]))
        audiences.append(Audience(key, key, level, to_text(definition), empty, events_since_us=since))
        note(f"{key}: {audiences[-1].definition}")
    session = session_of(given_facts, AT_US, engine)
    found = evaluate(session, audiences)
    asked = data.draw(st.sampled_from(audiences))
    result = found[asked.key]
    assert result.members
    by_level = {Level.USER: (given_facts.users, result.members.users), Level.ACCOUNT: (given_facts.accounts, result.members.accounts)}
    for level in Level if asked.level is Level.ACCOUNT else (Level.USER,):
        everyone, chosen = by_level[level]
        for each in data.draw(st.lists(st.sampled_from(everyone), max_size=4) if everyone else st.just([])):
            explained = explain(session, asked, each.member, level=level, context=audiences)
            assert explained.verdict == (each.member in set(chosen.tolist())), (each.member, asked.definition)
            assert all(leaf.seen for leaf in leaves(explained.clause))
