"""Replaying dead letters: the exception becomes one whose time has come, and the next sync sends the state of then.

| since it failed | the replay sends |
|---|---|
| nothing changed | the same bytes under the same message id |
| the membership changed | the new state, under a new id |
| its mapping was changed, or the file of the record is gone | the same state, rendered anew under a new id |
| its mapping was switched off or removed | nothing: it is not replayed, and stays as it is |

Only the records that failed are sent: of an Identify that was refused and a Track that was taken, the Identify alone.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from engage_pipelines.delivery.dead_letters import DeadLetter, key_of, locked, of_keys, some_ids
from engage_pipelines.delivery.payloads import lanes_of
from engage_pipelines.domain.connection import RequestKind, State
from engage_pipelines.domain.protocol import ExceptionKind
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.matching import mappings_for, matches_of
from engage_pipelines.registry.mending import try_now
from engage_pipelines.registry.requests import owe_sync

_LANE = re.compile(r"(?P<mapping>.+?)@(?P<revision>\d+)[+-]")

AS_IT_WAS, ANEW, MAPPING_OFF = "as_it_was", "anew", "mapping_off"


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many go out as they were, how many are rendered anew, how many cannot go, and which connections wait for someone."""

    as_it_was: int
    anew: int
    mapping_off: int
    not_sending: Sequence[str]


def replay(change: Change, space_id: str, ids: Collection[str], folder: Path) -> Replayed:
    """Have these sent by the next sync; those that are gone by now are none. A paused connection sends them when it is resumed."""
    counts: Counter[str] = Counter()
    not_sending: list[str] = []
    for connection, letters in locked(change, space_id, ids):
        fates = _fates(change.c, connection, letters, folder)
        here = Counter(fates.values())
        counts += here
        going = [letter for letter in letters if fates[letter.id] != MAPPING_OFF]
        if not going:
            continue
        _make_due(change, going, fates)
        _owe(change, connection)
        named = f"{letters[0].audience} -> {letters[0].destination}"
        if connection.state != State.ACTIVE:
            not_sending.append(f"{named} is {connection.state.replace('_', ' ')}")
        change.record("replay", f"dead letters {named}", after={**here, "ids": some_ids(going)})
    return Replayed(counts[AS_IT_WAS], counts[ANEW], counts[MAPPING_OFF], not_sending)


def _fates(c: sa.Connection, connection: Row, letters: Sequence[DeadLetter], folder: Path) -> Mapping[str, str]:
    """For each letter whether it would go out as it was, anew, or not at all since its mapping is off."""
    revisions = {row.id: row.revision for row in mappings_for(c, connection) if row.enabled}
    sent = {(sample.call, sample.entered) for match in matches_of(c, connection) if match.mapping.enabled for sample in match.samples}
    lanes = lanes_of(letters, folder)
    fates: dict[str, str] = {}
    for letter in letters:
        lane = _LANE.match(lanes.get(letter.place, ""))
        if (letter.call, letter.entered) not in sent or (lane is not None and lane["mapping"] not in revisions):
            fates[letter.id] = MAPPING_OFF
        elif lane is None or letter.is_rendered_anew or int(lane["revision"]) != revisions[lane["mapping"]]:
            fates[letter.id] = ANEW
        else:
            fates[letter.id] = AS_IT_WAS
    return fates


def _make_due(change: Change, letters: Sequence[DeadLetter], fates: Mapping[str, str]) -> None:
    """Let the protocol's rules send them. A retry copies what lies at its place in the file; below zero nothing does, so it is rendered."""
    values = {"kind": str(ExceptionKind.RETRYABLE), "retry_at": change.now, "seq": sa.bindparam("new_seq")}
    seqs = [letter.place[1] if fates[letter.id] == AS_IT_WAS else ~letter.place[1] for letter in letters]
    rows = [{**key_of(letter), "new_seq": seq} for letter, seq in zip(letters, seqs, strict=True)]
    change.c.execute(of_keys(sa.update(t.exception).values(values)), rows)


def _owe(change: Change, connection: Row) -> None:
    if connection.state == State.PAUSED:
        return
    owe_sync(change.c, connection.id, RequestKind.SYNC, change.stamp)
    try_now(change, connection.id)
