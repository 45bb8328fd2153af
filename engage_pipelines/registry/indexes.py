"""Partial unique indexes: what must be the only one of its kind among the living.

They stand apart from the tables because an option of PostgreSQL makes SQLAlchemy import everything it has for PostgreSQL, and commands that
only look would pay for it. Whoever makes or compares the schema takes `metadata` from here.
"""

import sqlalchemy as sa

from engage_pipelines.registry.tables import connection, destination, metadata

__all__ = ["metadata"]

sa.Index(
    "uq_destination_of_space",
    destination.c.space_id,
    destination.c.key,
    unique=True,
    sqlite_where=sa.and_(destination.c.source_id.is_(None), destination.c.removed_at.is_(None)),
    postgresql_where=sa.and_(destination.c.source_id.is_(None), destination.c.removed_at.is_(None)),
)

sa.Index(
    "uq_destination_of_source",
    destination.c.source_id,
    destination.c.key,
    unique=True,
    sqlite_where=destination.c.removed_at.is_(None),
    postgresql_where=destination.c.removed_at.is_(None),
)

sa.Index(
    "uq_connection_live",
    connection.c.computation_id,
    connection.c.destination_id,
    unique=True,
    sqlite_where=connection.c.removed_at.is_(None),
    postgresql_where=connection.c.removed_at.is_(None),
)

sa.Index(
    "uq_connection_target",
    connection.c.external_target,
    unique=True,
    sqlite_where=sa.and_(connection.c.removed_at.is_(None), connection.c.external_target.is_not(None)),
    postgresql_where=sa.and_(connection.c.removed_at.is_(None), connection.c.external_target.is_not(None)),
)
