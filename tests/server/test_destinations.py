"""Destinations, connections, activations and subscriptions over the API, and their secrets."""

import sqlite3
from typing import Any

import pytest

from tests.server.world import SECRET, WEBHOOK, World

BULLET = "•"


def test_a_secret_is_never_in_an_answer_nor_in_the_database(world: World) -> None:
    audience, to, _made = world.connected()
    path = f"/spaces/main/audiences/{audience['id']}"
    for asked in ("/destinations", f"/destinations/{to['id']}", f"{path}/destination-connections", "/audit-events", f"{path}/activations"):
        answer = world.ask("GET", asked)
        assert answer.status_code == 200
        assert SECRET not in answer.text
    assert BULLET in to["settings"]["signing_secret"]
    assert SECRET not in "\n".join(sqlite3.connect(world.settings.home / "engage.db").iterdump())


def test_an_update_with_the_bullet_keeps_the_secret(world: World) -> None:
    to = world.destination()
    changed = world.data("PATCH", f"/destinations/{to['id']}", {"name": "Other", "settings": {**to["settings"], "batch": False}})[
        "destination"
    ]
    assert (changed["name"], changed["settings"]["batch"]) == ("Other", False)
    with world.registry.database.read() as c:
        (stored,) = c.exec_driver_sql("SELECT settings FROM destination").scalars()
    world.data("PATCH", f"/destinations/{to['id']}", {"settings": {"signing_secret": SECRET}})
    with world.registry.database.read() as c:
        assert list(c.exec_driver_sql("SELECT settings FROM destination").scalars()) == [stored], "the same secret again changes nothing"


def test_a_secret_that_does_not_fit_is_not_repeated(world: World) -> None:
    body = {"sourceId": "main", "metadataId": "webhook", "settings": {**WEBHOOK, "max_batch_records": 0}}
    for given in (body, {**body, "sourceId": world.space.id}, {**body, "settings": SECRET}):
        answer = world.ask("POST", "/destinations", given)
        assert answer.status_code in {404, 422}
        assert SECRET not in answer.text


def test_a_destination_is_made_changed_and_removed(world: World) -> None:
    to = world.destination(enabled=False)
    assert (to["enabled"], to["sourceId"], to["metadata"]["slug"], to["key"]) == (False, world.space.id, "webhook", "hook")
    assert world.data("GET", f"/destinations/{to['id']}")["destination"] == to
    assert world.data("PATCH", f"/destinations/{to['id']}", {"enabled": True})["destination"]["enabled"] is True
    assert world.data("DELETE", f"/destinations/{to['id']}") == {"status": "SUCCESS"}
    assert world.ask("GET", f"/destinations/{to['id']}").status_code == 404, "a client that keeps state drops it then"
    assert [verb for verb, what in world.audited() if what == "destination main/hook"] == ["create", "update", "remove"]


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        pytest.param({"metadataId": "webhok"}, 404, "metadataId", id="unknown type"),
        pytest.param({"sourceId": "src_nothing"}, 404, "sourceId", id="unknown source"),
        pytest.param({"settings": {}}, 422, "settings", id="settings missing"),
        pytest.param({"settings": {**WEBHOOK, "files_dir": "/etc"}}, 422, "settings", id="the operator's setting"),
        pytest.param({"settings": {**WEBHOOK, "signing_secret": "••••"}}, 422, "settings", id="bullets without an old secret"),
        pytest.param({"settings": []}, 422, "settings", id="settings a list"),
        pytest.param({"enabled": 1}, 422, "enabled", id="enabled a number"),
        pytest.param({"name": "x" * 301}, 422, "name", id="name too long"),
        pytest.param({"extra": {}}, 422, "extra", id="unknown field"),
    ],
)
def test_each_field_of_a_new_destination_is_refused_by_name(world: World, change: dict[str, Any], status: int, field: str) -> None:
    body = {"sourceId": world.space.id, "metadataId": "webhook", "settings": WEBHOOK, **change}
    answer = world.ask("POST", "/destinations", body)
    assert answer.status_code == status, answer.text
    assert answer.json()["errors"][0]["field"] == field
    assert world.data("GET", "/destinations")["destinations"] == []


def test_a_second_configuration_of_a_type_names_the_first(world: World) -> None:
    world.destination()
    body = {"sourceId": world.space.id, "metadataId": "webhook", "name": "Second", "settings": WEBHOOK}
    answer = world.ask("POST", "/destinations", body)
    assert answer.status_code == 409
    assert "'hook'" in answer.json()["errors"][0]["message"]


def test_a_configuration_on_a_source_is_imported(world: World) -> None:
    on = world.destination("Collector", sourceId=world.source.id)
    (listed,) = world.data("GET", f"/sources/{world.source.id}/connected-destinations")["destinations"]
    assert listed["id"] == on["id"]
    body = {"sourceId": world.source.id, "destinationId": on["id"]}
    copy = world.data("POST", "/x/spaces/main/destinations/import", body)["destination"]
    assert (copy["importedFrom"], copy["sourceId"], copy["settings"]) == (on["id"], world.space.id, on["settings"])
    assert world.ask("POST", "/x/spaces/main/destinations/import", body).status_code == 409
    assert world.ask("POST", "/x/spaces/other/destinations/import", body).status_code == 422
    assert ("import", "destination main/collector") in world.audited()


# ---- connections


def test_connecting_owes_a_backfill_and_starts_nothing(world: World) -> None:
    audience, to, made = world.connected()
    assert made["idSyncConfiguration"] == []
    (told,) = world.data("GET", world.connections(audience))["connections"]
    assert (told["id"], told["destinationId"], told["enabled"], told["performResync"]) == (made["connection"]["id"], to["id"], True, True)
    assert (told["status"], told["syncStatus"], told["metadata"]["slug"]) == ("Connected", "Waiting", "webhook")
    with world.registry.database.read() as c:
        assert list(c.exec_driver_sql("SELECT kind, state, started_at FROM sync_request")) == [("backfill", "owed", None)]


def test_identifiers_and_calls_are_said_when_connecting_and_read_back(world: World) -> None:
    audience, to = world.audience(), world.destination()
    rules = [{"externalId": "user_id", "strategy": "last", "mapTo": "contact"}]
    body = {
        "destination": {"id": to["key"], "type": "destination"},
        "idSyncConfiguration": rules,
        "connectionSettings": {"calls": ["identify", "track"], "backfill": False},
    }
    made = world.data("POST", world.connections(audience), body)
    assert (made["idSyncConfiguration"], made["requestId"]) == (rules, None)
    assert made["connectionSettings"] == {
        "calls": ["identify", "track"],
        "backfill": False,
        "listSettings": {},
        "onDisconnect": "keep",
        "traits": [],
    }
    assert world.ask("POST", world.connections(audience), body).status_code == 409
    changed = world.data(
        "PATCH", f"{world.connections(audience)}/{to['id']}", {"idSyncConfiguration": [{"externalId": "user_id", "strategy": "all"}]}
    )
    assert changed["destination"] == {"id": to["id"]}
    assert changed["idSyncConfiguration"] == [{"externalId": "user_id", "strategy": "all"}]


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        pytest.param({"destination": {"id": "dst_none", "type": "destination"}}, 404, "destination.id", id="unknown destination"),
        pytest.param({"destination": {"id": "hook", "type": "warehouse"}}, 422, "destination.type", id="a warehouse"),
        pytest.param({"destination": {"id": "hook", "type": "shop"}}, 422, "destination.type", id="unknown kind"),
        pytest.param(
            {"idSyncConfiguration": [{"externalId": "shoe", "strategy": "all"}]}, 422, "idSyncConfiguration", id="unknown identifier"
        ),
        pytest.param({"idSyncConfiguration": [{"externalId": "a:b", "strategy": "all"}]}, 422, "idSyncConfiguration.0", id="a colon"),
        pytest.param(
            {"idSyncConfiguration": [{"externalId": "user_id", "strategy": "any"}]}, 422, "idSyncConfiguration.0.strategy", id="strategy"
        ),
        pytest.param(
            {"idSyncConfiguration": [{"externalId": "user_id", "strategy": "all"}] * 6}, 422, "idSyncConfiguration", id="six rules"
        ),
        pytest.param({"connectionSettings": {"calls": ["group"]}}, 422, "connectionSettings.calls", id="a call of accounts"),
        pytest.param({"connectionSettings": {"calls": ["page"]}}, 422, "connectionSettings.calls.0", id="unknown call"),
        pytest.param({"connectionSettings": {"traits": ["plan"]}}, 422, "connectionSettings.traits.0", id="a trait that is a text"),
        pytest.param(
            {"connectionSettings": {"traits": [{"name": "a:b"}]}}, 422, "connectionSettings.traits.0.name", id="a trait with a colon"
        ),
        pytest.param(
            {"connectionSettings": {"traits": [{"name": "a\0b", "mapTo": "x"}]}},
            422,
            "connectionSettings.traits.0.name",
            id="a trait with NUL",
        ),
        pytest.param(
            {"connectionSettings": {"traits": [{"name": "plan", "mapTo": "1st"}]}},
            422,
            "connectionSettings.traits",
            id="no name for a trait",
        ),
        pytest.param(
            {"connectionSettings": {"traits": [{"name": "plan"}] * 26}}, 422, "connectionSettings.traits", id="more traits than ride along"
        ),
        pytest.param({"connectionSettings": {"speed": 1}}, 422, "connectionSettings.speed", id="unknown setting"),
    ],
)
def test_each_field_of_a_connection_is_refused_by_name(world: World, change: dict[str, Any], status: int, field: str) -> None:
    audience = world.audience()
    world.destination()
    body = {"destination": {"id": "hook", "type": "destination"}, **change}
    answer = world.ask("POST", world.connections(audience), body)
    assert answer.status_code == status, answer.text
    assert answer.json()["errors"][0]["field"] == field
    assert world.data("GET", world.connections(audience))["connections"] == []


def test_pausing_keeps_the_set_up_and_resuming_owes_the_difference(world: World) -> None:
    audience, _to, made = world.connected()
    path = f"{world.connections(audience)}/{made['connection']['id']}"
    assert world.data("PATCH", path, {"enabled": False})["state"] == "paused"
    assert world.data("GET", world.connections(audience))["connections"][0]["status"] == "Disconnected"
    refused = world.ask("POST", f"/x{path}/sync")
    assert refused.status_code == 409
    assert world.data("PATCH", path, {"enabled": True})["state"] == "active"
    verbs = [verb for verb, what in world.audited() if what == "connection main/active_users -> hook"]
    assert verbs == ["connect", "pause", "resume"]


def test_a_connection_with_activations_is_not_removed_by_the_way(world: World) -> None:
    audience, to, _made = world.connected()
    path = f"{world.connections(audience)}/{to['id']}"
    refused = world.ask("DELETE", path)
    assert refused.status_code == 409
    assert world.ask("DELETE", f"{path}?removeActivations=perhaps").status_code == 422
    assert world.data("DELETE", f"{path}?removeActivations=true") == {"status": "SUCCESS", "state": "gone"}
    assert world.data("GET", world.connections(audience))["connections"] == []


def test_a_connection_whose_activations_are_gone_is_removed(world: World) -> None:
    audience, to, _made = world.connected()
    activations = f"/spaces/main/audiences/{audience['id']}/activations"
    for one in world.data("GET", activations)["activations"]:
        assert world.data("DELETE", f"{activations}/{one['id']}") == {"status": "SUCCESS"}
    assert world.data("GET", world.connections(audience))["connections"][0]["status"] == "Awaiting mapping"
    assert world.data("DELETE", f"{world.connections(audience)}/{to['id']}") == {"status": "SUCCESS", "state": "gone"}


@pytest.mark.parametrize("kind", ["sync", "backfill", "resync"])
def test_a_sync_is_asked_for_by_its_own_path(world: World, kind: str) -> None:
    audience, _to, made = world.connected()
    told = world.data("POST", f"/x{world.connections(audience)}/{made['connection']['id']}/{kind}")["request"]
    assert (told["kind"], told["state"]) == (kind, "owed")
    assert (kind, "connection main/active_users -> hook") in world.audited()


def test_what_supports_an_audience_is_an_object_by_destination(world: World) -> None:
    to = world.destination()
    told = world.data("GET", "/spaces/main/audienceType/USERS/supported-destinations")["destinations"]
    assert told[to["id"]]["calls"] == ["identify", "track"]
    accounts = world.data("GET", "/spaces/main/audienceType/ACCOUNTS/supported-destinations")["destinations"]
    assert accounts[to["id"]]["calls"] == ["group", "identify", "track"]
    assert world.data("GET", "/spaces/main/audienceType/USERS/supported-destinations?slug=braze")["destinations"] == {}
    assert world.ask("GET", "/spaces/main/audienceType/LINKED/supported-destinations").status_code == 404


# ---- activations and subscriptions


@pytest.mark.parametrize("kind", ["Audience Entered", "Audience Exited", "Audience Membership Changed"])
@pytest.mark.parametrize("calls", [["identify"], ["identify", "track"]], ids=["identify", "identify and track"])
def test_an_activation_reads_back_as_it_was_made(world: World, kind: str, calls: list[str]) -> None:
    audience, to = world.audience(), world.destination()
    body = {"destination": {"id": to["id"], "type": "destination"}, "connectionSettings": {"calls": calls}}
    made = world.data("POST", world.connections(audience), body)
    path = f"{world.connections(audience)}/{made['connection']['id']}/activations"
    fields = {"who": {"@path": "$.userId"}}
    said = {
        "performResync": False,
        "activationType": kind,
        "activationName": "Mine",
        "destinationMapping": {"actionId": "send", "settings": fields},
    }
    told = world.data("POST", path, said)["activation"]
    assert (told["activationType"], told["activationName"], told["enabled"]) == (kind, "Mine", False)
    assert told["destinationMapping"] == {"actionId": "send", "settings": fields}
    one = f"/spaces/main/audiences/{audience['id']}/activations/{told['id']}"
    assert world.data("GET", one)["activation"] == told
    assert world.data("PATCH", one, {"enabled": True, "performResync": True})["activation"]["enabled"] is True
    with world.registry.database.read() as c:
        assert "resync" in set(c.exec_driver_sql("SELECT kind FROM sync_request").scalars())
    assert (
        world.ask("PATCH", one, {"destinationMapping": {"actionId": "other"}}).json()["errors"][0]["field"] == "destinationMapping.actionId"
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"performResync": None}, "performResync", id="resync not said"),
        pytest.param({"activationType": "Entity Added"}, "activationType", id="a type of linked audiences"),
        pytest.param({"activationName": ""}, "activationName", id="no name"),
        pytest.param({"destinationMapping": {"actionId": "nothing"}}, "destinationMapping.actionId", id="unknown action"),
        pytest.param(
            {"destinationMapping": {"actionId": "send", "settings": {"a": {"@nothing": 1}}}}, "destinationMapping.settings", id="fields"
        ),
        pytest.param(
            {"personalization": {"profile": {"properties": ["email"]}}}, "personalization.profile.properties", id="personalization"
        ),
    ],
)
def test_each_field_of_an_activation_is_refused_by_name(world: World, change: dict[str, Any], field: str) -> None:
    audience, _to, made = world.connected()
    body = {"performResync": False, "activationType": "Audience Entered", "activationName": "Mine", **change}
    path = f"{world.connections(audience)}/{made['connection']['id']}/activations"
    answer = world.ask("POST", path, {name: value for name, value in body.items() if value is not None})
    assert answer.status_code in {404, 422}, answer.text
    assert answer.json()["errors"][0]["field"] == field


def test_a_subscription_keeps_its_trigger_and_action_to_the_byte(world: World) -> None:
    to = world.destination()
    path = f"/destinations/{to['id']}/subscriptions"
    said = {"name": "Mine", "actionId": "send", "trigger": "type = 'identify'  and traits.vip=true", "enabled": False}
    told = world.data("POST", path, said)["destinationSubscription"]
    assert {name: told[name] for name in said} == said
    one = f"{path}/{told['id']}"
    changed = world.data("PATCH", one, {"input": {"enabled": True, "settings": {"a": "b"}, "reverseETLSchedule": None}})["subscription"]
    assert (changed["enabled"], changed["settings"], changed["trigger"]) == (True, {"a": "b"}, said["trigger"])
    assert world.data("GET", one)["subscription"] == changed
    assert world.data("DELETE", one) == {"status": "SUCCESS"}
    assert world.ask("GET", one).status_code == 404
    assert [verb for verb, what in world.audited() if what == "mapping hook/Mine"] == ["create", "update", "enable", "remove"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"trigger": "type ="}, "trigger", id="no trigger"),
        pytest.param({"trigger": "x" * 5_001}, "trigger", id="trigger too long"),
        pytest.param({"actionId": "nothing"}, "actionId", id="unknown action"),
        pytest.param({"enabled": None}, "enabled", id="enabled missing"),
        pytest.param({"settings": {"a": {"@path": 1}}}, "settings", id="fields that are none"),
        pytest.param({"modelId": "model"}, "modelId", id="a model"),
    ],
)
def test_each_field_of_a_subscription_is_refused_by_name(world: World, change: dict[str, Any], field: str) -> None:
    to = world.destination()
    body = {"name": "Mine", "actionId": "send", "trigger": 'type = "identify"', "enabled": True, **change}
    answer = world.ask(
        "POST", f"/destinations/{to['id']}/subscriptions", {name: value for name, value in body.items() if value is not None}
    )
    assert answer.status_code in {404, 422}, answer.text
    assert answer.json()["errors"][0]["field"] == field


def test_an_address_that_is_changed_asks_for_the_secrets_again(world: World) -> None:
    made = world.destination()
    path = f"/destinations/{made['id']}"

    moved = world.ask("PATCH", path, {"settings": {"url": "https://elsewhere.example/hook"}})

    (error,) = moved.json()["errors"]
    assert (moved.status_code, error["field"]) == (422, "settings")
    assert "signing_secret would be sent there" in error["message"]
    both = {"url": "https://elsewhere.example/hook", "signing_secret": SECRET}
    assert world.data("PATCH", path, {"settings": both})["destination"]["settings"]["url"] == both["url"]


def test_a_subscription_cannot_take_the_name_of_another(world: World) -> None:
    to = world.destination()
    path = f"/destinations/{to['id']}/subscriptions"
    body = {"actionId": "send", "trigger": 'type = "track"', "enabled": False}
    one, _other = (world.data("POST", path, {**body, "name": name})["destinationSubscription"] for name in ("One", "Other"))

    refused = world.ask("PATCH", f"{path}/{one['id']}", {"input": {"name": "Other"}})

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (409, "input.name")
