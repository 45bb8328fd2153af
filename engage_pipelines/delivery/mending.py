"""Refused records whose mapping or destination was mended since: the next sync sends them again, rendered anew under a new id.

A generation says what its records were made with: the revision of each mapping, and a digest of the destination's settings. A revision
that gave a mapping another name alone made no other payload.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from engage_pipelines.delivery.generation import Hands
from engage_pipelines.delivery.state import MappingRow
from engage_pipelines.delivery.work import SETTINGS, Work
from engage_pipelines.domain.protocol import ExceptionKind
from engage_pipelines.registry import tables as t

Content = tuple[str, str, str]
"""Trigger, action and fields of a mapping."""


@dataclass(frozen=True, slots=True)
class _Refused:
    """A refused record, and what it was made with."""

    replica: str
    address: str
    part: str
    value: bool
    made_with: Mapping[str, Any]


def make_mended_due(hands: Hands) -> int:
    """Have the refused records that would be other ones now, or go to another place, sent by this run; how many there are."""
    work = hands.work
    refused = work.runtime.database.ask(lambda c: _refused(c, work.connection.id))
    if not refused:
        return 0
    before = work.runtime.database.ask(lambda c: _contents(c, refused))
    parts = _parts(work)
    mended = [one for one in refused if (one.part, one.value) in parts and _is_mended(one, parts[one.part, one.value], work, before)]
    if mended:
        now = work.runtime.now_us()
        hands.lease.tell(lambda c: [c.execute(_due(work.connection.id, one, now)) for one in mended])
        hands.log(f"mended={len(mended)} refused records are sent again, as they are made now")
    return len(mended)


def _is_mended(one: _Refused, mapping: MappingRow, work: Work, before: Mapping[tuple[str, int], Content]) -> bool:
    if one.made_with.get(SETTINGS, work.made_with[SETTINGS]) != work.made_with[SETTINGS]:
        return True
    revision = one.made_with.get(mapping.id, mapping.revision)
    if revision == mapping.revision:
        return False
    return before.get((mapping.id, revision)) != _content(mapping.trigger, mapping.action, mapping.fields)


def _due(connection_id: str, one: _Refused, now_us: int) -> sa.Update:
    """Below zero no record lies in a file, so that it is not copied but rendered; its complement is where the old payload is."""
    e = t.exception.c
    mine = sa.and_(e.connection_id == connection_id, e.replica == one.replica, e.address == one.address, e.part == one.part)
    anew = sa.case((e.seq >= 0, -e.seq - 1), else_=e.seq)
    return sa.update(t.exception).where(mine).values(kind=str(ExceptionKind.RETRYABLE), retry_at=now_us, seq=anew)


def _refused(c: sa.Connection, connection_id: str) -> list[_Refused]:
    e, g = t.exception.c, t.generation.c
    rows = c.execute(
        sa.select(e.replica, e.address, e.part, e.value, g.mapping_revisions)
        .join_from(t.exception, t.generation, g.id == e.generation)
        .where(e.connection_id == connection_id, e.kind == str(ExceptionKind.REJECTED))
    )
    return [_Refused(row.replica, row.address, row.part, row.value, row.mapping_revisions) for row in rows]


def _contents(c: sa.Connection, refused: Iterable[_Refused]) -> dict[tuple[str, int], Content]:
    """What the mappings said at the revisions that the records were made with."""
    r = t.mapping_revision.c
    ids = {mapping_id for one in refused for mapping_id in one.made_with if mapping_id != SETTINGS}
    rows = c.execute(sa.select(t.mapping_revision).where(r.mapping_id.in_(sorted(ids))))
    return {(row.mapping_id, row.revision): _content(row.trigger, row.action, row.fields) for row in rows}


def _parts(work: Work) -> dict[tuple[str, bool], MappingRow]:
    """The mapping that would send each part of an entry, or of an exit, now."""
    found: dict[tuple[str, bool], MappingRow] = {}
    for sample in work.samples():
        for mapping in work.mappings:
            if sample.call in mapping.calls and mapping.matches(sample.record):
                found[mapping.part(sample.call), sample.entered] = mapping.row
    return found


def _content(trigger: str, action: str, fields: Mapping[str, Any]) -> Content:
    return trigger, action, orjson.dumps(fields, option=orjson.OPT_SORT_KEYS).decode()
