"""The rows of some members alone, as a session of its own: the same conditions are asked of it by the same queries as of everyone.

Rows of events come from shelves, and from the Parquet file where a condition needs JSON that no column tells.
"""

# pyarrow has no types of its own
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from engage_pipelines.facts.bits import Ids, distinct
from engage_pipelines.facts.event_source import EventSource, columns_for, read_rows
from engage_pipelines.facts.promotion import Promoted
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.shelf import RAW_COLUMNS, Shelf
from engage_pipelines.facts.sql_values import Reading
from engage_pipelines.facts.store import Manifest, file_rows, quoted, relation

_PLAIN = ("message_id", "source")
_numbers = count()


@dataclass(frozen=True, slots=True)
class Merged:
    """Subjects, sorted, that belong to another member than themselves, and which."""

    subjects: Ids
    members: Ids

    def owners(self, subjects: Ids) -> Ids:
        """The member of each subject."""
        if not len(self.subjects):
            return subjects
        found = np.minimum(np.searchsorted(self.subjects, subjects), len(self.subjects) - 1)
        return np.where(self.subjects[found] == subjects, self.members[found], subjects)

    def subjects_of(self, members: Ids) -> Ids:
        """The subjects of members, which are sorted and distinct; sorted and distinct too."""
        own = members[~among(members, self.subjects)]
        return np.union1d(own, self.subjects[among(self.members, members)])


def among(ids: Ids, those: Ids) -> np.ndarray:
    """Whether each id is one of those, which are sorted."""
    if not len(those):
        return np.zeros(len(ids), dtype=np.bool_)
    return those[np.minimum(np.searchsorted(those, ids), len(those) - 1)] == ids


@dataclass(frozen=True, slots=True)
class Slice:
    """Whose rows of which events: by event name the subjects, sorted and distinct."""

    events: Mapping[str, Ids]
    merged: Merged

    @property
    def subjects(self) -> Ids:
        """Those of all events, sorted and distinct."""
        several = list(self.events.values())
        return several[0] if len(several) == 1 else distinct(np.concatenate(several))


@dataclass(frozen=True, slots=True)
class SliceSource(EventSource):
    """Rows of events of a slice, each as its member's."""

    slice: Slice = field(default_factory=lambda: Slice({}, Merged(np.zeros(0, np.int64), np.zeros(0, np.int64))))
    shelves: Sequence[Shelf] = ()
    connection: duckdb.DuckDBPyConnection | None = None
    _raw: dict[str, str] = field(default_factory=dict)

    @property
    def has_few(self) -> bool:
        return True

    def by_subject(self, condition: str, columns: Collection[str], readings: Mapping[Reading, str]) -> str:
        visible = f"({condition}) AND ts <= {self.at_us}"
        parts = [
            read_rows(rows, "subject", visible, columns, {each: (name, found.get(each)) for each, name in readings.items()})
            for rows, found in self._given(columns, readings)
        ]
        return " UNION ALL ".join(parts)

    def whole_rows(self) -> str:
        """SQL for all rows with their JSON, as the relation `event_rows` has them."""
        columns = (*_PLAIN, *sorted(RAW_COLUMNS))
        parts = [self._taken([each], columns) if each.is_whole else self._from_file(each) for each in self.shelves]
        listed = f"subject AS member, event, ts, {', '.join(columns)}"
        return " UNION ALL ".join([f"SELECT {listed} FROM {rows} WHERE ts <= {self.at_us}" for rows in parts])

    def _given(self, columns: Collection[str], readings: Mapping[Reading, str]) -> list[tuple[str, Mapping[Reading, Promoted]]]:
        """Relations, each with the typed columns that tell readings there."""
        alike: dict[tuple[tuple[Reading, Promoted], ...], list[Shelf]] = {}
        given: list[tuple[str, Mapping[Reading, Promoted]]] = []
        for each in self.shelves:
            found = columns_for(readings, each.promoted.values())
            if each.is_whole or not (RAW_COLUMNS & set(columns) or len(found) < len(readings)):
                alike.setdefault(tuple(found.items()), []).append(each)
            else:
                given.append((self._from_file(each), found))
        for pairs, shelves in alike.items():
            found = dict(pairs)
            told = {each.column for each in found.values()}
            documents = {each.document for each in readings if each not in found}
            wanted = [*(name for name in _PLAIN if name in columns), *sorted(told), *sorted(documents | (RAW_COLUMNS & set(columns)))]
            given.append((self._taken(shelves, wanted), found))
        return given

    def _taken(self, shelves: Sequence[Shelf], columns: Sequence[str]) -> str:
        parts: list[pa.Table] = []
        for shelf in shelves:
            for event in (name for name in self.slice.events if name in shelf.ranges):
                places = shelf.places_of(event, self.slice.events[event])
                taken = shelf.take(places, ("subject", "ts", *columns))
                owners = self.slice.merged.owners(taken["subject"].to_numpy())
                taken = taken.set_column(0, "subject", pa.array(owners, pa.int64()))
                names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(places), np.int32)), pa.array([event]))
                parts.append(taken.append_column("event", names))
        assert self.connection
        name = f"taken_{next(_numbers)}"
        self.connection.register(name, pa.concat_tables([part.unify_dictionaries() for part in parts], promote_options="permissive"))
        return name

    def _from_file(self, shelf: Shelf) -> str:
        if shelf.file.name not in self._raw:
            assert self.connection
            register_owners(self.connection, self.slice.subjects, self.slice.merged)
            name = f"read_{next(_numbers)}"
            names = ", ".join(map(quoted, self.slice.events))
            self.connection.execute(
                f"""CREATE TEMP TABLE {name} AS SELECT o.member AS subject, e.* EXCLUDE (subject)
                FROM {file_rows(shelf.file.parent, [shelf.file.name])} e JOIN owners o ON o.subject = e.subject
                WHERE e.event IN ({names}) AND e.ts <= {self.at_us}"""
            )
            self._raw[shelf.file.name] = name
        return self._raw[shelf.file.name]


def register_owners(connection: duckdb.DuckDBPyConnection, subjects: Ids, merged: Merged) -> None:
    """The relation `owners`: the member of each subject."""
    owners = pa.table({"subject": pa.array(subjects, pa.int64()), "member": pa.array(merged.owners(subjects), pa.int64())})
    connection.register("owners", owners)


@dataclass(frozen=True, slots=True)
class Slicer:
    """Cuts slices out of the facts of a session."""

    session: FactsSession
    folder: Path
    manifest: Manifest
    merged: Merged
    shelves: Sequence[Shelf]

    def of_events(self, members: Mapping[str, Ids], *, with_rows: bool) -> FactsSession:
        """The rows of some members, by event; `with_rows` when rows are looked for by member as well, as funnels do.

        Of some events there may be rows of members who were given with others.
        """
        connection = self.session.connection.cursor()
        shelves = [each for each in self.shelves if any(name in each.ranges for name in members)]
        cut = Slice({name: self.merged.subjects_of(ids) for name, ids in sorted(members.items())}, self.merged)
        if not shelves:
            return self._without_events(connection)
        source = SliceSource(self.session.at_us, slice=cut, shelves=shelves, connection=connection)
        if with_rows:
            connection.execute(f"CREATE TEMP TABLE event_rows AS {source.whole_rows()}")
        return FactsSession(connection, self.session.at_us, self.session.fingerprint, source)

    def of_trait(self, key: str, members: Ids) -> FactsSession:
        """The values that some members ever got of a trait."""
        connection = self.session.connection.cursor()
        register_owners(connection, self.merged.subjects_of(members), self.merged)
        rows = relation(self.folder, "traits", self.manifest.files("traits"))
        connection.execute(
            f"""CREATE TEMP TABLE trait_rows AS SELECT o.member, t.key, t.ts, t.message_id, t.value, t.level
            FROM {rows} t JOIN owners o ON o.subject = t.subject WHERE t.key = {quoted(key)} AND t.ts <= {self.session.at_us}"""
        )
        return FactsSession(connection, self.session.at_us, self.session.fingerprint)

    def _without_events(self, connection: duckdb.DuckDBPyConnection) -> FactsSession:
        rows = relation(self.folder, "events", ()).replace("subject", "member")
        connection.execute(f"CREATE TEMP VIEW event_rows AS FROM {rows}")
        return FactsSession(connection, self.session.at_us, self.session.fingerprint)
