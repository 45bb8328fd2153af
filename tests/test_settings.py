"""How a process of ours starts and ends."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from engage_pipelines.settings import child_environment, start_lightly

ALGEBRA, MEMORY, PLUGINS = "OPENBLAS_NUM_THREADS", "ARROW_DEFAULT_MEMORY_POOL", "PYDANTIC_DISABLE_PLUGINS"


@pytest.fixture(autouse=True)
def usual_collections() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_a_light_start_is_our_own_and_no_child_inherits_it(monkeypatch: pytest.MonkeyPatch):
    for name in (ALGEBRA, MEMORY, PLUGINS):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    start_lightly()
    assert (os.environ[ALGEBRA], os.environ[MEMORY], os.environ[PLUGINS]) == ("1", "system", "__all__")
    assert gc.isenabled()
    assert not {ALGEBRA, MEMORY, PLUGINS} & child_environment().keys()
    assert child_environment(OTHER="x")["OTHER"] == "x"


def test_what_people_say_of_their_processors_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engage_pipelines.settings._set_here", set())
    monkeypatch.setenv(ALGEBRA, "3")
    monkeypatch.setenv(MEMORY, "mimalloc")
    monkeypatch.setenv(PLUGINS, "one-of-theirs")
    start_lightly()
    assert os.environ[ALGEBRA] == child_environment()[ALGEBRA] == "3"
    assert os.environ[MEMORY] == child_environment()[MEMORY] == "mimalloc"


def test_a_process_that_leaves_does_what_is_to_be_done_at_its_end():
    program = """
import atexit, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from engage_pipelines.settings import leave
atexit.register(lambda: sys.stdout.write("at the end "))
threading.Thread(target=lambda: (time.sleep(0.2), sys.stdout.write("after the thread, "))).start()
ThreadPoolExecutor(1).submit(sys.stderr.write, "said").result()
leave(3)
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "after the thread, at the end ", "said")


def test_a_process_leaves_quietly_when_nobody_reads_what_it_says_any_more():
    program = "import sys\nfrom engage_pipelines.settings import leave\nsys.stdout.write('x')\nsys.stdout.close()\nleave(1)"
    assert subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60).stderr == ""
