"""Arrivals: which live computations are to be asked for, since facts came that they have not seen, or their time has come.

Asking is writing a request, as everybody else does; nothing is computed here. Facts are known by the id of their manifest, which is another
one after every commit, so several commits between two looks are one arrival.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from engage_pipelines.facts.store import read_manifest
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.cadence import LIVE
from engage_pipelines.registry.computations import waiting_for_destinations
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.requests import Stamp, owe_compute
from engage_pipelines.settings import Settings

ACTOR = "arrival of facts"
AT_LEAST_EVERY_US = 3_600_000_000
"""How often something is computed of which nobody knows when time changes it, such as a reference that was edited to look at dates."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was there at a look: by space the facts, and the computations that are owed (waiting, or worked on) already."""

    now_us: int
    facts: Mapping[str, str | None]
    waiting: frozenset[str] = frozenset()
    under_way: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Asked:
    """`told` is what was asked for by space, `facts` what to remember until the next look."""

    told: Mapping[str, int] = field(default_factory=dict[str, int])
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


def ask_for_arrivals(settings: Settings, database: Database, before: Mapping[str, str]) -> Asked:
    """Look once, and ask for what is due; `before` are the facts by space at the last look. Raises StateError for unreadable facts."""
    due, facts = find_due(settings, database, before)
    if due:
        with database.write() as c:
            for rows in due.values():
                owe_compute(c, rows[0].space_id, [one.id for one in rows], Stamp(database.now_us(c), ACTOR))
    return Asked({key: len(rows) for key, rows in due.items()}, facts)


def find_due(settings: Settings, database: Database, before: Mapping[str, str]) -> tuple[dict[str, list[Row]], dict[str, str]]:
    """The live computations that are due, by space, and the facts to remember until the next look. Raises StateError."""
    with database.read() as c:
        live = _live(c)
        seen = _look(c, settings, live, database.now_us(c))
    due: dict[str, list[Row]] = {}
    for one in live:
        if is_due(one, seen, before.get(one.space_key)):
            due.setdefault(one.space_key, []).append(one)
    return due, {key: facts for key, facts in seen.facts.items() if facts is not None}


def is_due(one: Row, seen: Seen, before: str | None) -> bool:
    """Whether a live computation is to be asked for; `before` are the facts of the space at the last look, if it was looked at."""
    facts = seen.facts[one.space_key]
    if one.id in seen.waiting:
        # whoever works on that will read the facts as they are then
        return False
    if facts is not None and facts != before and not (one.inputs_digest or "").startswith(f"{facts}:"):
        return True
    # what fails is tried again as its request says, and by the next arrival
    if one.id in seen.under_way or one.last_error is not None or one.checked_at is None:
        return False
    now_us = seen.now_us if one.evaluate_at is None else one.evaluate_at
    known: int | None = None if facts is None else one.next_change_at
    change_at: int = one.checked_at + AT_LEAST_EVERY_US if known is None else known
    return change_at <= now_us


def _live(c: sa.Connection) -> list[Row]:
    com, spa = t.computation.c, t.space.c
    columns = (t.computation, spa.key.label("space_key"), spa.evaluate_at, spa.facts)
    query = sa.select(*columns).join(t.space, spa.id == com.space_id).where(com.cadence == LIVE, com.enabled, com.deleted_at.is_(None))
    rows = list(c.execute(query.order_by(spa.key, com.key)))
    waiting = waiting_for_destinations(c, rows)
    return [row for row in rows if row.id not in waiting]


def _look(c: sa.Connection, settings: Settings, live: Iterable[Row], now_us: int) -> Seen:
    facts = {one.space_key: None if one.facts is not None else read_manifest(settings.facts_dir / one.space_key).id for one in live}
    owed = list(c.execute(sa.select(t.compute_request).where(t.compute_request.c.state == "owed"))) if facts else []
    waiting = frozenset(_asked_for(row for row in owed if row.started_at is None))
    return Seen(now_us, facts, waiting, frozenset(_asked_for(owed)))


def _asked_for(requests: Iterable[Row]) -> Iterator[str]:
    for row in requests:
        yield from row.computation_ids
