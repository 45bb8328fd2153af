"""External targets: the one list, path or table outside that belongs to one connection alone."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.errors import ConflictError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.list_settings import OPTION
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.matching import live_connections
from engage_pipelines.registry.tables import computation, connection, destination


def free_target(change: Change, space: Row, of: Row, to: Row, *, list_settings: Mapping[str, Any], own: str | None = None) -> str | None:
    """What the connection of computation `of` to destination `to` would own outside, None when nothing is exclusive.

    Raises ConflictError, naming the connection that has it; the one with the id `own` does not count.
    """
    from engage_pipelines.destinations.base import Target  # noqa: PLC0415 - brings pydantic, and those who list destinations come by here

    info = change.type_of(to.type)
    place = Target(space=space.key, computation=of.key, level=of.level, name=of.name, list_settings=list_settings)
    target = info.external_target(change.registry.desk.describe(info, to.settings), place)
    if target is None:
        return None
    first = next((row for row in live_connections(change.c, connection.c.external_target == target) if row.id != own), None)
    if first is not None:
        audience = change.c.execute(sa.select(computation.c.key).where(computation.c.id == first.computation_id)).scalar_one()
        key = change.c.execute(sa.select(destination.c.key).where(destination.c.id == first.destination_id)).scalar_one()
        raise ConflictError(
            f"{target} belongs to the connection of audience {audience!r} to destination {key!r}.",
            "Give this destination another list, path or table, or disconnect that audience.",
        )
    return target


def claim_targets(change: Change, space: Row, to: Row) -> None:
    """Give the destination's connections the targets that its settings name now. Raises ConflictError when one is taken."""
    for row in live_connections(change.c, connection.c.destination_id == to.id):
        said = row.options.get(OPTION, {})
        target = free_target(change, space, change.row(computation, row.computation_id), to, list_settings=said, own=row.id)
        if target != row.external_target:
            change.update(connection, row.id, {"external_target": target})
