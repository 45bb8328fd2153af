"""Freezing a generation: the records of the planned changes, into its file.

Records come lane by lane (exits before entries, then mapping by mapping), since only records of one lane may share a batch. A record tried
before in the same state is copied from the file it was frozen in, so that its id and bytes stay as they were. Where a mapping makes alike
records (`patterns`), the database fills them in and no record is a Python object; else each is rendered by itself.
"""

# pyarrow has no types of its own
# pyright: reportUnknownParameterType=false
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from engage_pipelines.delivery import columns as arrow
from engage_pipelines.delivery import generation_file
from engage_pipelines.delivery.digest import digest_of
from engage_pipelines.delivery.generation_file import ROWS_PER_GROUP, GenerationWriter
from engage_pipelines.delivery.patterns import FIRST, SECOND, Patterned, json_sql, patterns, variant_sql
from engage_pipelines.delivery.render import CompiledMapping, Renderer, Told
from engage_pipelines.delivery.rows import FrozenRecord, Numbers
from engage_pipelines.delivery.state import ExceptionRow, LedgerRow
from engage_pipelines.domain.protocol import Change, ExceptionState, keeps_message_id

CHUNK = 10_000


def write(
    renderer: Renderer, db: duckdb.DuckDBPyConnection, writer: GenerationWriter, exceptions: Sequence[ExceptionRow], folder: Path
) -> list[LedgerRow]:
    """Write the records of the planned changes; gives ledger rows for those that are frozen but not to be sent."""
    unsent: list[LedgerRow] = []
    copies, only_parts = _take_copies(db, exceptions, folder, renderer.said)
    renderer = replace(renderer, only_parts=only_parts)
    there = set(db.execute("select distinct value, superseded from owed").fetchall())
    for entered in (False, True):
        for record in (copy for copy in copies if copy.entered is entered):
            writer.add(replace(record, seq=writer.count))
        for mapping in renderer.mappings:
            for superseded in ("", "left_out", "overtaken"):
                if (entered, superseded) in there:
                    unsent += _write(renderer, mapping, _Changes(db, entered, superseded), writer)
    return unsent


@dataclass(frozen=True, slots=True)
class _Changes:
    """The changes of one direction that are to be sent, or those that are not for one reason, in order of address."""

    db: duckdb.DuckDBPyConnection
    entered: bool
    superseded: str

    def one_by_one(self, columns: str) -> Iterator[Told]:
        """The columns are those that rendering takes."""
        cursor = self.db.cursor()
        cursor.execute(f"select {columns} from owed where value = ? and superseded = ? order by address", [self.entered, self.superseded])
        while rows := cursor.fetchmany(CHUNK):
            yield from rows

    def as_columns(self, renderer: Renderer) -> Iterator[pa.RecordBatch]:
        """Columns address, variant, first and second, the latter two as they stand in JSON; `owed` lies in order of address."""
        variant = variant_sql(renderer.level, group_needs_a_user=renderer.group_needs_a_user)
        second = "null::varchar" if renderer.level == "account" else json_sql("email")
        value = "case when contains(address, ':') then substr(address, strpos(address, ':') + 1) else '' end"
        changes = f"select address, email, {value} as value from owed where value is {self.entered} and superseded = '{self.superseded}'"
        query = f"select address, ({variant})::tinyint as variant, {json_sql('value')} as {FIRST}, {second} as {SECOND} from ({changes})"
        yield from self.db.cursor().sql(query).to_arrow_reader(ROWS_PER_GROUP)


def _write(renderer: Renderer, mapping: CompiledMapping, changes: _Changes, writer: GenerationWriter) -> list[LedgerRow]:
    """Write what one mapping makes of the changes; gives ledger rows for what is not to be sent."""
    kinds = _kinds(renderer, mapping, changes.entered)
    if kinds is not None:
        first = writer.count
        _write_columns(renderer, mapping, changes, kinds, writer)
        is_unsent = changes.superseded and writer.count > first
        return [LedgerRow(first, writer.count - 1, changes.superseded, None, 0)] if is_unsent else []
    unsent: list[LedgerRow] = []
    for record, problem in renderer.records(mapping, changes.one_by_one(renderer.columns), writer.count):
        writer.add(record)
        if changes.superseded or problem:
            unsent.append(LedgerRow(record.seq, record.seq, changes.superseded or "rejected", problem or None, 0))
    return unsent


@dataclass(frozen=True, slots=True)
class _Kinds:
    """What a mapping makes of a change, call by call and variant by variant; None where its trigger does not match."""

    calls: Sequence[str]
    patterned: Sequence[Sequence[Patterned | None]]

    def of(self, variants: Numbers) -> tuple[Numbers, Numbers]:
        """For the changes of these variants the records that are made: of which change each is, and its place in `flat`."""
        kinds = (variants[:, None] + np.arange(len(self.calls)) * len(self.patterned[0])).ravel()
        wanted = np.array([one is not None for one in self.flat()], bool)[kinds]
        return np.repeat(np.arange(len(variants)), len(self.calls))[wanted], kinds[wanted]

    def flat(self) -> list[Patterned | None]:
        return [one for of_call in self.patterned for one in of_call]

    def call_of(self) -> list[str]:
        return [call for call, of_call in zip(self.calls, self.patterned, strict=True) for _ in of_call]


def _kinds(renderer: Renderer, mapping: CompiledMapping, entered: bool) -> _Kinds | None:
    """None when some record has to be looked at by itself."""
    calls = renderer.calls_of(mapping)
    if renderer.only_parts or renderer.has_values or renderer.is_enriched or not calls:
        return None
    found: list[list[Patterned | None]] = []
    for call in calls:
        message_id = renderer.message_id(mapping, call)
        cut = patterns(mapping, call, renderer.envelope, level=renderer.level, entered=entered, message_id=message_id)
        if cut is None:
            return None
        found.append(cut)
    return _Kinds(calls, found)


def _write_columns(renderer: Renderer, mapping: CompiledMapping, changes: _Changes, kinds: _Kinds, writer: GenerationWriter) -> None:
    """Write the records of the changes: change by change, each one's calls in their order."""
    flat = kinds.flat()
    fixed = {
        "part": [mapping.part(call) for call in kinds.call_of()],
        "call": kinds.call_of(),
        "lane": [mapping.lane(changes.entered, one.batch_values) if one else "" for one in flat],
        "pattern": [one.pattern.dumped() if one else "" for one in flat],
    }
    for batch in changes.as_columns(renderer):
        change_of, kind_of = kinds.of(arrow.numbers_of(batch.column("variant")))
        if not len(kind_of):
            continue
        made = batch if len(kinds.calls) == 1 and len(kind_of) == batch.num_rows else batch.take(arrow.numbers(change_of))
        columns: dict[str, Any] = {name: _few(kind_of, values) for name, values in fixed.items()}
        columns |= {name: made.column(name) for name in ("address", FIRST, SECOND)}
        if renderer.level == "account" and renderer.group_needs_a_user:
            groups = (address.partition(":")[2] for address in made.column("address").to_pylist())
            columns[SECOND] = arrow.texts([renderer.user_of(group) for group in groups])
        writer.add_rows({**columns, "entered": changes.entered, "action": mapping.row.action}, len(kind_of))


def _few(codes: Numbers, values: Sequence[str]) -> pa.DictionaryArray:
    """A column of few values; equal ones share a place."""
    known = list(dict.fromkeys(values))
    places = np.array([known.index(value) for value in values], np.int32)
    return arrow.encoded(places[codes], known)


def _take_copies(
    db: duckdb.DuckDBPyConnection, exceptions: Sequence[ExceptionRow], folder: Path, said: str
) -> tuple[list[FrozenRecord], dict[str, set[str]]]:
    """The records that are tried again as they were, and by address the parts that are tried again but have to be rendered anew.

    An address of which nothing else is owed leaves the table of what is rendered.
    """
    if not exceptions:
        return [], {}
    columns = f"address, value, again, {said}"
    owed = db.execute(f"select {columns} from owed where superseded = '' and address in (select address from known)").fetchall()
    changes = {
        address: Change(address, value, again, None if text is None or not value else digest_of(text))
        for address, value, again, text in owed
    }
    tried = [e for e in exceptions if e.address in changes and keeps_message_id(changes[e.address], _state(e))]
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


def _state(row: ExceptionRow) -> ExceptionState:
    return ExceptionState(row.kind, row.value, row.retry_at, row.digest)
