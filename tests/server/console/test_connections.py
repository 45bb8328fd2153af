"""Destinations of an audience in the console: added, switched, tried, resynced and removed, each after words that say what it means."""

import re
from pathlib import Path

import pytest

from engage_pipelines.registry.destinations import find_destination, update_destination
from engage_pipelines.registry.lookup import find_space
from engage_pipelines.testing.faults import Faults, Rates
from engage_pipelines.testing.receiver import Receiver
from tests.server.console.conftest import SECRET, Project, S, Visitor

BUYERS, BUSINESS = f"{S}/audiences/buyers", f"{S}/audiences/business"
CALLS = {"calls": ["group", "identify"], "backfill": "yes"}


def imported(project: Project, endpoint: str = "http://127.0.0.1:9") -> None:
    """The configuration of the source, copied through its form."""
    project.admin.get(f"{BUYERS}/import?from=website/crm")
    answer = project.admin.post(f"{BUYERS}/import", {"from": "website/crm", "key": "crm", "name": "CRM"})
    assert answer.headers["location"] == f"{BUYERS}/connect/crm"
    with project.registry.change() as change:
        space = find_space(change.c, "default")
        row = find_destination(change.c, space.id, "crm")
        update_destination(change, space, row, settings={**row.settings, "endpoint": endpoint})


def plain(text: str) -> str:
    """The words of a page without its tags, on one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("&#39;", "'").replace("&#34;", '"').split())


def test_cards_say_how_a_type_takes_membership_and_why_it_cannot_be_connected(project: Project, admin: Visitor):
    text = plain(admin.text(f"{BUYERS}/add-destination"))
    assert "CRM from source website Import" in text
    assert "Newsletter list configured in this space Connect" in text
    assert "User list: members are added to a list and taken off it" in text
    project.connect("buyers", "list")
    imported(project)
    text = plain(admin.text(f"{BUYERS}/add-destination"))
    assert "This is connected to this audience already; one configuration per type." in text
    assert "imported from source website" in text


def test_importing_copies_settings_and_a_second_one_of_the_type_is_refused_beside_the_form(project: Project, admin: Visitor):
    imported(project)
    assert project.rows("select count(*) from destination where imported_from is not null") == [(1,)]
    answer = admin.post(f"{BUYERS}/import", {"from": "website/crm", "key": "crm_two", "name": "Two"})
    assert answer.status_code == 422
    assert "of type 'segment' already" in plain(answer.text)


def test_connecting_says_what_would_be_sent_to_the_call_and_sends_after_a_yes(project: Project, admin: Visitor):
    imported(project)
    assert "Group : one call per account" in plain(admin.text(f"{BUSINESS}/connect/crm")).replace("Group:", "Group :")
    text = plain(admin.post(f"{BUSINESS}/connect/crm", CALLS).text)
    size, users = project.rows(
        "select size, users from version v join computation c on c.id = v.computation_id and c.current_version = v.n where key = 'business'"
    )[0]
    assert f"{size} Group and {users} Identify calls, about 2 requests." in text
    assert "Mappings that are made and switched on" in text
    assert project.rows("select count(*) from connection") == [(0,)]
    assert admin.post(f"{BUSINESS}/connect/crm", {**CALLS, "confirmed": "yes"}).status_code == 303
    assert project.rows("select kind, state from sync_request") == [("backfill", "owed")]
    assert "Connected to CRM" in admin.text(BUSINESS)


def test_a_connection_without_calls_or_with_identifiers_that_are_none_is_refused_in_words(project: Project, admin: Visitor):
    answer = admin.post(f"{BUYERS}/connect/list", {"backfill": "yes"})
    assert answer.status_code == 422
    assert "No call is chosen" in answer.text
    answer = admin.post(f"{BUYERS}/connect/list", {"calls": "identify", "ids.iban": "last"})
    assert answer.status_code == 422
    assert "cannot match people by 'iban'" in plain(answer.text)
    assert project.rows("select count(*) from connection") == [(0,)]


def test_the_table_and_the_panel_follow_the_sync(project: Project, admin: Visitor):
    connection = project.connect("buyers", "list")
    text = plain(admin.text(BUYERS))
    assert "This audience is synced to 1 destination" in text
    assert "1 enabled" in text
    assert "Waiting" in text
    assert 'hx-trigger="every 1s"' in admin.text(f"{BUYERS}/destinations/list/progress")
    project.sync(connection)
    part = admin.get(f"{BUYERS}/destinations/list/progress")
    assert "Up to date" in part.text
    assert "every 1s" not in part.text
    assert part.headers["hx-trigger"] == "connections-changed"
    panel = plain(admin.text(f"{BUYERS}/destinations/list"))
    assert "Sent so far 18 records" in panel
    assert (project.settings.files_dir / "lists" / "buyers.csv").is_file()
    assert f"{project.settings.dagster_url}/assets/default/sync/buyers?view=partitions&amp;partition=list" in admin.text(
        f"{BUYERS}/destinations/list"
    )


def test_the_toggle_keeps_the_set_up_and_remove_deletes_it(project: Project, admin: Visitor):
    project.sync(project.connect("buyers", "list"))
    at = f"{BUYERS}/destinations/list/do"
    assert admin.post(f"{at}/pause").status_code == 303
    assert "Disconnected" in admin.text(BUYERS)
    assert "Nothing is sent now" in admin.text(f"{at}/resume")
    admin.post(f"{at}/resume")
    assert project.rows("select state from connection") == [("active",)]
    asked = plain(admin.text(f"{at}/remove"))
    assert "Nothing is sent : the 18 records that Newsletter list took stay" in asked
    admin.post(f"{at}/remove")
    assert project.rows("select state from connection") == [("gone",)]
    assert "not synced anywhere" in admin.text(BUYERS)
    assert [verb for (verb,) in project.rows("select verb from audit order by id desc limit 3")] == ["disconnect", "resume", "pause"]


def test_a_connection_that_leaves_is_disconnecting_and_a_note_is_shown(project: Project, admin: Visitor):
    project.sync(project.connect("buyers", "list"))
    with project.registry.database.write() as c:
        c.exec_driver_sql("update connection set state = 'leaving', leaves_since = 1, note = 'The list has 18 members; it needs 100.'")
    panel = plain(admin.text(f"{BUYERS}/destinations/list"))
    assert "Disconnecting" in panel
    assert "Everyone&#39;s exit is being sent; then it is gone" in panel or "Everyone's exit is being sent" in panel
    assert "The list has 18 members; it needs 100." in panel
    assert "is disabled" not in panel
    assert "Disconnecting" in admin.text(BUYERS)


def test_a_resync_says_how_many_go_again_before_it_is_asked_for(project: Project, admin: Visitor):
    project.sync(project.connect("buyers", "list"))
    assert "18 rows" in admin.text(f"{BUYERS}/destinations/list/do/resync")
    assert project.rows("select count(*) from sync_request where kind = 'resync'") == [(0,)]
    admin.post(f"{BUYERS}/destinations/list/do/resync")
    assert project.rows("select count(*) from sync_request where kind = 'resync'") == [(1,)]
    assert admin.get(f"{BUYERS}/destinations/list/do/explode").status_code == 404


def test_a_mapping_is_prefilled_tried_with_the_exact_request_added_switched_and_edited(project: Project, admin: Visitor):
    imported(project)
    project.connect("buyers", "crm")
    at = f"{BUYERS}/destinations/crm/mappings"
    form = admin.text(f"{at}/new")
    assert "context.personas.computation_key = &#34;buyers&#34;" in form
    fields = {"name": "Entries", "trigger": 'type = "identify" and traits.buyers = true', "action": "send", "fields": '{"@path": "$."}'}
    tried = plain(admin.post(f"{at}/new", {**fields, "try": "yes"}).text)
    assert "POST http://127.0.0.1:9/v1/batch" in tried
    assert "Authorization: ••••••••" in tried
    assert "the trigger does not match, nothing is sent" in tried
    assert project.rows("select count(*) from mapping where name = 'Entries'") == [(0,)]
    admin.post(f"{at}/new", fields)
    ((mapping, on),) = project.rows("select id, enabled from mapping where name = 'Entries'")
    assert not on
    assert "1 enabled, 1 disabled" in plain(admin.text(BUYERS))
    assert "36 Identify calls" in plain(admin.text(f"{at}/{mapping}/enable"))
    admin.post(f"{at}/{mapping}/enable", {"backfill": "no"})
    assert project.rows(f"select enabled from mapping where id = '{mapping}'") == [(1,)]
    stamp = re.search(r'name="stamp" value="([0-9a-f]+)"', admin.text(f"{at}/{mapping}"))
    assert stamp
    assert admin.post(f"{at}/{mapping}", {**fields, "name": "Entries, all", "stamp": stamp[1]}).status_code == 303
    stale = admin.post(f"{at}/{mapping}", {**fields, "name": "Entries, mine", "stamp": stamp[1]})
    assert stale.status_code == 409
    assert "Entries, mine" in stale.text
    assert "Entries, all" in stale.text


@pytest.mark.parametrize(
    ("fields", "beside", "words"),
    [
        pytest.param({"trigger": 'type = "identify'}, "e-trigger", "line 1", id="a trigger that breaks off"),
        pytest.param({"fields": '{"a": '}, "e-fields", "line 1", id="fields that are no JSON"),
        pytest.param({"fields": "[1]"}, "e-fields", "no JSON object", id="fields that are a list"),
        pytest.param({"fields": '{"a": {"@nope": 1}}'}, "e-fields", "@nope", id="a directive that is none"),
        pytest.param({"name": ""}, "e-name", "no name", id="no name"),
        pytest.param({"action": "explode"}, "e-action", "no action", id="an action that is none"),
        pytest.param({"fields": '{"a": "' + "x" * 100_001 + '"}'}, "e-fields", "at most 100,000", id="fields that are too long"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_refused_beside_its_field(still: Project, fields: dict[str, str], beside: str, words: str):
    good = {"name": "Mine", "trigger": 'type = "identify"', "action": "write", "fields": "{}"}
    answer = still.admin.post(f"{BUSINESS}/destinations/list/mappings/new", {**good, **fields})
    assert answer.status_code == 422
    assert words in plain(answer.text)
    assert f'id="{beside}"' in answer.text
    assert still.rows("select count(*) from mapping where connection_id is null") == [(0,)]


def test_without_an_enabled_mapping_the_panel_warns_in_words(project: Project, admin: Visitor):
    project.connect("buyers", "list")
    ((mapping,),) = project.rows("select id from mapping")
    admin.post(f"{BUYERS}/destinations/list/mappings/{mapping}/disable")
    assert "No enabled mapping matches this audience: nothing is delivered." in plain(admin.text(f"{BUYERS}/destinations/list"))
    text = plain(admin.text(BUYERS))
    assert "0 enabled, 1 disabled + Add mapping" in text
    assert "Awaiting mapping" in text


def test_identifiers_of_a_connection_are_changed_and_nothing_is_sent_for_it(project: Project, admin: Visitor):
    imported(project)
    project.connect("buyers", "crm")
    before = project.rows("select count(*) from sync_request")
    stamp = re.search(r'name="stamp" value="([0-9a-f]+)"', admin.text(f"{BUYERS}/destinations/crm/ids"))
    assert stamp
    chosen = {"ids.anonymous_id": "last", "as.anonymous_id": "visitor", "stamp": stamp[1]}
    answer = admin.post(f"{BUYERS}/destinations/crm/ids", chosen)
    assert answer.status_code == 303
    assert "anonymous_id:last:visitor" in admin.text(f"{BUYERS}/destinations/crm")
    assert project.rows("select count(*) from sync_request") == before


def test_dead_letters_are_shown_with_their_payload_replayed_and_discarded(project: Project, admin: Visitor):
    member = project.admin.text(f"{BUYERS}/members.csv").splitlines()[1].partition(",")[0]
    with Receiver(write_key=SECRET, faults=Faults(Rates(poison=f'"{member}"', mode207=1))) as receiver:
        imported(project, receiver.url)
        project.sync(project.connect("buyers", "crm"))
    text = admin.text(f"{S}/dead-letters?audience=buyers&reason=NOT+wanted")
    assert "the call is not wanted" in text
    (letter,) = re.findall(r'name="chosen" value="(dl_[0-9a-f]+)"', text)
    shown = admin.text(f"{S}/dead-letters/{letter}")
    assert f"&#34;userId&#34;: &#34;{member}&#34;" in shown
    assert SECRET not in shown
    assert "Replay 1 record" in admin.post(f"{S}/dead-letters/ask", {"chosen": letter, "verb": "replay"}).text
    admin.post(f"{S}/dead-letters/do", {"ids": letter, "verb": "replay"})
    assert project.rows("select kind from exception") == [("retryable",)]
    admin.post(f"{S}/dead-letters/do", {"ids": letter, "verb": "discard"})
    assert project.rows("select count(*) from exception") == [(0,)]
    figures = plain(admin.text(f"{BUYERS}/deliveries"))
    assert "18 Created" not in figures
    assert "Created 18 records" in figures
    assert "Delivered 17 records" in figures


def test_a_write_key_is_shown_by_its_reference_alone(project: Project, admin: Visitor, tmp_path: Path):
    imported(project)
    project.connect("buyers", "crm")
    for path in (f"{BUYERS}/destinations/crm", f"{S}/destinations/crm", f"{S}/audit", f"{BUYERS}/import?from=website/crm"):
        text = admin.text(path)
        assert "env:CRM_KEY" in text
        assert SECRET not in text


def test_a_dead_letter_of_a_trait_speaks_of_its_value_and_leads_to_the_trait(project: Project, admin: Visitor):
    member = admin.text(f"{S}/traits/spend/values.csv").splitlines()[1].partition(",")[0]
    with Receiver(write_key=SECRET, faults=Faults(Rates(poison=f'"{member}"', mode207=1))) as receiver:
        imported(project, receiver.url)
        project.sync(project.connect("spend", "crm"))
    text = admin.text(f"{S}/dead-letters?audience=spend")
    (letter,) = re.findall(r'name="chosen" value="(dl_[0-9a-f]+)"', text)
    shown = admin.text(f"{S}/dead-letters/{letter}")
    for page in (text, shown):
        assert re.search(r"Identify, value\b", plain(page))
        assert f"{S}/traits/spend/destinations/crm" in page
