"""The whole way as its user goes it: tables in PostgreSQL, YAML, apply, doctor, compute, members, preview."""

import json
from typing import Any

import pytest
import yaml

from engage_pipelines.testing.local_server import LocalServer, Received, Reply
from tests.computing.desk import Desk
from tests.facts.warehouse.shop import BY_HAND, DOCUMENT, MAPPING, apply_document

pytestmark = pytest.mark.postgres


def _facts(**changes: Any) -> dict[str, Any]:
    return {**DOCUMENT, "space": {**DOCUMENT["space"], "facts": {**MAPPING, **changes}}}


def _doctor(desk: Desk) -> int:
    """Its exit code."""
    try:
        return desk.say("doctor")
    except SystemExit as end:
        return int(str(end.code))


def test_from_tables_to_members(desk: Desk, cursor: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert apply_document(desk, DOCUMENT) == 0
    assert apply_document(desk, DOCUMENT) == 0
    assert "3 unchanged" in capsys.readouterr().out
    spenders, sleeping = desk.compute("spenders", "sleeping")
    cursor.execute(BY_HAND)
    by_hand = [row[0] for row in cursor.fetchall()]
    assert by_hand
    assert (spenders.state, spenders.size, sleeping.state) == ("published", len(by_hand), "published")
    capsys.readouterr()
    assert desk.say("audience", "members", "spenders", "--output", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"version": 1, "members": by_hand}
    assert desk.say("audience", "preview", "spenders", "--details", "--output", "json") == 0
    assert json.loads(capsys.readouterr().out)["count"] == len(by_hand)
    assert desk.say("audience", "sql", "spenders") == 0
    cursor.execute(capsys.readouterr().out)
    assert sorted(cursor.fetchall()) == [("user_id", id_) for id_ in by_hand]
    assert desk.say("audience", "explain", "spenders", by_hand[0]) == 0
    told = capsys.readouterr().out
    assert f"{by_hand[0]} is in spenders as of 2026-03-01T00:00:00Z." in told
    assert "entered in version 1" in told
    assert "true     trait('plan') = 'pro'" in told


def test_what_changes_in_the_warehouse_changes_the_next_version(desk: Desk, cursor: Any) -> None:
    assert apply_document(desk, DOCUMENT) == 0
    (first,) = desk.compute("spenders")
    (again,) = desk.compute("spenders")
    cursor.execute("UPDATE shop.customers SET plan_name = 'free' WHERE customer_no = (SELECT min(customer_no) FROM shop.customers"
                   " WHERE customer_no::text IN (" + BY_HAND.replace("ORDER BY 1", "") + "))")  # fmt: skip
    (second,) = desk.compute("spenders")
    assert (first.state, again.state, second.state) == ("published", "unchanged", "published")
    assert (second.entered, second.exited) == (0, 1)


def test_a_warehouse_that_fails_publishes_nothing(desk: Desk, cursor: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert apply_document(desk, DOCUMENT) == 0
    (first,) = desk.compute("spenders")
    cursor.execute("ALTER TABLE shop.order_completed RENAME total_amount TO amount")
    (second,) = desk.compute("spenders")
    assert (first.state, second.state) == ("published", "failed")
    assert "has no column 'total_amount'" in str(second.error)
    capsys.readouterr()
    assert _doctor(desk) == 1
    shown = capsys.readouterr().out
    assert "facts.tables.events[0]: Table shop.order_completed has no column 'total_amount'. Did you mean 'amount'?" in shown
    cursor.execute("ALTER TABLE shop.order_completed RENAME amount TO total_amount")
    _doctor(desk)
    assert "space shop: reached and read only; 5 mapped tables are there" in capsys.readouterr().out


def test_doctor_names_a_secret_that_is_not_there(desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert apply_document(desk, DOCUMENT) == 0
    monkeypatch.delenv("SHOP_URL")
    assert _doctor(desk) == 1
    assert "Space 'shop': The URL of the facts refers to env:SHOP_URL, which is not set." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("document", "said"),
    [
        pytest.param(_facts(url="postgresql://me:hidden@host/db"), "shop.yaml:5", id="a URL in the clear"),
        pytest.param(_facts(tables={"users": {"tabel": "x"}}), "'tabel' is no field here. Did you mean 'table'?", id="a misspelt field"),
        pytest.param(_facts(tables={"event": {"table": "x"}}), "Did you mean 'events'?", id="a misspelt table"),
        pytest.param(_facts(tables={"events": {"table": "x"}}), "says neither event nor event_column", id="an event without a name"),
        pytest.param(_facts(tables={}), "no table is mapped", id="nothing at all"),
        pytest.param(
            _facts(tables={"users": {"table": "x", "traits": {"a": {"column": "a", "type": "money"}}}}), "it is no type", id="no type"
        ),
    ],
)
def test_a_mapping_that_is_wrong_is_told_with_its_line(
    desk: Desk, capsys: pytest.CaptureFixture[str], document: dict[str, Any], said: str
) -> None:
    assert apply_document(desk, document) != 0
    told = capsys.readouterr().err
    assert said in told
    assert "shop.yaml:" in told
    assert "hidden" not in told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param({"include_anonymous": True}, "no mapped table has their anonymous_id", id="visitors that no table tells"),
        pytest.param({"filter_by_external_ids": ["ios.idfa"]}, "The tables tell email, user_id", id="an identifier that no table tells"),
    ],
)
def test_members_that_no_table_could_tell_are_refused_when_saved(
    desk: Desk, capsys: pytest.CaptureFixture[str], options: dict[str, Any], said: str
) -> None:
    audience = {"key": "seen", "definition": "event('Signed In').count() >= 1", "options": options}
    assert apply_document(desk, {**DOCUMENT, "audiences": [audience]}) != 0
    assert said in " ".join(capsys.readouterr().err.split())


def test_visitors_are_told_by_their_anonymous_ids(desk: Desk, cursor: Any, capsys: pytest.CaptureFixture[str]) -> None:
    cursor.execute("ALTER TABLE shop.signed_in ADD visitor text; INSERT INTO shop.signed_in VALUES (NULL, 1772323200000, 'v-1')")
    events = [*MAPPING["tables"]["events"][:1], {**MAPPING["tables"]["events"][1], "anonymous_id": "visitor"}]
    document = _facts(tables={**MAPPING["tables"], "events": events})
    audience = {"key": "today", "definition": "event('Signed In').within(1 hour).count() >= 1", "options": {"include_anonymous": True}}
    assert apply_document(desk, {**document, "audiences": [audience]}) == 0
    desk.compute("today")
    assert "anonymous_id:v-1" in desk.addresses("today")
    capsys.readouterr()
    assert desk.say("audience", "explain", "today", "v-1") == 0
    assert "v-1 is in today" in capsys.readouterr().out


def test_a_plan_holds_until_other_members_would_be_in(desk: Desk, cursor: Any, capsys: pytest.CaptureFixture[str]) -> None:
    del (document := {**DOCUMENT, "space": dict(DOCUMENT["space"])})["space"]["evaluate_at"]
    audience = {"key": "pros", "definition": "trait('plan') = 'pro'", "cadence": "manual"}
    path = desk.folder / "shop.yaml"
    path.write_text(yaml.safe_dump({**document, "audiences": [audience]}, sort_keys=False))

    def say(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        try:
            code = desk.say(*words)
        except SystemExit as end:
            code = int(str(end.code))
        return code, capsys.readouterr().err

    assert say("plan", str(path), "--out", "one.plan")[0] == 2
    cursor.execute("UPDATE shop.customers SET mail = 'other@x.test' WHERE customer_no = 1")
    assert say("apply", "one.plan")[0] == 0
    path.write_text(path.read_text().replace("'pro'", "'free'").replace("''pro''", "''free''"))
    assert say("plan", str(path), "--out", "two.plan")[0] == 2
    cursor.execute("UPDATE shop.customers SET plan_name = 'free' WHERE customer_no = 3")
    code, said = say("apply", "two.plan")
    assert code == 1
    assert "the warehouse of shop moved: other members than planned would be in audience shop/pros" in " ".join(said.split())
    assert say("apply", "two.plan", "--new-facts")[0] == 0


TRAITS = [
    {"key": "spend", "definition": "event('Order Completed').within(30 days).sum(property('total'))", "cadence": "manual"},
    {"key": "sign_ins", "definition": "event('Signed In').within(21 days).count()", "level": "account", "cadence": "manual"},
]
SPEND_BY_HAND = """
SELECT o.customer_no::text, sum(o.total_amount) FROM shop.order_completed o
WHERE o.sent_at BETWEEN timestamptz '2026-03-01 00:00+00' - interval '720 hours' AND '2026-03-01 00:00+00' GROUP BY 1"""


def test_traits_are_computed_and_shown(desk: Desk, cursor: Any, capsys: pytest.CaptureFixture[str]) -> None:
    big = {"key": "big", "definition": "trait('spend') >= 150", "cadence": "manual"}
    assert apply_document(desk, {**DOCUMENT, "audiences": [big], "traits": TRAITS}) == 0
    spend, sign_ins, members = desk.compute("spend", "sign_ins", "big")
    cursor.execute(SPEND_BY_HAND)
    by_hand = {id_: float(total) for id_, total in cursor.fetchall()}
    assert (spend.state, spend.size, sign_ins.state, sign_ins.size) == ("published", len(by_hand), "published", 10)
    assert members.size == len([total for total in by_hand.values() if total >= 150])
    capsys.readouterr()
    assert desk.say("trait", "values", "spend", "--output", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {row["member"]: row["value"] for row in told} == by_hand
    assert desk.say("trait", "sql", "spend") == 0
    cursor.execute(capsys.readouterr().out)
    assert {id_: float(value) for _, id_, _, value in cursor.fetchall()} == by_hand
    assert desk.say("trait", "explain", "spend", next(iter(by_hand))) == 0
    assert desk.say("trait", "preview", "--query", "event('Order Completed').mode(property('total'), 1)", "--output", "json") == 0
    assert json.loads(capsys.readouterr().out.partition("\n{")[2].join(("{", "")))["count"] == 60


def test_values_reach_accounts_and_their_users_and_only_what_changed_later(desk: Desk, cursor: Any) -> None:
    arrived: list[dict[str, Any]] = []

    def told(*keys: str) -> dict[str, Any]:
        desk.compute(*keys)
        desk.sync()
        found = {str(r.get("groupId") or r["userId"]): r["traits"]["sign_ins"] for r in arrived}
        assert len(found) == len(arrived)
        arrived.clear()
        return found

    def hook(request: Received) -> Reply:
        arrived.extend(json.loads(request.body))
        return Reply(200)

    with LocalServer(hook) as server:
        assert apply_document(desk, {**DOCUMENT, "audiences": [], "traits": TRAITS}) == 0
        settings = ("--set", f"url={server.url}", "--set", "allow_private_addresses=true")
        assert desk.say("destination", "create", "hook", "--type", "webhook", *settings) == 0
        assert desk.say("connect", "sign_ins", "hook") == 0
        first = told("sign_ins")
        cursor.execute("SELECT DISTINCT customer_no::text FROM shop.staff WHERE NOT has_left UNION SELECT id::text FROM shop.companies")
        assert sorted(first) == sorted(name for (name,) in cursor.fetchall())
        cursor.execute("SELECT s.customer_no::text, s.company::text FROM shop.staff s WHERE NOT has_left ORDER BY 1 LIMIT 1")
        ((user, company),) = cursor.fetchall()
        assert first[user] == first[company]
        cursor.execute(f"INSERT INTO shop.signed_in VALUES ({user}, 1772323200000)")
        cursor.execute(f"SELECT customer_no::text FROM shop.staff WHERE NOT has_left AND company = '{company}'")
        colleagues = [name for (name,) in cursor.fetchall()]
        assert told("sign_ins") == dict.fromkeys([company, *colleagues], first[company] + 1)
        cursor.execute(f"UPDATE shop.staff SET has_left = true WHERE customer_no = {user}")
        assert told("sign_ins") == {user: None, **{one: first[company] - 1 for one in (company, *colleagues) if one != user}}


def test_computed_traits_ride_along_and_those_of_the_tables_are_refused(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    arrived: list[dict[str, Any]] = []

    def hook(request: Received) -> Reply:
        arrived.extend(json.loads(request.body))
        return Reply(200)

    with LocalServer(hook) as server:
        assert apply_document(desk, {**DOCUMENT, "audiences": [DOCUMENT["audiences"][0]], "traits": TRAITS[:1]}) == 0
        settings = ("--set", f"url={server.url}", "--set", "allow_private_addresses=true")
        assert desk.say("destination", "create", "hook", "--type", "webhook", *settings) == 0
        assert desk.say("connect", "spenders", "hook", "--trait", "plan") != 0
        assert "'plan' is no computed trait" in " ".join(capsys.readouterr().err.split())
        assert desk.say("connect", "spenders", "hook", "--trait", "spend:ltv") == 0
        desk.compute("spend", "spenders")
        desk.sync()
    assert arrived
    assert all(each["traits"]["ltv"] >= 100 for each in arrived)
