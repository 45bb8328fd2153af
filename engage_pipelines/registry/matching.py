"""Which mappings a connection's records match, and the state of the connection that follows from it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.computation import ComputationRef
from engage_pipelines.domain.connection import CALLS, Sample, State, sample_records
from engage_pipelines.domain.enrichment import enrichment_in
from engage_pipelines.domain.trigger import parse_trigger
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row, is_sql_trait
from engage_pipelines.registry.status import StatusRow
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
    mappings = mappings_for(c, row)
    samples = samples_of(c, row, triggers=[one.trigger for one in mappings])
    candidates = (Match(one, tuple(s for s in samples if parse_trigger(one.trigger).matches(s.record))) for one in mappings)
    return [match for match in candidates if match.samples]


def mappings_for(c: sa.Connection, row: Row) -> list[Row]:
    """The mappings that the records of the connection are shown to: its own presets and the destination's hand-made ones, oldest first."""
    of_connection = sa.or_(mapping.c.connection_id.is_(None), mapping.c.connection_id == row.id)
    wanted = sa.and_(mapping.c.destination_id == row.destination_id, of_connection, mapping.c.removed_at.is_(None))
    return list(c.execute(sa.select(mapping).where(wanted).order_by(mapping.c.created_at, mapping.c.id)))


def samples_of(c: sa.Connection, row: Row, *, calls: Sequence[str] | None = None, triggers: Sequence[str] = ()) -> list[Sample]:
    """What the connection would send for an entry and an exit, per call; of a trait with values that tell the triggers apart."""
    of = c.execute(sa.select(computation).where(computation.c.id == row.computation_id)).one()
    name = c.execute(sa.select(destination.c.name).where(destination.c.id == row.destination_id)).scalar_one()
    spreads = is_sql_trait(of)
    reference = ComputationRef(id=of.id, key=of.key, space_id=of.space_id, computation_class=of.kind, spreads=spreads)
    chosen = row.calls if calls is None else calls
    riding = [one.name for one in enrichment_in(row.options)]
    wanted = [call for call in CALLS if call in chosen]
    return list(sample_records(reference, calls=wanted, destination_name=name, triggers=triggers, riding=riding))


def count_matches(c: sa.Connection, of: Row, joined: Iterable[tuple[StatusRow, Row]]) -> dict[str, tuple[int, int]]:
    """By connection of the computation `of`, how many mappings that match are enabled and how many are not; in one question.

    `joined` are connections as status has them, each with its destination.
    """
    pairs = list(joined)
    ids = {"connections": [status.id for status, _to in pairs], "destinations": [to.id for _status, to in pairs]}
    presets: dict[str, list[Row]] = {}
    made: dict[str, list[Row]] = {}
    for row in c.execute(_shown_to(), ids):
        if row.connection_id is None:
            made.setdefault(row.destination_id, []).append(row)
        else:
            presets.setdefault(row.connection_id, []).append(row)
    about = (of.id, of.key, of.space_id, of.kind, is_sql_trait(of))
    found: dict[str, tuple[int, int]] = {}
    for status, to in pairs:
        shown = [*presets.get(status.id, ()), *made.get(to.id, ())]
        matching = [row.enabled for row in shown if _matches_some(row.trigger, about, status.calls, to.name)]
        found[status.id] = (sum(matching), len(matching) - sum(matching))
    return found


@lru_cache(maxsize=4096)
def _matches_some(trigger: str, about: tuple[str, str, str, str, bool], calls: tuple[str, ...], destination_name: str) -> bool:
    """`about` is the computation's id, key, space and kind, and whether a SELECT's columns are its traits."""
    reference = ComputationRef(id=about[0], key=about[1], space_id=about[2], computation_class=about[3], spreads=about[4])
    chosen = [call for call in CALLS if call in calls]
    samples = sample_records(reference, calls=chosen, destination_name=destination_name, triggers=[trigger])
    return any(parse_trigger(trigger).matches(sample.record) for sample in samples)


@cache
def _shown_to() -> sa.CompoundSelect[*tuple[Any, ...]]:
    """The mappings of these connections, and the hand-made ones of these destinations."""
    m = mapping.c
    own = m.connection_id.in_(sa.bindparam("connections", expanding=True, type_=sa.String))
    hand_made = sa.and_(m.connection_id.is_(None), m.destination_id.in_(sa.bindparam("destinations", expanding=True, type_=sa.String)))
    columns = sa.select(m.connection_id, m.destination_id, m.trigger, m.enabled)
    # each part by its own index
    return columns.where(own, m.removed_at.is_(None)).union_all(columns.where(hand_made, m.removed_at.is_(None)))


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
