"""Properties with columns of their own mean what the JSON means, whichever files have which columns."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engage_pipelines.domain.computation import Audience, Level
from engage_pipelines.domain.query import Definition, to_text
from engage_pipelines.domain.query.meaning import Asked, user_matches
from engage_pipelines.domain.query.values import Json, walk
from engage_pipelines.facts.compaction import compact
from engage_pipelines.facts.evaluate import evaluate
from engage_pipelines.facts.event_source import EventSource
from engage_pipelines.facts.promotion import Promoted
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.store import read_manifest, writing
from engage_pipelines.testing.plain_calls import SPACE, take_in
from engage_pipelines.testing.plain_facts import Facts, open_engine, profile_of, session_of
from engage_pipelines.testing.random_definitions import AT_US, PATHS, event_definitions, facts

EXAMPLES = int(os.environ.get("ENGAGE_TEST_EXAMPLES", "200"))
_BASE = "member AS subject, event, ts, message_id, 'track' AS kind, properties, context, source"


def _kind(value: Json) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def _by_kind(given_facts: Facts, path: tuple[str, ...]) -> dict[str, list[str]]:
    """Message ids by the kind of what the path leads to, so that a file of each kind has a column."""
    found: dict[str, list[str]] = {}
    for member in given_facts.everyone():
        for row in member.rows:
            found.setdefault(_kind(next(iter(walk(dict(row.properties), path)), None)), []).append(f"{member.member} {row.message_id}")
    return found


def _write(session: FactsSession, folder: Path, files: list[list[str]], plain: int) -> None:
    """The event rows in as many files, every `plain`-th without columns, columns chosen by a part of the rows."""
    folder.mkdir()
    session.connection.execute(f"COPY (SELECT * FROM event_rows) TO '{folder}/all.parquet'")
    for number, names in enumerate(files):
        with writing(folder) as write:
            here = f"list_contains([{', '.join(map(_quoted, names))}], member || ' ' || message_id)"
            rows = f"SELECT {_BASE} FROM '{folder}/all.parquet' WHERE {here}"
            write.add("events", rows, sampled="" if number % plain == plain - 1 else f"({rows} LIMIT 20)")
            write.commit()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@pytest.fixture(scope="module")
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_engine() as connection:
        yield connection


@settings(max_examples=max(1, EXAMPLES // 10), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    given_facts=facts(),
    wanted=st.lists(event_definitions(), min_size=10, max_size=10),
    path=st.sampled_from(PATHS),
    plain=st.integers(2, 9),
)
def test_columns_and_json_agree_with_the_reference_meaning(
    engine: duckdb.DuckDBPyConnection, given_facts: Facts, wanted: list[Definition], path: tuple[str, ...], plain: int
) -> None:
    audiences = [Audience(f"a{number}", f"a{number}", Level.USER, to_text(each)) for number, each in enumerate(wanted)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "facts"
        session = session_of(given_facts, AT_US, engine)
        _write(session, folder, list(_by_kind(given_facts, path).values()), plain)
        source = EventSource(AT_US, folder, read_manifest(folder))
        found = evaluate(replace(session, source=source), audiences)
    for audience, definition in zip(audiences, wanted, strict=True):
        expected = {
            each.member
            for each in given_facts.users
            if user_matches(definition.condition, profile_of(each, given_facts, AT_US, {}), Asked(AT_US))
        }
        members = found[audience.key].members
        assert members is not None, found[audience.key].error
        assert set(members.users.tolist()) == expected, audience.definition


def _promoted(folder: Path) -> dict[tuple[str, ...], Promoted]:
    return {each.path: each for columns in read_manifest(folder / SPACE).promoted.values() for each in columns}


def _track(number: int, **properties: object) -> dict[str, object]:
    return {"type": "track", "event": "E", "userId": "u", "messageId": f"m{number}", "timestamp": "2024-01-01", "properties": properties}


def test_scalars_of_one_kind_get_columns_nested_ones_too(tmp_path: Path) -> None:
    calls = [_track(number, total=number / 4, count=number, name="n", on=True, page={"path": "/"}, a=[1]) for number in range(9)]
    take_in(tmp_path, calls)
    found = _promoted(tmp_path)
    assert {path: each.kind for path, each in found.items()} == {
        ("total",): "number",
        ("count",): "number",
        ("name",): "text",
        ("on",): "boolean",
        ("page", "path"): "text",
    }
    assert (found["count",].whole, found["total",].whole, found["total",].exact) == (True, False, True)


def test_a_property_of_two_kinds_stays_in_the_json(tmp_path: Path) -> None:
    take_in(tmp_path, [_track(1, mixed=1, plain=1), _track(2, mixed="1", plain=2)])
    assert set(_promoted(tmp_path)) == {("plain",)}


def test_names_that_differ_in_case_alone_are_told_apart(tmp_path: Path) -> None:
    take_in(tmp_path, [_track(1, Total=1, total="x")])
    assert {path: each.kind for path, each in _promoted(tmp_path).items()} == {("Total",): "number", ("total",): "text"}


def test_a_name_with_a_dot_is_not_a_nested_one(tmp_path: Path) -> None:
    take_in(tmp_path, [_track(1, **{"a.b": 1, "a": {"b": "x"}, 'q"': True})])
    assert {path: each.kind for path, each in _promoted(tmp_path).items()} == {("a.b",): "number", ("a", "b"): "text", ('q"',): "boolean"}


def test_numbers_that_are_not_exact_are_said_not_to_be(tmp_path: Path) -> None:
    take_in(tmp_path, [_track(1, tiny=1e-7, large=1e12, money=10.25)])
    assert {path[0]: each.exact for path, each in _promoted(tmp_path).items()} == {"tiny": False, "large": False, "money": True}


def test_files_made_into_one_are_promoted_anew(tmp_path: Path) -> None:
    take_in(tmp_path, [_track(1, x=1)])
    take_in(tmp_path, [_track(2, x="a", y=2)])
    with writing(tmp_path / SPACE) as write:
        compact(write, max_files=1, left_alone=0)
        write.commit()
    manifest = read_manifest(tmp_path / SPACE)
    assert len(manifest.files("events")) == 1
    assert set(manifest.promoted) == set(manifest.files("events"))
    assert set(_promoted(tmp_path)) == {("y",)}
