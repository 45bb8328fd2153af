"""What is asked of the facts without keeping an answer: an audience or a text, in a space, as of an instant."""

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from engage_pipelines.computing.facts_home import open_facts
from engage_pipelines.computing.history import History, load_history
from engage_pipelines.domain.computation import Audience, Computation, Level
from engage_pipelines.domain.errors import EngageError, UsageError
from engage_pipelines.domain.query import parse
from engage_pipelines.facts.evaluate import Evaluated, Members
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.store import state_errors
from engage_pipelines.registry.audiences import as_audience, audiences_of
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.lookup import Row, find_audience, list_spaces
from engage_pipelines.registry.suppression import list_suppressed
from engage_pipelines.registry.traits import computations_of
from engage_pipelines.settings import Settings

DRAFT = "_draft"
"""The key of a text that nobody saved; no legal key, so that no definition can refer to it."""

_UNITS_US = {"m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000, "w": 7 * 86_400_000_000}
_STEP = re.compile(r"([1-9][0-9]{0,5})([mhdw])")
MAX_INSTANTS = 1_000


@dataclass(frozen=True, slots=True)
class Draft:
    """A definition that is not saved, for an audience of that level."""

    definition: str
    level: Level = Level.USER


@dataclass(frozen=True, slots=True)
class Desk:
    """Where questions about one space are asked; `space` is its key."""

    settings: Settings
    database: Database
    space: str

    def question(self, *, key: str | None = None, draft: Draft | None = None, at_us: int | None = None) -> "Question":
        """About the audience of that key; with a draft too, about it under that definition, otherwise about the draft alone.

        As of `at_us`, else of the instant that the space pins, else now. Raises NotFoundError or DefinitionError.
        """
        around = self.surroundings(at_us)
        with self.database.read() as c:
            saved = None if key is None else as_audience(find_audience(c, around.space_id, key))
        audience = _drafted(saved, draft)
        parse(audience.definition, level=audience.level)
        return Question(audience, around.but(audience.key), around.at_us, around.suppressed)

    def surroundings(self, at_us: int | None = None) -> "Surroundings":
        """What a question about the space is asked with; as of `at_us`, else of the instant that the space pins, else now."""
        with self.database.read() as c:
            space = next((one for one in list_spaces(c) if one.key == self.space), None)
            context = () if space is None else computations_of(c, space.id)
            pinned = None if space is None else space.evaluate_at
            suppressed = () if space is None else tuple((row.kind, row.id) for row in list_suppressed(c, space.id))
            now = self.database.now_us(c)
        instant = at_us if at_us is not None else pinned if pinned is not None else now
        return Surroundings("" if space is None else space.id, context, instant, suppressed)

    def history(self, key: str, *, find: Callable[[sa.Connection, str, str], Row] = find_audience) -> History:
        """The versions of an audience, or of what else `find` finds. Raises NotFoundError with the nearest key."""
        with self.database.read() as c:
            space = next((one for one in list_spaces(c) if one.key == self.space), None)
            return load_history(c, find(c, space.id if space is not None else "", key), self.folder(key))

    def folder(self, key: str) -> Path:
        return self.settings.snapshots_dir / self.space / key

    @contextmanager
    def session(self, at_us: int) -> Generator[FactsSession]:
        """The facts of the space as of that instant. Raises StateError when they cannot be read."""
        facts = self.settings.facts_dir
        with self.database.read() as c:
            space = next((one for one in list_spaces(c) if one.key == self.space), None)
            mapped = None if space is None else space.facts
            known = () if space is None or mapped is None else audiences_of(c, space.id)
        with state_errors(facts / self.space), open_facts(self.settings, self.space, mapped, at_us=at_us, known=known) as session:
            yield session


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A space as questions see it: its computations, the instant, and who is kept out whatever is said (kind, id)."""

    space_id: str
    context: tuple[Computation, ...]
    at_us: int
    suppressed: tuple[tuple[str, str], ...]

    def but(self, key: str) -> tuple[Computation, ...]:
        """All computations but that one."""
        return tuple(one for one in self.context if one.key != key)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: an audience, the others it may refer to, the instant, and who is kept out whatever is said (kind, id)."""

    audience: Audience
    context: tuple[Computation, ...]
    at_us: int
    suppressed: tuple[tuple[str, str], ...] = ()


def found_members(found: Evaluated) -> Members:
    """Raises the EngageError of an audience that could not be evaluated."""
    if found.error is not None:
        raise found.error
    if found.members is None:
        raise EngageError("The evaluation gave neither members nor an error.", "Report this.")
    return found.members


def read_step(text: str) -> int:
    """A length of time such as 30m, 12h, 7d or 2w, in microseconds. Raises UsageError for other words."""
    found = _STEP.fullmatch(text)
    if not found:
        raise UsageError(f"{text!r} is not a length of time.", "Write minutes, hours, days or weeks, such as 30m, 12h, 7d or 2w.")
    return int(found[1]) * _UNITS_US[found[2]]


def instants(first_us: int, last_us: int, step_us: int) -> Sequence[int]:
    """From the first to the last at most, both included. Raises UsageError when they are none or too many."""
    if step_us <= 0:
        raise UsageError("The time between two instants is not positive.", "Give a length of time such as 7d.")
    if first_us > last_us:
        raise UsageError("The first instant is after the last.", "Exchange them.")
    series = range(first_us, last_us + 1, step_us)
    if len(series) > MAX_INSTANTS:
        raise UsageError(f"That is {len(series):,} instants.", f"At most {MAX_INSTANTS:,} are evaluated; take longer steps.")
    return series


def _drafted(saved: Audience | None, draft: Draft | None) -> Audience:
    if saved is not None:
        return saved if draft is None else replace(saved, definition=draft.definition)
    if draft is None:
        raise UsageError("Neither an audience nor a definition is named.", "Give one of the two.")
    return Audience(DRAFT, DRAFT, draft.level, draft.definition)
