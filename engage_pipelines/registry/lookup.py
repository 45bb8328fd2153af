"""Spaces, audiences and traits by key; reads tables alone, so that commands which only look start fast."""

from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.errors import NotFoundError, UsageError
from engage_pipelines.registry.nearest import did_you_mean
from engage_pipelines.registry.tables import computation, space

Row = sa.Row[Any]

DEFAULT_SPACE = "default"
"""The key of the space that is made when someone needs one and has named none."""

# made once: every command and every page asks these, and building them takes longer than the database needs to answer
_LIVING = sa.and_(computation.c.space_id == sa.bindparam("space", type_=sa.String), computation.c.deleted_at.is_(None))
_SPACES = sa.select(space).order_by(space.c.key)
_COMPUTATIONS = sa.select(computation).where(_LIVING).order_by(computation.c.key)
_OF_KIND = _COMPUTATIONS.where(computation.c.kind == sa.bindparam("kind", type_=sa.String))
_COMPUTATION = sa.select(computation).where(_LIVING, computation.c.key == sa.bindparam("key", type_=sa.String))


def list_spaces(c: sa.Connection) -> list[Row]:
    return list(c.execute(_SPACES))


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


def list_computations(c: sa.Connection, space_id: str) -> list[Row]:
    """The audiences and traits that are not deleted, by key."""
    return list(c.execute(_COMPUTATIONS, {"space": space_id}))


def list_audiences(c: sa.Connection, space_id: str) -> list[Row]:
    """The audiences that are not deleted, by key."""
    return list(c.execute(_OF_KIND, {"space": space_id, "kind": "audience"}))


def list_traits(c: sa.Connection, space_id: str) -> list[Row]:
    """The traits that are not deleted, by key."""
    return list(c.execute(_OF_KIND, {"space": space_id, "kind": "trait"}))


def computation_or_none(c: sa.Connection, space_id: str, key: str) -> Row | None:
    """The audience or trait of that key, None when there is none or it is deleted."""
    return c.execute(_COMPUTATION, {"space": space_id, "key": key}).first()


def is_sql_trait(row: Row) -> bool:
    """Whether it is a trait that a SELECT computes: its columns are traits of their own."""
    return row.kind == "trait" and row.options.get("type") == "sql"


def find_computation(c: sa.Connection, space_id: str, key: str) -> Row:
    """The audience or trait of that key. Raises NotFoundError with the nearest key."""
    row = computation_or_none(c, space_id, key)
    if row is None:
        keys = list(c.execute(sa.select(computation.c.key).where(_LIVING), {"space": space_id}).scalars())
        other = "See `engage audience list` and `engage trait list`."
        raise NotFoundError(f"There is no audience or trait {key!r}.", did_you_mean(key, keys, otherwise=other))
    return row


def audience_or_none(c: sa.Connection, space_id: str, key: str) -> Row | None:
    """The audience of that key, None when there is none or it is deleted."""
    return _of_kind_or_none(c, space_id, key, "audience")


def trait_or_none(c: sa.Connection, space_id: str, key: str) -> Row | None:
    """The trait of that key, None when there is none or it is deleted."""
    return _of_kind_or_none(c, space_id, key, "trait")


def find_audience(c: sa.Connection, space_id: str, key: str) -> Row:
    """Raises NotFoundError with the nearest key."""
    return _find(c, space_id, key, "audience", f"{key!r} is a trait, not an audience.")


def find_trait(c: sa.Connection, space_id: str, key: str) -> Row:
    """Raises NotFoundError with the nearest key."""
    return _find(c, space_id, key, "trait", f"{key!r} is an audience, not a trait.")


def _of_kind_or_none(c: sa.Connection, space_id: str, key: str, kind: str) -> Row | None:
    row = computation_or_none(c, space_id, key)
    return row if row is not None and row.kind == kind else None


def _find(c: sa.Connection, space_id: str, key: str, kind: str, other_kind: str) -> Row:
    row = computation_or_none(c, space_id, key)
    if row is None:
        keys = [one.key for one in c.execute(_OF_KIND, {"space": space_id, "kind": kind})]
        raise NotFoundError(f"There is no {kind} {key!r}.", did_you_mean(key, keys, otherwise=f"See `engage {kind} list`."))
    if row.kind != kind:
        raise NotFoundError(other_kind, f"See: engage {row.kind} show {key}")
    return row
