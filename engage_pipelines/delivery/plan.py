"""What a step owes, worked out by SQL over the versions' files: the same meaning as `domain.protocol.owed`, at any size.

The plan lies in tables of one in-memory DuckDB database: `owed` has a row per change, in order of address (address, value, again, member,
email, superseded: empty or why it is not sent; of a trait `said` too, its value as JSON text, of who has left the last one). Only addresses
that the versions' changes or the exceptions touch are looked at, unless everyone is sent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from engage_pipelines.delivery import columns as arrow
from engage_pipelines.delivery.counted import Counted, Tables
from engage_pipelines.delivery.digest import DIGEST_LENGTH, digest_of
from engage_pipelines.delivery.state import ExceptionRow
from engage_pipelines.delivery.stretches import rows_within, stretches
from engage_pipelines.domain.protocol import (
    ExceptionKind,
    ExceptionState,
    Range,
    ReplicaState,
    Settled,
    Step,
    StepKind,
    is_due,
    resends,
    settled_by,
)
from engage_pipelines.snapshots.rows import NO_ROWS, Chain

MEMORY_LIMIT = "104MB"
"""A million changes of an audience of five million took 270 MB in all with this, 290 MB and no less time with 128MB; 96MB are too few."""

FEWEST_CHANGES = 200_000
"""A plan of fewer is not made smaller still for want of memory."""

PLANNED_TO_COUNT = 100_000
"""Up to so many rows a step is planned to say how many changes it has."""


@dataclass(frozen=True, slots=True)
class Planned:
    """The bounds of the planned generation and how many changes it has."""

    settled: Settled
    changes: int


def connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection for planning, with bounded memory that spills below `scratch`."""
    scratch.parent.mkdir(parents=True, exist_ok=True)  # the database makes one folder, not the way there
    return duckdb.connect(
        config={"memory_limit": MEMORY_LIMIT, "threads": 2, "temp_directory": str(scratch), "preserve_insertion_order": True}
    )


class Planner:
    """Plans the steps of one replica over one chain of versions."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, chain: Chain, counted: Counted) -> None:
        self.db = connection
        self._chain = chain
        self._counted = counted

    def plan(self, replica: ReplicaState, step: Step, exceptions: Sequence[ExceptionRow], *, now_us: int, limit: int | None) -> Planned:
        """Leave the step's changes in the table `owed`, at most `limit` of them, and say which range they cover.

        The range is taken in stretches of about `limit` rows, up to the first in which something is owed: memory and work follow the
        limit, not the size of the audience.
        """
        self._load_exceptions(exceptions, now_us)
        while True:
            try:
                return self._plan(replica, step, limit, with_exceptions=bool(exceptions))
            except duckdb.OutOfMemoryException:
                # very long addresses: half as many at once
                if limit is None or limit < FEWEST_CHANGES:
                    raise
                limit //= 2

    def _plan(self, replica: ReplicaState, step: Step, limit: int | None, *, with_exceptions: bool) -> Planned:
        for part in stretches(self._files(replica, step), step.range, limit, self._counted.may_count):
            self._fill(replica, replace(step, range=part), with_exceptions=with_exceptions)
            planned, count = self._cut(part, limit)
            if count or planned.hi == step.range.hi:
                return Planned(settled_by(replica, step, Range(step.range.lo, planned.hi)), count)
        raise AssertionError("the last stretch ends where the range does")

    def count(self, replica: ReplicaState, step: Step, exceptions: Sequence[ExceptionRow], *, now_us: int) -> int:
        """How many changes the step has; where there is much to look at, how many it has at most, without planning them."""
        in_sight = rows_within(self._files(replica, step), step.range, self._counted.may_count)
        if in_sight is None or in_sight <= PLANNED_TO_COUNT:
            return self.plan(replica, step, exceptions, now_us=now_us, limit=None).changes
        within = _within(step.range)
        if _sends_everyone(replica, step):
            # signs add up, so that nothing has to be grouped
            rows = self._chain.signed_rows(step.target, f"{self._counted.where()} and {within}")
            return self._one(f"select coalesce(sum(sign), 0) from ({rows})")
        changes = self._chain.changes(_first_version(step), step.target)
        # another value is a row that goes and one that comes
        each = "distinct address" if self._chain.has_values else "*"
        return self._one(f"select count({each}) from ({changes}) where {self._counted.touched()} and {within}")

    def _files(self, replica: ReplicaState, step: Step) -> list[Path]:
        """The files whose rows say which addresses may be owed."""
        if _sends_everyone(replica, step):
            return list(dict.fromkeys(self._chain.row_files(step.target) + self._chain.row_files(step.base.version)))
        return self._chain.change_files(_first_version(step), step.target)

    def _fill(self, replica: ReplicaState, step: Step, *, with_exceptions: bool) -> None:
        """Leave everything that is owed within the step's range in `owed`."""
        if not step.base.version and not step.base.exits_version and not with_exceptions:
            # nothing was told, so nothing is known of anyone
            entered = self._picked(step.target, _within(step.range))
            self._fill_with(
                step,
                f"select address, true as value, {_sql(resends(replica, step))} as again, member{self._said} from ({entered})",
                replica.sends_entries,
            )
            return
        self._load_sets(replica, step)
        self._fill_with(step, _owed(replica, step, self._counted.tables, has_values=self._chain.has_values), True)

    def mark_superseded(self, current: int) -> None:
        """Mark entries that the current version no longer has, as `protocol.superseded` says; for steps that aim lower than it."""
        present = self._chain.rows(current, self._among("owed"))
        if self._chain.has_values:
            present = self._each_once(present)
        state = self._state
        self.db.execute(f"""update owed set superseded = case when again then 'overtaken' else 'left_out' end
            where value and {state} not in (select {state} from ({present}))""")

    def stale_left_out(self, exceptions: Sequence[ExceptionRow], settled: Settled) -> list[tuple[str, str]]:
        """Addresses that were left out on the way and that the target lacks: nothing is owed for them any more."""
        left_out = [e for e in exceptions if e.kind is ExceptionKind.LEFT_OUT and e.address in settled.range]
        if not left_out:
            return []
        addresses = self._addresses("left_out_addresses", arrow.texts([e.address for e in left_out]))
        present = self.db.execute(f"select address from ({self._chain.rows(settled.target, self._among(addresses))})").fetchall()
        kept = {row[0] for row in present}
        return [(e.address, e.part) for e in left_out if e.address not in kept]

    def overtaken(self, addresses: Any, current: int, digests: Any = None) -> set[str]:
        """Those of the addresses (a column of text) that the current version no longer has, of a trait with the value of that digest."""
        name = self._addresses("asked_addresses", addresses)
        if digests is not None:
            present = self._each_once(self._chain.rows(current, self._among(name)))
            held = dict(self.db.execute(f"select address, said from ({present})").fetchall())
            asked = zip(addresses.to_pylist(), digests.to_pylist(), strict=True)
            return {address for address, digest in asked if address not in held or digest_of(held[address]) != digest}
        rows = self.db.execute(
            f"select address from {name} where address not in (select address from ({self._chain.rows(current, self._among(name))}))"
        ).fetchall()
        return {row[0] for row in rows}

    def members(self, n: int, chunk: int = 10_000) -> Iterator[list[tuple[str, str | None]]]:
        """Address and e-mail of everyone in a version, in order of address."""
        cursor = self.db.cursor()
        cursor.execute(f"""select r.address, e.email from ({self._picked(n, "true")}) r
            left join ({_emails(self._chain, n, "true")}) e using (member) order by r.address""")
        while rows := cursor.fetchmany(chunk):
            yield rows

    def skipped(self, n: int) -> int:
        """Members of the version that have no identifier the destination can match by."""
        rows = self._chain.rows(n, f"level = '{self._counted.level}'")
        return self._one(f"select count(*) from (select member from ({rows}) group by member having not bool_or({self._counted.picks()}))")

    def _among(self, table: str) -> str:
        """The condition on a row that counts and whose address is in the table."""
        return f"{self._counted.where()} and address in (select address from {table})"

    def _load_exceptions(self, exceptions: Sequence[ExceptionRow], now_us: int) -> None:
        columns = {
            "address": arrow.texts([e.address for e in exceptions]),
            "left_out": arrow.flags([e.kind is ExceptionKind.LEFT_OUT for e in exceptions]),
            "value": arrow.flags([e.value for e in exceptions]),
            "retry": arrow.flags([_is_due(e, now_us) for e in exceptions]),
        }
        said = ""
        if self._chain.has_values:
            columns["digest"] = arrow.texts([e.digest or "" for e in exceptions])
            said = ", min(digest) as least, max(digest) as greatest"
        table = pa.Table.from_arrays(list(columns.values()), names=list(columns))
        self.db.register("exception_rows", table)
        self.db.execute(f"""create or replace table known as select address, bool_or(left_out) as left_out,
            bool_or(value) as value_true, bool_or(not value) as value_false, bool_or(retry) as retry{said}
            from exception_rows group by address""")
        self.db.unregister("exception_rows")

    def _load_sets(self, replica: ReplicaState, step: Step) -> None:
        base, everyone = step.base, _sends_everyone(replica, step)
        within = _within(step.range)
        first = _first_version(step)
        touched = f"select address from known where {within}"
        if everyone:
            touched += "".join(f" union select address from ({self._rows(n, within)})" for n in {step.target, base.version})
        changes = self._chain.changes(first, step.target)
        touched += f" union select address from ({changes}) where {self._counted.touched()} and {within}"
        self.db.execute(f"create or replace table touched as {touched}")
        within = f"{within} and address in (select address from touched)"
        self.db.execute(f"create or replace table want as {self._picked(step.target, within)}")
        self.db.execute(f"create or replace table had as {self._picked(base.version, within)}")
        if self._counted.told:
            self.db.execute(f"create or replace table stays as {self._rows(step.target, within)}")
            self.db.execute(f"create or replace table told as {self._rows(base.version, within)}")
        tables = self._counted.tables
        for table in {tables.had, tables.told}:
            self.db.execute(f"delete from {table} where address in (select address from known where left_out)")
        columns = f"address, member{self._said}"
        past = f"select {columns} from {tables.told}"
        if first < base.version:
            gained = self._chain.changes(first, base.version - 1)
            past += f" union all {self._rows(first, within)}"
            gained = f"select *{', value as said' if self._said else ''} from ({gained})"
            past += f" union all select {columns} from ({gained}) where sign > 0 and {self._counted.where()} and {within}"
        said = ", arg_min(said, member) as said" if self._said else ""
        self.db.execute(f"create or replace table past as select address, min(member) as member{said} from ({past}) group by address")

    def _rows(self, n: int, within: str) -> str:
        return self._addresses_where(n, f"{self._counted.where()} and {within}")

    def _picked(self, n: int, within: str) -> str:
        return self._addresses_where(n, f"{self._counted.picks()} and {within}")

    def _addresses_where(self, n: int, condition: str) -> str:
        return self._each_once(self._chain.rows(n, condition))

    def _each_once(self, rows: str) -> str:
        """Each address once, with the smallest of its members; of a trait with the value of that one."""
        said = ", arg_min(value, member) as said" if self._chain.has_values else ""
        return f"select address, min(member) as member{said} from ({rows}) group by address"

    @property
    def _said(self) -> str:
        """The column of values, where there are any."""
        return ", said" if self._chain.has_values else ""

    @property
    def _state(self) -> str:
        """What tells an address in the state that it has."""
        return f"(address{self._said})" if self._chain.has_values else "address"

    def _cut(self, span: Range, limit: int | None) -> tuple[Range, int]:
        """At most `limit` changes stay; gives the range that they cover, and how many they are."""
        count = self._one("select count(*) from owed")
        if limit is None or count <= limit:
            return span, count
        ((beyond,),) = self.db.execute("select address from owed where rowid = ?", [limit]).fetchall()
        self.db.execute("delete from owed where rowid >= ?", [limit])
        return Range(span.lo, beyond), limit

    def _fill_with(self, step: Step, changes: str, is_any: bool) -> None:
        """Write changes in order, each with the e-mail address of its member as of the target, or of the base for one who is gone."""
        self.db.execute(f"create or replace table without_email as {changes} {'' if is_any else 'limit 0'}")
        now, before = (self._emails(n) for n in (step.target, step.base.version))
        self.db.execute(f"""create or replace table owed as
            select o.address, o.value, o.again, o.member, coalesce(n.email, b.email) as email, '' as superseded{self._said}
            from without_email o
            left join ({now}) n on n.member = o.member left join ({before}) b on b.member = o.member order by o.address""")
        self.db.execute("drop table without_email")

    def _emails(self, n: int) -> str:
        if self._counted.level != "user":
            return f"select 0::bigint as member, ''::varchar as email from ({NO_ROWS})"
        return _emails(self._chain, n, "member in (select member from without_email)")

    def _addresses(self, name: str, addresses: Any) -> str:
        self.db.register("given", pa.Table.from_arrays([addresses], names=["address"]))
        self.db.execute(f"create or replace table {name} as select address from given")
        self.db.unregister("given")
        return name

    def _one(self, query: str) -> int:
        return int(self.db.execute(query).fetchall()[0][0])


def _emails(chain: Chain, n: int, condition: str) -> str:
    """The present e-mail address of each member, the one last seen where there are several."""
    present = "level = 'user' and current and address >= 'email:' and address < 'email;'"
    rows = chain.rows(n, f"{present} and {condition}")
    return f"select member, arg_min(substr(address, 7), last_order) as email from ({rows}) group by member"


def _sends_everyone(replica: ReplicaState, step: Step) -> bool:
    return step.kind is not StepKind.CATCH_UP or resends(replica, step)


def _first_version(step: Step) -> int:
    return min(step.base.exits_version, step.base.version)


def _is_due(exception: ExceptionRow, now_us: int) -> bool:
    """Whether its time has come, whatever the value is now."""
    return is_due(ExceptionState(exception.kind, exception.value, exception.retry_at), exception.value, now_us)


def _within(span: Range) -> str:
    lo = span.lo.replace("'", "''")
    upper = "" if span.hi is None else " and address < '{}'".format(span.hi.replace("'", "''"))
    return f"address >= '{lo}'{upper}"


def _owed(replica: ReplicaState, step: Step, tables: Tables, *, has_values: bool) -> str:
    everyone = "true" if resends(replica, step) else "false"
    want, had, stays, told = (f"{name}.address" for name in (tables.want, tables.had, tables.stays, tables.told))
    differs, not_had, said = "k.value_false", f"{had} is null", ""
    if has_values:
        value = f"left(sha256({tables.want}.said), {DIGEST_LENGTH})"
        differs = f"(k.value_false or k.least <> {value} or k.greatest <> {value})"
        not_had = f"({had} is null or {tables.had}.said <> {tables.want}.said)"
        said = f", coalesce({tables.want}.said, {tables.told}.said, p.said) as said"
    due_true = f"(k.address is not null and not k.left_out and ({differs} or k.retry))"
    due_false = "(k.address is not null and not k.left_out and (k.value_true or k.retry))"
    entry = f"{want} is not null and {_sql(replica.sends_entries)} and ({not_had} or {everyone} or {due_true})"
    leave = f"{stays} is null and {_sql(replica.sends_exits)} and (p.address is not null or {due_false})"
    told_before = f"p.address is not null and case when {want} is not null then {not_had} else {told} is null end"
    joins = " ".join(f"left join {name} using (address)" for name in dict.fromkeys((tables.want, tables.had, tables.stays, tables.told)))
    return f"""select t.address, {want} is not null as value,
            ({told_before}) or ({want} is not null and {everyone}) as again,
            coalesce({tables.want}.member, {tables.told}.member, p.member) as member{said}
        from touched t {joins} left join past p using (address) left join known k using (address)
        where ({entry}) or ({leave})"""


def _sql(value: bool) -> str:
    return "true" if value else "false"
