"""Audiences in the console: listed, made, edited, previewed, downloaded, and what is said of input that cannot be used."""

import csv
import io
import re

import pytest

from engage_pipelines.registry.audiences import update_audience
from engage_pipelines.registry.lookup import find_space
from tests.server.console.conftest import Project, S, Visitor

NEW = {"key": "spenders", "name": "Spenders", "description": "", "level": "user", "cadence": "daily", "include_historical_data": "on"}
GOOD = "event('Order Completed').count() >= 2"


def stamp_of(text: str) -> str:
    found = re.search(r'name="stamp" value="([0-9a-f]*)"', text)
    assert found
    return found[1]


def test_the_list_names_size_status_and_destinations_and_is_searched(project: Project, admin: Visitor):
    project.connect("buyers", "list")
    text = admin.text(f"{S}/audiences")
    assert "buyers" in text
    assert "Newsletter list" in text
    assert "Live" in text
    found = admin.text(f"{S}/audiences?q=BUSI")
    assert "business" in found
    assert "Newsletter list" not in found
    assert "No audience is called" in admin.text(f"{S}/audiences?q=%25")


def test_an_empty_space_says_what_to_do_next(project: Project, admin: Visitor):
    project.rows("select 1")
    with project.registry.database.write() as c:
        c.exec_driver_sql("update computation set deleted_at = 1")
    assert "There is no audience yet" in admin.text(f"{S}/audiences")


def test_an_audience_is_made_and_asked_to_be_computed(project: Project, admin: Visitor):
    answer = admin.post(f"{S}/audiences/new", {**NEW, "definition": GOOD})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{S}/audiences/spenders")
    text = admin.text(f"{S}/audiences/spenders")
    assert "is made; it is computed now" in text
    assert "Preparing" in text
    assert project.rows("select cadence, created_at > 0 from computation where key = 'spenders'") == [("0 4 * * *", 1)]
    assert project.rows("select count(*) from compute_request where state = 'owed'") == [(1,)]


@pytest.mark.parametrize(
    ("fields", "beside", "words"),
    [
        pytest.param({"key": "1st"}, "e-key", "is not a legal key", id="a key that is none"),
        pytest.param({"key": "buyers"}, "e-key", "has audience", id="a key that is taken"),
        pytest.param({"key": "x" * 300}, "e-key", "is not a legal key", id="a key that is too long"),
        pytest.param({"name": "n" * 1_001}, "e-name", "at most 1,000 can be kept", id="a name that is too long"),
        pytest.param({"name": "a\x07b"}, "e-name", "control character", id="a bell in the name"),
        pytest.param({"cadence": "sometimes"}, "e-cadence", "is not a cron line", id="a cadence that is none"),
        pytest.param({"backfill_days": "-1"}, "e-backfill_days", "is not a whole number", id="fewer days than one"),
        pytest.param({"definition": "event('A').cuont() >= 1"}, "e-definition", "line 1, column 12", id="a misspelt function"),
        pytest.param(
            {"definition": "trait('spenders') = true"}, "e-definition", "refers back to itself", id="a definition that names itself"
        ),
        pytest.param({"definition": ""}, "e-definition", "line 1", id="no definition"),
        pytest.param({"level": "ACCOUNTS; drop"}, "e-level", "of users or of accounts", id="a level that is none"),
        pytest.param({"surprise": "1"}, "alert", "has no field", id="a field that nobody asked for"),
    ],
)
def test_what_cannot_be_used_is_said_beside_its_field_and_nothing_is_saved(still: Project, fields: dict[str, str], beside: str, words: str):
    before = still.rows("select count(*) from audit"), still.rows("select key from computation order by id")
    answer = still.admin.post(f"{S}/audiences/new", {**NEW, "definition": GOOD, **fields})
    assert answer.status_code == 422
    assert words in answer.text.replace("&#39;", "'")
    assert beside in answer.text
    assert (still.rows("select count(*) from audit"), still.rows("select key from computation order by id")) == before


def test_hostile_text_is_shown_as_text(project: Project, admin: Visitor):
    name = "<script>alert(1)</script>{{7*7}}"
    assert (
        admin.post(f"{S}/audiences/new", {**NEW, "name": name, "description": "'; DROP TABLE audit;--", "definition": GOOD}).status_code
        == 303
    )
    for path in ("/audiences", "/audiences/spenders", "/audiences/spenders/settings", "/audit"):
        text = admin.text(f"{S}{path}")
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;{{7*7}}" in text
    assert "&lt;b&gt;" in admin.get(f"{S}/audiences?q=<b>").text


@pytest.mark.parametrize("page", ["0", "-1", "abc", "999999999999999999", "1e9"])
def test_a_page_that_is_none_is_refused_in_words(still: Project, page: str):
    answer = still.admin.get(f"{S}/audiences?page={page}")
    assert answer.status_code == 422
    assert "There is no page" in answer.text


@pytest.mark.parametrize(
    "path", ["/audiences/nobody", "/audiences/..%2F..%2Fetc%2Fpasswd", "/audiences/buyers/destinations/nope", "/dead-letters/dl_0"]
)
def test_what_is_not_there_is_said(still: Project, path: str):
    answer = still.admin.get(f"{S}{path}")
    assert answer.status_code == 404
    assert "There is no" in answer.text or "not connected" in answer.text


def test_a_preview_says_size_sample_identifiers_overlap_and_who_would_come_and_go(still: Project):
    asked = {"definition": GOOD, "level": "user", "of": "buyers", "overlap": "business"}
    text = still.admin.post(f"{S}/definitions/preview", asked, hx_request="true").text
    assert re.search(r"<strong>\d+</strong>\s*user", text)
    for words in ("would enter", "would exit", "in common", "A sample", "user_id"):
        assert words in text
    wrong = still.admin.post(f"{S}/definitions/preview", {"definition": "trait('a'", "level": "user"}).text
    assert 'data-goto="f-definition"' in wrong
    assert "^" in wrong


def test_an_edit_of_what_someone_else_changed_shows_both_and_can_be_saved_over_it(project: Project, admin: Visitor):
    shown = stamp_of(admin.text(f"{S}/audiences/buyers/definition"))
    with project.registry.change() as change:
        update_audience(change, find_space(change.c, "default"), "buyers", definition="trait('plan') = 'theirs'")
    mine = {"definition": "trait('plan') = 'mine'", "level": "user", "stamp": shown}
    answer = admin.post(f"{S}/audiences/buyers/definition", mine)
    assert answer.status_code == 409
    text = answer.text.replace("&#39;", "'")
    assert "trait('plan') = 'mine'" in text
    assert "trait('plan') = 'theirs'" in text
    assert project.rows("select definition from computation where key = 'buyers'") == [("trait('plan') = 'theirs'",)]
    over = {"definition": mine["definition"], "stamp": stamp_of(answer.text)}
    assert admin.post(f"{S}/audiences/buyers/definition", over).status_code == 303
    assert project.rows("select definition from computation where key = 'buyers'") == [("trait('plan') = 'mine'",)]


def test_settings_are_kept_and_a_stale_form_of_them_is_not(project: Project, admin: Visitor):
    shown = stamp_of(admin.text(f"{S}/audiences/business/settings"))
    fields = {
        "name": "Business",
        "description": "Who pays",
        "cadence": "daily",
        "history": "on",
        "backfill_days": "30",
        "empty_accounts": "true",
    }
    assert admin.post(f"{S}/audiences/business/settings", {**fields, "stamp": shown}).status_code == 303
    row = project.rows("select name, description, cadence, options from computation where key = 'business'")[0]
    assert row[:3] == ("Business", "Who pays", "0 4 * * *")
    assert '"backfill_event_data_days": 30' in row[3]
    assert '"compute_without_destinations": false' in row[3]
    assert admin.post(f"{S}/audiences/business/settings", {**fields, "stamp": shown}).status_code == 409


def test_deleting_says_what_ends_and_takes_an_answer_to_exactly_that(project: Project, admin: Visitor):
    project.connect("business", "list")
    text = admin.text(f"{S}/audiences/business/do/delete")
    assert "1 connection ends with it: list" in text
    assert "Nothing is sent" in text
    assert admin.post(f"{S}/audiences/business/do/delete", {"connected": ""}).status_code == 409
    assert admin.post(f"{S}/audiences/business/do/delete", {"connected": "list"}).status_code == 303
    assert admin.get(f"{S}/audiences/business").status_code == 404


def test_members_are_listed_searched_and_downloaded_without_formulas(project: Project, admin: Visitor):
    rows = list(csv.reader(io.StringIO(admin.text(f"{S}/audiences/buyers/members.csv"))))
    assert rows[0] == ["user_id", "email", "anonymous_id"]
    size = project.rows(
        "select size from version v join computation c on c.id = v.computation_id and c.current_version = v.n where key = 'buyers'"
    )
    assert len(rows) - 1 == size[0][0]
    listed = admin.text(f"{S}/audiences/buyers/members?q={rows[1][0].upper()}")
    assert rows[1][0] in listed
    assert "1 user" in listed
    assert "group_id" in admin.text(f"{S}/audiences/business/members")
    assert "email" in admin.text(f"{S}/audiences/business/members?of=users")


def test_a_profile_is_explained_with_what_was_delivered(project: Project, admin: Visitor):
    project.sync(project.connect("buyers", "list"))
    member = list(csv.reader(io.StringIO(admin.text(f"{S}/audiences/buyers/members.csv"))))[1][0]
    text = admin.text(f"{S}/profiles?audience=buyers&member={member}")
    for words in (" is in ", "Entered in version", "Order Completed", "in, as of version 2", f"user_id:{member}"):
        assert words in text
    assert "email:" not in text, "the list knows people by user id"
    unknown = admin.get(f"{S}/profiles?audience=buyers&member=nobody-at-all")
    assert unknown.status_code == 422
    assert "There is no user" in unknown.text


def test_parts_of_the_overview_count_identifiers_and_overlap(still: Project):
    assert "user_id" in still.admin.text(f"{S}/audiences/buyers/breakdown")
    assert "group_id" in still.admin.text(f"{S}/audiences/business/breakdown")
    assert "in both" in still.admin.text(f"{S}/audiences/buyers/overlap?other=business")
