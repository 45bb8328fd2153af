"""Changes into records into payloads: for every change the calls of the connection, for every call the mappings whose trigger it matches.

Records come lane by lane (exits before entries, then mapping by mapping), since only records of one lane may share a batch. A record tried
before in the same state is copied from the file it was frozen in, so that its id and bytes stay as they were.
"""

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import orjson

from engage_pipelines.delivery import generation_file
from engage_pipelines.delivery.generation_file import FrozenRecord, GenerationWriter
from engage_pipelines.delivery.state import ExceptionRow, LedgerRow, MappingRow
from engage_pipelines.domain.connection import Sample
from engage_pipelines.domain.mapping import MappingError, compile_mapping
from engage_pipelines.domain.protocol import Change, ExceptionState, keeps_message_id
from engage_pipelines.domain.records import CALL_LETTERS, RENDER, Envelope, Subject
from engage_pipelines.domain.trigger import parse_trigger

CALLS_OF_LEVEL = {"account": ("group",), "user": ("identify", "track")}
CHUNK = 10_000
_NAMESPACE = uuid.UUID("6f7a0c0e-7a9b-5d0c-9a53-0c1c3f1c8b1e")


@dataclass(frozen=True, slots=True)
class CompiledMapping:
    """A mapping ready to be applied; the calls are those of its action."""

    row: MappingRow
    ordinal: int
    calls: frozenset[str]
    matches: Callable[[Mapping[str, Any]], bool]
    apply: Callable[[Mapping[str, Any]], Any]
    batch_keys: tuple[str, ...]

    @property
    def lane(self) -> str:
        return f"{self.row.id}@{self.row.revision}"


@dataclass(frozen=True, slots=True)
class Renderer:
    """Renders the changes of one generation."""

    generation: int
    level: str
    calls: tuple[str, ...]
    envelope: Envelope
    mappings: tuple[CompiledMapping, ...]
    group_needs_a_user: bool
    only_parts: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])
    """Addresses that are owed some of their parts alone: the others were acknowledged in this very state."""

    def subject(self, address: str, email: str | None) -> Subject:
        """Whom an address names."""
        kind, _, value = address.partition(":")
        if kind == "group_id":
            anonymous = str(uuid.uuid5(_NAMESPACE, f"{self.envelope.computation.space_id}:{value}")) if self.group_needs_a_user else None
            return Subject(group_id=value, anonymous_id=anonymous)
        if kind == "email":
            return Subject(email=value)
        return Subject(user_id=value, email=email) if kind == "user_id" else Subject(anonymous_id=value, email=email)

    def records(
        self, mapping: CompiledMapping, changes: Iterator[tuple[str, bool, str | None]], first_seq: int
    ) -> Iterator[tuple[FrozenRecord, str]]:
        """The payloads that one mapping makes of the changes, from `first_seq` on; each with why it cannot be sent, or nothing."""
        seq = first_seq
        calls = [call for call in CALLS_OF_LEVEL[self.level] if call in self.calls and call in mapping.calls]
        for address, entered, email in changes:
            subject = self.subject(address, email)
            for call in calls:
                part = f"{CALL_LETTERS[call]}{mapping.ordinal}"
                if address in self.only_parts and part not in self.only_parts[address]:
                    continue
                message_id = f"personas_{self.generation}:{seq}:{part}"
                record = RENDER[call](subject, self.envelope, message_id=message_id, entered=entered)
                if not mapping.matches(record):
                    continue
                payload, problem = _applied(mapping, record)
                lane = _lane(mapping, entered, payload)
                body = orjson.dumps(payload)
                yield FrozenRecord(seq, address, entered, part, call, lane, mapping.row.action, message_id, body), problem
                seq += 1


def _applied(mapping: CompiledMapping, record: Mapping[str, Any]) -> tuple[Any, str]:
    """The payload, or nothing and the reason: a mapping that fails on one record must not stop the others."""
    try:
        return mapping.apply(record), ""
    except MappingError as error:
        return None, f"Mapping {mapping.row.name!r} cannot make a payload of it: {error}"


def _lane(mapping: CompiledMapping, entered: bool, payload: Any) -> str:
    lane = f"{mapping.lane}{'+' if entered else '-'}"
    if mapping.batch_keys and isinstance(payload, dict):
        lane += orjson.dumps([payload.get(key) for key in mapping.batch_keys]).decode()
    return lane


def compile_mappings(
    rows: Sequence[MappingRow], actions: Mapping[str, tuple[frozenset[str], tuple[str, ...]]]
) -> tuple[CompiledMapping, ...]:
    """Compile enabled mappings; `actions` gives each action's calls and batch keys."""
    return tuple(
        CompiledMapping(
            row, ordinal, actions[row.action][0], parse_trigger(row.trigger).matches, compile_mapping(row.fields), actions[row.action][1]
        )
        for ordinal, row in enumerate(rows)
        if row.action in actions
    )


def directions(mappings: Sequence[CompiledMapping], samples: Iterable[Sample]) -> dict[str, frozenset[bool]]:
    """Per level the values that some mapping would send, of records as the connection would send them."""
    found: dict[str, set[bool]] = {level: set() for level in CALLS_OF_LEVEL}
    for sample in samples:
        if any(sample.call in mapping.calls and mapping.matches(sample.record) for mapping in mappings):
            level = next(level for level, calls in CALLS_OF_LEVEL.items() if sample.call in calls)
            found[level].add(sample.entered)
    return {level: frozenset(values) for level, values in found.items()}


def write(
    renderer: Renderer, db: duckdb.DuckDBPyConnection, writer: GenerationWriter, exceptions: Sequence[ExceptionRow], folder: Path
) -> list[LedgerRow]:
    """Write the records of the planned changes; gives ledger rows for those that are frozen but not to be sent."""
    unsent: list[LedgerRow] = []
    copies, only_parts = _take_copies(db, exceptions, folder)
    renderer = replace(renderer, only_parts=only_parts)
    for entered in (False, True):
        for record in (copy for copy in copies if copy.entered is entered):
            writer.add(_at(record, writer.count))
        for mapping in renderer.mappings:
            for superseded in ("", "left_out", "overtaken"):
                for record, problem in renderer.records(mapping, _changes(db, entered, superseded), writer.count):
                    writer.add(record)
                    if superseded or problem:
                        unsent.append(LedgerRow(record.seq, record.seq, superseded or "rejected", problem or None, 0))
    return unsent


def _take_copies(
    db: duckdb.DuckDBPyConnection, exceptions: Sequence[ExceptionRow], folder: Path
) -> tuple[list[FrozenRecord], dict[str, set[str]]]:
    """The records that are tried again as they were, and by address the parts that are tried again but have to be rendered anew.

    An address of which nothing else is owed leaves the table of what is rendered.
    """
    if not exceptions:
        return [], {}
    owed = db.execute("select address, value, again from owed where superseded = '' and address in (select address from known)").fetchall()
    changes = {address: Change(address, value, again) for address, value, again in owed}
    tried = [
        e for e in exceptions if e.address in changes and keeps_message_id(changes[e.address], ExceptionState(e.kind, e.value, e.retry_at))
    ]
    by_file: dict[int, list[int]] = {}
    for e in tried:
        by_file.setdefault(e.generation, []).append(e.seq)
    copies = [record for number, seqs in sorted(by_file.items()) for record in generation_file.pick(folder / f"{number}.parquet", seqs)]
    copied = {(copy.address, copy.part) for copy in copies}
    anew: dict[str, set[str]] = {e.address: set() for e in tried}
    for e in tried:
        if (e.address, e.part) not in copied:
            anew[e.address].add(e.part)
    for address in (address for address, parts in anew.items() if not parts):
        db.execute("delete from owed where address = ?", [address])
    return copies, anew


def _at(record: FrozenRecord, seq: int) -> FrozenRecord:
    return FrozenRecord(
        seq, record.address, record.entered, record.part, record.call, record.lane, record.action, record.message_id, record.body
    )


def _changes(db: duckdb.DuckDBPyConnection, entered: bool, superseded: str) -> Iterator[tuple[str, bool, str | None]]:
    cursor = db.cursor()
    cursor.execute("select address, value, email from owed where value = ? and superseded = ? order by address", [entered, superseded])
    while rows := cursor.fetchmany(CHUNK):
        yield from rows
