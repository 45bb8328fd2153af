"""Sources: where calls come from; here only as the owners of destination configurations that a space may import."""

import sqlalchemy as sa

from engage_pipelines.domain.computation import check_key
from engage_pipelines.domain.errors import ConflictError, NotFoundError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.nearest import did_you_mean
from engage_pipelines.registry.tables import source


def list_sources(c: sa.Connection, space_id: str) -> list[Row]:
    return list(c.execute(sa.select(source).where(source.c.space_id == space_id).order_by(source.c.key)))


def find_source(c: sa.Connection, space_id: str, key: str) -> Row:
    """Raises NotFoundError with the nearest key."""
    rows = {row.key: row for row in list_sources(c, space_id)}
    if key not in rows:
        raise NotFoundError(f"There is no source {key!r}.", did_you_mean(key, rows, otherwise="See `engage source list`."))
    return rows[key]


def create_source(change: Change, space: Row, key: str, *, name: str = "") -> Row:
    """Raises ConflictError when the key is taken."""
    check_key(key, "source key")
    if any(row.key == key for row in list_sources(change.c, space.id)):
        raise ConflictError(f"Space {space.key!r} has a source {key!r} already.", "Choose another key.")
    row = change.insert(source, "src", {"space_id": space.id, "key": key, "name": name or key})
    change.record("create", f"source {space.key}/{key}", after={"name": row.name})
    return row


def rename_source(change: Change, space: Row, key: str, name: str) -> Row:
    """Nothing is written when it has the name already."""
    row = find_source(change.c, space.id, key)
    change.check_editable(row, f"Source {key!r}")
    if row.name == name:
        return row
    change.record("update", f"source {space.key}/{key}", before={"name": row.name}, after={"name": name})
    return change.update(source, row.id, {"name": name})
