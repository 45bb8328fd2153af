"""The audit log page by page: entries by what was changed, by whom, and by verb."""

import sqlalchemy as sa

from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import audit


def search_audit(
    c: sa.Connection, *, text: str = "", verb: str = "", space: str | None = None, offset: int = 0, limit: int = 50
) -> tuple[list[Row], int]:
    """The newest first, and how many there are; `text` is a part of the object or of the actor, in any case, `space` a key."""
    wanted: list[sa.ColumnElement[bool]] = []
    if text:
        wanted.append(sa.or_(audit.c.object.icontains(text, autoescape=True), audit.c.actor.icontains(text, autoescape=True)))
    if verb:
        wanted.append(audit.c.verb == verb)
    if space is not None:
        wanted.append(audit.c.object.contains(f" {space}/", autoescape=True))
    total = c.execute(sa.select(sa.func.count()).select_from(audit).where(*wanted)).scalar_one()
    rows = c.execute(sa.select(audit).where(*wanted).order_by(audit.c.id.desc()).offset(offset).limit(limit)).all()
    return list(rows), total


def verbs_used(c: sa.Connection) -> list[str]:
    return list(c.execute(sa.select(audit.c.verb).distinct().order_by(audit.c.verb)).scalars())
