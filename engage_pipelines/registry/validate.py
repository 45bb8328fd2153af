"""Validation without a database of anybody's: the files are applied to an empty registry of their own, by the same rules as the real one.

What they refer to must be in them. Secrets need not be there, and a masked secret is taken for one that the real registry keeps.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from engage_pipelines.destinations.base import DestinationType
from engage_pipelines.domain.connection import State
from engage_pipelines.registry.apply import try_in
from engage_pipelines.registry.change import Change, Registry
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.entries import Applied
from engage_pipelines.registry.problems import Problem, in_order
from engage_pipelines.registry.reading import Configuration
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.registry.tables import computation, connection, destination, metadata
from engage_pipelines.registry.type_settings import SettingsDesk
from engage_pipelines.settings import Settings

_KEPT = "env:KEPT_AS_IT_IS"


@dataclass(frozen=True, slots=True)
class Validated:
    """What the files hold, what is wrong with them, and what is allowed but hardly meant."""

    entries: tuple[Applied, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[str, ...]


class _Desk(SettingsDesk):
    """Takes bullets in place of a secret, which mean: keep the old one."""

    def keep(self, info: DestinationType, given: Mapping[str, Any], *, old: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return super().keep(info, given, old={**_references(given), **(old or {})})


def validate(configuration: Configuration, *, settings: Settings, types: Mapping[str, DestinationType]) -> Validated:
    """Every problem of the files, in order of file and line."""
    with tempfile.TemporaryDirectory(prefix="engage-validate-") as folder:
        database = Database(f"sqlite:///{Path(folder) / 'scratch.db'}", check_schema=False)
        try:
            with database.write() as c:
                metadata.create_all(c)
            registry = Registry(database, types, _Desk(Vault(settings.keys), settings.files_dir), actor="validate", space=settings.space)
            with database.write() as c:
                change = Change(registry, c, database.now_us(c))
                done, problems = try_in(change, configuration)
                warnings = tuple(_undelivered(c))
        finally:
            database.close()
    return Validated(tuple(replace(one, verb="there") for one in done), tuple(in_order(problems)), warnings)


def _undelivered(c: sa.Connection) -> list[str]:
    con, joined = connection.c, connection.join(computation).join(destination, connection.c.destination_id == destination.c.id)
    query = sa.select(computation.c.key, destination.c.key.label("to")).select_from(joined).where(con.state == State.AWAITING_MAPPING)
    return [f"{row.key} -> {row.to}: no enabled mapping matches, so that nothing would be delivered." for row in c.execute(query)]


def _references(value: Any) -> Any:
    """The same settings with a reference in place of each text."""
    if isinstance(value, Mapping):
        return {key: _references(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_references(inner) for inner in value]
    return _KEPT if isinstance(value, str) else value
