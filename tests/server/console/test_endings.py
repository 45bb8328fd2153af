"""What is said of a connection's list, end and traits along: chosen when connecting, changed later, counted before anything is sent."""

import re

import pytest

from engage_pipelines.registry.destinations import NewDestination, create_destination
from engage_pipelines.registry.lookup import find_space
from tests.server.console.conftest import Project, S, Visitor

BUYERS = f"{S}/audiences/buyers"
LIST = f"{BUYERS}/destinations/list"
ITERABLE = {"calls": "identify", "backfill": "no", "on_disconnect": "keep"}


def plain(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("&#39;", "'").replace("&#34;", '"').split())


def stamp_of(text: str) -> str:
    found = re.search(r'name="stamp" value="([0-9a-f]*)"', text)
    assert found
    return found[1]


def with_lists(project: Project) -> None:
    """A destination of a type whose lists have settings."""
    with project.registry.change() as change:
        new = NewDestination("iterable", "iterable_lists", {"api_key": "env:CRM_KEY"}, name="Iterable")
        create_destination(change, find_space(change.c, "default"), new)


def test_a_list_has_its_settings_from_the_first_form_on(project: Project, admin: Visitor):
    with_lists(project)
    form = admin.text(f"{BUYERS}/connect/iterable")
    assert 'name="l.campaignId"' in form
    assert 'name="l.updateExistingUsersOnly"' in form
    wrong = admin.post(f"{BUYERS}/connect/iterable", {**ITERABLE, "l.campaignId": "many"})
    assert (wrong.status_code, "e-l.campaignId" in wrong.text) == (422, True)
    said = {**ITERABLE, "l.campaignId": "42", "l.updateExistingUsersOnly": "true", "l.globalUnsubscribe": "", "on_disconnect": "exit_all"}
    review = admin.post(f"{BUYERS}/connect/iterable", said)
    assert "everyone's exit is sent first" in plain(review.text)
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', review.text))
    assert admin.post(f"{BUYERS}/connect/iterable", {**hidden, "csrf": admin.csrf}).status_code == 303
    ((options,),) = project.rows("select options from connection")
    assert '"campaignId":42' in options.replace(" ", "")
    assert '"on_disconnect":"exit_all"' in options.replace(" ", "")
    panel = plain(admin.text(f"{BUYERS}/destinations/iterable"))
    assert "campaignId 42" in panel
    assert "When it ends everyone's exit is sent first" in panel


def test_settings_of_a_list_and_the_end_are_changed_and_a_stale_form_shows_both(project: Project, admin: Visitor):
    with_lists(project)
    project.connect("buyers", "iterable", backfill=False)
    at = f"{BUYERS}/destinations/iterable/settings"
    stamp = stamp_of(admin.text(at))
    assert admin.post(at, {"l.campaignId": "7", "on_disconnect": "keep", "stamp": stamp}).status_code == 303
    stale = admin.post(at, {"l.campaignId": "8", "on_disconnect": "exit_all", "stamp": stamp})
    assert stale.status_code == 409
    assert re.search(r"campaignId 8 7", plain(stale.text))
    assert [verb for (verb,) in project.rows("select verb from audit where object like 'connection%' order by id")] == ["connect", "update"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param({"l.campaignId": "x"}, "e-l.campaignId", id="a text for a number"),
        pytest.param({"l.updateExistingUsersOnly": "perhaps"}, "e-l.updateExistingUsersOnly", id="neither on nor off"),
        pytest.param({"l.campaignId": "1" * 2_000}, "at most 1,000", id="too long"),
        pytest.param({"l.path": "../../etc"}, "has no field", id="a setting that there is not"),
        pytest.param({"traits": "plan:tier\nspend:tier"}, "e-traits", id="two traits of one name"),
        pytest.param({"traits": "plan:1st"}, "e-traits", id="a name that no trait can have"),
        pytest.param({"traits": "\n".join(f"t{n}" for n in range(26))}, "at most 25", id="more traits than ride along"),
        pytest.param({"on_disconnect": "delete_everyone"}, "e-on_disconnect", id="an end that there is not"),
        pytest.param({"surprise": "1"}, "has no field", id="an unknown field"),
    ],
)
def test_what_cannot_be_is_said_beside_the_setting(project: Project, admin: Visitor, fields: dict[str, str], words: str):
    with_lists(project)
    project.connect("buyers", "iterable", backfill=False)
    at = f"{BUYERS}/destinations/iterable/settings"
    before = project.rows("select options from connection"), project.rows("select count(*) from audit")
    answer = admin.post(at, {"stamp": stamp_of(admin.text(at)), "on_disconnect": "keep", **fields})
    assert answer.status_code == 422
    assert words in answer.text
    assert (project.rows("select options from connection"), project.rows("select count(*) from audit")) == before


def test_removing_asks_what_becomes_of_those_who_were_told_with_their_number(project: Project, admin: Visitor):
    with project.registry.change() as change:
        create_destination(change, find_space(change.c, "default"), NewDestination("hook", "webhook", {"url": "http://127.0.0.1:9/"}))
    project.connect("buyers", "hook")
    at = f"{BUYERS}/destinations/hook/do/remove"
    assert "Everyone's exit" not in plain(admin.text(at)), "nobody was told of yet"
    with project.registry.database.write() as c:
        c.exec_driver_sql("update base set version = 2, exits_version = 2")
    asked = admin.text(at)
    assert "Everyone's exit is sent first : 18 Identify calls, about 1 request" in plain(asked)
    assert re.search(r'value="no" checked', asked)
    assert admin.post(at, {"exits": "perhaps"}).status_code == 422
    answer = admin.post(at, {"exits": "yes"})
    assert answer.headers["location"] == BUYERS
    assert "Everyone's exit is sent to hook; then it is gone." in plain(admin.text(BUYERS))
    assert project.rows("select state from connection") == [("leaving",)]
    asked = plain(admin.text(at))
    assert "Removed now, the exits that are not sent yet never are" in asked
    admin.post(at, {"exits": "as_said"})
    assert project.rows("select state from connection") == [("gone",)]


def test_what_was_said_when_connecting_is_chosen_already_and_can_be_unsaid(project: Project, admin: Visitor):
    project.sync(project.connect("buyers", "list", on_disconnect="exit_all"))
    asked = admin.text(f"{LIST}/do/remove")
    assert re.search(r'value="yes" checked', asked)
    assert "the list is written once more, empty" in plain(asked)
    assert "Everyone's exit is sent to Newsletter list" in plain(admin.text(f"{BUYERS}/do/disable"))
    admin.post(f"{LIST}/do/remove", {"exits": "no"})
    assert project.rows("select state from connection") == [("gone",)]


def test_disabling_an_audience_sends_the_exits_that_were_asked_for(project: Project, admin: Visitor):
    project.sync(project.connect("buyers", "list", on_disconnect="exit_all"))
    admin.post(f"{BUYERS}/do/disable")
    assert "Exits are sent to list, as was said." in plain(admin.text(f"{BUYERS}/settings"))
    assert project.rows("select state from connection") == [("leaving",)]


def test_identifiers_that_someone_changed_meanwhile_are_not_overwritten(project: Project, admin: Visitor):
    project.connect("buyers", "list")
    stamp = stamp_of(admin.text(f"{LIST}/ids"))
    assert admin.post(f"{LIST}/ids", {"ids.email": "last", "stamp": stamp}).status_code == 303
    answer = admin.post(f"{LIST}/ids", {"ids.email": "all", "stamp": stamp})
    assert answer.status_code == 409
    assert "email:last" in answer.text
    assert "email:all" in answer.text
    assert admin.post(f"{LIST}/ids", {"ids.iban": "all", "stamp": stamp_of(admin.text(f"{LIST}/ids"))}).status_code == 422


def test_traits_that_ride_along_are_lines_of_the_forms_and_stand_in_the_panel(project: Project, admin: Visitor):
    with_lists(project)
    at = f"{BUYERS}/connect/iterable"
    wrong = admin.post(at, {**ITERABLE, "traits": "plan:buyers"})
    assert (wrong.status_code, "e-traits" in wrong.text, ">plan:buyers</textarea>" in wrong.text) == (422, True, True)
    review = admin.post(at, {**ITERABLE, "traits": " plan:plan_tier\r\n\r\nspend "}).text
    assert "In every record ride plan:plan_tier , spend" in plain(review)
    hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', review))
    assert admin.post(at, {**hidden, "csrf": admin.csrf}).status_code == 303
    assert "Traits along plan:plan_tier , spend Change" in plain(admin.text(f"{BUYERS}/destinations/iterable"))
    settings = f"{BUYERS}/destinations/iterable/settings"
    form = admin.text(settings)
    assert ">plan:plan_tier\nspend</textarea>" in form
    said = {"on_disconnect": "keep", "stamp": stamp_of(form)}
    assert admin.post(settings, {**said, "traits": "spend"}).status_code == 303
    stale = admin.post(settings, {**said, "traits": "plan"})
    assert (stale.status_code, "traits plan spend" in plain(stale.text)) == (409, True)
    assert admin.post(settings, {**said, "traits": "", "stamp": stamp_of(admin.text(settings))}).status_code == 303
    assert "Traits along none" in plain(admin.text(f"{BUYERS}/destinations/iterable"))
