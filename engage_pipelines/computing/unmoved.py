"""Audiences that need no evaluation: neither what they are made of nor the facts changed, and time alone cannot have changed them yet."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from engage_pipelines.domain.computation import Audience
from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.query import Definition, audience_references, parse
from engage_pipelines.facts.next_change import Clock
from engage_pipelines.facts.store import read_manifest
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.lookup import Row


@dataclass(frozen=True, slots=True)
class Unmoved:
    """An audience that is as it was, and its current version."""

    key: str
    n: int
    size: int
    users: int


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that an audience is evaluated from; `fingerprint` is that of the facts, read from their manifest when it is not given."""

    facts_dir: Path
    space: str
    at_us: int
    audiences: Mapping[str, Audience]
    suppressed: tuple[tuple[str, str], ...]
    fingerprint: str | None = None

    def digest(self, audience: Audience) -> str:
        """Another text whenever something else than time changes who is in."""
        meant = [
            (each.key, each.level, each.definition, each.empty_accounts, each.external_ids, each.events_since_us)
            for each in self._reached(audience)
        ]
        digest = hashlib.sha256(repr((meant, sorted(self.suppressed))).encode()).hexdigest()
        return f"{self._facts()}:{digest}"

    def next_change(self, audience: Audience, clock: Clock) -> int | None:
        """The first instant at which time alone can change it; None when that is not known."""
        return clock.next_change([_parsed(each) for each in self._reached(audience)])

    def _facts(self) -> str:
        return read_manifest(self.facts_dir / self.space).id if self.fingerprint is None else self.fingerprint

    def _reached(self, audience: Audience) -> Iterator[Audience]:
        """The audience and those that its definition refers to, however far."""
        seen, waiting = {audience.key}, [audience]
        while waiting:
            each = waiting.pop()
            yield each
            for key in sorted(audience_references(_parsed(each)) & self.audiences.keys() - seen):
                seen.add(key)
                waiting.append(self.audiences[key])


def _parsed(audience: Audience) -> Definition:
    return parse(audience.definition, audience.level)


def find_unmoved(registry: Registry, rows: Sequence[Row], inputs: Inputs, wanted: Sequence[Audience]) -> dict[str, Unmoved]:
    """Those of the audiences that need no evaluation, by key; that they were looked at is noted. Raises StateError for unreadable facts."""
    by_id = {row.id: row for row in rows}
    hopeful = [audience for audience in wanted if _may_be_as_before(by_id[audience.id], inputs.at_us)]
    if not hopeful:
        return {}
    with registry.database.read() as c:
        versions = _current(c, [audience.id for audience in hopeful])
    found: dict[str, Unmoved] = {}
    for audience in hopeful:
        version = versions.get(audience.id)
        if version is not None and by_id[audience.id].inputs_digest == _digest(inputs, audience):
            found[audience.key] = Unmoved(audience.key, version.n, version.size, version.users)
    if found:
        ids = [audience.id for audience in hopeful if audience.key in found]
        with registry.database.write() as c:
            c.execute(sa.update(t.computation).where(t.computation.c.id.in_(ids)).values(checked_at=inputs.at_us))
    return found


def _digest(inputs: Inputs, audience: Audience) -> str | None:
    try:
        return inputs.digest(audience)
    except DefinitionError:
        return None


def _may_be_as_before(row: Row, at_us: int) -> bool:
    if row.last_error is not None or row.inputs_digest is None or row.checked_at is None or at_us < row.checked_at:
        return False
    return at_us == row.checked_at or (row.next_change_at is not None and at_us < row.next_change_at)


def _current(c: sa.Connection, ids: Sequence[str]) -> dict[str, Row]:
    """The current versions by computation; none of those whose newest version is held."""
    v, com = t.version.c, t.computation.c
    held = set(c.execute(sa.select(v.computation_id).where(v.computation_id.in_(ids), v.state == "held")).scalars())
    query = sa.select(t.version).join(t.computation, (com.id == v.computation_id) & (com.current_version == v.n))
    return {row.computation_id: row for row in c.execute(query.where(v.computation_id.in_(ids))) if row.computation_id not in held}
