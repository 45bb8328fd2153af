"""Who sees and does what in the console, and configurations of destinations with their secrets."""

import re

import pytest

from engage_pipelines.registry.tokens import Role
from tests.server.console.conftest import SECRET, Project, S, Visitor

BUYERS = f"{S}/audiences/buyers"
PAGES = (
    *("/audiences", "/audiences/buyers", "/audiences/buyers/definition", "/audiences/buyers/members", "/audiences/buyers/deliveries"),
    *(
        "/audiences/buyers/breakdown",
        "/destinations",
        "/destinations/list",
        "/deliveries",
        "/dead-letters",
        "/profiles",
        "/audit",
        "/traits",
        "/traits/spend",
        "/traits/spend/definition",
        "/traits/spend/values",
        "/traits/spend/deliveries",
    ),
)
ACTIONS = (
    *("/audiences/new", "/audiences/buyers/definition", "/audiences/buyers/settings", "/audiences/buyers/compute"),
    *("/audiences/buyers/do/disable", "/audiences/buyers/connect/list", "/audiences/buyers/import", "/dead-letters/do"),
    *("/audiences/buyers/destinations/list/do/remove", "/audiences/buyers/destinations/list/mappings/new"),
    *("/destinations/list", "/destinations/new/webhook", "/destinations/list/remove"),
    *("/traits/new", "/traits/spend/definition", "/traits/spend/settings", "/traits/spend/compute", "/traits/spend/do/disable"),
    *("/traits/spend/connect/list", "/traits/spend/held"),
)


@pytest.mark.parametrize("path", ACTIONS)
def test_a_form_without_our_token_changes_nothing(still: Project, path: str):
    stranger = Visitor(still.app, still.portal, csrf="0" * 64)
    before = still.rows("select count(*) from audit")
    assert stranger.post(f"{S}{path}", {"key": "x", "definition": "trait('a') = 1"}).status_code == 403
    assert stranger.post(f"{S}{path}", {"csrf": ""}).status_code == 403
    assert still.rows("select count(*) from audit") == before


def test_a_reader_sees_pages_and_changes_nothing(project: Project):
    reader = project.token(Role.READER)
    for path in PAGES:
        assert reader.get(f"{S}{path}").status_code == 200, path
    before = project.rows("select count(*) from audit")
    for path in ACTIONS:
        answer = reader.post(f"{S}{path}", {"definition": "trait('a') = 1"})
        assert answer.status_code == 403, path
        assert "This takes the role" in answer.text
    assert project.rows("select count(*) from audit") == before


def test_members_payloads_and_samples_are_for_those_who_may_see_them(project: Project, admin: Visitor):
    member = admin.text(f"{BUYERS}/members.csv").splitlines()[1].partition(",")[0]
    operator = project.token(Role.OPERATOR)
    for path in (f"{BUYERS}/members", f"{S}/profiles?audience=buyers&member={member}", BUYERS):
        text = operator.text(path).replace(f'value="{member}"', "")
        assert member not in text
    assert operator.get(f"{BUYERS}/members.csv").status_code == 403
    preview = operator.post(
        f"{S}/definitions/preview", {"definition": "event('Order Completed').count() >= 1", "level": "user", "of": "buyers"}
    ).text
    assert re.search(r"u-\d+", preview) is None
    assert member in project.token(Role.READER, members=True).text(f"{BUYERS}/members")


def test_an_operator_cannot_configure_destinations_or_delete_audiences(project: Project):
    operator = project.token(Role.OPERATOR)
    assert operator.get(f"{S}/destinations/new/webhook").status_code == 403
    assert operator.get(f"{BUYERS}/do/delete").status_code == 403
    assert operator.post(f"{BUYERS}/do/delete", {"connected": ""}).status_code == 403
    assert operator.post(f"{BUYERS}/do/disable").status_code == 303


def test_a_destination_is_configured_with_a_secret_that_is_never_shown_and_kept_by_bullets(project: Project, admin: Visitor):
    fields = {
        "name": "Hook",
        "key": "hook",
        "s.url": "https://example.com/in",
        "s.signing_secret": SECRET,
        "s.batch": "on",
        "s.max_batch_records": "10",
    }
    assert admin.post(f"{S}/destinations/new/webhook", fields).status_code == 303
    text = admin.text(f"{S}/destinations/hook")
    assert SECRET not in text
    assert "••••••••" in text
    ((kept,),) = project.rows("select settings from destination where key = 'hook'")
    assert SECRET not in kept
    stamp = re.search(r'name="stamp" value="([0-9a-f]+)"', text)
    assert stamp
    changed = {**fields, "s.url": "https://example.com/other", "s.signing_secret": "••••••••", "enabled": "on", "stamp": stamp[1]}
    del changed["key"]
    assert admin.post(f"{S}/destinations/hook", changed).status_code == 303
    ((after,),) = project.rows("select settings from destination where key = 'hook'")
    assert "example.com/other" in after
    assert re.search(r"enc:[^\"]+", after)[0] == re.search(r"enc:[^\"]+", kept)[0]  # type: ignore[index]
    stale = admin.post(f"{S}/destinations/hook", {**changed, "s.url": "https://example.com/mine", "s.signing_secret": "new-secret-typed"})
    assert stale.status_code == 409
    assert "new-secret-typed" not in stale.text
    assert "https://example.com/mine" in stale.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param({"s.url": "ftp://x"}, "must be a URL", id="an address that is none"),
        pytest.param({"s.url": ""}, "It is missing", id="no address"),
        pytest.param({"s.max_batch_records": "many"}, "max_batch_records", id="a number that is none"),
        pytest.param({"key": "../up"}, "is not a legal key", id="a key that climbs"),
        pytest.param({"s.files_dir": "/etc"}, "files_dir", id="a setting of the operator"),
        pytest.param({"s.headers": "x"}, "has no field", id="a setting that there is not"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_words_and_nothing_is_kept(still: Project, fields: dict[str, str], words: str):
    good = {"name": "Hook", "key": "hook", "s.url": "https://example.com/in", "s.signing_secret": SECRET, "s.batch": "on"}
    answer = still.admin.post(f"{S}/destinations/new/webhook", {**good, **fields})
    assert answer.status_code == 422
    assert words in answer.text
    assert SECRET not in answer.text
    assert still.rows("select count(*) from destination where key = 'hook'") == [(0,)]


def test_testing_and_removing_a_destination_say_what_happened(project: Project, admin: Visitor):
    assert "works" in admin.post(f"{S}/destinations/list/test").text
    project.connect("buyers", "list")
    assert "1 audience is connected: buyers" in " ".join(admin.text(f"{S}/destinations/list/remove").split())
    assert admin.post(f"{S}/destinations/list/remove", {"confirmed": "yes"}).status_code == 409


def test_the_log_shows_before_and_after_and_a_token_of_one_space_sees_that_space_alone(project: Project, admin: Visitor):
    project.connect("buyers", "list")
    text = admin.text(f"{S}/audit?q=buyers&verb=connect")
    assert "connection default/buyers" in text
    assert "calls" in text


def test_a_space_that_is_not_there_and_one_that_a_token_does_not_reach_look_alike(project: Project, admin: Visitor):
    assert admin.get("/s/nowhere/audiences").status_code == 404
    assert admin.get("/").headers["location"] == f"{S}/audiences"


def test_pages_carry_a_policy_that_forbids_inline_scripts_and_hold_none(still: Project):
    for path in PAGES:
        answer = still.admin.get(f"{S}{path}")
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|<style|\sstyle=", answer.text) is None
