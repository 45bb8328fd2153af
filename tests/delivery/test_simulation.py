"""Random histories of the sync protocol keep every promise, and break one as soon as a rule is left out."""

import re

import pytest

from engage_pipelines.domain import ownership, protocol
from engage_pipelines.testing.simulation.play import play
from engage_pipelines.testing.simulation.rules import NAMES

SEEDS = 3_000
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_no_history_breaks_a_promise(part: int):
    seeds = range(part * SEEDS // PARTS, (part + 1) * SEEDS // PARTS)
    assert [(played.seed, played.broken) for played in map(play, seeds) if played.broken] == []


@pytest.mark.parametrize("rule", NAMES)
def test_a_rule_left_out_breaks_some_history(rule: str):
    assert any(play(seed, (rule,)).broken for seed in range(SEEDS))


def test_a_seed_is_played_the_same_each_time():
    assert play(42).story == play(42).story


def test_every_rule_that_is_written_down_can_be_left_out():
    written = f"{protocol.__doc__}\n{ownership.__doc__}"
    assert set(re.findall(r"^    ([a-z_]+) +[A-Z]", written, re.MULTILINE)) == set(NAMES)


def test_a_rule_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="there is no rule 'typo'"):
        play(0, ("typo",))
