"""What audiences and computed traits have in common over the API: fields of their bodies, what is told of both, and how they are found."""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.registry.audit import authors_of
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.overview import Condition, conditions
from engage_pipelines.registry.tables import computation
from engage_pipelines.server.api.calls import AtFieldError, instant

Name = Annotated[str, Field(min_length=1, max_length=300)]
Text = Annotated[str, Field(max_length=10_000)]
QueryText = Annotated[str, Field(min_length=1, max_length=100_000)]
Key = Annotated[str, Field(max_length=255)]
Instant = Annotated[str, Field(max_length=40)]

LEVELS = {"USERS": Level.USER, "ACCOUNTS": Level.ACCOUNT}
TYPES = {"user": "USERS", "account": "ACCOUNTS"}


def of_space(space: Row, kind: str, search: str) -> sa.Select[Any]:
    """Those of a kind whose name or key has the words in it."""
    t = computation.c
    wanted = [t.space_id == space.id, t.kind == kind, t.deleted_at.is_(None)]
    if search:
        wanted.append(sa.or_(*(column.icontains(search, autoescape=True) for column in (t.name, t.key))))
    return sa.select(computation).where(*wanted)


def told_of(c: sa.Connection, space: Row, rows: Sequence[Row]) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Each row with what is told of audiences and traits alike; a few queries whatever their number."""
    named = [f"{row.kind} {space.key}/{row.key}" for row in rows]
    authors = authors_of(c, named)
    for row, name, one in zip(rows, named, conditions(c, space.id, rows), strict=True):
        yield row, _told(row, one, authors.get(name, ("", "")))


def _told(row: Row, one: Condition, authors: tuple[str, str]) -> dict[str, Any]:
    return {
        "id": row.id,
        "spaceId": row.space_id,
        "name": row.name,
        "description": row.description,
        "key": row.key,
        "enabled": row.enabled,
        "status": one.status,
        "createdBy": authors[0],
        "updatedBy": authors[1],
        "createdAt": instant(row.created_at),
        "updatedAt": instant(row.updated_at),
        "size": {"type": TYPES[row.level], **({} if one.size is None else {"count": one.size})},
        "version": row.current_version,
        "heldVersion": one.held,
    }


def key_for(given: str | None, name: str) -> str:
    """The key given, or one made of the name. Raises AtFieldError for a name that no key can be made of."""
    if given is not None:
        return given
    key = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not key or not key[0].isalpha():
        raise AtFieldError(
            UsageError("No key can be made of this name.", "Give a `key`: a letter, then letters, digits and underscores."), "key"
        )
    return key[:255]
