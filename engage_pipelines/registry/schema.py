"""The revision of the schema: which one this version of the product needs, which one a database has, and the way up.

alembic takes a third of a second to import, so it is imported only when there is something to upgrade: an empty database is given
the tables as they are now, which is what all migrations together make.
"""

import sqlalchemy as sa
from sqlalchemy import exc

from engage_pipelines.domain.errors import StateError

REVISIONS = ("0001",)
"""Every revision there is, oldest first; the last is the one that this version works with."""

HEAD = REVISIONS[-1]

_REVISION = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""As alembic makes it."""


def revision_of(connection: sa.Connection) -> str | None:
    """The revision that the database has; None when it has no schema yet."""
    try:
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except exc.DBAPIError as error:
        if "no such table" in str(error.orig) or getattr(error.orig, "pgcode", None) == "42P01":
            return None
        raise


def is_current(revision: str | None, name: str) -> bool:
    """True when nothing has to be done. Raises StateError when the database is newer than this version of the product."""
    if revision is not None and revision not in REVISIONS:
        raise StateError(
            f"{name} has schema revision {revision!r}; this version of engage knows revisions up to {HEAD!r}.",
            "Install the newer version that made it, or restore the backup of before.",
        )
    return revision == HEAD


def upgrade(connection: sa.Connection) -> None:
    """Bring the schema to HEAD in the connection's transaction; nothing to do is fine."""
    if connection.dialect.name == "postgresql":
        # two machines that upgrade at once: the second waits, then finds nothing to do
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7305010926184611)")
    if sa.inspect(connection).has_table(_REVISION.name):
        migrate(connection)
    else:
        _make(connection)


def migrate(connection: sa.Connection) -> None:
    """Run the migrations that the database lacks."""
    from alembic import command  # noqa: PLC0415 - see the module's head
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "engage_pipelines.registry:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _make(connection: sa.Connection) -> None:
    from engage_pipelines.registry.indexes import metadata  # noqa: PLC0415 - see there

    metadata.create_all(connection, checkfirst=False)
    _REVISION.create(connection)
    connection.execute(sa.insert(_REVISION).values(version_num=HEAD))
