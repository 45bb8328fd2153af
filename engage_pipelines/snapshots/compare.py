"""How fresh rows differ from the newest version: both are gone through side by side, in the order of their files, never held as a whole.

Rows are told apart by two hashes, 127 bits together; what seems to be on one side alone is compared column by column.
"""

# pyarrow has no types of its own
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeStubs=false

from collections.abc import Generator
from dataclasses import dataclass, field, replace

import duckdb
import numpy as np
import pyarrow as pa

from engage_pipelines.snapshots.pairing import Pairing
from engage_pipelines.snapshots.rows import COLUMNS, Chain
from engage_pipelines.snapshots.side_by_side import side_by_side
from engage_pipelines.snapshots.sorted_rows import (
    BATCH,
    HASHES,
    Hashes,
    Ids,
    Piece,
    Seen,
    SortedRows,
    arrow_schema,
    as_flags,
    chosen,
    hashes_of,
    leveled,
    places,
    signs_of,
    sort_rows,
    taken,
    with_hashes,
)


@dataclass(frozen=True, slots=True)
class Difference:
    """How the fresh members differ from the version before; counts of members are at the computation's own level."""

    size: int
    users: int
    entered: int
    exited: int
    digest: str
    """The same for the same fresh rows."""
    updated: int = 0
    """Members that have another value than before; of audiences none."""
    rows: "VersionRows" = field(kw_only=True, repr=False)
    moved: "Moved" = field(kw_only=True, repr=False)

    @property
    def changed_rows(self) -> int:
        return self.rows.changed.num_rows if self.rows.changed is not None else self.rows.count


@dataclass(frozen=True, slots=True)
class VersionRows:
    """What there is to write: the fresh rows, addresses of members that are theirs no longer, and the signed changes.

    `changed` is None for a first version, of which every row is new. Both tables are sorted.
    """

    fresh: SortedRows
    count: int
    stay: pa.Table
    changed: pa.Table | None


@dataclass(frozen=True, slots=True)
class Moved:
    """Who entered and who exited, by member id."""

    entered: Ids
    exited: Ids


def compare(
    connection: duckdb.DuckDBPyConnection, chain: Chain, fresh: str | SortedRows, *, level: str, digest_before: str | None = None
) -> Difference:
    """Compare fresh rows, or those of a query that gives the version columns, with the newest version of the chain.

    An address that its owner no longer has stays, as not current, while the owner is a member: vendors merge people, so what was once
    told of it is still theirs. Its value is the one that its owner has now. With the digest that the newest version's own comparison had,
    nothing is read when the fresh rows are the same again.
    """
    looked = _look_through(sort_rows(connection, fresh, chain.columns) if isinstance(fresh, str) else fresh)
    size, users = looked.seen.count(level), looked.seen.count("user")
    nothing = pa.schema([]).empty_table()
    if not chain.versions:
        rows, moved = VersionRows(looked.rows, looked.count, nothing, None), Moved(looked.seen.members(level), _NOBODY)
        return Difference(size, users, size, 0, looked.digest, rows=rows, moved=moved)
    if looked.digest == digest_before:
        rows = VersionRows(looked.rows, looked.count, nothing, nothing)
        return Difference(size, users, 0, 0, looked.digest, rows=rows, moved=Moved(_NOBODY, _NOBODY))
    sides = _Sides(chain, looked.rows, looked.seen)
    sides.look(connection)
    return _said(connection, sides, looked, level)


_NOBODY: Ids = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Some:
    """The members who alone may have other rows than in version `n`, the newest; `fresh` are all rows that they have now.

    `size`, `users` and `digest` are those of that version; the digest is '' where it is not known.
    """

    n: int
    size: int
    users: int
    digest: str
    members: Ids
    fresh: SortedRows


def compare_some(connection: duckdb.DuckDBPyConnection, chain: Chain, some: Some, *, level: str) -> Difference:
    """The difference that `compare` finds, but for the fresh rows, which are those of some members alone."""
    columns = (*chain.columns.split(", "), *HASHES)
    sides = _Sides(chain, some.fresh, Seen())
    sides.fresh_alone += some.fresh.batches(columns)
    sides.before_alone += _rows_before(connection, chain, some.members) if len(some.members) else []
    for seen, batches in ((sides.seen, sides.fresh_alone), (sides.seen_before, sides.before_alone)):
        for batch in batches:
            seen.add(batch)
    digest = _digest_after(some.digest, sides)
    size, users = (each + sides.seen.count(of) - sides.seen_before.count(of) for each, of in ((some.size, level), (some.users, "user")))
    if not sides.fresh_alone and not sides.before_alone:
        nothing = pa.schema([]).empty_table()
        return Difference(size, users, 0, 0, digest, rows=VersionRows(some.fresh, 0, nothing, nothing), moved=Moved(_NOBODY, _NOBODY))
    found = _said(connection, sides, _Looked(some.fresh, sides.seen, digest, 0), level)
    return replace(found, size=size, users=users)


def _rows_before(connection: duckdb.DuckDBPyConnection, chain: Chain, members: Ids) -> list[pa.RecordBatch]:
    """The rows of members in the newest version, also of addresses that are theirs no longer."""
    connection.register("members_before", pa.table({"member": places(members)}))
    try:
        rows = chain.rows(chain.versions[-1].n, "member in (select member from members_before)")
        table = connection.sql(f"{with_hashes(rows, chain.columns)} order by 1, address, member").to_arrow_table().combine_chunks()
    finally:
        connection.unregister("members_before")
    return [leveled(batch) for batch in table.to_batches()]


def _digest_after(before: str, sides: "_Sides") -> str:
    """The digest of all fresh rows, which rows that stay are not among: where there may be some, it is not known."""
    if not before or any(batch.column("current").false_count for batch in sides.before_alone):
        return ""
    mixed, total = int(before[:16], 16), int(before[16:], 16)
    for batches, sign in ((sides.fresh_alone, 1), (sides.before_alone, -1)):
        for batch in batches:
            mixed ^= int(np.bitwise_xor.reduce(hashes_of([batch], "h")))
            total += sign * int(hashes_of([batch], "g").sum(dtype=np.uint64))
    return f"{mixed:016x}{total % 2**64:016x}"


@dataclass(frozen=True, slots=True)
class _Looked:
    """Sorted rows, whose they are, their digest, and how many."""

    rows: SortedRows
    seen: Seen
    digest: str
    count: int


def _look_through(rows: SortedRows) -> _Looked:
    seen, mixed, total, count = Seen(), 0, 0, 0
    for batch in rows.batches(("member", *HASHES)):
        seen.add(batch)
        mixed ^= int(np.bitwise_xor.reduce(hashes_of([batch], "h")))
        total += int(hashes_of([batch], "g").sum(dtype=np.uint64))
        count += len(batch)
    return _Looked(rows, seen, f"{mixed:016x}{total % 2**64:016x}", count)


# ---- rows that are on one side alone


@dataclass
class _Sides:
    """The newest version and the fresh rows, and what was found on one of the sides alone."""

    chain: Chain
    fresh: SortedRows
    seen: Seen
    seen_before: Seen = field(default_factory=Seen)
    pairing: Pairing = field(default_factory=Pairing)
    before_alone: Piece = field(default_factory=list[pa.RecordBatch])
    fresh_alone: Piece = field(default_factory=list[pa.RecordBatch])

    def look(self, connection: duckdb.DuckDBPyConnection) -> None:
        columns = (*self.chain.columns.split(", "), *HASHES)
        net = _net_changes(connection, self.chain)
        full = _full_rows(connection, self.chain)
        try:
            for start, changes, fresh in side_by_side((full, net, self.fresh.batches(columns))):
                before = _changed(start, changes) if changes else start
                for batch in before:
                    self.seen_before.add(batch)
                self._tell_apart(before, fresh)
        finally:
            full.close()

    def _tell_apart(self, before: Piece, fresh: Piece) -> None:
        (h, g), (other_h, other_g) = ([hashes_of(piece, name) for name in HASHES] for piece in (before, fresh))
        if len(h) == len(other_h) and (h == other_h).all() and (g == other_g).all():
            return
        lone, other_lone = self.pairing.lone(h, other_h)
        if _sum_without(g, lone) != _sum_without(other_g, other_lone):
            # two rows share one hash and not the other
            lone, other_lone = np.arange(len(h)), np.arange(len(other_h))
        self.before_alone += taken(before, lone)
        self.fresh_alone += taken(fresh, other_lone)


def _sum_without(hashes: Hashes, some: Ids) -> int:
    return (int(hashes.sum(dtype=np.uint64)) - int(hashes[some].sum(dtype=np.uint64))) % 2**64


def _changed(rows: Piece, changes: Piece) -> Piece:
    """The rows after signed changes of the same range; those that came are at the end."""
    signs = np.concatenate([signs_of(batch) for batch in changes])
    changes = [batch.drop_columns(["sign"]) for batch in changes]
    stay, _ = Pairing().lone(hashes_of(rows, "h"), hashes_of(chosen(changes, signs < 0), "h"))
    return [*taken(rows, stay), *chosen(changes, signs > 0)]


# ---- the newest version, read in its order


def _full_rows(connection: duckdb.DuckDBPyConnection, chain: Chain) -> Generator[pa.RecordBatch]:
    """The last full snapshot, in the order of its file."""
    was = connection.execute("select current_setting('preserve_insertion_order')").fetchall()[0][0]
    connection.execute("set preserve_insertion_order = true")
    try:
        query = with_hashes(chain.last_full(), chain.columns)
        reader = connection.sql(query).to_arrow_reader(BATCH)
        for batch in reader:
            if len(batch):
                yield leveled(batch)
    finally:
        connection.execute(f"set preserve_insertion_order = {was}")


def _net_changes(connection: duckdb.DuckDBPyConnection, chain: Chain) -> list[pa.RecordBatch]:
    """What changed since the last full snapshot, sorted, with hashes; few rows, or there would be a newer one."""
    signed = chain.since_full()
    if signed is None:
        return []
    columns = chain.columns
    net = f"select {columns}, sum(sign)::tinyint as sign from ({signed}) group by {columns} having sum(sign) <> 0"
    query = with_hashes(net, columns).replace(" as g from", " as g, sign from")
    table = connection.sql(f"{query} order by 1, address, member").to_arrow_table().combine_chunks()
    return [leveled(batch) for batch in table.to_batches()]


# ---- what that means


_LEAVING = "create temp table leaving as select * from before_alone anti join fresh_alone using ({columns})"
_KEPT = """create temp table kept as select * from leaving l where stays and not exists (
    select 1 from fresh_alone f where f.level = l.level and f.member = l.member and f.address = l.address and f.sole = l.sole)"""
_KEPT_NOW = "create temp table kept_now as select {stays} from kept"
# a value that changed is in all rows of its member
_VALUED_KEPT_NOW = """create temp table kept_now as select {stays}, coalesce(p.value, k.value) as value
    from kept k left join (select level, member, any_value(value) as value from fresh_alone group by all) p using (level, member)"""
_CHANGED = """create temp table changed as
    select {columns}, 1::tinyint as sign from fresh_alone anti join before_alone using ({columns})
    union all select {columns}, 1::tinyint from kept_now anti join before_alone using ({columns})
    union all select {columns}, (-1)::tinyint from leaving anti join kept_now using ({columns})"""
_ENTERED = """select distinct member from fresh_alone anti join before_alone using ({columns})
    where level = $1 and not was_in order by member"""
_EXITED = "select distinct member from leaving where level = $1 and not stays order by member"
_UPDATED = """select count(distinct n.member) from changed n join changed o using (level, member)
    where n.level = $1 and n.sign > 0 and o.sign < 0 and n.value <> o.value"""
_TABLES = ("before_alone", "fresh_alone", "leaving", "kept", "kept_now", "changed")


def _said(connection: duckdb.DuckDBPyConnection, sides: _Sides, looked: _Looked, level: str) -> Difference:
    """What the rows that seemed to be on one side alone come to, column by column."""
    run, columns = connection.execute, sides.chain.columns
    _give(connection, "before_alone", sides.before_alone, columns, ("stays", sides.seen))
    _give(connection, "fresh_alone", sides.fresh_alone, columns, ("was_in", sides.seen_before))
    try:
        run(_LEAVING.format(columns=columns))
        run(_KEPT)
        kept = _VALUED_KEPT_NOW if sides.chain.has_values else _KEPT_NOW
        run(kept.format(stays=COLUMNS.replace("current", "false as current")))
        run(_CHANGED.format(columns=columns))
        entered, exited = (
            np.asarray(run(query.format(columns=columns), [level]).fetchnumpy()["member"], dtype=np.int64) for query in (_ENTERED, _EXITED)
        )
        updated = int(run(_UPDATED, [level]).fetchall()[0][0]) if sides.chain.has_values else 0
        stay, changed = _table(connection, "kept_now", columns), _table(connection, "changed", f"{columns}, sign")
    finally:
        for name in _TABLES:
            run(f"drop table if exists {name}")
    rows = VersionRows(looked.rows, looked.count, stay, changed)
    return Difference(
        looked.seen.count(level),
        looked.seen.count("user"),
        len(entered),
        len(exited),
        looked.digest,
        updated,
        rows=rows,
        moved=Moved(entered, exited),
    )


def _give(connection: duckdb.DuckDBPyConnection, name: str, rows: list[pa.RecordBatch], columns: str, flag: tuple[str, Seen]) -> None:
    """A table of the rows with, of each, whether its member is among those seen on the other side."""
    flagged = [batch.append_column(flag[0], as_flags(flag[1].has(batch))) for batch in rows]
    schema = arrow_schema(columns.split(", ")).append(pa.field(flag[0], pa.bool_()))
    given = pa.Table.from_batches([batch.select(schema.names) for batch in flagged], schema)
    connection.register("given_alone", given)
    try:
        listed = columns.removeprefix("level, ")
        connection.execute(f"create temp table {name} as select level::varchar as level, {listed}, {flag[0]} from given_alone")
    finally:
        connection.unregister("given_alone")


def _table(connection: duckdb.DuckDBPyConnection, name: str, columns: str) -> pa.Table:
    listed = columns.replace("level,", "(level = 'user')::tinyint as level,")
    rows = connection.sql(f"select {listed} from {name} order by 1, address, member").to_arrow_table().combine_chunks()
    return pa.Table.from_batches([leveled(batch) for batch in rows.to_batches()], arrow_schema(columns.split(", ")))
