"""Applying configuration: files into the registry, all or nothing, nothing twice, and with everything that is wrong said at once.

What a file holds is made or brought to what the file says, and is owned by it from then on: an edit elsewhere is refused. What no file
holds any more stays, unless it is to be pruned. Order: spaces, sources, destinations, audiences, mappings, connections, over all files.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import sqlalchemy as sa

from engage_pipelines.domain.errors import ConflictError, EngageError, UsageError
from engage_pipelines.registry.change import Change, Registry
from engage_pipelines.registry.configuration import (
    LISTS,
    ConnectionEntry,
    Entry,
    MappingEntry,
    SourceEntry,
)
from engage_pipelines.registry.entries import Applied, Edit, apply_entry, apply_on_source, apply_space
from engage_pipelines.registry.located import located
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.problems import Problem, ProblemsError
from engage_pipelines.registry.prune import prune_owned
from engage_pipelines.registry.reading import ALL, Configuration, ConfigurationFile
from engage_pipelines.registry.spaces import ensure_space
from engage_pipelines.registry.tables import audit
from engage_pipelines.registry.yaml_marks import Place

__all__ = ["Applied", "apply_configuration", "apply_in", "name_of", "try_in"]

_Result = TypeVar("_Result")


def apply_configuration(registry: Registry, configuration: Configuration, *, prune: bool = False) -> list[Applied]:
    """Apply the files in one transaction. Raises ProblemsError with file and line of each; then nothing was changed."""
    with registry.change() as change:
        return apply_in(change, configuration, prune=prune)


def apply_in(change: Change, configuration: Configuration, *, prune: bool = False, watch: bool = False) -> list[Applied]:
    """The same in an open change, which the caller gives up when this raises."""
    done, problems = try_in(change, configuration, watch=watch)
    if problems:
        raise ProblemsError(problems)
    if prune:
        done += prune_owned(change, configuration.place, {(one.space, one.kind, one.name) for one in done})
    return done


def try_in(change: Change, configuration: Configuration, *, watch: bool = False) -> tuple[list[Applied], list[Problem]]:
    """Do what can be done and say all that is wrong; with problems the change must not be committed. `watch`: say each edit too."""
    applying = _Applying(change, configuration, list(configuration.problems), watch)
    applying.spaces()
    for kind in LISTS:
        for file in configuration.files:
            applying.entries(kind, file)
    return applying.done, applying.problems


def name_of(entry: Entry) -> str:
    """What an entry is called in messages and plans."""
    if isinstance(entry, MappingEntry):
        return f"{entry.destination}: {entry.name}"
    if isinstance(entry, ConnectionEntry):
        return f"{entry.audience} -> {entry.destination}"
    return str(getattr(entry, "key", ""))


@dataclass(slots=True)
class _Applying:
    """One pass over the files; what failed is remembered, so that what needs it is not reported too."""

    change: Change
    configuration: Configuration
    problems: list[Problem]
    watch: bool = False
    done: list[Applied] = field(default_factory=list[Applied])
    _audited: int = 0
    _space_of: dict[str, Row] = field(default_factory=dict[str, Row])
    _seen: dict[tuple[str, str, str], str] = field(default_factory=dict[tuple[str, str, str], str])
    _failed: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])

    def __post_init__(self) -> None:
        if self.watch:
            self._audited = self.change.c.execute(sa.select(sa.func.coalesce(sa.func.max(audit.c.id), 0))).scalar_one()

    def spaces(self) -> None:
        """The space of each file: the one it names, else the only one that the others name, else the one that commands mean."""
        for file in self.configuration.files:
            said = file.document.space
            if said is not None:
                made = self._try(file, ("space",), said if isinstance(said, Entry) else None, lambda c, said=said: apply_space(c, said))
                if made is not None:
                    self._space_of[file.owner] = made[0]
                    self._note(made[1], made[0])
        named = {row.id: row for row in self._space_of.values()}
        for file in self.configuration.files:
            if file.owner not in self._space_of and file.document.space is None:
                row = self._try(file, (), None, lambda c: _only_space(c, list(named.values())))
                if row is not None:
                    self._space_of[file.owner] = row

    def entries(self, kind: str, file: ConfigurationFile) -> None:
        of = self._space_of.get(file.owner)
        if of is None:
            return
        self._failed |= {(of.id, name, key) for name, key in file.broken}
        for place, entry in file.entries(kind):
            if any({(of.id, name, key), (of.id, name, ALL)} & self._failed for name, key in _needs(entry)):
                self._failed.add((of.id, kind, name_of(entry)))
                continue
            self._entry(file, of, place, entry)

    def _entry(self, file: ConfigurationFile, of: Row, place: Place, entry: Entry) -> None:
        kind, name = str(place[0]), name_of(entry)

        def one(change: Change) -> Applied:
            here = str(file.marked.problem(place, "")).split(" ")[0].rstrip(":")
            first = self._seen.setdefault((of.id, kind, name), here)
            if first != here:
                raise ConflictError(f"{name!r} is there twice, first at {first}.", "Keep one of them.")
            return apply_entry(change, of, entry)

        applied = self._try(file, place, entry, one)
        if applied is None:
            self._failed.add((of.id, kind, name))
            return
        self._note(applied, of)
        if isinstance(entry, SourceEntry):
            self._on_source(file, of, place, entry)

    def _on_source(self, file: ConfigurationFile, of: Row, place: Place, entry: SourceEntry) -> None:
        for index, inner in enumerate(entry.destinations):
            at = (*place, "destinations", index)
            made = self._try(file, at, inner, lambda c, inner=inner: apply_on_source(c, of, entry.key, inner))
            if made is None:
                self._failed.add((of.id, "on source", f"{entry.key}/{inner.key}"))
            self._note(made, of)

    def _try(self, file: ConfigurationFile, place: Place, entry: Entry | None, act: Callable[[Change], _Result]) -> _Result | None:
        """The result of one step, or None with its problems noted and nothing of it left."""
        try:
            with self.change.c.begin_nested():
                return act(replace(self.change, managed_by=file.owner))
        except EngageError as error:
            self.problems.extend(located(file.marked, place, entry, error))
            return None

    def _note(self, applied: Applied | None, of: Row) -> None:
        if applied is not None:
            self.done.append(replace(applied, space=of.key, edits=self._edits()))

    def _edits(self) -> tuple[Edit, ...]:
        """What the audit log says of the step that was just made."""
        if not self.watch:
            return ()
        query = sa.select(audit).where(audit.c.id > self._audited).order_by(audit.c.id)
        rows = self.change.c.execute(query).all()
        self._audited = max((row.id for row in rows), default=self._audited)
        return tuple(Edit(row.verb, row.object, row.before, row.after) for row in rows)


def _only_space(change: Change, named: Sequence[Row]) -> Row:
    if len(named) > 1:
        keys = ", ".join(row.key for row in named)
        raise UsageError(f"this file names no space, and the other files name several: {keys}.", "Add `space: KEY` to it.")
    return named[0] if named else ensure_space(change)


def _needs(entry: Entry) -> Iterator[tuple[str, str]]:
    """The lists and keys that an entry stands on."""
    if isinstance(entry, ConnectionEntry):
        yield "audiences", entry.audience
    if isinstance(entry, ConnectionEntry | MappingEntry):
        yield "destinations", entry.destination
    path = getattr(entry, "import_from", None)
    if path:
        yield "sources", path.partition("/")[0]
        yield "on source", path
