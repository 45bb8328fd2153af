"""The traits of a space."""

import sqlalchemy as sa
from starlette.responses import Response

from engage_pipelines.registry.tables import computation
from engage_pipelines.server.console.pages import render
from engage_pipelines.server.console.visit import PER_PAGE, Visit


def listing(visit: Visit) -> Response:
    """Computed ones, by key; nothing can be done to them here yet."""
    wanted = sa.and_(computation.c.space_id == visit.space.id, computation.c.kind != "audience", computation.c.deleted_at.is_(None))
    with visit.database.read() as c:
        total = c.execute(sa.select(sa.func.count()).select_from(computation).where(wanted)).scalar_one()
        found = sa.select(computation).where(wanted).order_by(computation.c.key)
        rows = c.execute(found.offset((visit.page - 1) * PER_PAGE).limit(PER_PAGE)).all()
    return render(visit, "traits.html", section="traits", rows=rows, total=total)
