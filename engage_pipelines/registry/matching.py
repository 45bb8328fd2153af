"""Which mappings a connection's records match, and the state of the connection that follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from engage_pipelines.domain.computation import ComputationRef
from engage_pipelines.domain.connection import CALLS, Sample, State, sample_records
from engage_pipelines.domain.trigger import parse_trigger
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import computation, connection, destination, mapping


@dataclass(frozen=True, slots=True)
class Match:
    """A mapping and the samples that it concerns."""

    mapping: Row
    samples: tuple[Sample, ...]

    @property
    def calls(self) -> frozenset[str]:
        return frozenset(sample.call for sample in self.samples)

    def sends(self, *, entered: bool) -> bool:
        return any(sample.entered is entered for sample in self.samples)


def matches_of(c: sa.Connection, row: Row) -> list[Match]:
    """The mappings, enabled or not, that match some record of the connection `row`, oldest first."""
    samples = samples_of(c, row)
    candidates = (Match(one, tuple(s for s in samples if parse_trigger(one.trigger).matches(s.record))) for one in mappings_for(c, row))
    return [match for match in candidates if match.samples]


def mappings_for(c: sa.Connection, row: Row) -> list[Row]:
    """The mappings that the records of the connection are shown to: its own presets and the destination's hand-made ones, oldest first."""
    of_connection = sa.or_(mapping.c.connection_id.is_(None), mapping.c.connection_id == row.id)
    wanted = sa.and_(mapping.c.destination_id == row.destination_id, of_connection, mapping.c.removed_at.is_(None))
    return list(c.execute(sa.select(mapping).where(wanted).order_by(mapping.c.created_at, mapping.c.id)))


def samples_of(c: sa.Connection, row: Row, *, calls: Sequence[str] | None = None) -> list[Sample]:
    """What the connection would send for an entry and an exit, per call."""
    of = c.execute(sa.select(computation).where(computation.c.id == row.computation_id)).one()
    name = c.execute(sa.select(destination.c.name).where(destination.c.id == row.destination_id)).scalar_one()
    reference = ComputationRef(id=of.id, key=of.key, space_id=of.space_id, computation_class=of.kind)
    chosen = row.calls if calls is None else calls
    return list(sample_records(reference, calls=[call for call in CALLS if call in chosen], destination_name=name))


def has_enabled_match(c: sa.Connection, row: Row) -> bool:
    return any(match.mapping.enabled for match in matches_of(c, row))


def live_connections(c: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Row]:
    """Connections that are not removed, oldest first."""
    wanted = sa.and_(connection.c.removed_at.is_(None), *where)
    return list(c.execute(sa.select(connection).where(wanted).order_by(connection.c.created_at, connection.c.id)))


def refresh_state(change: Change, row: Row) -> Row:
    """Move between awaiting_mapping and active as the enabled mappings say; a paused, stopped or leaving connection stays what it is."""
    if row.state not in {State.AWAITING_MAPPING, State.ACTIVE}:
        return row
    state = State.ACTIVE if has_enabled_match(change.c, row) else State.AWAITING_MAPPING
    return row if state == row.state else change.update(connection, row.id, {"state": str(state)})
