"""Identifiers out of a warehouse are picked as those of calls are: by first sight, by last, or all, with a further name in the records."""

import csv
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from engage_pipelines.computing.addresses import rows_of
from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.warehouse_mapping import read_facts
from engage_pipelines.facts.combining import Members
from engage_pipelines.facts.session import FactsSession, open_session
from engage_pipelines.facts.warehouse.session import Home, open_warehouse_session
from engage_pipelines.testing.local_server import LocalServer, Received, Reply
from engage_pipelines.testing.plain_calls import SPACE, take_in
from tests.computing.desk import Desk
from tests.facts.warehouse.shop import AT_US, apply_document

pytestmark = pytest.mark.postgres
TABLES = """
CREATE TABLE shop.calls(person text, visitor text, at timestamptz, id text, mail text, plan text);
INSERT INTO shop.calls VALUES
    ('ann', NULL, '2026-01-01 00:00+00', 'm1', 'ann@old.test', 'pro'), ('ann', NULL, '2026-01-02 00:00+00', 'm2', 'ann@mid.test', NULL),
    ('ann', NULL, '2026-01-03 00:00+00', 'm3', 'ann@new.test', NULL), ('ann', NULL, '2026-01-04 00:00+00', 'm4', 'ann@old.test', NULL),
    ('bo', 'v-1', '2026-01-01 00:00+00', 'm5', 'bo@one.test', 'pro'), ('bo', 'v-2', '2026-01-01 00:00+00', 'm6', 'bo@two.test', NULL),
    ('cy', 'v-3', '2026-01-01 00:00+00', 'm7', NULL, 'pro'), ('di', NULL, '2026-01-01 00:00+00', 'm8', 'di@x.test', 'free'),
    ('ann', NULL, '2026-12-01 00:00+00', 'm9', 'ann@future.test', NULL);
"""
CALLS = {
    "table": "calls",
    "user_id": "person",
    "anonymous_id": "visitor",
    "timestamp": "at",
    "message_id": "id",
    "traits": {"email": "mail", "plan": "plan"},
}
DOCUMENT: dict[str, Any] = {
    "space": {
        "key": "shop",
        "evaluate_at": "2026-03-01T00:00:00Z",
        "facts": {"url": "env:SHOP_URL", "schema": "shop", "tables": {"identifies": CALLS}},
    },
    "audiences": [{"key": "pros", "definition": "trait('plan') = 'pro'", "cadence": "manual"}],
}


@pytest.fixture
def shop(desk: Desk, cursor: Any) -> Desk:
    cursor.execute(TABLES)
    assert apply_document(desk, DOCUMENT) == 0
    return desk


def _told(desk: Desk) -> list[tuple[str, bool]]:
    """Whom the files of changes name, and whether they entered; each file is looked at once."""
    told: list[tuple[str, bool]] = []
    for path in sorted(desk.settings.files_dir.rglob("*.csv")):
        with path.open(encoding="utf-8", newline="") as lines:
            told.extend((row["address"], row["change"] == "add") for row in csv.DictReader(lines))
        path.unlink()
    return sorted(told)


def _connect(desk: Desk, *rules: str) -> None:
    assert desk.say("destination", "create", "list", "--type", "csv_file", "--set", "path=l/{audience}.csv", "--set", "changes=true") == 0
    words = [word for rule in rules for word in ("--id", rule)]
    assert desk.say("connect", "pros", "list", *words) == 0


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        pytest.param("email:first", ["ann@old.test", "bo@one.test"], id="first"),
        pytest.param("email:last", ["ann@old.test", "bo@one.test"], id="last"),
        pytest.param("email:all", ["ann@mid.test", "ann@new.test", "ann@old.test", "bo@one.test", "bo@two.test"], id="all"),
    ],
)
def test_a_connection_enters_the_addresses_that_its_strategy_picks(shop: Desk, rule: str, expected: list[str]) -> None:
    _connect(shop, rule)
    shop.compute("pros")
    shop.sync()
    assert _told(shop) == [(f"email:{address}", True) for address in expected]


def test_a_newer_address_is_entered_and_whoever_leaves_is_taken_back_from_all(shop: Desk, cursor: Any) -> None:
    _connect(shop, "email:last")
    shop.compute("pros")
    shop.sync()
    assert ("email:ann@old.test", True) in _told(shop)
    cursor.execute("INSERT INTO shop.calls VALUES ('ann', NULL, '2026-02-01 00:00+00', 'm10', 'ann@last.test', NULL)")
    shop.compute("pros")
    shop.sync()
    assert _told(shop) == [("email:ann@last.test", True)]
    cursor.execute("INSERT INTO shop.calls VALUES ('ann', NULL, '2026-02-02 00:00+00', 'm11', NULL, 'free')")
    shop.compute("pros")
    shop.sync()
    assert _told(shop) == [(f"email:ann@{name}.test", False) for name in ("last", "mid", "new", "old")]


def test_the_identifier_rides_under_a_further_name(shop: Desk) -> None:
    arrived: list[dict[str, Any]] = []

    def hook(request: Received) -> Reply:
        arrived.extend(json.loads(request.body))
        return Reply(200)

    with LocalServer(hook) as server:
        settings = ("--set", f"url={server.url}", "--set", "allow_private_addresses=true")
        assert shop.say("destination", "create", "hook", "--type", "webhook", *settings) == 0
        assert shop.say("connect", "pros", "hook", "--id", "user_id:last:customer") == 0
        shop.compute("pros")
        shop.sync()
    assert sorted((each["userId"], each["traits"]["customer"]) for each in arrived) == [(name, name) for name in ("ann", "bo", "cy")]


@pytest.mark.parametrize("seed", range(4))
def test_addresses_have_the_order_that_those_of_ingested_calls_have(cursor: Any, warehouse_url: str, tmp_path: Path, seed: int) -> None:
    cursor.execute(f"CREATE SCHEMA shop; {TABLES} DELETE FROM shop.calls")
    calls = _calls(Random(seed))
    for call in calls:
        held = [call.get("userId"), call.get("anonymousId"), call["timestamp"], call["messageId"], call["traits"].get("email"), None]
        cursor.execute("INSERT INTO shop.calls VALUES (%s, %s, %s, %s, %s, %s)", held)
    take_in(tmp_path / "ingested", calls)
    facts = read_facts(DOCUMENT["space"]["facts"])
    with (
        open_session(tmp_path / "ingested", SPACE, at_us=AT_US) as ingested,
        open_warehouse_session(Home(facts, warehouse_url), tmp_path, "shop", at_us=AT_US) as mapped,
    ):
        assert _addresses(mapped) == _addresses(ingested)


def _calls(random: Random) -> list[dict[str, Any]]:
    """Identify calls with ties, e-mail addresses that come and go, and visitors of one person or of two."""
    found: list[dict[str, Any]] = []
    for number in range(60):
        person, visitor = random.choice([*"abcdef", None]), f"v-{random.randint(1, 12)}"
        mail = random.choice([None, f"{person or visitor}{random.randint(1, 4)}@x.test"])
        ids = {"userId": person, "anonymousId": random.choice([visitor, None])} if person else {"anonymousId": visitor}
        found.append(
            {
                "type": "identify",
                "messageId": f"n{number:03}",
                "timestamp": f"2026-01-{random.randint(1, 5):02}T00:00:00Z",
                "traits": {"email": mail} if mail else {},
                **{kind: id_ for kind, id_ in ids.items() if id_},
            }
        )
    return found


def _addresses(session: FactsSession) -> list[tuple[Any, ...]]:
    """Of everyone, as versions keep them, members told by name."""
    users = np.sort(session.connection.execute("SELECT member FROM users").fetchnumpy()["member"])
    rows = rows_of(session, Members(users, users[:0]), Level.USER)
    named = "(SELECT min(i.id) FROM identifiers i WHERE i.member = r.member AND i.kind IN ('user_id', 'email'))"
    query = f"SELECT {named}, address, current, sole, first_order, last_order FROM ({rows}) r ORDER BY ALL"
    return session.connection.execute(query).fetchall()


def test_the_id_that_was_merged_away_is_in_the_order_in_which_it_was_seen(cursor: Any, warehouse_url: str, tmp_path: Path) -> None:
    cursor.execute(f"""CREATE SCHEMA shop; {TABLES} CREATE TABLE shop.same(previous_id text, user_id text);
        INSERT INTO shop.same VALUES ('late', 'ann'), ('unseen', 'bo');
        INSERT INTO shop.calls VALUES ('late', NULL, '2026-02-01 00:00+00', 'm12', NULL, NULL)""")
    given = DOCUMENT["space"]["facts"]
    facts = read_facts({**given, "tables": {**given["tables"], "merges": {"table": "same"}}})
    with open_warehouse_session(Home(facts, warehouse_url), tmp_path, "shop", at_us=AT_US) as session:
        found = {row[1]: row[4:] for row in _addresses(session)}
    assert (found["user_id:ann"], found["user_id:late"]) == ((1, 2), (2, 1))
    assert found["user_id:bo"][1] == 1
