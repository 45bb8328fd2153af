"""One call of the API as its operation sees it, and the operation as the table of routes, the documents and the tests see it."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict

from engage_pipelines.domain.errors import ConflictError, EngageError, NotFoundError
from engage_pipelines.domain.instants import to_datetime
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.lookup import Row, list_spaces
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.access import Actor
from engage_pipelines.server.api.evaluations import Previews
from engage_pipelines.settings import Settings

_Body = TypeVar("_Body", bound=BaseModel)
_MOST_IN_PATH = 300


class Body(BaseModel):
    """Base of what a request may say: nothing unknown, and no text for a number or a number for a text."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class AtFieldError(Exception):
    """A failure that one field of the request brought about, named as the client wrote it."""

    def __init__(self, error: EngageError, field_name: str) -> None:
        super().__init__(str(error))
        self.error = error
        self.field_name = field_name


class StaleError(ConflictError):
    """The thing was changed since the client read it; `current` is how it is, `given` what was asked."""

    def __init__(self, what: str, *, current: Any, given: Any) -> None:
        super().__init__(what, "Read it again, and repeat the change on what it is now.")
        self.current = current
        self.given = given


@contextmanager
def at_field(name: str, *kinds: type[EngageError]) -> Generator[None]:
    """Say that what fails inside is about this field of the request; with `kinds`, those failures alone."""
    try:
        yield
    except EngageError as error:
        if kinds and not isinstance(error, kinds):
            raise
        raise AtFieldError(error, name) from error


@dataclass(frozen=True, slots=True)
class Answer:
    """What an operation gives: the content of `data`, and the instant of the last change where that can be asked for with If-Match."""

    data: Mapping[str, Any]
    updated_at: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is known to be whole and allowed; `registry` acts in the name of whoever asks."""

    settings: Settings
    registry: Registry
    previews: Previews
    actor: Actor
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None
    if_match: str | None = None

    def said(self, model: type[_Body]) -> _Body:
        """The body, which was checked against this model."""
        return cast(_Body, self.body)

    def space(self, c: sa.Connection, name: str = "spaceId") -> Row:
        """The space that the path names by id or key. Raises NotFoundError, also for one that the token does not reach."""
        wanted = self.part(name)
        row = next((row for row in list_spaces(c) if wanted in {row.id, row.key} and self.actor.reaches(row)), None)
        if row is None:
            raise NotFoundError(f"There is no space {wanted[:80]!r}.", "See GET /spaces.")
        return row

    def part(self, name: str) -> str:
        """A part of the path that names a thing. Raises NotFoundError for what no name can be."""
        text = self.path[name]
        if not text or len(text) > _MOST_IN_PATH or not text.isprintable():
            raise NotFoundError(f"{name} names nothing.", "Use an id as a list gave it.")
        return text

    def check_fresh(self, row: Row, *, given: int | str | None, render: Callable[[], Any]) -> None:
        """Raises StaleError when the client read another state of the row, said by If-Match or by `updatedAt` in the body."""
        seen = [one for one in (self.if_match, given) if one is not None]
        if any(one not in {"*", etag(row.updated_at), instant(row.updated_at)} for one in seen):
            said = self.body.model_dump(exclude_unset=True) if isinstance(self.body, BaseModel) else None
            raise StaleError("Someone else changed it since you read it.", current=render(), given=said)


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter of the query, for the documents; whether it fits is checked by whoever reads it.

    `timely`: with it the answer depends on the hour.
    """

    name: str
    text: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    timely: bool = False


PAGINATION = Query(
    "pagination",
    "Which part of the list: `count` from 1 to 1000, `cursor` from the answer before.",
    {"type": "object", "properties": {"count": {"type": "integer", "minimum": 1, "maximum": 1000}, "cursor": {"type": "string"}}},
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: where it is, what it takes and gives, who may ask for it, and the function that does it.

    `version` is the newest of Segment's media types that has it, `own` an operation of ours.
    `kept`: the answer follows from the path, the query, the space of the token and the tables alone, so it holds until these change.
    """

    name: str
    method: str
    path: str
    run: Callable[[Call], Answer]
    summary: str
    gives: Sequence[str]
    role: Role = Role.READER
    members: bool = False
    body: type[BaseModel] | None = None
    query: Sequence[Query] = ()
    version: str = "v1"
    kept: bool = False

    @property
    def is_own(self) -> bool:
        return self.path.startswith("/x/")


def etag(at_us: int) -> str:
    return f'"{at_us}"'


@lru_cache(maxsize=8192)
def instant(at_us: int | None) -> str | None:
    """ISO 8601 with microseconds and Z, so that two changes never read the same."""
    if at_us is None:
        return None
    return to_datetime(at_us).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
