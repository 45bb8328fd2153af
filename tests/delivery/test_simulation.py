"""Random histories of the sync protocol keep every promise, and break one as soon as a rule is left out."""

import re

import pytest

from engage_pipelines.domain import ownership, protocol
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.testing.simulation.play import play
from engage_pipelines.testing.simulation.rules import NAMES
from engage_pipelines.testing.simulation.tables import Tables

SEEDS = 3_000
PARTS = 4
SEEDS_IN_TABLES = (5, 7, 9)
NEEDED_FOR_VALUES = {
    "by_address": 3, "by_value": 11, "exits_version": 205, "keeps_base": 11, "as_opened": 990, "as_planned": 11, "refused_waits": 450,
    "same_id": 462, "leader_first": 1184, "superseded": 631, "overtaken": 19, "told_perhaps": 1153, "catch_up_first": 49,
    "oldest_first": 19, "rounds": 49, "own_number": 226, "fenced": 77, "seen": 173, "quiet": 558, "marked": 414, "inherits": 414,
    "bounded": 1073,
}  # fmt: skip
"""Seeds of worlds that send the values of a trait, in which each rule is needed."""


@pytest.mark.parametrize("part", range(PARTS))
def test_no_history_breaks_a_promise(part: int):
    seeds = range(part * SEEDS // PARTS, (part + 1) * SEEDS // PARTS)
    assert [(played.seed, played.broken) for played in map(play, seeds) if played.broken] == []


@pytest.mark.parametrize("rule", NAMES)
def test_a_rule_left_out_breaks_some_history(rule: str):
    assert any(play(seed, (rule,)).broken for seed in range(SEEDS))


@pytest.mark.parametrize("rule", NAMES)
def test_a_rule_left_out_breaks_some_history_of_values(rule: str):
    # the seed that is known to need it goes first; where the worlds have changed since, another one does
    first = NEEDED_FOR_VALUES[rule]
    seeds = (first, *(seed for seed in range(SEEDS) if seed != first))
    assert any(played.broken for played in (play(seed, (rule,)) for seed in seeds) if played.has_values)


def test_a_seed_is_played_the_same_each_time():
    assert play(42).story == play(42).story


def test_every_rule_that_is_written_down_can_be_left_out():
    written = f"{protocol.__doc__}\n{ownership.__doc__}"
    assert set(re.findall(r"^    ([a-z_]+) +[A-Z]", written, re.MULTILINE)) == set(NAMES)


def test_a_rule_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="there is no rule 'typo'"):
        play(0, ("typo",))


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_histories_in_the_tables_of_a_database_keep_their_promises_and_are_played_the_same_each_time(
    database: str, request: pytest.FixtureRequest
):
    with Tables(request.getfixturevalue(f"{database}_url")) as tables:
        played = [play(seed, make_store=tables.store) for seed in SEEDS_IN_TABLES]
        assert play(SEEDS_IN_TABLES[0], make_store=tables.store) == played[0]
    assert [one.broken for one in played] == [""] * len(played)
    assert any("settles" in line for line in played[0].story)


def test_tables_that_are_in_use_are_not_played_in(sqlite_url: str):
    with Tables(sqlite_url), pytest.raises(UsageError, match="has spaces in it"), Tables(sqlite_url):
        pass


def test_without_a_rule_nothing_is_played_in_tables(sqlite_url: str):
    with Tables(sqlite_url) as tables, pytest.raises(UsageError, match="the product's own"):
        play(0, ("same_id",), make_store=tables.store)
