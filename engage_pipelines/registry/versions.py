"""The published versions of a computation, as the registry knows them."""

import sqlalchemy as sa

from engage_pipelines.registry.tables import version


def published_versions(c: sa.Connection, computation_id: str) -> list[tuple[int, bool]]:
    """Number and whether it is a full snapshot, oldest first; `snapshots.rows.Chain.of` takes them."""
    v = version.c
    rows = c.execute(sa.select(v.n, v.is_full).where(v.computation_id == computation_id, v.state == "published").order_by(v.n))
    return [(row.n, bool(row.is_full)) for row in rows]


def digest_of(c: sa.Connection, computation_id: str, n: int) -> str | None:
    """What its comparison said of the rows that were evaluated; None of a version that is not there."""
    v = version.c
    return c.execute(sa.select(v.digest).where(v.computation_id == computation_id, v.n == n)).scalar()
