"""Sessions on a warehouse: who there is, numbers that stay, and what is done when something is wrong with the warehouse."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from engage_pipelines.domain.computation import Audience, Level
from engage_pipelines.domain.errors import ConfigurationError, ConflictError, EngageError, StateError
from engage_pipelines.domain.warehouse_mapping import WarehouseFacts, read_facts
from engage_pipelines.facts.evaluate import evaluate
from engage_pipelines.facts.session import FactsSession
from engage_pipelines.facts.warehouse.reading import open_reader
from engage_pipelines.facts.warehouse.session import Home, open_warehouse_session
from tests.facts.warehouse.shop import AT_US, MAPPING, SPENDERS, TABLES

pytestmark = pytest.mark.postgres


@pytest.fixture
def shop(cursor: Any) -> Any:
    cursor.execute(TABLES)
    return cursor


def _mapped(**tables: Any) -> WarehouseFacts:
    return read_facts({"url": "env:X", "tables": tables})


def _open(url: str, folder: Path, facts: WarehouseFacts, at_us: int = AT_US) -> FactsSession:
    return open_warehouse_session(Home(facts, url), folder, "space", at_us=at_us)


def _rows(session: FactsSession, query: str) -> list[tuple[Any, ...]]:
    return sorted(session.connection.execute(query).fetchall())


def _named(session: FactsSession, relation: str) -> set[str]:
    query = f"SELECT k.kind || ' ' || k.id FROM {relation} r JOIN subjects_known k ON k.subject = r.member"
    return {row[0] for row in session.connection.execute(query).fetchall()}


def _in(session: FactsSession, definition: str, level: Level = Level.USER) -> list[str]:
    found = evaluate(session, [Audience("x", "x", level, definition)])["x"]
    if found.error:
        raise found.error
    assert found.members
    members = found.members.users if level is Level.USER else found.members.accounts
    names = dict(session.connection.execute("SELECT subject, id FROM subjects_known").fetchall())
    return sorted(names[each] for each in members.tolist())


# ---- who there is


def test_anonymous_ids_emails_and_merges_make_members_as_ingested_calls_do(cursor: Any, warehouse_url: str, tmp_path: Path) -> None:
    cursor.execute("""
        CREATE TABLE identifies(user_id text, anonymous_id text, "timestamp" timestamptz, id text, email text);
        INSERT INTO identifies VALUES ('u1', 'a1', '2026-01-02', 'm2', 'one@x.test'), ('u2', 'a1', '2026-01-03', 'm3', NULL),
            (NULL, 'a2', '2026-01-03', 'm4', 'two@x.test'), (NULL, 'a3', '2026-01-03', 'm5', NULL),
            ('u1', NULL, '2026-01-04', 'm6', 'new@x.test'),
            ('old', 'a4', '2026-01-04', 'm7', NULL), ('later', NULL, '2026-05-01', 'm8', NULL), ('', 'a5', '2026-01-01', 'm9', NULL);
        CREATE TABLE became(previous_id text, user_id text);
        INSERT INTO became VALUES ('old', 'u2');
        CREATE TABLE seen(user_id text, anonymous_id text, "timestamp" timestamptz);
        INSERT INTO seen VALUES (NULL, 'a1', '2026-01-01'), (NULL, 'a2', '2026-01-01'), (NULL, 'a4', '2026-01-01'),
            (NULL, 'a9', '2026-01-01')""")
    facts = _mapped(
        identifies={"table": "identifies", "anonymous_id": "anonymous_id", "message_id": "id", "traits": {"email": "email"}},
        merges={"table": "became"},
        events={"table": "seen", "event": "Seen", "anonymous_id": "anonymous_id"},
    )
    with _open(warehouse_url, tmp_path, facts) as session:
        assert _named(session, "users") == {"user u1", "user u2", "anonymous a2"}
        held = _rows(session, "SELECT k.id, i.kind, i.id, i.current FROM identifiers i JOIN subjects_known k ON k.subject = i.member")
        assert ("u1", "anonymous_id", "a1", True) in held
        assert {row for row in held if row[1] == "email"} == {
            ("u1", "email", "one@x.test", False),
            ("u1", "email", "new@x.test", True),
            ("a2", "email", "two@x.test", True),
        }
        assert ("u2", "user_id", "old", True) in held
        assert _in(session, "event('Seen').count() >= 1") == ["a2", "u1", "u2"]
        assert _in(session, "trait('email') = 'new@x.test'") == ["u1"]
    cursor.execute("INSERT INTO became VALUES ('u2', 'u3')")
    with pytest.raises(ConflictError, match="chains"):
        _open(warehouse_url, tmp_path, facts)


def test_group_calls_tell_who_belongs_where_and_who_left(cursor: Any, warehouse_url: str, tmp_path: Path) -> None:
    cursor.execute("""
        CREATE TABLE users(id text); INSERT INTO users VALUES ('u1'), ('u2'), ('u3');
        CREATE TABLE groups(user_id text, group_id text, "timestamp" timestamp, id text, gone text, tier text);
        INSERT INTO groups VALUES ('u1', 'g1', '2026-01-01', 'm1', NULL, 'gold'), ('u2', 'g1', '2026-01-01', 'm2', NULL, NULL),
            ('u2', 'g1', '2026-01-02', 'm3', 'true', NULL), ('u3', 'g2', '2026-01-02', 'm4', 'false', 'tin')""")
    facts = _mapped(users={"table": "users"}, groups={"table": "groups", "message_id": "id", "left": "gone", "traits": {"tier": "tier"}})
    with _open(warehouse_url, tmp_path, facts) as session:
        assert len(_rows(session, "SELECT * FROM account_users")) == 2
        assert _in(session, "trait('tier') = 'gold'", Level.ACCOUNT) == ["g1"]
    with _open(warehouse_url, tmp_path, facts, at_us=1_767_225_600_000_000) as session:
        assert len(_rows(session, "SELECT * FROM account_users")) == 2
        assert _named(session, "accounts") == {"account g1"}


def test_numbers_of_members_stay_and_are_never_given_again(shop: Any, warehouse_url: str, tmp_path: Path) -> None:
    facts = read_facts(MAPPING)

    def numbers() -> dict[str, int]:
        with _open(warehouse_url, tmp_path, facts) as session:
            return {f"{kind} {id_}": number for number, kind, id_ in _rows(session, "SELECT subject, kind, id FROM subjects_known")}

    first = numbers()
    assert len(set(first.values())) == len(first) == 70
    shop.execute("DELETE FROM shop.customers WHERE customer_no = 5; DELETE FROM shop.staff WHERE customer_no = 5")
    shop.execute("INSERT INTO shop.customers SELECT i, NULL, NULL FROM generate_series(101, 130) i")
    second = numbers()
    assert {key: second[key] for key in first if key in second} == {key: value for key, value in first.items() if key != "user 5"}
    assert not {second[key] for key in second.keys() - first.keys()} & set(first.values())
    shop.execute("INSERT INTO shop.customers VALUES (5, NULL, NULL)")
    assert numbers()["user 5"] == first["user 5"]


def test_names_that_no_table_holds_are_warned_of(shop: Any, warehouse_url: str, tmp_path: Path) -> None:
    audience = Audience("x", "x", Level.USER, "event('Order Complete').count() >= 1 OR trait('plam') = 'pro'")
    with _open(warehouse_url, tmp_path, read_facts(MAPPING)) as session:
        assert evaluate(session, [audience])["x"].warnings == (
            "no table is mapped that holds the event 'Order Complete'. Did you mean 'Order Completed'?",
            "no table is mapped that holds the trait of users 'plam'.",
        )


def test_an_empty_warehouse_has_no_fingerprint(shop: Any, warehouse_url: str, tmp_path: Path) -> None:
    facts = read_facts(MAPPING)
    with _open(warehouse_url, tmp_path, facts) as session:
        assert session.fingerprint
    shop.execute("TRUNCATE shop.customers, shop.companies, shop.staff, shop.order_completed, shop.signed_in")
    with _open(warehouse_url, tmp_path, facts) as session:
        assert session.fingerprint == ""
        assert _in(session, SPENDERS) == []


# ---- what goes wrong


@pytest.mark.parametrize(
    ("change", "what"),
    [
        pytest.param(
            "ALTER TABLE shop.customers RENAME mail TO mails", r"shop\.customers has no column 'mail'.*'mails'", id="a column is missing"
        ),
        pytest.param("ALTER TABLE shop.customers RENAME TO customer", r"no table shop\.customers.*'customer'", id="a table is missing"),
        pytest.param("ALTER TABLE shop.order_completed ALTER sent_at TYPE boolean USING true", "an instant is needed", id="not an instant"),
        pytest.param("ALTER TABLE shop.signed_in ALTER ts TYPE text", "mapped as epoch_ms, and holds text", id="another type"),
        pytest.param("ALTER TABLE shop.customers ALTER mail TYPE bytea USING NULL", "cannot be read", id="bytes"),
    ],
)
def test_a_mapping_that_does_not_fit_is_an_error_that_names_it(
    shop: Any, warehouse_url: str, tmp_path: Path, change: str, what: str
) -> None:
    shop.execute(change)
    with pytest.raises(EngageError, match=what), _open(warehouse_url, tmp_path, read_facts(MAPPING)) as session:
        _in(session, "event('Order Completed').count() >= 1 OR event('Signed In').count() >= 1 OR trait('email') = 'x'")


def test_the_warehouse_cannot_be_changed(shop: Any, warehouse_url: str) -> None:
    with closing(open_reader(warehouse_url, timeout_s=5)) as reader:
        assert reader.is_read_only()
        with reader.connection.cursor() as anything, pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            anything.execute("DELETE FROM shop.customers")
    with closing(open_reader(warehouse_url, timeout_s=5)) as reader:
        assert reader.rows("SELECT count(*) FROM shop.customers") == [(60,)]


def test_a_slow_warehouse_is_given_up_and_the_next_question_is_answered(shop: Any, warehouse_url: str) -> None:
    with closing(open_reader(warehouse_url, timeout_s=1)) as reader:
        with pytest.raises(StateError, match="did not answer within 1 seconds"):
            reader.rows("SELECT pg_sleep(30)")
        assert reader.rows("SELECT 1") == [(1,)]


def test_an_error_of_the_data_shows_no_value(shop: Any, warehouse_url: str) -> None:
    with closing(open_reader(warehouse_url, timeout_s=5)) as reader, pytest.raises(StateError) as caught:
        reader.rows("SELECT CAST(mail AS integer) FROM shop.customers")
    assert "@x.test" not in str(caught.value)
    assert "22P02" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "error", "what"),
    [
        pytest.param("postgresql://u:hidden@127.0.0.1:1/x", StateError, "cannot be reached", id="nobody listens"),
        pytest.param("snowflake://u:hidden@host/x", ConfigurationError, "PostgreSQL alone.*audience sql", id="another kind of warehouse"),
        pytest.param("hidden", ConfigurationError, "no database URL", id="no URL at all"),
    ],
)
def test_a_warehouse_that_cannot_be_reached_is_told_without_the_login(url: str, error: type[EngageError], what: str) -> None:
    with pytest.raises(error, match=what) as caught:
        open_reader(url, timeout_s=5)
    assert "hidden" not in str(caught.value)


@contextmanager
def _cut_after(port_of: tuple[str, int] | str, answer_bytes: int) -> Iterator[int]:
    """A proxy that closes the connection once the server has answered that many bytes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=_forward, args=(listener, port_of, answer_bytes))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            # a connection of our own wakes a proxy that nobody came to
            with socket.socket() as waking:
                waking.connect_ex(listener.getsockname())
            thread.join()


def _forward(listener: socket.socket, server: tuple[str, int] | str, answer_bytes: int) -> None:
    client, _ = listener.accept()
    family = socket.AF_UNIX if isinstance(server, str) else socket.AF_INET
    with client, socket.socket(family) as upstream:
        upstream.connect(server)
        back = threading.Thread(target=_pump, args=(client, upstream, 10**12))
        back.start()
        _pump(upstream, client, answer_bytes)
        for each in (client, upstream):
            _hang_up(each)
        back.join()


def _pump(source: socket.socket, to: socket.socket, most: int) -> None:
    try:
        while most > 0 and (data := source.recv(4096)):
            to.sendall(data[:most])
            most -= len(data)
    except OSError:
        return


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _server_of(url: str) -> tuple[str, int] | str:
    with closing(psycopg2.connect(url)) as connection:
        host, port = connection.info.host, connection.info.port
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)


@pytest.mark.parametrize(
    "answer_bytes", [pytest.param(2_000, id="while connecting"), pytest.param(60_000, id="while reading who there is")]
)
def test_a_connection_that_breaks_is_an_error_and_no_half_answer(shop: Any, warehouse_url: str, tmp_path: Path, answer_bytes: int) -> None:
    shop.execute("INSERT INTO shop.customers SELECT i, 'more' || i || '@x.test', 'pro' FROM generate_series(1000, 6000) i")
    with _cut_after(_server_of(warehouse_url), answer_bytes) as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/people_warehouse"
        with pytest.raises(StateError, match=r"lost while reading|cannot be reached"):
            _open(url, tmp_path, read_facts(MAPPING)).close()


def test_after_a_broken_connection_no_audience_has_members(shop: Any, warehouse_url: str, tmp_path: Path) -> None:
    with _open(warehouse_url, tmp_path, read_facts(MAPPING)) as session:
        shop.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'engage_pipelines'")
        found = evaluate(session, [Audience(key, key, Level.USER, SPENDERS) for key in ("one", "two")])
    assert [(each.members, "lost while reading" in str(each.error)) for each in found.values()] == [(None, True)] * 2


# ---- who can be a member at all

VISITORS = """
    CREATE TABLE people(id text, mail text); INSERT INTO people VALUES ('u1', 'one@x.test'), ('u2', NULL);
    CREATE TABLE seen(user_id text, anonymous_id text, "timestamp" timestamptz);
    CREATE TABLE known(anonymous_id text, user_id text); INSERT INTO known VALUES ('a1', 'u1');
    INSERT INTO seen VALUES (NULL, 'a1', '2026-01-01'), (NULL, 'a2', '2026-01-02'), (NULL, 'a2', '2026-01-03'), ('u2', 'a3', '2026-01-01'),
        (NULL, 'a4', '2026-05-01')"""


def _visited(**audience: Any) -> tuple[WarehouseFacts, Audience]:
    facts = _mapped(
        users={"table": "people", "traits": {"email": "mail"}},
        links={"table": "known"},
        events={"table": "seen", "event": "Seen", "anonymous_id": "anonymous_id"},
    )
    return facts, Audience("x", "x", Level.USER, "event('Seen').count() <= 1", **audience)


@pytest.mark.parametrize(
    ("external_ids", "found"),
    [
        pytest.param(("android.idfa", "email", "ios.idfa", "user_id"), ["u1", "u2"], id="the usual ones"),
        pytest.param(("anonymous_id", "user_id"), ["u1", "u2"], id="visitors too, who saw it twice"),
        pytest.param(("anonymous_id",), ["u1"], id="holders of an anonymous id alone"),
        pytest.param(("email",), ["u1"], id="holders of an e-mail address alone"),
    ],
)
def test_an_audience_admits_holders_of_the_identifiers_that_it_asks_for(
    cursor: Any, warehouse_url: str, tmp_path: Path, external_ids: tuple[str, ...], found: list[str]
) -> None:
    cursor.execute(VISITORS)
    facts, audience = _visited(external_ids=external_ids)
    with open_warehouse_session(Home(facts, warehouse_url), tmp_path, "space", at_us=AT_US, with_visitors=True) as session:
        assert _members(session, audience) == found
        twice = Audience("y", "y", Level.USER, "event('Seen').count() = 2", external_ids=external_ids)
        assert _members(session, twice) == (["a2"] if "anonymous_id" in external_ids else [])
        never = Audience("z", "z", Level.USER, "NOT trait('y') = true", external_ids=("anonymous_id", "user_id"))
        assert _members(session, never, twice) == (["u1", "u2"] if "anonymous_id" in external_ids else ["a2", "u1", "u2"])


def _members(session: FactsSession, audience: Audience, *context: Audience) -> list[str]:
    result = evaluate(session, [audience], context=context)[audience.key]
    assert result.members, result.error
    names = dict(session.connection.execute("SELECT subject, id FROM subjects_known").fetchall())
    return sorted(names[each] for each in result.members.users.tolist())
