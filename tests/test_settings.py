"""How a process of ours starts."""

import gc
import os
from collections.abc import Iterator

import pytest

from engage_pipelines.settings import child_environment, start_lightly

ALGEBRA = "OPENBLAS_NUM_THREADS"


@pytest.fixture(autouse=True)
def usual_collections() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_a_light_start_is_our_own_and_no_child_inherits_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(ALGEBRA, "")
    monkeypatch.delenv(ALGEBRA)
    start_lightly()
    assert os.environ[ALGEBRA] == "1"
    assert gc.isenabled()
    assert ALGEBRA not in child_environment()
    assert child_environment(OTHER="x")["OTHER"] == "x"


def test_what_people_say_of_their_processors_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engage_pipelines.settings._set_here", set())
    monkeypatch.setenv(ALGEBRA, "3")
    start_lightly()
    assert os.environ[ALGEBRA] == child_environment()[ALGEBRA] == "3"
