"""What needs no evaluation: neither what it is made of nor the facts changed, and time alone cannot have changed it yet."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from engage_pipelines.domain.computation import Audience, Computation
from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.facts.audience_order import read_definition, references_of
from engage_pipelines.facts.next_change import Clock
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
    """Everything that an audience is evaluated from; `fingerprint` is that of the facts, looked up when it is first needed."""

    fingerprint: Callable[[], str]
    at_us: int
    computations: Mapping[str, Computation]
    suppressed: tuple[tuple[str, str], ...]

    def digest(self, computation: Computation) -> str:
        """Another text whenever something else than time changes who is in, or a value."""
        meant = [_meant(each) for each in self._reached(computation)]
        digest = hashlib.sha256(repr((meant, sorted(self.suppressed))).encode()).hexdigest()
        return f"{self.fingerprint()}:{digest}"

    def next_change(self, computation: Computation, clock: Clock) -> int | None:
        """The first instant at which time alone can change it; None when that is not known."""
        definitions = [read_definition(each) for each in self._reached(computation)]
        known = [each for each in definitions if each is not None]
        # a SELECT may look at any age of a row
        return clock.next_change(known) if len(known) == len(definitions) else None

    def _reached(self, computation: Computation) -> Iterator[Computation]:
        """It and those that its definition refers to, however far."""
        seen, waiting = {computation.key}, [computation]
        while waiting:
            each = waiting.pop()
            yield each
            for key in sorted(references_of(each, self.computations) - seen):
                seen.add(key)
                waiting.append(self.computations[key])


def _meant(each: Computation) -> tuple[object, ...]:
    if isinstance(each, Audience):
        return (each.key, each.level, each.definition, each.empty_accounts, each.external_ids, each.events_since_us)
    return (each.key, each.level, each.definition, each.type, each.conflict)


def find_unmoved(registry: Registry, rows: Sequence[Row], inputs: Inputs, wanted: Sequence[Computation]) -> dict[str, Unmoved]:
    """Those that need no evaluation, by key; that they were looked at is noted. Raises StateError for unreadable facts."""
    by_id = {row.id: row for row in rows}
    hopeful = [audience for audience in wanted if _may_be_as_before(by_id[audience.id], inputs.at_us)]
    if not hopeful:
        return {}
    versions = registry.database.ask(lambda c: _current(c, [audience.id for audience in hopeful]))
    found: dict[str, Unmoved] = {}
    for audience in hopeful:
        version = versions.get(audience.id)
        if version is not None and by_id[audience.id].inputs_digest == _digest(inputs, audience):
            found[audience.key] = Unmoved(audience.key, version.n, version.size, version.users)
    if found:
        ids = [audience.id for audience in hopeful if audience.key in found]
        noted = sa.update(t.computation).where(t.computation.c.id.in_(ids)).values(checked_at=inputs.at_us)
        registry.database.tell(lambda c: c.execute(noted))
    return found


def _digest(inputs: Inputs, audience: Computation) -> str | None:
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
