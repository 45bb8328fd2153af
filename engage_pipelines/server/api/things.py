"""Finding what a path names: by the id that a list gave, or by the key that people chose."""

from functools import cache
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.errors import NotFoundError
from engage_pipelines.registry.lookup import Row, list_spaces
from engage_pipelines.registry.tables import computation, connection, destination, mapping, source, space
from engage_pipelines.server.api.calls import Call


def audience_of(c: sa.Connection, of_space: Row, name: str) -> Row:
    """Raises NotFoundError."""
    return _computation_of(c, of_space, name, "audience")


def trait_of(c: sa.Connection, of_space: Row, name: str) -> Row:
    """Raises NotFoundError."""
    return _computation_of(c, of_space, name, "trait")


def computation_of(c: sa.Connection, of_space: Row, call: Call) -> Row:
    """The audience or the trait that the path names. Raises NotFoundError."""
    if "traitId" in call.path:
        return trait_of(c, of_space, call.part("traitId"))
    return audience_of(c, of_space, call.part("audienceId"))


def _computation_of(c: sa.Connection, of_space: Row, name: str, kind: str) -> Row:
    row = c.execute(_computation(), {"space": of_space.id, "kind": kind, "name": name}).first()
    if row is None:
        raise NotFoundError(f"There is no {kind} {name[:80]!r} in space {of_space.key!r}.", "See the list.")
    return row


@cache
def _computation() -> sa.Select[*tuple[Any, ...]]:
    """Made once: most operations ask it. A key goes before an id."""
    t = computation.c
    name = sa.bindparam("name", type_=sa.String)
    wanted = [t.space_id == sa.bindparam("space", type_=sa.String), t.kind == sa.bindparam("kind", type_=sa.String), t.deleted_at.is_(None)]
    return sa.select(computation).where(*wanted, sa.or_(t.id == name, t.key == name)).order_by(t.id == name)


def connection_of(c: sa.Connection, of: Row, name: str) -> Row:
    """The connection of an audience or a trait, by its own id or by that of its destination. Raises NotFoundError."""
    t = connection.c
    joined = connection.join(destination, destination.c.id == t.destination_id)
    by_name = sa.or_(t.id == name, t.destination_id == name, destination.c.key == name)
    wanted = sa.and_(t.computation_id == of.id, t.removed_at.is_(None), by_name)
    row = c.execute(sa.select(connection).select_from(joined).where(wanted)).first()
    if row is None:
        raise NotFoundError(
            f"{of.kind.capitalize()} {of.key!r} has no destination connection {name[:80]!r}.", "See GET .../destination-connections."
        )
    return row


def destination_of(c: sa.Connection, call: Call, name: str) -> tuple[Row, Row]:
    """A destination of any space that the token reaches, or of a source there, with its space. Raises NotFoundError."""
    spaces = {row.id: row for row in list_spaces(c) if call.actor.reaches(row)}
    d = destination.c
    row = c.execute(sa.select(destination).where(d.id == name, d.removed_at.is_(None), d.space_id.in_(spaces))).first()
    if row is None:
        raise NotFoundError(f"There is no destination {name[:80]!r}.", "See GET /destinations.")
    return spaces[row.space_id], row


def destination_in(c: sa.Connection, of_space: Row, name: str) -> Row:
    """A destination of the space itself, by id or key. Raises NotFoundError."""
    d = destination.c
    wanted = sa.and_(d.space_id == of_space.id, d.source_id.is_(None), d.removed_at.is_(None), sa.or_(d.id == name, d.key == name))
    row = c.execute(sa.select(destination).where(wanted)).first()
    if row is None:
        raise NotFoundError(f"Space {of_space.key!r} has no destination {name[:80]!r}.", "See GET /destinations, or import one.")
    return row


def source_of(c: sa.Connection, call: Call, name: str) -> tuple[Row, Row | None]:
    """The space and the source that a source id names; a space's own id stands for the space itself. Raises NotFoundError."""
    spaces = {row.id: row for row in list_spaces(c) if call.actor.reaches(row)}
    if name in spaces:
        return spaces[name], None
    row = c.execute(sa.select(source).where(source.c.id == name, source.c.space_id.in_(spaces))).first()
    if row is None:
        raise NotFoundError(f"There is no source {name[:80]!r}.", "Give the id of a source, or of the space itself.")
    return spaces[row.space_id], row


def mapping_of(c: sa.Connection, to: Row, name: str) -> Row:
    """A mapping of a destination, by id. Raises NotFoundError."""
    m = mapping.c
    row = c.execute(sa.select(mapping).where(m.destination_id == to.id, m.id == name, m.removed_at.is_(None))).first()
    if row is None:
        raise NotFoundError(f"Destination {to.key!r} has no subscription {name[:80]!r}.", "See GET .../subscriptions.")
    return row


def spaces_query(call: Call) -> sa.Select[tuple[str, str]]:
    """The spaces that the token reaches."""
    query = sa.select(space)
    return query if call.actor.space is None else query.where(space.c.id == call.actor.space)
