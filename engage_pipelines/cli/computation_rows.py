"""What lists show of audiences and traits."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from engage_pipelines.cli.output import instant_text
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import version


def sizes_of(c: sa.Connection, rows: Sequence[Row]) -> dict[str, int]:
    """By id, the size of the current version of those that have one."""
    query = sa.select(version.c.computation_id, version.c.n, version.c.size).where(version.c.computation_id.in_([row.id for row in rows]))
    sizes = {(row.computation_id, row.n): row.size for row in c.execute(query)}
    current = {row.id: row.current_version for row in rows}
    return {one: sizes[one, n] for one, n in current.items() if n is not None and (one, n) in sizes}


def summary(row: Row, size: int | None) -> dict[str, Any]:
    """One line of a list; `size` is that of the current version."""
    return {
        "key": row.key,
        "name": row.name,
        "level": row.level,
        "enabled": row.enabled,
        "size": size,
        "version": row.current_version,
        "checked_at": instant_text(row.checked_at),
    }
