"""Forms: fields read within bounds, and what is wrong with each of them in words beside it."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import orjson

from engage_pipelines.domain.errors import ConfigurationError, ConflictError, EngageError, UsageError
from engage_pipelines.registry.texts import TextError

LONGEST = {"definition": 20_000, "description": 2_000, "fields": 100_000, "trigger": 6_000, "f": 20_000, "traits": 20_000}
"""By field, or by what stands before the first point in its name."""
LONGEST_LINE = 1_000

WHOLE = ""
"""The place of what is wrong with the form as a whole."""


@dataclass(slots=True)
class Problems:
    """What is wrong, by field; the form is used only when nothing is."""

    found: dict[str, EngageError] = field(default_factory=dict[str, EngageError])

    def __bool__(self) -> bool:
        return bool(self.found)

    def add(self, name: str, what: str, remedy: str = "") -> None:
        self.found.setdefault(name, UsageError(what, remedy))

    def at(self, name: str) -> EngageError | None:
        """What is wrong with a field, None when nothing is."""
        return self.found.get(name)

    def within(self, name: str) -> "_Within":
        """What is refused inside is wrong with that field; a `StaleError` passes through."""
        return _Within(self, name)


@dataclass(frozen=True, slots=True)
class _Within:
    problems: Problems
    name: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, EngageError) or isinstance(error, StaleError):
            return False
        self.problems.found.setdefault(error.field if isinstance(error, TextError) else self.name, error)
        return True


class StaleError(ConflictError):
    """Someone else changed the thing since the form was shown; `theirs` is how it is now, by field."""

    def __init__(self, what: str, theirs: Mapping[str, Any]) -> None:
        super().__init__(f"{what} was changed by someone else since you opened it.", "Compare the two, and keep one of them.")
        self.theirs = theirs


def check_bounds(form: Mapping[str, str], several: Mapping[str, tuple[str, ...]], known: Iterable[str]) -> Problems:
    """Fields that are too long or hold control characters are wrong; ones that nobody asked for too, and doubled ones."""
    problems = Problems()
    expected = {"csrf", *known}
    for name, text in form.items():
        family = name.partition(".")[0]
        limit = LONGEST.get(name, LONGEST.get(family, LONGEST_LINE))
        if family not in expected and name not in expected:
            problems.add(WHOLE, f"The form has no field {name[:40]!r}.", "Load the page again.")
        elif len(text) > limit:
            problems.add(name, f"It has {len(text):,} characters; at most {limit:,} can be kept.", "Shorten it.")
        elif any((ord(each) < 32 and each not in "\r\n\t") or ord(each) == 127 for each in text):
            problems.add(name, "It holds a control character.", "Type it again instead of pasting it.")
        elif len(several[name]) > 1 and not name.endswith(_MANY):
            problems.add(name, "It was sent twice.", "Load the page again.")
    return problems


_MANY = ("calls", "ids", "chosen")


def stamp(values: Mapping[str, Any]) -> str:
    """A short name of the state that a form was made from; another state has another."""
    return hashlib.sha256(orjson.dumps(dict(values), option=orjson.OPT_SORT_KEYS)).hexdigest()[:24]


def check_stamp(form: Mapping[str, str], now: Mapping[str, Any], what: str) -> None:
    """Raises StaleError when the thing is no longer as it was when the form was shown."""
    if form.get("stamp", "") != stamp(now):
        raise StaleError(what, now)


def read_json(text: str, what: str) -> dict[str, Any]:
    """Raises ConfigurationError with line and column for a text that is no JSON object."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(
            f"line {error.lineno}, column {error.colno}: {error.msg}.", f"{what} is written as a JSON object."
        ) from None
    if not isinstance(value, dict):
        raise ConfigurationError(f"{what} is no JSON object.", "Write it in braces, with names in quotes.")
    return value


def number_in(form: Mapping[str, str], name: str, problems: Problems, *, least: int, most: int) -> int | None:
    """A whole number, None when the field is empty or wrong."""
    text = form.get(name, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or not least <= int(text[:18]) <= most:
        problems.add(name, f"{text[:30]!r} is not a whole number from {least:,} to {most:,}.")
        return None
    return int(text)
