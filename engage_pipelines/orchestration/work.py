"""The work that assets and ops ask for, as one Dagster resource: everything that is not Dagster is behind it.

Ops stay thin and hand each other nothing: each finds its connection by the asset it belongs to and the partition of the run, and what is
under way by the database.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import dagster as dg

from engage_pipelines.domain.errors import EngageError

RESOURCE = "work"
WAITING = "waiting"
"""The state of an audience that is computed for destinations alone, and has none: nothing was evaluated."""

Counts = Mapping[str, Mapping[str, int]]
"""Records by call and fate: `{"identify": {"entered": 3, "rejected": 1}}`."""

TOLD = ("entered", "exited")
"""The fates of records that the destination took."""


@dataclass(frozen=True, slots=True)
class Run:
    """The run that asks; `attempt` is the request and its attempt that the launcher started it for, None when people started it."""

    id: str
    log: Callable[[str], None]
    attempt: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One connection by its keys."""

    space: str
    audience: str
    destination: str


class Computed(Protocol):
    """The outcome of one audience or trait; `state` is published, unchanged, held, failed or WAITING. `updated` is None of audiences."""

    @property
    def key(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def evaluated_at_us(self) -> int: ...
    @property
    def n(self) -> int | None: ...
    @property
    def size(self) -> int | None: ...
    @property
    def users(self) -> int | None: ...
    @property
    def entered(self) -> int | None: ...
    @property
    def exited(self) -> int | None: ...
    @property
    def error(self) -> EngageError | None: ...
    @property
    def warnings(self) -> Sequence[str]: ...
    @property
    def updated(self) -> int | None: ...


class Planned(Protocol):
    """What a sync found to do: members whose state the destination does not know, by level."""

    @property
    def version(self) -> int | None: ...
    @property
    def owed(self) -> Mapping[str, int]: ...


class Sent(Protocol):
    """What one level was sent in a run."""

    @property
    def counts(self) -> Counts: ...


class Settled(Protocol):
    """How a connection stands after a run: what the run sent, and how many records stay refused, wait for a retry, or cannot be sent."""

    @property
    def version(self) -> int | None: ...
    @property
    def counts(self) -> Counts: ...
    @property
    def dead_letters(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def skipped(self) -> int: ...
    @property
    def more_owed(self) -> bool: ...


class Work(Protocol):
    """What the resource offers; tests put a fake in its place. Each raises EngageError, with the request told before."""

    def compute(self, space: str, keys: Sequence[str], run: Run) -> Sequence[Computed]:
        """Evaluate the audiences in one shared scan and publish their versions."""
        ...

    def plan(self, place: Place, run: Run) -> Planned:
        """Begin: take up the request of the run, or the one that is owed, or a new one, and look at what is owed."""
        ...

    def send(self, place: Place, level: str, run: Run) -> Sent:
        """Bring one level, account or user, up to date as far as this run goes."""
        ...

    def settle(self, place: Place, run: Run) -> Settled:
        """End: say how the connection stands, and finish the request."""
        ...


@contextmanager
def told_in_words() -> Generator[None]:
    """Run the body; what people can mend becomes a failure with its words alone, and Dagster does not try again by itself."""
    try:
        yield
    except EngageError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
