"""Findings: one line about one thing that was looked at."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """`warn` is worth knowing, with `fail` something does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found at `check`; `remedy` is empty where nothing has to be done."""

    check: str
    state: State
    what: str
    remedy: str = ""


def ok(check: str, what: str) -> Finding:
    return Finding(check, State.OK, what)


def warn(check: str, what: str, remedy: str) -> Finding:
    return Finding(check, State.WARN, what, remedy)


def fail(check: str, what: str, remedy: str) -> Finding:
    return Finding(check, State.FAIL, what, remedy)
