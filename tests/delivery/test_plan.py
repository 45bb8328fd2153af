"""What a step owes, worked out by SQL over files, is what the protocol's reference says over plain sets."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engage_pipelines.delivery.counted import Counted
from engage_pipelines.delivery.digest import digest_of
from engage_pipelines.delivery.plan import Planner
from engage_pipelines.delivery.state import ExceptionRow
from engage_pipelines.domain.id_sync import parse_rule
from engage_pipelines.domain.protocol import (
    BaseRow,
    Change,
    ExceptionKind,
    ExceptionState,
    Known,
    ReplicaState,
    Step,
    cut,
    move,
    owed,
    settled_by,
    steps,
    superseded,
)
from engage_pipelines.snapshots.compare import compare
from engage_pipelines.snapshots.rows import Chain, VersionFile
from engage_pipelines.snapshots.write import write

NOW = 1_000
COUNTED = Counted("user", ("user_id", "anonymous_id"), with_former=False)

Row = tuple[str, int, bool]
"""An address, its member, and whether the member has no user id."""


def fresh(rows: Sequence[Row]) -> str:
    values = ", ".join(f"('user', '{address}', {member}, true, {sole}, 1, 1)" for address, member, sole in rows)
    columns = "level, address, member, current, sole, first_order, last_order"
    if not rows:
        return f"select * from (values ('user', '', 0, true, true, 1, 1)) t({columns}) where false"
    return f"select * from (values {values}) t({columns})"


def publish(db: duckdb.DuckDBPyConnection, folder: Path, versions: Sequence[Sequence[Row]], fulls: Sequence[bool]) -> Chain:
    chain = Chain(folder)
    for n, rows in enumerate(versions, start=1):
        found = compare(db, chain, fresh(rows), level="user")
        is_full = n == 1 or fulls[n - 1]
        write(chain, n, found, is_full=is_full)
        chain = Chain(folder, (*chain.versions, VersionFile(n, is_full)))
    return chain


def cut_into_groups(chain: Chain, rows: int) -> None:
    """Give the files row groups of so few rows that a generation takes several of them."""
    for file in chain.folder.rglob("*.parquet"):
        pq.write_table(pq.read_table(file), file, row_group_size=rows)


def counted_addresses(rows: Sequence[Row]) -> set[str]:
    """The reference's idea of who counts, for a list type: present addresses alone."""
    return {a for a, _, sole in rows if a.startswith("user_id:") or (sole and a.startswith("anonymous_id:"))}


@st.composite
def version_rows(draw: st.DrawFn) -> list[Row]:
    rows: set[Row] = set()
    for member in draw(st.sets(st.integers(1, 5))):
        for address in draw(st.sets(st.sampled_from(["user_id:a", "user_id:b", "user_id:é", "user_id:f"]), max_size=2)):
            rows.add((address, member, False))
        if not any(row[1] == member for row in rows) or draw(st.booleans()):
            sole = not any(row[1] == member for row in rows)
            rows.add((f"anonymous_id:{draw(st.sampled_from('xyz'))}", member, sole))
    return sorted(rows)


exception_rows = st.builds(
    lambda address, part, kind, value, retry: ExceptionRow(address, part, kind, value, "personas_1:0:i0", 1, 0, "", 1, retry),
    st.sampled_from(["user_id:a", "user_id:b", "user_id:gone"]),
    st.sampled_from(["i0", "t1"]),
    st.sampled_from(ExceptionKind),
    st.booleans(),
    st.sampled_from([None, NOW - 1, NOW + 1]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_sql_and_reference_owe_the_same(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    versions = data.draw(st.lists(version_rows(), min_size=1, max_size=4))
    fulls = data.draw(st.lists(st.booleans(), min_size=len(versions), max_size=len(versions)))
    exceptions = data.draw(st.lists(exception_rows, max_size=3, unique_by=lambda e: (e.address, e.part)))
    base = data.draw(st.integers(0, len(versions)))
    replica = ReplicaState(
        "users",
        "user",
        (BaseRow("", base, data.draw(st.integers(min(base, 1), base)), 0),),
        resync_no=data.draw(st.integers(0, 1)),
        sends_entries=data.draw(st.booleans()),
        sends_exits=data.draw(st.booleans()),
        retry_due=True,
    )
    db = duckdb.connect()
    chain = publish(db, tmp_path_factory.mktemp("versions"), versions, fulls)
    cut_into_groups(chain, data.draw(st.sampled_from([1, 2, 100])))
    states: dict[str, list[ExceptionState]] = {}
    for e in exceptions:
        states.setdefault(e.address, []).append(ExceptionState(e.kind, e.value, e.retry_at))
    reference = Known(lambda n: counted_addresses(versions[n - 1]) if n else set(), states, NOW)
    limit = data.draw(st.integers(1, 4))
    for step in steps(replica, len(versions)):
        planned = Planner(db, chain, COUNTED).plan(replica, step, exceptions, now_us=NOW, limit=limit)
        expected = owed(replica, step, reference)
        span, longest = planned.settled.range, cut([change.address for change in expected], step.range, limit)
        assert (span.lo, planned.settled) == (step.range.lo, settled_by(replica, step, span))
        assert longest.hi is None or (span.hi is not None and span.hi <= longest.hi)
        found = db.execute("select address, value, again from owed").fetchall()
        assert found == [(c.address, c.value, c.again) for c in expected if c.address in span]
        assert found or span == step.range
        assert planned.changes == len(found)


valued_exceptions = st.builds(
    lambda address, part, kind, said, retry: ExceptionRow(
        address, part, kind, said is not None, "personas_1:0:i0", 1, 0, "", 1, retry, None if said is None else digest_of(said)
    ),
    st.sampled_from(["user_id:a", "user_id:b", "user_id:gone"]),
    st.sampled_from(["i0", "t1"]),
    st.sampled_from(ExceptionKind),
    st.sampled_from([None, "1", "2"]),
    st.sampled_from([None, NOW - 1, NOW + 1]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_sql_and_reference_owe_the_same_values(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    """An address that two members share has the value of the smaller one; what is marked as not to be sent is the reference's too."""
    member = st.tuples(st.sets(st.sampled_from("abc"), min_size=1, max_size=2), st.sampled_from("123"))
    versions = data.draw(st.lists(st.dictionaries(st.integers(1, 3), member, max_size=3), min_size=1, max_size=4))
    exceptions = data.draw(st.lists(valued_exceptions, max_size=3, unique_by=lambda e: (e.address, e.part)))
    base = data.draw(st.integers(0, len(versions)))
    chance = {name: data.draw(st.booleans()) for name in ("sends_entries", "sends_exits")}
    rows = (BaseRow("", base, data.draw(st.integers(min(base, 1), base)), 0),)
    replica = ReplicaState("users", "user", rows, resync_no=data.draw(st.integers(0, 1)), retry_due=True, **chance)
    db, folder = duckdb.connect(), tmp_path_factory.mktemp("versions")
    chain = Chain(folder, has_values=True)
    held: list[dict[str, str]] = [{}]
    for n, people in enumerate(versions, start=1):
        listed = [(f"user_id:{letter}", m, value) for m, (letters, value) in people.items() for letter in sorted(letters)]
        values = ", ".join(f"({m}, '{value}')" for _, m, value in listed) or "(0, '')"
        known = fresh([(address, m, False) for address, m, _ in listed])
        valued = f"(select distinct * from (values {values}) t(member, value)) v"
        found = compare(db, chain, f"select f.*, v.value from ({known}) f join {valued} using (member)", level="user")
        write(chain, n, found, is_full=n == 1)
        chain = Chain(folder, (*chain.versions, VersionFile(n, n == 1)), has_values=True)
        held.append({address: digest_of(value) for address, _, value in sorted(listed, key=lambda row: -row[1])})
    states: dict[str, list[ExceptionState]] = {}
    for e in exceptions:
        states.setdefault(e.address, []).append(ExceptionState(e.kind, e.value, e.retry_at, e.digest))
    for step in steps(replica, data.draw(st.integers(max(base, 1), len(versions)))):
        planner = Planner(db, chain, COUNTED)
        planner.plan(replica, step, exceptions, now_us=NOW, limit=None)
        planner.mark_superseded(len(versions))
        found = db.execute("select address, value, again, said, superseded from owed").fetchall()
        expected = owed(replica, step, Known(lambda n: held[n], states, NOW))
        unsent = superseded(expected, step.target, len(versions), lambda n: held[n])
        told = [(address, value, again, digest_of(said) if value else None, why) for address, value, again, said, why in found]
        assert told == [(c.address, c.value, c.again, c.said, unsent.get(c.address, "")) for c in expected]


def users(*names: str) -> list[Row]:
    """Each name with the members of its letters: `a` is member 1, `ab` an address that members 1 and 2 share."""
    return sorted((f"user_id:{name}", ord(letter) - 96, False) for name in names for letter in name)


def planned_in_parts(db: duckdb.DuckDBPyConnection, chain: Chain, replica: ReplicaState, limit: int) -> list[list[str]]:
    """The addresses of one generation after the other, until the base has reached the last version."""
    parts: list[list[str]] = []
    while todo := steps(replica, chain.versions[-1].n):
        planned = Planner(db, chain, COUNTED).plan(replica, todo[0], [], now_us=NOW, limit=limit)
        parts.append([address for (address,) in db.execute("select address from owed").fetchall()])
        replica = replace(replica, base=move(replica.base, planned.settled))
    return parts


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_stretch_ends_within_the_members_of_one_address(tmp_path: Path, limit: int):
    db = duckdb.connect()
    chain = publish(db, tmp_path, [users("a", "bcdefg", "h", "ijk")], [True])
    cut_into_groups(chain, 1)
    replica = ReplicaState("users", "user", (BaseRow("", 0, 0, 0),), 0, sends_entries=True, sends_exits=True, retry_due=False)
    parts = planned_in_parts(db, chain, replica, limit)
    assert [address for part in parts for address in part] == ["user_id:a", "user_id:bcdefg", "user_id:h", "user_id:ijk"]
    assert all(0 < len(part) <= limit for part in parts)


def test_stretches_that_owe_nothing_are_passed_over_in_one_plan(tmp_path: Path):
    db = duckdb.connect()
    everyone = users(*"abcdefgh")
    chain = publish(db, tmp_path, [everyone, [], sorted([*everyone, *users("xyz")])], [True, False, False])
    cut_into_groups(chain, 1)
    replica = ReplicaState("users", "user", (BaseRow("", 1, 1, 0),), 0, sends_entries=True, sends_exits=True, retry_due=False)
    assert planned_in_parts(db, chain, replica, 2) == [["user_id:xyz"]]


def test_many_changes_are_counted_without_planning_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engage_pipelines.delivery.plan.PLANNED_TO_COUNT", 2)
    db = duckdb.connect()
    chain = publish(db, tmp_path, [users(*"abcdefgh"), users(*"abcdefgh", "x"), users(*"bcdefgh", "x")], [True, False, False])
    new = ReplicaState("users", "user", (BaseRow("", 0, 0, 0),), 0, sends_entries=True, sends_exits=True, retry_due=False)
    behind = replace(new, base=(BaseRow("", 1, 1, 0),))
    counts = [Planner(db, chain, COUNTED).count(one, steps(one, 3)[0], [], now_us=NOW) for one in (new, behind)]
    assert counts == [8, 2]


def test_files_that_say_nothing_of_their_addresses_are_one_stretch(tmp_path: Path):
    db = duckdb.connect()
    chain = publish(db, tmp_path, [users(*"abcd")], [True])
    for file in tmp_path.rglob("*.parquet"):
        pq.write_table(pq.read_table(file), file, row_group_size=1, write_statistics=False)
    replica = ReplicaState("users", "user", (BaseRow("", 0, 0, 0),), 0, sends_entries=True, sends_exits=True, retry_due=False)
    assert planned_in_parts(db, chain, replica, 3) == [["user_id:a", "user_id:b", "user_id:c"], ["user_id:d"]]


def test_a_shared_address_takes_the_email_of_its_smallest_member(tmp_path: Path):
    rows: list[Row] = [("user_id:a", 7, False), ("user_id:a", 3, False), ("email:seven@x", 7, False), ("email:three@x", 3, False)]
    db = duckdb.connect()
    chain = publish(db, tmp_path, [rows], [True])
    replica = ReplicaState("users", "user")
    Planner(db, chain, COUNTED).plan(replica, steps(replica, 1)[0], [], now_us=NOW, limit=None)
    assert db.execute("select address, email from owed").fetchall() == [("user_id:a", "three@x")]


def test_a_user_property_keeps_the_former_address_of_a_present_member(tmp_path: Path):
    versions: list[list[Row]] = [[("anonymous_id:x", 1, True)], [("user_id:a", 1, False), ("anonymous_id:x", 1, False)]]
    db = duckdb.connect()
    chain = publish(db, tmp_path, versions, [True, False])
    replica = ReplicaState("users", "user", (BaseRow("", 1, 1),))
    step = steps(replica, 2)[0]
    Planner(db, chain, Counted("user", ("user_id", "anonymous_id"), with_former=True)).plan(replica, step, [], now_us=NOW, limit=None)
    assert db.execute("select address, value from owed").fetchall() == [("user_id:a", True)]
    Planner(db, chain, COUNTED).plan(replica, step, [], now_us=NOW, limit=None)
    assert db.execute("select address, value from owed order by address").fetchall() == [("anonymous_id:x", False), ("user_id:a", True)]


def test_who_was_left_out_owes_no_exit(tmp_path: Path):
    db = duckdb.connect()
    chain = publish(db, tmp_path, [[("user_id:a", 1, False), ("user_id:b", 2, False)], [("user_id:b", 2, False)]], [True, False])
    replica = ReplicaState("users", "user", (BaseRow("", 1, 1),))
    left_out = ExceptionRow("user_id:a", "i0", ExceptionKind.LEFT_OUT, True, "personas_1:0:i0", 1, 0, "", 0, None)
    Planner(db, chain, COUNTED).plan(replica, steps(replica, 2)[0], [left_out], now_us=NOW, limit=None)
    assert db.execute("select address, value from owed").fetchall() == []


def test_entries_that_the_current_version_lacks_are_marked_as_the_reference_says(tmp_path: Path):
    """`a` came back within an exits gap, so it may have been told of; `c` surely was not."""
    names = ["abd", "bd", "abcd", "bd"]
    rows: list[list[Row]] = [[(f"user_id:{letter}", ord(letter), False) for letter in version] for version in names]
    db = duckdb.connect()
    chain = publish(db, tmp_path, rows, [True, False, False, False])
    replica = ReplicaState("users", "user", (BaseRow("", 2, 1),))
    step = steps(replica, 3)[0]
    planner = Planner(db, chain, COUNTED)
    planner.plan(replica, step, [], now_us=NOW, limit=None)
    planner.mark_superseded(4)
    ids = lambda n: counted_addresses(rows[n - 1]) if n else set()  # noqa: E731
    changes = owed(replica, step, Known(ids))
    found = dict(db.execute("select address, superseded from owed where superseded <> ''").fetchall())
    assert found == superseded(changes, step.target, 4, ids) == {"user_id:a": "overtaken", "user_id:c": "left_out"}


# ---- ID sync: entries by strategy, exits for everything that left

FullRow = tuple[str, int, bool, bool, int, int]
"""An address, its member, current, sole, and its places by first and by last sight."""


@st.composite
def people(draw: st.DrawFn) -> list[FullRow]:
    """Members with user ids and e-mail addresses in some order of sight; one e-mail address of each is the present one."""
    rows: list[FullRow] = []
    for member in sorted(draw(st.sets(st.integers(1, 3)))):
        for kind in ("user_id", "email"):
            values = draw(st.lists(st.sampled_from("abc"), unique=True, max_size=3))
            last = draw(st.permutations(range(1, len(values) + 1)))
            for place, value in enumerate(values):
                current = kind == "user_id" or place == 0
                rows.append((f"{kind}:{value}", member, current, False, place + 1, last[place]))
    return rows


def publish_people(db: duckdb.DuckDBPyConnection, folder: Path, versions: Sequence[Sequence[FullRow]]) -> Chain:
    chain = Chain(folder)
    columns = "level, address, member, current, sole, first_order, last_order"
    for n, rows in enumerate(versions, start=1):
        values = (
            ", ".join(f"('user', '{a}', {m}, {c}, {s}, {first}, {last})" for a, m, c, s, first, last in rows)
            or "('', '', 0, true, true, 1, 1)"
        )
        found = compare(db, chain, f"select * from (values {values}) t({columns}) where level <> ''", level="user")
        write(chain, n, found, is_full=n == 1)
        chain = Chain(folder, (*chain.versions, VersionFile(n, n == 1)))
    return chain


def owed_by_strategy(replica: ReplicaState, step: Step, picked: Known, told: Known) -> list[Change]:
    """The reference: entries as if the picked addresses were the version, exits as if all of them were."""
    past = set(told.ids(step.base.version)).union(*(told.ids(n) for n in range(step.base.exits_version, step.base.version)))
    had = set(picked.ids(step.base.version))
    entries = [Change(c.address, True, c.again or c.address in past - had) for c in owed(replica, step, picked) if c.value]
    exits = [change for change in owed(replica, step, told) if not change.value]
    return sorted([*entries, *exits], key=lambda change: change.address)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_entries_follow_the_strategy_and_exits_go_to_all_that_left(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    versions = data.draw(st.lists(people(), min_size=1, max_size=4))
    rules = data.draw(st.sampled_from([["email:last"], ["email:first"], ["user_id:last", "email:all"], ["user_id:first"], []]))
    parsed = tuple(parse_rule(text) for text in rules)
    counted = Counted("user", ("user_id", "email"), with_former=True, rules=parsed, told=("email", "user_id"))
    db = duckdb.connect()
    chain = publish_people(db, tmp_path_factory.mktemp("versions"), versions)
    stored = [
        db.execute(f"select address, member, current, sole, first_order, last_order from ({chain.rows(n + 1)})").fetchall()
        for n in range(len(versions))
    ]

    def is_picked(row: FullRow) -> bool:
        address, _, current, sole, first, last = row
        kind = address.split(":")[0]
        if not parsed:
            return kind == "user_id" or sole
        rule = next((rule for rule in parsed if rule.kind == kind), None)
        if rule is None or rule.strategy == "all":
            return rule is not None
        return (first if rule.strategy == "first" else last) == 1 and (current or kind == "email")

    base = data.draw(st.integers(0, len(versions)))
    replica = ReplicaState(
        "users", "user", (BaseRow("", base, data.draw(st.integers(min(base, 1), base)), 0),), resync_no=data.draw(st.integers(0, 1))
    )
    picked = Known(lambda n: {row[0] for row in stored[n - 1] if is_picked(row)} if n else set())
    told = Known(lambda n: {row[0] for row in stored[n - 1]} if n else set())
    for step in steps(replica, len(versions)):
        Planner(db, chain, counted).plan(replica, step, [], now_us=NOW, limit=None)
        found = db.execute("select address, value, again from owed order by address").fetchall()
        assert found == [(c.address, c.value, c.again) for c in owed_by_strategy(replica, step, picked, told)]


def test_a_newer_address_is_entered_and_the_older_one_leaves_with_its_owner(tmp_path: Path):
    old, new = ("email:old", 1, True, True, 1, 1), ("email:new", 1, True, True, 2, 1)
    versions: list[list[FullRow]] = [[old], [("email:old", 1, False, True, 1, 2), new], []]
    db = duckdb.connect()
    chain = publish_people(db, tmp_path, versions)
    counted = Counted("user", ("user_id", "email"), with_former=False, rules=(parse_rule("email:last"),), told=("email",))
    seen: list[list[tuple[str, bool]]] = []
    for base in (0, 1, 2):
        replica = ReplicaState("users", "user", (BaseRow("", base, base),))
        Planner(db, Chain(tmp_path, chain.versions[: base + 1]), counted).plan(
            replica, steps(replica, base + 1)[0], [], now_us=NOW, limit=None
        )
        seen.append(db.execute("select address, value from owed order by address").fetchall())
    assert seen == [[("email:old", True)], [("email:new", True)], [("email:new", False), ("email:old", False)]]
