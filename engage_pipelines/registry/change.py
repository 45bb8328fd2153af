"""A change to the control plane: one transaction in which everything is validated, written and audited, or nothing is.

    registry = open_registry(settings, types=catalog.destination_types())
    with registry.change() as change:
        create_audience(change, space, ...)

The functions of the noun modules (spaces, sources, destinations, computations, connections, mappings, requests) take the open change;
several in one change stand or fall together. Computations to be computed are asked for in one request per space, at the change's end.
"""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from engage_pipelines.domain.errors import ConflictError
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.ids import IdSource, random_id
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.requests import Stamp, owe_compute
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.registry.tables import audit
from engage_pipelines.registry.texts import check_texts
from engage_pipelines.registry.types import find_type
from engage_pipelines.settings import Settings

if TYPE_CHECKING:
    from engage_pipelines.destinations.base import DestinationType
    from engage_pipelines.registry.type_settings import SettingsDesk


@dataclass(frozen=True, slots=True)
class Registry:
    """The control plane: its database, the destination types there are, how settings are kept, and in whose name changes are made."""

    database: Database
    types: Mapping[str, "DestinationType"]
    desk: "SettingsDesk"
    actor: str
    space: str | None = None
    new_id: IdSource = random_id

    @contextmanager
    def change(self, *, managed_by: str | None = None) -> Generator["Change"]:
        """A transaction that commits at the end; `managed_by` is `config:<path>` while configuration is applied."""
        with self.database.write() as connection:
            change = Change(self, connection, self.database.now_us(connection), managed_by)
            yield change
            change.ask_for_computing()


def open_registry(settings: Settings, *, types: Mapping[str, "DestinationType"], new_id: IdSource = random_id) -> Registry:
    """The registry that the settings name; the database is opened, and made when it is an SQLite file that is not there."""
    from engage_pipelines.registry.type_settings import SettingsDesk  # noqa: PLC0415 - brings pydantic, which looking does without

    return Registry(
        database=Database(settings.database_url),
        types=types,
        desk=SettingsDesk(Vault(settings.keys), settings.files_dir),
        actor=settings.actor,
        space=settings.space,
        new_id=new_id,
    )


@dataclass(frozen=True, slots=True)
class Change:
    """One open transaction; `now` is the instant of everything in it."""

    registry: Registry
    c: sa.Connection
    now: int
    managed_by: str | None = None
    _to_compute: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    @property
    def stamp(self) -> Stamp:
        return Stamp(now=self.now, actor=self.registry.actor, new_id=self.registry.new_id)

    def type_of(self, key: str) -> "DestinationType":
        return find_type(self.registry.types, key)

    def insert(self, table: sa.Table, prefix: str, values: Mapping[str, Any]) -> Row:
        """Insert a row with a new id, the times and the owner; returns it as written. Raises ConfigurationError for a text that is none."""
        check_texts(values)
        row_id = self.registry.new_id(prefix)
        stamped = {**values, "id": row_id, "created_at": self.now}
        if "updated_at" in table.c:
            stamped["updated_at"] = self.now
        if "managed_by" in table.c:
            stamped.setdefault("managed_by", self.managed_by)
        self.c.execute(table.insert().values(stamped))
        return self.row(table, row_id)

    def update(self, table: sa.Table, row_id: str, values: Mapping[str, Any]) -> Row:
        """Update a row by id; returns it as written. Raises ConfigurationError for a text that is none."""
        check_texts(values)
        stamped = {**values, "updated_at": self.now} if "updated_at" in table.c else dict(values)
        self.c.execute(table.update().where(table.c.id == row_id).values(stamped))
        return self.row(table, row_id)

    def row(self, table: sa.Table, row_id: str) -> Row:
        return self.c.execute(sa.select(table).where(table.c.id == row_id)).one()

    def lock(self, table: sa.Table, row_id: str) -> Row:
        """The row, held against other changes until this one ends; what must stay unique within it is checked under this lock."""
        return self.c.execute(sa.select(table).where(table.c.id == row_id).with_for_update()).one()

    def record(self, verb: str, what: str, *, before: Mapping[str, Any] | None = None, after: Mapping[str, Any] | None = None) -> None:
        """Write the audit row; the values must be masked already."""
        self.c.execute(
            audit.insert().values(
                at=self.now, actor=self.registry.actor, verb=verb, object=what, before=_plain(before), after=_plain(after)
            )
        )

    def check_editable(self, row: Row, what: str) -> None:
        """Raises ConflictError when the thing is kept in configuration and this change does not come from there."""
        if row.managed_by is not None and self.managed_by is None:
            raise ConflictError(
                f"{what} is kept in {row.managed_by.removeprefix('config:')}.", "Edit that file and run `engage apply` on its folder."
            )

    def compute_soon(self, space_id: str, computation_ids: Iterable[str]) -> None:
        """Ask for an evaluation once this change is committed."""
        self._to_compute.setdefault(space_id, set()).update(computation_ids)

    def ask_for_computing(self) -> tuple[str, ...]:
        """Write the compute requests that are due, one per space; returns their ids."""
        written = tuple(owe_compute(self.c, space_id, ids, self.stamp) for space_id, ids in self._to_compute.items() if ids)
        self._to_compute.clear()
        return written


def _plain(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if values is None else dict(values)
