"""Definitions of audiences and traits beside each other: what each refers to, and that none leads back to itself."""

from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.computation import Audience, Computation, Level, TraitComputation, TraitType
from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.query import Definition, TraitDefinition, audience_references, parse, parse_trait, references
from engage_pipelines.domain.query.levels import check_levels
from engage_pipelines.registry.lookup import Row, list_computations
from engage_pipelines.registry.tables import computation


def type_of_trait(row: Row) -> TraitType:
    return TraitType(row.options.get("type", TraitType.COMPUTED))


def check_definition(c: sa.Connection, space_id: str, new: Computation) -> None:
    """Raises DefinitionError for a text that cannot be used, for a trait asked of the wrong ones, and for one that leads back to itself."""
    if isinstance(new, TraitComputation) and new.type is TraitType.SQL:
        return
    definition = _parsed(new)
    known = {row.key: row for row in list_computations(c, space_id) if row.key != new.key}
    audiences = {key: Level(row.level) for key, row in known.items() if row.kind == "audience"}
    traits = {key: Level(row.level) for key, row in known.items() if row.kind == "trait"}
    check_levels(definition, audiences, traits)
    kinds = {key: row.kind for key, row in known.items()} | {new.key: "audience" if isinstance(new, Audience) else "trait"}
    paths: list[tuple[str, ...]] = [(new.key, referred) for referred in sorted(_among(_references_of(definition), kinds))]
    seen: set[str] = set()
    while paths:
        path = paths.pop()
        last = path[-1]
        if last == new.key:
            raise DefinitionError(f"the definition refers back to itself: {' -> '.join(path)}.", "Take one of these references out.")
        if last not in seen:
            seen.add(last)
            paths.extend((*path, referred) for referred in sorted(_among(_references(known[last]), kinds)))


def reached(c: sa.Connection, space_id: str, new: Computation) -> Iterator[tuple[str, Definition | TraitDefinition | None]]:
    """The computation and all that its definition refers to, however far, with what they mean; None is a SELECT."""
    known = {row.key: row for row in list_computations(c, space_id) if row.key != new.key}
    kinds = {key: row.kind for key, row in known.items()}
    own = None if isinstance(new, TraitComputation) and new.type is TraitType.SQL else _parsed(new)
    yield new.key, own
    seen = set[str]()
    waiting = sorted(_among(_references_of(own), kinds)) if own is not None else []
    while waiting:
        row = known[waiting.pop()]
        if row.key not in seen:
            seen.add(row.key)
            yield row.key, _parsed_row(row)
            waiting += sorted(_among(_references(row), kinds))


def _parsed_row(row: Row) -> Definition | TraitDefinition | None:
    if row.kind == "audience":
        return parse(row.definition, Level(row.level))
    return None if type_of_trait(row) is TraitType.SQL else parse_trait(row.definition, Level(row.level))


def users_of(c: sa.Connection, space_id: str, key: str) -> list[str]:
    """Keys of the audiences and traits whose definitions refer to this one."""
    rows = list_computations(c, space_id)
    kinds = {row.key: row.kind for row in rows if row.key == key}
    return [row.key for row in rows if row.key != key and key in _among(_references(row), kinds)]


def users_of_each(c: sa.Connection, space_id: str) -> dict[str, list[str]]:
    """By key of an audience or a trait, the keys of those whose definitions refer to it."""
    # most refer to nothing, and every page of audiences asks this of all
    rows = c.execute(_definitions(), {"space": space_id}).all()
    found = [(key, _read_references(kind, definition, level)) for key, kind, level, definition, is_sql in rows if not is_sql]
    kinds = {row[0]: row[1] for row in rows} if any(names for _key, (_alone, names) in found) else {}
    users: dict[str, list[str]] = {}
    for key, names in found:
        for referred in _among(names, kinds) if names[1] else ():
            if referred != key:
                users.setdefault(referred, []).append(key)
    return users


@cache
def _definitions() -> sa.Select[*tuple[Any, ...]]:
    """Made once: every page of audiences asks it."""
    t = computation.c
    wanted = sa.and_(t.space_id == sa.bindparam("space", type_=sa.String), t.deleted_at.is_(None))
    is_sql = sa.and_(t.kind == "trait", t.options["type"].as_string() == TraitType.SQL)
    return sa.select(t.key, t.kind, t.level, t.definition, is_sql).where(wanted).order_by(t.key)


def _parsed(new: Computation) -> Definition | TraitDefinition:
    return parse(new.definition, new.level) if isinstance(new, Audience) else parse_trait(new.definition, new.level)


References = tuple[frozenset[str], frozenset[str]]
"""The keys that may be those of audiences, and all."""


def _among(found: References, kinds: Mapping[str, str]) -> frozenset[str]:
    """Those of the computations that are there; a nested name is never that of an audience."""
    alone, everything = found
    return frozenset(key for key in everything if key in kinds and (kinds[key] == "trait" or key in alone))


def _references(row: Row) -> References:
    if row.kind == "trait" and type_of_trait(row) is TraitType.SQL:
        return frozenset(), frozenset()
    return _read_references(row.kind, row.definition, row.level)


@lru_cache(maxsize=4096)
def _read_references(kind: str, definition: str, level: str) -> References:
    return _references_of(parse(definition, Level(level)) if kind == "audience" else parse_trait(definition, Level(level)))


def _references_of(definition: Definition | TraitDefinition) -> References:
    return audience_references(definition), references(definition)
