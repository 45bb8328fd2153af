from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

from engage_pipelines.destinations.base import Accepted, Backoff, MembershipAs, Stop, Target
from engage_pipelines.destinations.sql_table import SqlTable
from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.testing.bench import KEY, Bench
from engage_pipelines.testing.conformance import DestinationConformance


def select(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)] if sa.inspect(engine).get_table_names() else []


def execute(url: str, *statements: str) -> None:
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


class TestListInSqlite(DestinationConformance):
    destination = SqlTable()

    def url(self, folder: Path) -> str:
        return f"sqlite:///{folder / 'own.db'}"

    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        return {"url": self.url(folder), "table": "members", "columns": ["email"]}

    def held(self, folder: Path) -> Mapping[str, bool]:
        return {str(key): True for (key,) in select(self.url(folder), "SELECT user_id FROM members")}

    def takings(self, folder: Path) -> object:
        return sorted(select(self.url(folder), "SELECT * FROM members"), key=str)

    def test_payload_fields_are_columns(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1", email="ana@example.test"), bench.record("u-2")])
        assert self.takings(bench.folder) == [("u-1", "ana@example.test"), ("u-2", None)]


class TestPropertyInSqlite(DestinationConformance):
    destination = SqlTable()

    def url(self, folder: Path) -> str:
        return f"sqlite:///{folder / 'own.db'}"

    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        return {"url": self.url(folder), "table": "people", "mode": "property", "key_column": "id"}

    def held(self, folder: Path) -> Mapping[str, bool]:
        return {str(key): bool(value) for key, value in select(self.url(folder), f"SELECT id, {KEY} FROM people")}

    def test_a_table_of_yours_gets_the_column_and_keeps_the_rest(self, bench: Bench) -> None:
        url = self.url(bench.folder)
        execute(url, "CREATE TABLE people (id TEXT PRIMARY KEY, name TEXT)", "INSERT INTO people VALUES ('u-1', 'Ana'), ('u-2', 'Bo')")
        bench.deliver([bench.record("u-1"), bench.record("u-3")])
        bench.deliver([bench.record("u-1", entered=False, generation=2)], generation=2)
        rows = select(url, f"SELECT id, name, {KEY} FROM people ORDER BY id")
        assert rows == [("u-1", "Ana", 0), ("u-2", "Bo", None), ("u-3", None, 1)]


def with_driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg2://", 1)


_NOTHING_LEFT = "DROP TABLE IF EXISTS own_members, own_people"


@pytest.mark.postgres
class TestListInPostgres(DestinationConformance):
    destination = SqlTable()

    @pytest.fixture(autouse=True)
    def _database(self, postgres_server: str) -> Iterator[None]:
        type(self).plain_url = postgres_server  # type: ignore[attr-defined]
        type(self).postgres = with_driver(postgres_server)  # type: ignore[attr-defined]
        execute(self.postgres, _NOTHING_LEFT)  # type: ignore[attr-defined]
        yield
        execute(self.postgres, _NOTHING_LEFT)  # type: ignore[attr-defined]

    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        return {"url": self.plain_url, "table": "own_members"}  # type: ignore[attr-defined]

    def held(self, folder: Path) -> Mapping[str, bool]:
        there = sa.inspect(sa.create_engine(self.postgres, poolclass=sa.NullPool)).has_table("own_members")  # type: ignore[attr-defined]
        return {str(key): True for (key,) in select(self.postgres, "SELECT user_id FROM own_members")} if there else {}  # type: ignore[attr-defined]

    def test_a_value_that_the_database_cannot_hold_is_refused_alone(self, bench: Bench) -> None:
        refused = bench.deliver([bench.record("u-1"), bench.record("n\0ul"), bench.record("long" * 200), bench.record("u-2")])
        assert set(refused) == {"user_id:n\0ul", "user_id:" + "long" * 200}
        assert "longlong" not in repr(refused.values())
        assert bench.held() == {"u-1": True, "u-2": True}


class TestWhatADatabaseRefuses:
    target = Target("main", KEY, "user", 1)

    def bench(self, folder: Path, **settings: object) -> Bench:
        given = {"url": f"sqlite:///{folder / 'own.db'}", "table": "members", **settings}
        configured = SqlTable().configure(given, files_dir=folder)
        return Bench(SqlTable(), configured, folder, lambda _: {}, lambda _: {}, None)

    @pytest.mark.parametrize(
        "url",
        [
            pytest.param("no url at all", id="no URL"),
            pytest.param("nosuchdb://u:hunter2@h/d", id="no such dialect"),
            pytest.param("mysql+nosuchdriver://u:hunter2@h/d", id="no such driver"),
            pytest.param("sqlite:////no/such/folder/own.db", id="no such file"),
        ],
    )
    def test_a_url_that_cannot_be_used_stops_without_showing_it(self, url: str, tmp_path: Path) -> None:
        bench = self.bench(tmp_path, url=url)
        for verdict in (bench.send([bench.record("u-1")]), SqlTable().test(bench.settings)):
            assert isinstance(verdict, Stop)
            assert "hunter2" not in repr(verdict)

    def test_a_server_that_is_not_there_is_tried_again(self, tmp_path: Path) -> None:
        bench = self.bench(tmp_path, url="postgresql+psycopg2://u:hunter2@127.0.0.1:9/d")
        verdict = bench.send([bench.record("u-1")])
        assert isinstance(verdict, Backoff)
        assert "hunter2" not in verdict.reason

    def test_a_table_without_the_key_column_stops_by_name(self, tmp_path: Path) -> None:
        bench = self.bench(tmp_path)
        execute(f"sqlite:///{tmp_path / 'own.db'}", "CREATE TABLE members (id TEXT)")
        verdict = bench.send([bench.record("u-1")])
        assert isinstance(verdict, Stop)
        assert "user_id" in verdict.reason

    def test_a_truth_column_may_not_be_the_key_column(self, tmp_path: Path) -> None:
        bench = self.bench(tmp_path, mode="property", key_column=KEY)
        assert isinstance(bench.send([bench.record("u-1")]), Stop)

    def test_a_database_that_is_locked_is_tried_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("engage_pipelines.destinations.sending.sql_writing.CONNECT_TIMEOUT_S", 0.05)
        bench = self.bench(tmp_path)
        assert bench.send([bench.record("u-1")]) == Accepted()
        with sa.create_engine(f"sqlite:///{tmp_path / 'own.db'}", poolclass=sa.NullPool).connect() as other:
            other.exec_driver_sql("BEGIN IMMEDIATE")
            verdict = bench.send([bench.record("u-2")])
            other.rollback()
        assert isinstance(verdict, Backoff)

    def test_a_payload_without_an_id_is_refused_alone(self, tmp_path: Path) -> None:
        bench = self.bench(tmp_path)
        refused = bench.deliver([bench.record("u-1"), bench.record("")])
        assert list(refused) == ["user_id:"]

    @pytest.mark.parametrize("table", ["x; DROP TABLE y", 'a"b', "a.b.c", ""])
    def test_a_table_name_is_a_name(self, table: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="table"):
            self.bench(tmp_path, table=table)


def test_the_mode_says_how_membership_is_taken_and_what_is_exclusive() -> None:
    kind, target = SqlTable(), Target("main", KEY, "user", 1)
    given = {"url": "postgresql+psycopg2://me:hunter2@db/crm", "table": "crm.people"}
    as_list = kind.configure(given, files_dir=Path())
    as_property = kind.configure({**given, "mode": "property"}, files_dir=Path())
    assert kind.takes_membership_as(as_list) is MembershipAs.USER_LIST
    assert kind.takes_membership_as(as_property) is MembershipAs.USER_PROPERTY
    assert kind.external_target(as_list, target) == "table crm.people in postgresql+psycopg2://db/crm"
    assert kind.external_target(as_property, target) == f"table crm.people column {KEY} in postgresql+psycopg2://db/crm"
