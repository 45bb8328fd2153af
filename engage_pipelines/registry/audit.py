"""The audit log: every change of the control plane with who, when, and the values before and after, secrets as references or masked."""

import sqlalchemy as sa

from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import audit


def list_audit(c: sa.Connection, *, containing: str | None = None, limit: int) -> list[Row]:
    """The newest entries first; `containing` is a part of what was changed."""
    query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    if containing is not None:
        query = query.where(audit.c.object.contains(containing, autoescape=True))
    return list(c.execute(query))
