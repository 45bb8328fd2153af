"""The audit log: every change of the control plane with who, when, and the values before and after, secrets as references or masked."""

from collections.abc import Collection
from functools import cache
from typing import Any

import sqlalchemy as sa

from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import audit


def list_audit(c: sa.Connection, *, containing: str | None = None, limit: int) -> list[Row]:
    """The newest entries first; `containing` is a part of what was changed."""
    query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    if containing is not None:
        query = query.where(audit.c.object.contains(containing, autoescape=True))
    return list(c.execute(query))


def authors_of(c: sa.Connection, objects: Collection[str]) -> dict[str, tuple[str, str]]:
    """By object who made it and who changed it last, for those that the log knows."""
    rows = c.execute(_authors(), {"objects": list(objects)})
    return {row.object: (row.actor, row.latest) for row in rows}


def creators_of(c: sa.Connection, objects: Collection[str]) -> dict[str, str]:
    """By object who made it, for those that the log knows."""
    return {row.object: row.actor for row in c.execute(_creators(), {"objects": list(objects)})}


@cache
def _creators() -> sa.Select[*tuple[Any, ...]]:
    named = audit.c.object.in_(sa.bindparam("objects", expanding=True, type_=sa.String))
    return sa.select(audit.c.object, audit.c.actor).where(named, audit.c.verb == "create")


@cache
def _authors() -> sa.Select[*tuple[Any, ...]]:
    """Made once: it is asked with every page of audiences, and building it takes longer than running it."""
    first, last = sa.func.min(audit.c.id), sa.func.max(audit.c.id)
    named = audit.c.object.in_(sa.bindparam("objects", expanding=True))
    span = sa.select(audit.c.object, first.label("first"), last.label("last")).where(named).group_by(audit.c.object).subquery()
    one, other = audit.alias(), audit.alias()
    joined = span.join(one, one.c.id == span.c.first).join(other, other.c.id == span.c.last)
    return sa.select(span.c.object, one.c.actor, other.c.actor.label("latest")).select_from(joined)
