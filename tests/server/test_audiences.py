"""Audiences over the API: as Segment's clients make, read, change and delete them, and what is refused by name."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engage_pipelines.registry.cadence import check_cadence
from engage_pipelines.registry.next_fire import next_fire
from tests.server.world import ACTIVE, World


def test_an_audience_is_made_read_changed_and_deleted(world: World) -> None:
    made = world.audience(description="Signs in often", options={"includeHistoricalData": False})
    path = f"/spaces/{world.space.id}/audiences/{made['id']}"
    assert (made["key"], made["audienceType"], made["computeCadence"]) == ("active_users", "USERS", {"type": "BATCH"})
    assert made["definition"] == {"query": ACTIVE, "type": "USERS"}
    assert made["options"]["includeHistoricalData"] is False
    assert made["size"] == {"type": "USERS"}
    assert world.data("GET", path)["audience"] == made
    assert world.data("GET", f"/spaces/main/audiences/{made['key']}")["audience"] == made, "keys do as well as ids"
    changed = world.data("PATCH", path, {"enabled": False, "name": "Actives"})["audience"]
    assert (changed["enabled"], changed["name"], changed["status"]) == (False, "Actives", "Disabled")
    assert world.data("DELETE", path) == {"status": "SUCCESS"}
    assert world.ask("GET", path).status_code == 404
    assert [verb for verb, what in world.audited() if what == "audience main/active_users"] == ["create", "update", "delete"]


def test_an_account_audience_says_so(world: World) -> None:
    made = world.audience(audienceType="ACCOUNTS", definition={"query": f"ANY {ACTIVE}", "type": "ACCOUNTS"})
    assert (made["audienceType"], made["size"]) == ("ACCOUNTS", {"type": "ACCOUNTS"})


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param('pagination={{"count":{n},"cursor":"{c}"}}', id="JSON"),
        pytest.param("pagination[count]={n}&pagination[cursor]={c}", id="brackets"),
        pytest.param("pagination%5Bcount%5D={n}&pagination%5Bcursor%5D={c}", id="quoted brackets"),
        pytest.param("pagination.count={n}&pagination.cursor={c}", id="dots"),
    ],
)
def test_pages_follow_each_other_in_every_spelling(world: World, spelling: str) -> None:
    names = [f"Audience {n}" for n in range(5)]
    for name in names:
        world.audience(name)
    seen: list[str] = []
    cursor = ""
    while True:
        told = world.data("GET", f"/spaces/{world.space.id}/audiences?{spelling.format(n=2, c=cursor)}")
        seen += [one["name"] for one in told["audiences"]]
        assert told["pagination"]["totalEntries"] == 5
        assert told["pagination"]["current"]
        if "next" not in told["pagination"]:
            break
        cursor = told["pagination"]["next"]
    assert seen == names
    back = world.data("GET", f"/spaces/{world.space.id}/audiences?pagination.count=2&pagination.cursor={told['pagination']['previous']}")
    assert [one["name"] for one in back["audiences"]] == names[2:4]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        pytest.param("pagination.count=0", "pagination.count", id="nothing"),
        pytest.param("pagination.count=1001", "pagination.count", id="too many"),
        pytest.param("pagination.count=99999999999999999999", "pagination.count", id="a huge number"),
        pytest.param("pagination.count=-1", "pagination.count", id="below nothing"),
        pytest.param("pagination.count=two", "pagination.count", id="a word"),
        pytest.param('pagination={"count":true}', "pagination.count", id="true"),
        pytest.param("pagination=[]", "pagination", id="a list"),
        pytest.param("pagination={", "pagination", id="no JSON"),
        pytest.param('pagination={"count":1,"page":2}', "pagination", id="an unknown name"),
        pytest.param("pagination.cursor=../../etc/passwd", "pagination.cursor", id="a path for a cursor"),
        pytest.param("pagination.cursor=W10", "pagination.cursor", id="a list for a cursor"),
        pytest.param("include=everything", "include", id="an unknown include"),
        pytest.param("search=a&search=b", "search", id="given twice"),
    ],
)
def test_a_page_that_cannot_be_is_refused_by_name(world: World, query: str, field: str) -> None:
    answer = world.ask("GET", f"/spaces/{world.space.id}/audiences?{query}")
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["type"], error["field"], error["status"]) == ("validation", field, 422)


def test_a_search_means_its_letters(world: World) -> None:
    for name in ("Fifty 50% off", "Fifty 500 off", "Under_score", "Underscore"):
        world.audience(name)
    found = world.data("GET", f"/spaces/{world.space.id}/audiences", params={"search": "50%"})["audiences"]
    assert [one["name"] for one in found] == ["Fifty 50% off"]


_GOOD: dict[str, Any] = {"name": "Good", "audienceType": "USERS", "definition": {"query": ACTIVE}}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"name": None}, "name", id="name missing"),
        pytest.param({"name": 7}, "name", id="name a number"),
        pytest.param({"name": ""}, "name", id="name empty"),
        pytest.param({"name": "n" * 301}, "name", id="name too long"),
        pytest.param({"name": "漢字"}, "key", id="name that makes no key"),
        pytest.param({"key": "no key"}, "key", id="key with a space"),
        pytest.param({"key": "../../etc"}, "key", id="key that is a path"),
        pytest.param({"key": "k" * 256}, "key", id="key too long"),
        pytest.param({"audienceType": "PEOPLE"}, "audienceType", id="unknown type"),
        pytest.param({"audienceType": "LINKED"}, "audienceType", id="a type that is not known here"),
        pytest.param({"definition": ACTIVE}, "definition", id="definition a text"),
        pytest.param({"definition": {"query": "event("}}, "definition.query", id="definition that is none"),
        pytest.param({"definition": {"query": ""}}, "definition.query", id="definition empty"),
        pytest.param({"definition": {"query": "x" * 100_001}}, "definition.query", id="definition too long"),
        pytest.param({"definition": {"query": ACTIVE, "sql": "1"}}, "definition.sql", id="definition with more"),
        pytest.param({"definition": {"query": ACTIVE, "type": "ACCOUNTS"}}, "definition.type", id="definition of another type"),
        pytest.param({"definition": {"query": "trait('good') = true"}}, "definition.query", id="definition about itself"),
        pytest.param({"enabled": "true"}, "enabled", id="enabled a text"),
        pytest.param({"description": 1}, "description", id="description a number"),
        pytest.param({"description": "d" * 10_001}, "description", id="description too long"),
        pytest.param({"options": {"backfillEventDataDays": 0}}, "options.backfillEventDataDays", id="no days"),
        pytest.param({"options": {"filterByExternalIds": []}}, "options", id="no identifiers"),
        pytest.param({"options": {"filterByExternalIds": ["shoe_size"]}}, "options", id="unknown identifier"),
        pytest.param({"options": {"nothing": 1}}, "options.nothing", id="unknown option"),
        pytest.param({"price": 5}, "price", id="unknown field"),
    ],
)
def test_each_field_of_a_new_audience_is_refused_by_name(world: World, change: dict[str, Any], field: str) -> None:
    body = {name: value for name, value in {**_GOOD, **change}.items() if value is not None}
    answer = world.ask("POST", f"/spaces/{world.space.id}/audiences", body)
    assert answer.status_code == 422, answer.text
    assert field in {error["field"] for error in answer.json()["errors"]}
    assert world.data("GET", f"/spaces/{world.space.id}/audiences")["audiences"] == [], "nothing is half saved"


def test_a_wrong_definition_says_where(world: World) -> None:
    body = {**_GOOD, "definition": {"query": "event('A').count() >= 1 AND\n  nonsense"}}
    (error,) = world.ask("POST", f"/spaces/{world.space.id}/audiences", body).json()["errors"]
    assert error["data"]["line"] == 2


def test_a_key_is_used_once_even_after_deletion(world: World) -> None:
    made = world.audience()
    again = world.ask("POST", f"/spaces/{world.space.id}/audiences", {**_GOOD, "name": "Active users"})
    assert (again.status_code, again.json()["errors"][0]["field"]) == (409, "key")
    world.data("DELETE", f"/spaces/{world.space.id}/audiences/{made['id']}")
    assert world.ask("POST", f"/spaces/{world.space.id}/audiences", {**_GOOD, "name": "Active users"}).status_code == 409


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<script>alert(1)</script>", id="html"),
        pytest.param("'; DROP TABLE computation; --", id="sql"),
        pytest.param("{{ 7*7 }}", id="template"),
        pytest.param('=HYPERLINK("http://evil")', id="formula"),
        pytest.param("../../../etc/passwd", id="path"),
        pytest.param("a\u202eb\u2066", id="directions"),
        pytest.param("😀" * 40, id="emoji"),
    ],
)
def test_hostile_text_is_text(world: World, text: str) -> None:
    made = world.audience("Plain", key="plain", description=text)
    path = f"/spaces/{world.space.id}/audiences"
    changed = world.data("PATCH", f"{path}/{made['id']}", {"name": text})["audience"]
    assert (changed["name"], changed["description"]) == (text, text)
    assert world.ask("GET", f"{path}/{quote(text, safe='')}").status_code == 404
    assert world.ask("GET", path, params={"search": text}).status_code == 200


def test_an_edit_of_what_somebody_changed_is_refused_with_both_versions(world: World) -> None:
    made = world.audience()
    path = f"/spaces/{world.space.id}/audiences/{made['id']}"
    seen = world.ask("GET", path).headers["etag"]
    world.data("PATCH", path, {"name": "Mine"}, headers={"If-Match": seen})
    for options in ({"headers": {"If-Match": seen}}, {"given": made["updatedAt"]}):
        body = {"name": "Yours", **({"updatedAt": options.pop("given")} if "given" in options else {})}
        answer = world.ask("PATCH", path, body, **options)
        assert answer.status_code == 409
        (error,) = answer.json()["errors"]
        assert (error["field"], error["data"]["current"]["name"], error["data"]["given"]["name"]) == ("updatedAt", "Mine", "Yours")
    now = world.data("GET", path)["audience"]
    assert now["name"] == "Mine"
    assert world.data("PATCH", path, {"name": "Yours", "updatedAt": now["updatedAt"]})["audience"]["name"] == "Yours"


def test_what_is_kept_in_configuration_is_not_edited_here(world: World) -> None:
    made = world.audience()
    with world.registry.database.write() as c:
        c.exec_driver_sql("UPDATE computation SET managed_by = 'config:engage.yaml'")
    answer = world.ask("PATCH", f"/spaces/main/audiences/{made['id']}", {"name": "Other"})
    assert answer.status_code == 409
    assert "engage.yaml" in answer.json()["errors"][0]["message"]


def test_a_run_is_owed_and_not_begun(world: World) -> None:
    made = world.audience()
    run = world.data("POST", f"/spaces/main/audiences/{made['id']}/runs")["run"]
    with world.registry.database.read() as c:
        state, by = c.exec_driver_sql("SELECT state, requested_by FROM compute_request WHERE id = ?", (run["id"],)).one()
    assert state == "owed"
    assert by.startswith("admin")
    assert ("compute", "audience main/active_users") in world.audited()
    world.data("PATCH", f"/spaces/main/audiences/{made['id']}", {"enabled": False})
    assert world.ask("POST", f"/spaces/main/audiences/{made['id']}/runs").status_code == 422


def test_consumers_are_the_audiences_that_refer_to_it(world: World) -> None:
    world.audience()
    world.audience("Best", definition={"query": "trait('active_users') = true"})
    told = world.data("GET", "/spaces/main/audiences/active_users/audience-references")
    assert [one["key"] for one in told["audiences"]] == ["best"]
    assert world.ask("DELETE", "/spaces/main/audiences/active_users").status_code == 409


@pytest.mark.parametrize(
    ("said", "cron"),
    [
        pytest.param({"strategy": "PERIODIC", "config": {"interval": "15m"}}, "*/15 * * * *", id="minutes"),
        pytest.param({"strategy": "PERIODIC", "config": {"interval": "8h"}}, "0 */8 * * *", id="hours"),
        pytest.param({"strategy": "PERIODIC", "config": {"interval": "60m"}}, "0 * * * *", id="an hour of minutes"),
        pytest.param({"strategy": "SPECIFIC_DAYS", "config": {"days": [1, 3], "hours": [6], "timezone": "UTC"}}, "0 6 * * 1,3", id="days"),
        pytest.param({"strategy": "SPECIFIC_DAYS", "config": {"days": list(range(7)), "hours": [0, 12]}}, "0 0,12 * * *", id="every day"),
    ],
)
def test_a_schedule_is_a_cron_line_and_comes_back_as_it_was_said(world: World, said: dict[str, Any], cron: str) -> None:
    world.audience()
    told = world.data("POST", "/spaces/main/audiences/active_users/schedules", said)["audienceSchedule"]
    assert (told["cron"], told["strategy"]) == (cron, said["strategy"])
    again = world.data("PATCH", f"/spaces/main/audiences/active_users/schedules/{told['id']}",
                       {"strategy": told["strategy"], "config": told["config"]})["audienceSchedule"]  # fmt: skip
    assert again == told
    assert world.data("GET", "/spaces/main/audiences/active_users/schedules")["audienceSchedules"] == [told]
    assert world.data("GET", "/spaces/main/audiences/active_users?include=schedules")["audience"]["schedules"] == [told]
    world.data("DELETE", f"/spaces/main/audiences/active_users/schedules/{told['id']}")
    assert world.data("GET", "/spaces/main/audiences/active_users/schedules")["audienceSchedules"] == []
    assert world.ask("GET", f"/spaces/main/audiences/active_users/schedules/{told['id']}").status_code == 404


@pytest.mark.parametrize(
    ("said", "field"),
    [
        pytest.param({"strategy": "PERIODIC", "config": {"interval": "7h"}}, "config.interval", id="no part of a day"),
        pytest.param({"strategy": "PERIODIC", "config": {"interval": "1d"}}, "config.interval", id="another unit"),
        pytest.param({"strategy": "PERIODIC"}, "config", id="no config"),
        pytest.param({"strategy": "SPECIFIC_DAYS", "config": {"days": [1]}}, "config.hours", id="no hours"),
        pytest.param({"strategy": "SPECIFIC_DAYS", "config": {"days": [7], "hours": [1]}}, "config.days.0", id="an eighth day"),
        pytest.param(
            {"strategy": "SPECIFIC_DAYS", "config": {"days": [1], "hours": [1], "timezone": "Asia/Tokyo"}}, "config.timezone", id="a zone"
        ),
        pytest.param({"strategy": "YEARLY", "config": {}}, "strategy", id="unknown strategy"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_by_name(world: World, said: dict[str, Any], field: str) -> None:
    world.audience()
    answer = world.ask("POST", "/spaces/main/audiences/active_users/schedules", said)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize(
    ("cron", "after", "due"),
    [
        pytest.param("0 * * * *", 0, 3_600, id="next hour"),
        pytest.param("*/15 * * * *", 899, 900, id="next quarter"),
        pytest.param("30 4 * * 1", 0, 4 * 86_400 + 4.5 * 3_600, id="the Monday after a Thursday"),
        pytest.param("0 0 29 2 *", 0, 68_169_600, id="the 29th of February 1972"),
        pytest.param("0 0 13 * 5", 0, 86_400, id="a 13th or a Friday"),
        pytest.param("0 0 29 2 */7", 3_728_851_200, 4_991_068_800, id="a Sunday that is a 29th of February, forty years later"),
        pytest.param("0 0 31 4 *", 0, None, id="a day that never comes"),
        pytest.param("manual", 0, None, id="by hand"),
    ],
)
def test_the_next_firing_is_what_cron_says(cron: str, after: int, due: float | None) -> None:
    assert next_fire(cron, after * 1_000_000) == (None if due is None else due * 1_000_000)


@given(st.lists(st.sampled_from(["*", "5", "*/7", "1-3", "2,4"]), min_size=5, max_size=5), st.integers(0, 2**50))
def test_the_next_firing_is_later_and_on_the_minute(fields: list[str], after: int) -> None:
    due = next_fire(check_cadence(" ".join(fields)), after)
    assert due is not None
    assert due > after
    assert due % 60_000_000 == 0


def test_a_name_with_a_control_character_is_wrong_at_its_field(world: World) -> None:
    body = {"name": "VIP\x1bs", "audienceType": "USERS", "definition": {"query": ACTIVE}}
    answer = world.ask("POST", "/spaces/main/audiences", body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["type"], error["field"]) == ("validation", "name")
