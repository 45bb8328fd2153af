"""Pruning: what a folder of configuration owned and no file of it holds any more is taken away, in an order that works.

Only what is owned by a file of the same folder (or by the one file that is applied) goes; what was made by hand, or is owned by another
folder, stays. Destinations are told nothing: members stay there as they were told.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from engage_pipelines.domain.errors import ConfigurationError, EngageError
from engage_pipelines.registry.audiences import delete_audience
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.connections import list_connections, remove
from engage_pipelines.registry.definitions import users_of
from engage_pipelines.registry.destinations import list_destinations, remove_destination
from engage_pipelines.registry.entries import Applied
from engage_pipelines.registry.lookup import Row, list_computations, list_spaces
from engage_pipelines.registry.mappings import list_mappings, remove_mapping
from engage_pipelines.registry.owners import is_within, scope_of
from engage_pipelines.registry.sources import list_sources
from engage_pipelines.registry.tables import computation, destination, source, version
from engage_pipelines.registry.traits import delete_trait

Kept = Collection[tuple[str, str, str]]
"""Space, kind and name of what the files hold."""


def prune_owned(change: Change, place: Path, kept: Kept) -> list[Applied]:
    """Take away what the folder at `place` owned and is not among `kept`. Raises ConfigurationError when something else still needs it."""
    pruning = _Pruning(replace(change, managed_by=scope_of(place)), scope_of(place), kept)
    done: list[Applied] = []
    for space in list_spaces(change.c):
        for step in (pruning.connections, pruning.mappings, pruning.computations, pruning.destinations, pruning.sources):
            done.extend(step(space))
    return done


class _Pruning:
    def __init__(self, change: Change, scope: str, kept: Kept) -> None:
        self._change = change
        self._c = change.c
        self._scope = scope
        self._kept = kept

    def connections(self, space: Row) -> Iterator[Applied]:
        for row in list_connections(self._c, space.id):
            of = self._change.row(computation, row.computation_id)
            to = self._change.row(destination, row.destination_id)
            if self._goes(space, row, "connection", f"{of.key} -> {to.key}"):
                told = self._size(of)
                note = f"nothing is sent: the {told:,} members stay in {to.key} as they were told" if told else "nothing was told yet"
                yield self._gone(
                    space, "connection", f"{of.key} -> {to.key}", note, lambda of=of, to=to: remove(self._change, space, of, to)
                )

    def mappings(self, space: Row) -> Iterator[Applied]:
        for to in list_destinations(self._c, space.id):
            for row in list_mappings(self._c, to.id):
                name = f"{to.key}: {row.name}"
                if row.connection_id is None and self._goes(space, row, "mapping", name):
                    yield self._gone(space, "mapping", name, "", lambda to=to, row=row: remove_mapping(self._change, to, row))

    def computations(self, space: Row) -> Iterator[Applied]:
        waiting = [row for row in list_computations(self._c, space.id) if self._goes(space, row, row.kind, row.key)]
        while waiting:
            # first those that no other definition speaks of; the last one left says what still needs it
            row = next((one for one in waiting if not users_of(self._c, space.id, one.key)), waiting[0])
            waiting.remove(row)
            note = "its key is never used again"
            delete = delete_audience if row.kind == "audience" else delete_trait
            yield self._gone(space, row.kind, row.key, note, lambda delete=delete, row=row: delete(self._change, space, row.key))

    def destinations(self, space: Row) -> Iterator[Applied]:
        for row in list_destinations(self._c, space.id):
            if self._goes(space, row, "destination", row.key):
                yield self._gone(space, "destination", row.key, "", lambda row=row: remove_destination(self._change, space, row))

    def sources(self, space: Row) -> Iterator[Applied]:
        for owner in list_sources(self._c, space.id):
            for row in list_destinations(self._c, space.id, source_id=owner.id):
                name = f"{owner.key}/{row.key}"
                if self._goes(space, row, "destination", name):
                    yield self._gone(space, "destination", name, "", lambda row=row: remove_destination(self._change, space, row))
            if self._goes(space, owner, "source", owner.key):
                yield self._gone(space, "source", owner.key, "", lambda owner=owner: remove_source(self._change, space, owner))

    def _goes(self, space: Row, row: Row, kind: str, name: str) -> bool:
        return is_within(row.managed_by, self._scope) and (space.key, kind, name) not in self._kept

    def _gone(self, space: Row, kind: str, name: str, note: str, act: Callable[[], object]) -> Applied:
        try:
            act()
        except EngageError as error:
            raise ConfigurationError(
                f"{kind.capitalize()} {name!r} is in no file any more and cannot be removed: {error.what}", error.remedy
            ) from error
        return Applied(kind, name, "removed", space.key, note=note)

    def _size(self, of: Row) -> int:
        query = sa.select(version.c.size).where(version.c.computation_id == of.id, version.c.n == of.current_version)
        return self._c.execute(query).scalar() or 0


def remove_source(change: Change, space: Row, row: Row) -> None:
    """Remove a source. Raises ConfigurationError while configurations are on it."""
    left = [one.key for one in list_destinations(change.c, space.id, source_id=row.id)]
    if left:
        raise ConfigurationError(f"Source {row.key!r} has {', '.join(left)}.", "Remove these first.")
    removed = destination.c.source_id == row.id
    change.c.execute(
        destination.update().where(removed).values(source_id=None, removed_at=sa.func.coalesce(destination.c.removed_at, change.now))
    )
    change.c.execute(source.delete().where(source.c.id == row.id))
    change.record("remove", f"source {space.key}/{row.key}", before={"name": row.name})
