"""The catalog: what the registry holds, as far as Dagster's definitions depend on it, and a fingerprint that says when to reload them."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.errors import EngageError
from engage_pipelines.registry import tables as t

_QUOTED = re.compile(r"""(['"])([A-Za-z][A-Za-z0-9_]*)(?:\.[^'"]*)?\1""")


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One live computation as its assets show it."""

    space: str
    key: str
    kind: str
    name: str
    description: str
    level: str
    definition: str
    cadence: str
    enabled: bool
    is_sql: bool = False
    """A trait that a SELECT of people's own computes."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """The live computations of every space, in order; spaces without any are named too."""

    spaces: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()
    references: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict[tuple[str, str], tuple[str, ...]])
    """(space, key) -> the keys of the same space that its definition speaks of, without loops."""
    prefix: tuple[str, ...] = ()
    """What stands before the asset keys, where they are mounted beside other assets."""
    console_url: str = ""
    """Where the console is, for links to it."""

    @property
    def fingerprint(self) -> str:
        """Equal for equal definitions of Dagster."""
        return hashlib.sha256(repr((self.spaces, [astuple(entry) for entry in self.entries])).encode()).hexdigest()[:16]

    def of_space(self, space: str) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.space == space)


def read_catalog(connection: sa.Connection) -> Catalog:
    """The catalog as the registry has it now."""
    com, spa = t.computation.c, t.space.c
    spaces = tuple(connection.execute(sa.select(spa.key).order_by(spa.key)).scalars())
    rows = connection.execute(
        sa.select(
            spa.key.label("space"), com.key, com.kind, com.name, com.description, com.level, com.definition, com.cadence, com.enabled,
            com.options,
        )
        .join(t.space, com.space_id == spa.id)
        .where(com.deleted_at.is_(None))
        .order_by(spa.key, com.key)
    )  # fmt: skip
    entries = tuple(_entry(dict(row)) for row in rows.mappings())
    return Catalog(spaces, entries, _references(entries))


def _entry(row: dict[str, Any]) -> Entry:
    options = row.pop("options")
    return Entry(**row, is_sql=row["kind"] == "trait" and options.get("type") == "sql")


def _references(entries: Iterable[Entry]) -> dict[tuple[str, str], tuple[str, ...]]:
    by_space: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        by_space.setdefault(entry.space, {})[entry.key] = entry
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for space, known in by_space.items():
        raw = {key: _spoken_of(entry, known) for key, entry in known.items()}
        for key, others in without_loops(raw).items():
            if others:
                found[space, key] = others
    return found


def _spoken_of(entry: Entry, known: Mapping[str, Entry]) -> tuple[str, ...]:
    # parsing is the slow part of loading hundreds of audiences, and hardly any names another one
    candidates = {name for _, name in _QUOTED.findall(entry.definition)} & (known.keys() - {entry.key})
    if not candidates or entry.is_sql:
        return ()
    from engage_pipelines.domain.computation import Level  # noqa: PLC0415 - as above
    from engage_pipelines.domain.query import computation_references, parse, parse_trait  # noqa: PLC0415

    read = parse_trait if entry.kind == "trait" else parse
    traits = {key for key in candidates if known[key].kind == "trait"}
    try:
        named = computation_references(read(entry.definition, Level(entry.level)), audiences=candidates - traits, traits=traits)
    except EngageError:
        return ()  # its own run says what is wrong with it; the others must load
    return tuple(sorted(named))


def without_loops(references: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The references without those that would close a loop: a graph of assets must have none, whatever people wrote."""
    kept: dict[str, set[str]] = {key: set() for key in references}
    for key, others in sorted(references.items()):
        for other in others:
            if not _reaches(kept, other, key):
                kept[key].add(other)
    return {key: tuple(sorted(others)) for key, others in kept.items()}


def _reaches(graph: Mapping[str, set[str]], start: str, goal: str) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        key = waiting.pop()
        if key == goal:
            return True
        fresh = graph.get(key, set()) - seen
        seen |= fresh
        waiting.extend(fresh)
    return False
