"""Spaces and audiences by key; reads tables alone, so that commands which only look start fast."""

from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.errors import NotFoundError, UsageError
from engage_pipelines.registry.nearest import did_you_mean
from engage_pipelines.registry.tables import computation, space

Row = sa.Row[Any]

DEFAULT_SPACE = "default"
"""The key of the space that is made when someone needs one and has named none."""


def list_spaces(c: sa.Connection) -> list[Row]:
    return list(c.execute(sa.select(space).order_by(space.c.key)))


def find_space(c: sa.Connection, key: str | None = None) -> Row:
    """The space called `key`, or the only one there is. Raises NotFoundError or UsageError with the keys there are."""
    rows = {row.key: row for row in list_spaces(c)}
    if key is not None:
        if key not in rows:
            raise NotFoundError(
                f"There is no space {key!r}.", did_you_mean(key, rows, otherwise=f"Make it with `engage space create {key}`.")
            )
        return rows[key]
    if not rows:
        raise NotFoundError("There is no space yet.", "Make one with `engage space create KEY`, or run `engage apply FOLDER`.")
    if len(rows) > 1:
        raise UsageError(f"There are several spaces: {', '.join(rows)}.", "Say which with ENGAGE_SPACE.")
    return next(iter(rows.values()))


def list_audiences(c: sa.Connection, space_id: str) -> list[Row]:
    """The audiences that are not deleted, by key."""
    wanted = sa.and_(computation.c.space_id == space_id, computation.c.kind == "audience", computation.c.deleted_at.is_(None))
    return list(c.execute(sa.select(computation).where(wanted).order_by(computation.c.key)))


def audience_or_none(c: sa.Connection, space_id: str, key: str) -> Row | None:
    """The audience of that key, None when there is none or it is deleted."""
    wanted = sa.and_(computation.c.space_id == space_id, computation.c.key == key, computation.c.deleted_at.is_(None))
    return c.execute(sa.select(computation).where(wanted)).first()


def find_audience(c: sa.Connection, space_id: str, key: str) -> Row:
    """Raises NotFoundError with the nearest key."""
    row = audience_or_none(c, space_id, key)
    if row is None:
        keys = [audience.key for audience in list_audiences(c, space_id)]
        raise NotFoundError(f"There is no audience {key!r}.", did_you_mean(key, keys, otherwise="See `engage audience list`."))
    return row
