"""SQL traits: what SELECTs see, the rules for their rows, and what hostile ones come to."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from engage_pipelines.domain.computation import Audience, Level, TraitComputation, TraitType
from engage_pipelines.domain.errors import EngageError, SelectError
from engage_pipelines.facts import sql_traits
from engage_pipelines.facts.evaluate import Evaluated, evaluate
from engage_pipelines.facts.session import FactsSession, open_session
from engage_pipelines.facts.sql_child import RefusalError, locked, select
from engage_pipelines.testing.plain_calls import SPACE, take_in

AT_US = 1_300_000_000_000_000


def _order(user: str, total: float, hour: int = 0) -> dict[str, Any]:
    at = f"2011-01-01T{hour:02d}:00:00Z"
    return {"type": "track", "event": "Order", "userId": user, "properties": {"total": total}, "timestamp": at}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    facts_dir = tmp_path_factory.mktemp("facts")
    at = {"timestamp": "2011-01-01T00:00:00Z"}
    calls = [
        _order("ann", 10),
        _order("ann", 5.5, 1),
        _order("bo", 20, 2),
        {"type": "track", "event": "Order", "userId": "bo", "properties": {"total": 999}, "timestamp": "2031-01-01T00:00:00Z"},
        {"type": "identify", "userId": "ann", "traits": {"plan": "pro", "email": "ann@x.test"}, **at},
        {"type": "group", "userId": "ann", "groupId": "acme", "traits": {"seats": 5}, **at},
        {"type": "alias", "previousId": "old-bo", "userId": "bo", **at},
        _order("old-bo", 1, 3),
    ]
    take_in(facts_dir, [{**call, "messageId": f"m{number}"} for number, call in enumerate(calls)])
    return facts_dir


@pytest.fixture(scope="module")
def session(home: Path) -> Iterator[FactsSession]:
    with open_session(home, SPACE, at_us=AT_US) as opened:
        yield opened


@pytest.fixture
def engine(home: Path, session: FactsSession) -> Iterator[duckdb.DuckDBPyConnection]:
    with locked(session, home / SPACE) as opened:
        yield opened


# ---- what a SELECT sees


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        pytest.param(
            "SELECT user_id, sum(CAST(properties->>'total' AS DOUBLE)) FROM events GROUP BY ALL ORDER BY 1",
            [("ann", 15.5), ("bo", 21.0)],
            id="events as of the instant, with merges",
        ),
        pytest.param("SELECT user_id, email FROM users ORDER BY 1", [("ann", "ann@x.test"), ("bo", None)], id="people"),
        pytest.param("SELECT group_id, user_id FROM account_users", [("acme", "ann")], id="who belongs to which account"),
        pytest.param("SELECT user_id, value->>'$' FROM traits WHERE key = 'plan'", [("ann", "pro")], id="traits of users"),
        pytest.param("SELECT group_id, CAST(value AS INTEGER) FROM traits WHERE level = 'account'", [("acme", 5)], id="traits of accounts"),
        pytest.param("SELECT CAST(evaluated_at AS VARCHAR) FROM evaluation", [("2011-03-13 07:06:40",)], id="the instant"),
        pytest.param("SELECT count(*) FROM identifiers WHERE kind = 'user_id'", [(3,)], id="identifiers, those of merged people too"),
        pytest.param("WITH o AS (SELECT * FROM events) SELECT count(*) FROM o, o AS p", [(16,)], id="the same rows twice"),
    ],
)
def test_a_select_sees_the_facts(engine: duckdb.DuckDBPyConnection, sql: str, rows: list[tuple[Any, ...]]) -> None:
    found = select(engine, sql, seconds=20, most_rows=100)
    assert [tuple(row.values()) for row in found.to_pylist()] == rows


# ---- hostile ones

HOSTILE = [
    pytest.param("COPY (SELECT 1) TO '{path}'", "no SELECT", id="copy"),
    pytest.param("WITH x AS (COPY (SELECT 1) TO '{path}') SELECT * FROM x", "disabled by configuration", id="a copy inside a cte"),
    pytest.param("SELECT * FROM read_csv('/etc/passwd')", "disabled by configuration", id="a csv file"),
    pytest.param("SELECT * FROM read_text('/etc/passwd')", "disabled by configuration", id="a text file"),
    pytest.param("SELECT * FROM read_blob('/etc/passwd')", "disabled by configuration", id="a file of bytes"),
    pytest.param("SELECT * FROM sniff_csv('/etc/passwd')", "disabled by configuration", id="sniffing at a file"),
    pytest.param("SELECT * FROM parquet_metadata('{facts}')", "disabled by configuration", id="metadata of a file"),
    pytest.param("SELECT * FROM '{facts}'", "disabled by configuration", id="the files of the facts themselves"),
    pytest.param("FROM '/etc/passwd'", "does not exist", id="a file as a table"),
    pytest.param("SELECT * FROM query_table('/etc/passwd')", "does not exist", id="a file as a table by name"),
    pytest.param("SELECT * FROM glob('/etc/*')", "disabled by configuration", id="names of files"),
    pytest.param("SELECT * FROM 'http://127.0.0.1:9/x.parquet'", "disabled by configuration", id="an http url"),
    pytest.param("SELECT * FROM read_parquet('s3://b/x.parquet')", "disabled by configuration", id="a bucket"),
    pytest.param("ATTACH '{path}'", "no SELECT", id="attach"),
    pytest.param("INSTALL httpfs", "no SELECT", id="install"),
    pytest.param("LOAD httpfs", "no SELECT", id="load"),
    pytest.param("SET memory_limit = '100GB'", "no SELECT", id="set"),
    pytest.param("PRAGMA memory_limit = '100GB'", "no SELECT", id="pragma"),
    pytest.param("RESET memory_limit", "no SELECT", id="reset"),
    pytest.param("SELECT set_config('memory_limit', '100GB', false)", "does not exist", id="set as a function"),
    pytest.param("SELECT 1; SELECT 2", "2 statements", id="several statements"),
    pytest.param("SELECT 1; DROP VIEW events", "2 statements", id="a second statement that is no select"),
    pytest.param("", "0 statements", id="nothing"),
    pytest.param("SELEC 1", "cannot be read", id="a misspelt one"),
    pytest.param("CREATE TABLE x AS SELECT 1", "no SELECT", id="create"),
    pytest.param(
        "WITH x AS (INSERT INTO users VALUES (1, 'x', 'y') RETURNING 1) SELECT * FROM x", "is not an table", id="an insert inside a cte"
    ),
    pytest.param("EXPORT DATABASE '{path}'", "no SELECT", id="export"),
    pytest.param("CALL pragma_version()", "no SELECT", id="call"),
    pytest.param("EXPLAIN ANALYZE SELECT 1", "no SELECT", id="explain"),
    pytest.param("SELECT getenv('HOME')", "does not exist", id="the environment"),
    pytest.param("SELECT * FROM a_python_value", "does not exist", id="a python value"),
    pytest.param("SELECT * FROM duckdb_secrets()", "disabled by configuration", id="secrets"),
]


@pytest.mark.parametrize(("sql", "told"), HOSTILE)
def test_a_hostile_statement_comes_to_nothing(engine: duckdb.DuckDBPyConnection, home: Path, tmp_path: Path, sql: str, told: str) -> None:
    a_python_value = [{"secret": 1}]
    path = tmp_path / "written"
    facts = next((home / SPACE).glob("events-*.parquet"))
    with pytest.raises(RefusalError, match=told):
        select(engine, sql.format(path=path, facts=facts), seconds=20, most_rows=100)
    assert not path.exists()
    assert a_python_value
    # whatever it was, a later one sees what it would have seen
    assert select(engine, "SELECT count(*) AS n FROM users", seconds=20, most_rows=1).to_pylist() == [{"n": 2}]


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r", id="endless recursion"),
        pytest.param("SELECT count(*) FROM range(10000000000) t(a) WHERE a % 7 = 8", id="endless counting"),
    ],
)
def test_a_select_that_takes_too_long_is_ended(engine: duckdb.DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(RefusalError, match=r"took longer than 0\.5 s"):
        select(engine, sql, seconds=0.5, most_rows=10)


def test_too_many_rows_are_refused(engine: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(RefusalError, match="more than 1,000 rows"):
        select(engine, "SELECT range AS a FROM range(1000000)", seconds=20, most_rows=1_000)


def test_a_select_that_blows_up_takes_its_own_process_along_and_nothing_else(session: FactsSession) -> None:
    with pytest.raises(SelectError, match="needs more memory than it may have"):
        sql_traits.run_select(session, "SELECT list_sum(range(1000000000)) AS a")


# ---- the rules for rows


def _evaluated(session: FactsSession, sql: str, level: Level = Level.USER) -> Evaluated:
    return evaluate(session, [TraitComputation("k", "k", level, sql, TraitType.SQL)])["k"]


def _values(session: FactsSession, found: Evaluated) -> dict[str, str]:
    if found.error:
        raise found.error
    assert found.values
    query = f"SELECT min(i.id), v.value FROM ({found.values.rows}) v JOIN identifiers i ON i.member = v.member GROUP BY v.member, v.value"
    return dict(session.connection.execute(query).fetchall())


def test_a_row_becomes_an_object_of_its_columns(session: FactsSession) -> None:
    sql = """SELECT user_id, count(*) AS orders, max(CAST(properties->>'total' AS DECIMAL(9, 2))) AS largest, 'ü"' AS "text",
            NULL::INTEGER AS n FROM events GROUP BY user_id"""
    found = _evaluated(session, sql)
    assert _values(session, found) == {
        "ann": '{"largest":10,"n":null,"orders":2,"text":"ü\\""}',
        "bo": '{"largest":20,"n":null,"orders":2,"text":"ü\\""}',
    }
    assert found.warnings == ()


def test_an_account_is_named_by_its_group_id(session: FactsSession) -> None:
    found = _evaluated(session, "SELECT group_id, count(*) AS people FROM account_users GROUP BY 1", Level.ACCOUNT)
    assert _values(session, found) == {"acme": '{"people":1}'}


def test_people_may_be_named_by_email(session: FactsSession) -> None:
    assert _values(session, _evaluated(session, "SELECT email, 1 AS one FROM users WHERE email IS NOT NULL")) == {"ann": '{"one":1}'}


def test_rows_of_unknown_ids_are_left_out_with_a_warning(session: FactsSession) -> None:
    found = _evaluated(session, "SELECT * FROM (VALUES ('ann', 1), ('nobody', 2)) t(user_id, a)")
    assert _values(session, found) == {"ann": '{"a":1}'}
    assert found.warnings == ("1 rows have a user_id that no profile has; they are left out.",)


def test_rows_beyond_the_limit_of_size_are_left_out_with_a_warning(session: FactsSession) -> None:
    found = _evaluated(session, "SELECT * FROM (VALUES ('ann', 'a'), ('bo', repeat('x', 20000))) t(user_id, a)")
    assert _values(session, found) == {"ann": '{"a":"a"}'}
    assert found.warnings == ("1 rows are larger than 16 KB; they are left out.",)


_MANY = ", ".join(f"{n} AS c{n}" for n in range(25))


@pytest.mark.parametrize(
    ("sql", "level", "told"),
    [
        pytest.param("SELECT 1 AS a", Level.USER, "no column user_id or anonymous_id or email", id="no id"),
        pytest.param("SELECT user_id FROM users", Level.USER, "the column user_id alone", id="no value"),
        pytest.param("SELECT 'a' AS user_id, 'b' AS anonymous_id, 1 AS a", Level.USER, "both user_id and anonymous_id", id="two ids"),
        pytest.param("SELECT 'a' AS user_id, 'b' AS group_id, 1 AS a", Level.USER, "a column group_id", id="an account's id"),
        pytest.param("SELECT user_id, 1 AS a FROM users", Level.ACCOUNT, "no column group_id", id="a user's id"),
        pytest.param("SELECT * FROM (VALUES ('ann', 1), (NULL, 2)) t(user_id, a)", Level.USER, "have no user_id: 2.", id="null id"),
        pytest.param(
            "SELECT * FROM (VALUES ('bo', 1), ('ann', 1), ('ann', 2)) t(user_id, a)", Level.USER, "more than once: 2, 3.", id="an id twice"
        ),
        pytest.param(
            "SELECT * FROM (VALUES ('bo', 1), ('old-bo', 2)) t(user_id, a)", Level.USER, "profiles that are there more than once: 1, 2.",
            id="a merged person twice",
        ),
        pytest.param("SELECT user_id, [1] AS a FROM users", Level.USER, "'a' is of type INTEGER[]", id="a list"),
        pytest.param("SELECT user_id, true AS a FROM users", Level.USER, "'a' is of type BOOLEAN", id="a truth value"),
        pytest.param("SELECT user_id, count(*) FROM events GROUP BY 1", Level.USER, "is not a legal key", id="a column without a name"),
        pytest.param("SELECT user_id, 1 AS a, 2 AS a FROM users", Level.USER, "several columns 'a'", id="a name twice"),
        pytest.param(f"SELECT user_id, {_MANY} FROM users", Level.USER, "26 columns", id="many columns"),
        pytest.param("SELECT nothing FROM nowhere", Level.USER, "nowhere does not exist", id="no such table"),
    ],
)  # fmt: skip
def test_rows_that_are_no_values_are_refused(
    session: FactsSession, engine: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, sql: str, level: Level, told: str
) -> None:
    def here(_session: FactsSession, text: str, **_limits: Any) -> Any:
        # in this process: what is asked here is what becomes of the rows
        try:
            return select(engine, text, seconds=20, most_rows=100)
        except RefusalError as refusal:
            raise SelectError(refusal.what, refusal.remedy) from None

    monkeypatch.setattr(sql_traits, "run_select", here)
    error = _evaluated(session, sql, level).error
    assert isinstance(error, EngageError)
    assert told in str(error)


def test_an_audience_reads_a_column(session: FactsSession) -> None:
    trait = TraitComputation("k", "k", Level.USER, "SELECT user_id, count(*) AS orders FROM events GROUP BY 1", TraitType.SQL)
    audience = Audience("a", "a", Level.USER, "trait('k.orders') >= 2 AND trait('k.gone').absent()")
    found = evaluate(session, [audience], context=[trait])["a"]
    assert found.error is None
    assert found.members
    assert len(found.members.users) == 2
