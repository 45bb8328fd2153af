"""Spaces: the partitions of profiles, and which one a command means."""

from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import sqlalchemy as sa

from engage_pipelines.domain.computation import check_key
from engage_pipelines.domain.errors import ConfigurationError, ConflictError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import DEFAULT_SPACE, Row, find_space, list_spaces
from engage_pipelines.registry.tables import computation, destination, space

__all__ = ["DEFAULT_SPACE", "NewSpace", "create_space", "ensure_space", "find_space", "list_spaces", "update_space"]

ONE_PER_SPACE = "space"
ONE_PER_AUDIENCE = "audience"


@dataclass(frozen=True, slots=True)
class NewSpace:
    """A space to be made; `evaluate_at` pins the instant of every evaluation, None means now; `facts` maps a warehouse, None means ours."""

    key: str
    name: str = ""
    evaluate_at: int | None = None
    one_configuration_per_type: str = ONE_PER_SPACE
    facts: dict[str, Any] | None = None


class SpaceFields(TypedDict, total=False):
    """What may be changed of a space; a field that is not given stays."""

    name: str
    evaluate_at: int | None
    one_configuration_per_type: str
    facts: dict[str, Any] | None


def ensure_space(change: Change, key: str | None = None) -> Row:
    """The space meant, made on the spot when there is none at all: the first audience needs no ceremony."""
    wanted = key or change.registry.space
    if not list_spaces(change.c):
        return create_space(change, NewSpace(key=wanted or DEFAULT_SPACE))
    return find_space(change.c, wanted)


def create_space(change: Change, new: NewSpace) -> Row:
    """Raises ConflictError when the key is taken."""
    check_key(new.key, "space key")
    if change.c.execute(sa.select(space.c.id).where(space.c.key == new.key)).first():
        raise ConflictError(f"There is a space {new.key!r} already.", "Choose another key.")
    _check_scope(new.one_configuration_per_type)
    values = {
        "key": new.key,
        "name": new.name or new.key,
        "evaluate_at": new.evaluate_at,
        "one_configuration_per_type": new.one_configuration_per_type,
        "facts": new.facts,
    }
    row = change.insert(space, "spa", values)
    change.record("create", f"space {new.key}", after=values)
    return row


def update_space(change: Change, key: str, **fields: Unpack[SpaceFields]) -> Row:
    """Change a space; other `facts` or another `evaluate_at` have everything enabled evaluated again. No difference, nothing written."""
    row = find_space(change.c, key)
    change.check_editable(row, f"Space {key!r}")
    new: dict[str, Any] = {name: value for name, value in fields.items() if getattr(row, name) != value}
    if not new:
        return row
    if "one_configuration_per_type" in new:
        _check_scope(new["one_configuration_per_type"])
        if new["one_configuration_per_type"] == ONE_PER_SPACE:
            _check_one_per_type(change.c, row)
    change.record("update", f"space {key}", before={name: getattr(row, name) for name in new}, after=new)
    if new.keys() & {"evaluate_at", "facts"}:
        change.compute_soon(row.id, enabled_computations(change.c, row.id))
    return change.update(space, row.id, new)


def _check_scope(scope: str) -> None:
    if scope not in {ONE_PER_SPACE, ONE_PER_AUDIENCE}:
        raise ConfigurationError(f"one_configuration_per_type is {scope!r}.", "Write `space` or `audience`.")


def _check_one_per_type(c: sa.Connection, row: Row) -> None:
    live = sa.and_(destination.c.space_id == row.id, destination.c.source_id.is_(None), destination.c.removed_at.is_(None))
    several = (
        c.execute(sa.select(destination.c.type).where(live).group_by(destination.c.type).having(sa.func.count() > 1)).scalars().first()
    )
    if several is not None:
        keys = c.execute(
            sa.select(destination.c.key).where(live, destination.c.type == several).order_by(destination.c.created_at)
        ).scalars()
        raise ConflictError(
            f"Space {row.key!r} has several destinations of type {several!r}: {', '.join(keys)}.", "Remove all but one of them first."
        )


def enabled_computations(c: sa.Connection, space_id: str) -> list[str]:
    """Ids of everything in the space that is computed."""
    wanted = sa.and_(computation.c.space_id == space_id, computation.c.enabled, computation.c.deleted_at.is_(None))
    return list(c.execute(sa.select(computation.c.id).where(wanted)).scalars())
