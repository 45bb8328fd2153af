"""Commands that are imported when they are run: listed and completed without, in their own words."""

import subprocess
import sys

import pytest

from engage_pipelines.cli.audience import audience
from engage_pipelines.cli.late import Lazy
from engage_pipelines.cli.mapping import mapping
from engage_pipelines.cli.trait import trait

GROUPS = {"audience": audience, "mapping": mapping, "trait": trait}
_LATE = [pytest.param(lazy, id=f"{name} {key}") for name, group in GROUPS.items() for key, lazy in group.late.items()]


@pytest.mark.parametrize("lazy", _LATE)
def test_a_late_command_is_listed_in_its_own_words(lazy: Lazy) -> None:
    assert lazy.help == lazy.load().get_short_help_str(1_000)


def test_neither_help_nor_completion_brings_an_engine() -> None:
    code = """
import os, sys
from engage_pipelines.cli.app import run
for words in ([], ["audience"], ["trait"], ["mapping"], ["events"], ["events", "delete"], ["ingest"], ["plan"], ["doctor"], ["demo"]):
    assert run([*words, "--help"]) == 0, words
os.environ.update(_ENGAGE_COMPLETE="bash_complete", COMP_WORDS="engage audience ", COMP_CWORD="2")
try:
    run([])
except SystemExit:
    pass
print(sorted({"duckdb", "dagster", "pandas", "requests"} & set(sys.modules)))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = ended.stdout.splitlines()
    assert "plain,preview" in told
    assert told[-1] == "[]"
