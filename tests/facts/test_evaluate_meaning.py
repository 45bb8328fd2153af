"""Evaluation in DuckDB agrees with the reference meaning, on random definitions and random facts."""

import os
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from engage_pipelines.domain.computation import Audience, EmptyAccounts, Level
from engage_pipelines.domain.query import Definition, to_text
from engage_pipelines.domain.query.meaning import Asked, account_matches, user_matches
from engage_pipelines.facts.evaluate import evaluate
from engage_pipelines.testing.plain_facts import Facts, open_engine, profile_of, session_of
from engage_pipelines.testing.random_definitions import AT_US, definitions, event_definitions, facts

EXAMPLES = int(os.environ.get("ENGAGE_TEST_EXAMPLES", "200"))
AUDIENCES = (("ua", Level.USER), ("ub", Level.USER), ("aa", Level.ACCOUNT))


def _who(definition: Definition, given_facts: Facts, asked: Asked, memberships: dict[int, dict[str, bool]]) -> set[int]:
    """Members by the reference meaning: user ids of a user audience, account ids of an account audience."""
    matches, everyone = (user_matches, given_facts.users) if definition.level is Level.USER else (account_matches, given_facts.accounts)
    return {each.member for each in everyone if matches(definition.condition, profile_of(each, given_facts, AT_US, memberships), asked)}


def _remember(key: str, level: Level, members: set[int], given_facts: Facts, memberships: dict[int, dict[str, bool]]) -> None:
    """Users are asked about audiences of both levels, accounts about those of accounts."""
    for user in given_facts.users:
        of_user = {account.member for account in given_facts.accounts if user.member in account.users}
        memberships.setdefault(user.member, {})[key] = user.member in members if level is Level.USER else bool(of_user & members)
    if level is Level.ACCOUNT:
        for account in given_facts.accounts:
            memberships.setdefault(account.member, {})[key] = account.member in members


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """One engine for all examples: opening one takes longer than an example."""
    with open_engine() as connection:
        yield connection


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(given_facts=facts(), data=st.data())
def test_evaluation_agrees_with_the_reference_meaning(engine: duckdb.DuckDBPyConnection, given_facts: Facts, data: st.DataObject) -> None:
    audiences: list[Audience] = []
    expected: dict[str, set[int]] = {}
    memberships: dict[int, dict[str, bool]] = {}
    for number, (key, level) in enumerate(AUDIENCES):
        definition = data.draw(definitions(level, [each for each, _ in AUDIENCES[:number]]), label=key)
        text, empty = to_text(definition), data.draw(st.sampled_from(EmptyAccounts))
        note(f"{key}: {text}")
        audiences.append(Audience(key, key, level, text, empty))
        expected[key] = _who(definition, given_facts, Asked(AT_US, empty, frozenset({"ua", "ub"})), memberships)
        _remember(key, level, expected[key], given_facts, memberships)
    found = evaluate(session_of(given_facts, AT_US, engine), audiences)
    for audience in audiences:
        result = found[audience.key]
        if result.error:
            pytest.fail(f"{audience.definition}: {result.error}")
        assert result.members
        chosen = result.members.users if audience.level is Level.USER else result.members.accounts
        assert set(chosen.tolist()) == expected[audience.key], audience.definition


@settings(max_examples=max(1, EXAMPLES // 5), deadline=None, suppress_health_check=list(HealthCheck))
@given(given_facts=facts(), wanted=st.lists(event_definitions(), min_size=8, max_size=8))
def test_conditions_on_events_agree_one_by_one(engine: duckdb.DuckDBPyConnection, given_facts: Facts, wanted: list[Definition]) -> None:
    texts = [to_text(definition) for definition in wanted]
    audiences = [Audience(f"a{number}", f"a{number}", Level.USER, text) for number, text in enumerate(texts)]
    found = evaluate(session_of(given_facts, AT_US, engine), audiences)
    for audience, definition in zip(audiences, wanted, strict=True):
        result = found[audience.key]
        assert result.error is None, audience.definition
        assert result.members
        assert set(result.members.users.tolist()) == _who(definition, given_facts, Asked(AT_US), {}), audience.definition
