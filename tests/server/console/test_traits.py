"""Computed traits in the console: listed, made, previewed, edited, shown with their values to those who may see them, and deleted."""

import re
from dataclasses import replace

import pytest

from engage_pipelines.registry.destinations import NewDestination, create_destination
from engage_pipelines.registry.lookup import find_space
from engage_pipelines.registry.tokens import Role
from engage_pipelines.registry.traits import update_trait
from tests.server.console.conftest import Project, S, Visitor

SPEND = f"{S}/traits/spend"
NEW = {"key": "orders", "name": "Orders", "description": "", "level": "user", "language": "computed", "cadence": ""}
GOOD = "event('Order Completed').count()"
SELECT = "SELECT user_id, count(*) AS orders FROM events WHERE event = 'Order Completed' GROUP BY user_id"


def plain(text: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("&#39;", "'").replace("&#34;", '"').split())


def stamp_of(text: str) -> str:
    found = re.search(r'name="stamp" value="([0-9a-f]*)"', text)
    assert found
    return found[1]


def test_the_list_and_the_pages_of_a_trait_say_what_it_is_and_what_it_came_to(still: Project):
    admin = still.admin
    ((size, updated, exited),) = still.rows(
        "select size, updated, exited from version v join computation c on c.id = v.computation_id and c.current_version = v.n"
        " where key = 'spend'"
    )
    assert re.search(rf"spend Users event\(.*\) {size} Live", plain(admin.text(f"{S}/traits")))
    assert "No trait is called “zzz”" in admin.text(f"{S}/traits?q=zzz")
    overview = plain(admin.text(SPEND))
    assert f"Values {size} users have one" in overview
    assert f"{updated} changed, {exited} gone" in overview
    assert "This trait is not synced anywhere" in overview
    spread = plain(admin.text(f"{SPEND}/spread"))
    assert re.search(r"Least [\d,.]+ In the middle [\d,.]+ Most [\d,.]+", spread)
    values = plain(admin.text(f"{SPEND}/values"))
    assert f"{size} values, as of version 2" in values
    csv = admin.text(f"{SPEND}/values.csv").splitlines()
    assert (csv[0], len(csv)) == ("user_id,email,anonymous_id,value", size + 1)
    name = csv[1].partition(",")[0]
    assert name in admin.text(f"{SPEND}/values?q={name.upper()}")


def test_values_are_for_those_who_may_see_them(project: Project):
    name = project.admin.text(f"{SPEND}/values.csv").splitlines()[1].partition(",")[0]
    operator = project.token(Role.OPERATOR)
    for path in (SPEND, f"{SPEND}/values", f"{SPEND}/definition"):
        assert name not in operator.text(path)
    for path in (f"{SPEND}/values.csv", f"{SPEND}/spread"):
        assert operator.get(path).status_code == 403
    preview = operator.post(f"{S}/trait-definitions/preview", {"definition": GOOD, "level": "user", "language": "computed"}).text
    assert re.search(r"u-\d+", preview) is None
    assert "Values are shown to tokens that may see members" in preview


def test_a_trait_is_made_previewed_edited_switched_off_and_deleted(project: Project, admin: Visitor):
    preview = admin.post(f"{S}/trait-definitions/preview", {**NEW, "definition": GOOD}, hx_request="true").text
    assert re.search(r"12\d users have a value", plain(preview))
    answer = admin.post(f"{S}/traits/new", {**NEW, "definition": GOOD})
    assert (answer.status_code, answer.headers["location"]) == (303, f"{S}/traits/orders")
    assert "Preparing" in admin.text(f"{S}/traits/orders")
    at = f"{S}/traits/orders"
    stamp = stamp_of(admin.text(f"{at}/definition"))
    assert admin.post(f"{at}/definition", {"definition": f"{GOOD}", "stamp": stamp}).status_code == 303
    assert admin.post(f"{at}/settings", {"name": "Orders", "description": "d", "cadence": "daily", "stamp": ""}).status_code == 409
    stamp = stamp_of(admin.text(f"{at}/settings"))
    assert admin.post(f"{at}/settings", {"name": "Orders", "description": "d", "cadence": "daily", "stamp": stamp}).status_code == 303
    assert admin.post(f"{at}/do/disable").status_code == 303
    assert admin.post(f"{at}/compute").status_code == 409
    assert "can never be used again" in admin.text(f"{at}/do/delete")
    assert admin.post(f"{at}/do/delete", {"connected": ""}).headers["location"] == f"{S}/traits"
    assert admin.get(at).status_code == 404
    assert admin.get(f"{at}/do/explode").status_code == 404
    assert [verb for (verb,) in project.rows("select verb from audit where object like 'trait%/orders' order by id")] == [
        "create", "update", "update", "delete",
    ]  # fmt: skip


def test_a_select_is_previewed_and_made(project: Project, admin: Visitor):
    asked = {**NEW, "language": "sql", "definition": SELECT}
    assert re.search(r'\d+ users have a value .* \{"orders":\d+\}', plain(admin.post(f"{S}/trait-definitions/preview", asked).text))
    refused = admin.post(f"{S}/trait-definitions/preview", {**asked, "definition": "DELETE FROM events"}).text
    assert "is no SELECT" in refused
    assert admin.post(f"{S}/traits/new", asked).status_code == 303
    assert project.rows("select cadence from computation where key = 'orders'") == [("0 */12 * * *",)]
    assert "One SELECT" in plain(admin.text(f"{S}/traits/orders/definition"))


@pytest.mark.parametrize(
    ("fields", "beside", "words"),
    [
        pytest.param({"key": "1st"}, "e-key", "is not a legal key", id="a key that is none"),
        pytest.param({"key": "buyers"}, "e-key", "has audience", id="the key of an audience"),
        pytest.param({"name": "n" * 1_001}, "e-name", "at most 1,000 can be kept", id="a name that is too long"),
        pytest.param({"cadence": "sometimes"}, "e-cadence", "is not a cron line", id="a cadence that is none"),
        pytest.param({"definition": "event('A').cuont()"}, "e-definition", "line 1, column 12", id="a misspelt function"),
        pytest.param({"definition": "event('A').count() >= 1"}, "e-definition", "line 1", id="a condition"),
        pytest.param({"definition": ""}, "e-definition", "needs a definition", id="no definition"),
        pytest.param({"level": "../etc"}, "e-level", "of users or of accounts", id="a level that is none"),
        pytest.param({"language": "php"}, "e-language", "as a SELECT", id="a language that is none"),
        pytest.param({"surprise": "1"}, "alert", "has no field", id="a field that nobody asked for"),
    ],
)
def test_what_cannot_be_used_is_said_beside_its_field_and_nothing_is_saved(still: Project, fields: dict[str, str], beside: str, words: str):
    before = still.rows("select count(*) from audit"), still.rows("select key from computation order by id")
    answer = still.admin.post(f"{S}/traits/new", {**NEW, "definition": GOOD, **fields})
    assert answer.status_code == 422
    assert words in answer.text.replace("&#39;", "'")
    assert beside in answer.text
    assert (still.rows("select count(*) from audit"), still.rows("select key from computation order by id")) == before


def test_an_edit_of_what_someone_else_changed_shows_both(project: Project, admin: Visitor):
    stamp = stamp_of(admin.text(f"{SPEND}/definition"))
    with project.registry.change() as change:
        update_trait(change, find_space(change.c, "default"), "spend", definition=GOOD)
    answer = admin.post(f"{SPEND}/definition", {"definition": f"{GOOD} ", "stamp": stamp, "overwrite": ""})
    assert answer.status_code == 409
    assert admin.post(f"{SPEND}/definition", {"definition": "event('A').count()", "stamp": stamp}).text.count("event(") >= 2
    mended = {"definition": "event('A').count()", "stamp": stamp_of(answer.text)}
    assert admin.post(f"{SPEND}/definition", mended).status_code == 303
    assert project.rows("select definition from computation where key = 'spend'") == [("event('A').count()",)]


def test_a_key_alone_leads_to_the_trait_and_dagster_is_linked_below_its_prefix(project: Project, admin: Visitor):
    answer = admin.get(f"{S}/audiences/spend/deliveries?days=7")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{SPEND}/deliveries?days=7")
    assert admin.get(f"{S}/traits/buyers").status_code == 404
    assert "/assets/default/trait/spend" in admin.text(SPEND)
    project.app.state.settings = replace(project.settings, dagster_key_prefix=("marketing", "eu"))
    assert "/assets/marketing/eu/default/trait/spend" in admin.text(f"{SPEND}?d=another+address")
    assert "/assets/marketing/eu/default/audience/buyers" in admin.text(f"{S}/audiences/buyers?d=another+address")


def test_a_trait_is_connected_to_what_takes_values_and_its_panel_is_that_of_audiences(project: Project, admin: Visitor):
    with project.registry.change() as change:
        create_destination(change, find_space(change.c, "default"), NewDestination("hook", "webhook", {"url": "http://127.0.0.1:9/"}))
    cards = plain(admin.text(f"{SPEND}/add-destination"))
    assert re.search(r"Newsletter list .*? It takes who is in and who is not, no values\.", cards)
    assert "Membership alone: who is in and who is not, no values of traits Use the trait in an audience, and connect that." in cards
    assert "User property: a trait on each person or account holds the value" in cards
    assert "Everyone is sent null first" in plain(admin.text(f"{SPEND}/connect/hook"))
    chosen = {"calls": ["identify", "track"], "backfill": "yes", "on_disconnect": "exit_all"}
    review = plain(admin.post(f"{SPEND}/connect/hook", chosen).text)
    ((size,),) = project.rows(
        "select size from version v join computation c on c.id = v.computation_id and current_version = n where key = 'spend'"
    )
    assert f"{size} Identify and {size} Track calls" in review
    answer = admin.post(f"{SPEND}/connect/hook", {**chosen, "confirmed": "yes"})
    assert (answer.status_code, answer.headers["location"]) == (303, SPEND)
    assert "This trait is synced to 1 destination" in plain(admin.text(SPEND))
    panel = admin.text(f"{SPEND}/destinations/hook")
    assert "Remove from this trait" in panel
    assert "Value of people: spend" in panel
    assert "When it ends everyone is sent null first" in plain(panel)
    assert "Everyone is sent null first, as was said." in plain(panel)
    removal = plain(admin.text(f"{SPEND}/destinations/hook/do/remove"))
    assert "exit" not in removal.partition("Remove hook")[2]
    assert "/assets/default/sync/spend?view=partitions" in panel
    assert admin.text(f"{SPEND}/destinations/hook/progress")
    assert "hook" in admin.text(f"{SPEND}/deliveries")
    tried = admin.post(f"{SPEND}/destinations/hook/mappings/new", {
        "name": "Big", "trigger": 'type = "identify" and traits.spend > 700', "action": "send", "fields": '{"@path": "$."}', "try": "yes",
    })  # fmt: skip
    assert "POST http://127.0.0.1:9/" in plain(tried.text)
    refused = admin.post(f"{SPEND}/connect/list", {**chosen, "calls": "identify", "confirmed": "yes"})
    assert refused.status_code == 422


def test_what_users_of_several_accounts_have_is_said_of_traits_of_accounts_alone(project: Project, admin: Visitor):
    new = {**NEW, "level": "account", "definition": GOOD, "conflict": "list"}
    assert admin.post(f"{S}/traits/new", new).status_code == 303
    at = f"{S}/traits/orders/settings"
    said = {"name": "Orders", "description": "", "cadence": "hourly", "stamp": stamp_of(admin.text(at))}
    assert admin.post(at, {**said, "conflict": "skip"}).status_code == 303
    ((options,),) = project.rows("select options from computation where key = 'orders'")
    assert '"skip"' in options
    answer = admin.post(f"{S}/traits/new", {**new, "key": "of_users", "level": "user"})
    assert (answer.status_code, "e-conflict" in answer.text) == (422, True)
    live = admin.post(f"{S}/traits/new", {**NEW, "key": "live", "definition": "event('A').within(1 day).count()", "cadence": "live"})
    assert (live.status_code, "e-cadence" in live.text) == (422, True)
