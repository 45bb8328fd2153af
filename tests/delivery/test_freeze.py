"""What is frozen in columns is byte by byte what is rendered record by record."""

from dataclasses import replace
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engage_pipelines.delivery import freeze, generation_file
from engage_pipelines.delivery.generation_file import GenerationWriter
from engage_pipelines.delivery.render import Renderer, compile_mappings
from engage_pipelines.delivery.rows import Batch, FrozenRecord
from engage_pipelines.delivery.state import MappingRow
from engage_pipelines.domain.computation import ComputationRef
from engage_pipelines.domain.records import Envelope

REFERENCE = ComputationRef("aud_1", "vips", "spa_1")
ENVELOPE = Envelope(REFERENCE, "2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.000Z", {"All": False, 'C"R\\M': True})
ALL = frozenset({"identify", "track", "group"})
RECORD_ITSELF = {"@path": "$."}
MATCHING = 'context.personas.computation_key = "vips"'

# a person's identifier may be anything that a column of text holds
ids = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
hostile = st.one_of(
    ids, st.sampled_from(["", '"', "\\", '\\"', "\x00", "\x0b\x1f\\u000B", "a:b:", "\ue000seq\ue001", "é😀\u2028", "x" * 5000, "</script>"])
)
user_addresses = st.builds(lambda kind, text: f"{kind}:{text}", st.sampled_from(["user_id", "anonymous_id", "email", "ios.idfa"]), hostile)
changes = st.lists(
    st.tuples(user_addresses, st.booleans(), st.none() | hostile, st.sampled_from(["", "", "left_out", "overtaken"])),
    max_size=30,
    unique_by=lambda change: change[0],
)


def row(trigger: str = MATCHING, fields: dict | None = None, action: str = "send") -> MappingRow:
    return MappingRow("m1", "Mapping", trigger, action, fields or RECORD_ITSELF, 3)


def renderer(
    *rows: MappingRow, level: str = "user", batch_keys: tuple[str, ...] = (), envelope: Envelope = ENVELOPE, **options
) -> Renderer:
    calls = ("group",) if level == "account" else ("identify", "track")
    mappings = compile_mappings(rows, {"send": (ALL, batch_keys)})
    return Renderer(7, level, calls, envelope, mappings, options.pop("group_needs_a_user", False), **options)


def frozen(tmp_path: Path, one: Renderer, drawn: list) -> tuple[list[FrozenRecord], list[tuple], list[bytes]]:
    """The records of the file, the ledger rows as single seqs, and the bodies as they are joined for requests."""
    path = tmp_path / "7.parquet"
    path.unlink(missing_ok=True)
    columns = [("address", pa.string()), ("value", pa.bool_()), ("email", pa.string()), ("superseded", pa.string())]
    table = pa.table({name: pa.array([change[i] for change in sorted(drawn)], kind) for i, (name, kind) in enumerate(columns)})
    with duckdb.connect() as db, GenerationWriter(path) as writer:
        db.register("given", table)
        db.execute("create table owed as select * from given order by address")
        unsent = freeze.write(one, db, writer, [], tmp_path)
    singles = [(seq, row.answer, row.reason) for row in unsent for seq in range(row.lo, row.hi + 1)]
    rows = list(generation_file.rows_of(path))
    joined = Batch(rows).joined(b"\n\xff").split(b"\n\xff") if rows else []
    return list(generation_file.read(path)), singles, joined


def by_itself(one: Renderer) -> Renderer:
    """The same, but so that no record is taken for alike."""
    return replace(one, only_parts={"nobody:": {"i0"}})


def is_in_columns(tmp_path: Path) -> bool:
    return all(rows.batch.column("body").null_count == len(rows) for rows in generation_file.rows_of(tmp_path / "7.parquet"))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes, st.booleans())
@example([("user_id:" + "".join(map(chr, range(0x20))) + "\x7f", True, "\\\\", "")], False)
def test_records_frozen_in_columns_are_those_rendered_by_themselves(tmp_path: Path, drawn: list, named_again: bool):
    envelope = replace(ENVELOPE, also_as=[("email", "mail"), ("user_id", "uid"), ("anonymous_id", "vips")]) if named_again else ENVELOPE
    one = renderer(row(), envelope=envelope)
    expected = frozen(tmp_path, by_itself(one), drawn)
    found = frozen(tmp_path, one, drawn)
    assert found == expected
    assert is_in_columns(tmp_path)
    assert [record.body for record in found[0]] == found[2]
    assert [record.seq for record in found[0]] == list(range(len(found[0])))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(hostile, unique=True, max_size=8), st.booleans())
def test_accounts_are_too_with_the_stand_in_for_a_user(tmp_path: Path, groups: list[str], needs: bool):
    one = renderer(row(), level="account", group_needs_a_user=needs)
    drawn = [(f"group_id:{group}", True, None, "") for group in groups]
    assert frozen(tmp_path, one, drawn) == frozen(tmp_path, by_itself(one), drawn)


SOME = [
    ("anonymous_id:a1", True, None, ""), ("anonymous_id:a2", False, "a@x.test", ""), ("email:b@x.test", True, None, ""),
    ("user_id:u1", True, "u1@x.test", ""), ("user_id:u2", True, None, ""), ("user_id:u3", False, None, "overtaken"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("trigger", "in_columns"),
    [
        pytest.param(MATCHING, True, id="the computation"),
        pytest.param('type = "identify" and traits.vips = true', True, id="the membership"),
        pytest.param('event = "Audience Entered"', True, id="the event"),
        pytest.param('type = "nothing"', True, id="never"),
        pytest.param("traits.email = null", False, id="whether there is an e-mail address"),
        pytest.param('userId = "u1"', False, id="one person"),
        pytest.param('match(messageId, "*1:*")', False, id="the message id"),
        pytest.param('typeof(context.traits) = "null"', False, id="what holds the e-mail address"),
        pytest.param('!(contains(traits.email.name, "x"))', False, id="a path through the e-mail address"),
    ],
)
def test_a_trigger_is_decided_once_only_where_it_reads_nothing_of_the_person(tmp_path: Path, trigger: str, in_columns: bool):
    one = renderer(row(trigger))
    expected = frozen(tmp_path, by_itself(one), SOME)
    assert frozen(tmp_path, one, SOME) == expected
    if expected[0]:
        assert is_in_columns(tmp_path) is in_columns


@pytest.mark.parametrize(
    ("fields", "in_columns"),
    [
        pytest.param({"id": {"@path": "$.userId"}, "in": {"@path": "$.traits.vips"}}, True, id="fields by path"),
        pytest.param({"text": {"@template": "id {{userId}} of {{type}}"}}, True, id="a text around the identifier"),
        pytest.param({"fixed": 1}, True, id="the same for all"),
        pytest.param({"big": {"@case": {"operator": "upper", "value": {"@path": "$.userId"}}}}, False, id="a changed identifier"),
    ],
)
def test_mappings_that_hand_on_what_differs_are_frozen_in_columns(tmp_path: Path, fields: dict, in_columns: bool):
    one = renderer(row(fields=fields), row('type = "track"', fields={"kind": {"@path": "$.type"}}))
    expected = frozen(tmp_path, by_itself(one), SOME)
    assert frozen(tmp_path, one, SOME) == expected
    assert is_in_columns(tmp_path) is in_columns


@pytest.mark.parametrize(
    ("key", "in_columns"), [pytest.param("type", True, id="fixed"), pytest.param("userId", False, id="a person's own")]
)
def test_records_whose_batch_values_differ_lie_in_different_lanes(tmp_path: Path, key: str, in_columns: bool):
    one = renderer(row(), batch_keys=(key,))
    expected = frozen(tmp_path, by_itself(one), SOME)
    assert frozen(tmp_path, one, SOME) == expected
    assert len({record.lane for record in expected[0]}) > 2
    assert is_in_columns(tmp_path) is in_columns


def test_a_file_written_again_without_some_records_gives_the_same_bytes(tmp_path: Path):
    before = {record.seq: record for record in frozen(tmp_path, renderer(row()), SOME)[0]}
    path, again = tmp_path / "7.parquet", tmp_path / "8.parquet"
    with duckdb.connect() as db:
        db.execute(f"copy (select * from read_parquet('{path}') where address <> 'user_id:u1') to '{again}' (format parquet)")
    kept = list(generation_file.read(again))
    assert kept == [record for record in before.values() if record.address != "user_id:u1"]
    assert generation_file.pick(again, [kept[0].seq]) == [kept[0]]
    assert all(orjson.loads(record.body)["messageId"] == record.message_id for record in kept)
