"""What Segment's newer clients check in an answer: keys that must be there, their types, and objects that allow no other key.

The Python client (73.2) refuses a missing key, a wrong type and an unknown value of some enumerations, and takes further keys. The Go
client allows no further keys in objects that may be one of several: results of previews and configs of schedules.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from engage_pipelines.facts.ingest import ingest
from engage_pipelines.registry.tokens import Role
from tests.server.world import World

TEXT, FLAG, NUMBER, THING, LIST = str, bool, int, dict, list
PAGINATION = {"current": TEXT}
AUDIENCE = {
    "id": TEXT, "spaceId": TEXT, "name": TEXT, "key": TEXT, "enabled": FLAG, "definition": THING, "status": TEXT, "audienceType": TEXT,
    "computeCadence": THING, "createdBy": TEXT, "updatedBy": TEXT, "createdAt": TEXT, "updatedAt": TEXT, "options": THING, "size": THING,
}  # fmt: skip
METADATA = {
    "id": TEXT, "name": TEXT, "description": TEXT, "slug": TEXT, "logos": THING, "options": LIST, "status": TEXT, "previousNames": LIST,
    "categories": LIST, "website": TEXT, "components": LIST, "supportedFeatures": THING, "supportedMethods": THING,
    "supportedPlatforms": THING, "actions": LIST, "presets": LIST,
}  # fmt: skip
ACTION = {"id": TEXT, "slug": TEXT, "name": TEXT, "description": TEXT, "platform": TEXT, "hidden": FLAG, "fields": LIST}
DESTINATION = {"id": TEXT, "name": TEXT, "enabled": FLAG, "metadata": THING, "sourceId": TEXT, "settings": THING}
SUBSCRIPTION = {
    "id": TEXT, "name": TEXT, "actionId": TEXT, "actionSlug": TEXT, "destinationId": TEXT, "enabled": FLAG, "settings": THING,
    "trigger": TEXT,
}  # fmt: skip
CONNECTION = {
    "id": TEXT, "name": TEXT, "sourceId": TEXT, "enabled": FLAG, "createdAt": TEXT, "updatedAt": TEXT, "settings": THING,
    "destinationId": TEXT, "metadata": THING, "idSyncConfiguration": LIST,
}  # fmt: skip
ACTIVATION = {
    "id": TEXT, "enabled": FLAG, "workspaceId": TEXT, "spaceId": TEXT, "audienceId": TEXT, "connectionId": TEXT, "activationType": TEXT,
    "activationName": TEXT, "personalization": THING, "destinationMapping": THING, "performResync": FLAG,
}  # fmt: skip
SCHEDULE = {"id": TEXT, "strategy": TEXT, "enabled": FLAG, "nextExecution": TEXT}
EVENT = {"id": TEXT, "timestamp": TEXT, "type": TEXT, "actor": TEXT, "resourceId": TEXT, "resourceType": TEXT, "resourceName": TEXT}


def fits(value: Mapping[str, Any], shape: Mapping[str, type]) -> None:
    for name, kind in shape.items():
        assert name in value, f"{name} is missing"
        assert type(value[name]) is kind, f"{name} is {value[name]!r}"


def test_audiences_fit(world: World) -> None:
    made = world.audience()
    fits(made, AUDIENCE)
    assert made["computeCadence"]["type"] in {"BATCH", "REALTIME"}
    assert made["audienceType"] in {"USERS", "ACCOUNTS", "LINKED"}
    assert type(made["options"]["filterByExternalIds"]) is list
    assert made["size"]["type"] in {"USERS", "ACCOUNTS", "ENTITIES"}
    told = world.data("GET", "/spaces/main/audiences?include=schedules")
    fits(told["pagination"], PAGINATION)
    fits(told["audiences"][0], {**AUDIENCE, "schedules": LIST})


def test_the_catalogue_fits(world: World) -> None:
    for metadata in world.data("GET", "/catalog/destinations?pagination.count=1000")["destinationsCatalog"]:
        fits(metadata, METADATA)
        assert metadata["status"] == "PUBLIC"
        for action in metadata["actions"]:
            fits(action, ACTION)
            assert action["platform"] in {"CLOUD", "MOBILE", "WEB"}
            for field in action["fields"]:
                fits(
                    field,
                    {"id": TEXT, "sortOrder": NUMBER, "fieldKey": TEXT, "label": TEXT, "type": TEXT, "required": FLAG, "dynamic": FLAG},
                )
        for preset in metadata["presets"]:
            fits(preset, {"actionId": TEXT, "name": TEXT, "fields": THING, "trigger": TEXT})
        for option in metadata["options"]:
            fits(option, {"name": TEXT, "type": TEXT, "required": FLAG})


def test_destinations_and_what_hangs_on_them_fit(world: World) -> None:
    audience, to, made = world.connected()
    fits(to, DESTINATION)
    fits(made["connection"], {"id": TEXT})
    fits(world.data("GET", world.connections(audience))["connections"][0], CONNECTION)
    (activation,) = world.data("GET", f"/spaces/main/audiences/{audience['id']}/activations")["activations"]
    fits(activation, ACTIVATION)
    assert type(activation["personalization"]["profile"]["properties"]) is list
    fits(world.data("GET", f"/destinations/{to['id']}/subscriptions")["subscriptions"][0], SUBSCRIPTION)
    assert type(world.data("GET", "/spaces/main/audienceType/USERS/supported-destinations")["destinations"]) is dict
    summary = world.data("GET", f"/destinations/{to['id']}/delivery-metrics")["deliveryMetricsSummary"]
    fits(summary, {"sourceId": TEXT, "destinationMetadataId": TEXT, "metrics": LIST})
    fits(summary["metrics"][0], {"metricName": TEXT, "total": NUMBER})
    fits(world.data("GET", "/audit-events")["events"][0], EVENT)


def test_a_schedule_fits_and_its_config_has_no_other_key(world: World) -> None:
    world.audience()
    periodic = world.data("GET", "/spaces/main/audiences/active_users/schedules")["audienceSchedules"][0]
    fits(periodic, SCHEDULE)
    assert periodic["config"].keys() == {"interval"}
    said = {"strategy": "SPECIFIC_DAYS", "config": {"days": [1], "hours": [2]}}
    assert world.data("POST", "/spaces/main/audiences/active_users/schedules", said)["audienceSchedule"]["config"].keys() == {
        "days",
        "hours",
        "timezone",
    }


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        pytest.param("application/vnd.segment.v1+json, application/json", "application/vnd.segment.v1+json", id="Python"),
        pytest.param("application/vnd.segment.v1alpha+json, application/json", "application/vnd.segment.v1alpha+json", id="Python, alpha"),
        pytest.param("application/json", "application/json", id="Go and TypeScript"),
        pytest.param("*/*", "application/json", id="curl"),
        pytest.param("text/html", "application/json", id="a browser"),
    ],
)
def test_the_answer_comes_in_the_media_type_that_was_asked_for(world: World, accept: str, media: str) -> None:
    assert world.ask("GET", "/spaces", headers={"Accept": accept}).headers["content-type"] == media
    assert world.ask("GET", "/spaces/nothing", headers={"Accept": accept}).headers["content-type"] == media


@pytest.mark.parametrize("media", ["application/json", "application/vnd.segment.v1alpha+json", "application/json; charset=utf-8"])
def test_a_body_is_read_in_every_json_type(world: World, media: str) -> None:
    body = json.dumps({"name": "A", "audienceType": "USERS", "definition": {"query": "event('A').count() >= 1"}})
    assert world.ask("POST", "/spaces/main/audiences", content=body, headers={"Content-Type": media}).status_code == 200


@pytest.mark.parametrize(
    ("content", "status"),
    [
        pytest.param(b"", 400, id="nothing"),
        pytest.param(b"{", 400, id="half"),
        pytest.param(b"\xff\xfe", 400, id="no text"),
        pytest.param(b"[]", 422, id="a list"),
        pytest.param(b"null", 422, id="null"),
        pytest.param(b'{"name": NaN}', 400, id="NaN"),
        pytest.param(b'{"name": "a", "name": "b"}', 422, id="a field twice"),
        pytest.param(b'{"name": "a\\u0000"}', 422, id="a NUL"),
        pytest.param(b'{"name": "\\ud800"}', 422, id="half a character"),
        pytest.param(b'{"name": 1e999}', 422, id="beyond numbers"),
        pytest.param(b'{"name": ' + b"9" * 300 + b"}", 422, id="a huge number"),
        pytest.param(b'{"name": ' + b"9" * 5_000 + b"}", 400, id="a number too long to read"),
        pytest.param(b'{"a":' * 100 + b"1" + b"}" * 100, 422, id="deep"),
        pytest.param(b"[" * 200_000, 400, id="deeper than can be read"),
    ],
)
def test_a_body_that_cannot_be_used_is_refused(world: World, content: bytes, status: int) -> None:
    answer = world.ask("POST", "/spaces/main/audiences", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json()["errors"][0]["message"]


def test_a_form_is_no_body_of_the_api(world: World) -> None:
    assert world.ask("POST", "/spaces/main/audiences", data={"name": "A"}).status_code == 400


def test_unknown_paths_and_methods_are_told_in_the_same_shape(world: World) -> None:
    assert world.ask("GET", "/nothing").json()["errors"][0]["type"] == "not-found"
    assert world.ask("PUT", "/spaces").json()["errors"][0]["type"] == "method-not-allowed"


def test_a_preview_runs_and_shows_people_only_to_those_who_may_see_them(world: World) -> None:
    lines = [
        {"type": "identify", "userId": f"user-{n}", "messageId": f"m{n}", "timestamp": "2026-01-01T00:00:00Z", "traits": {"vip": n < 3}}
        for n in range(5)
    ]
    calls = world.settings.home / "calls.jsonl"
    calls.write_text("\n".join(json.dumps(line) for line in lines))
    ingest([str(calls)], facts_dir=world.settings.facts_dir, space="main", now_us=1_800_000_000_000_000)
    body = {"definition": {"query": "trait('vip') = true"}, "audienceType": "USERS"}
    asked = world.data("POST", "/spaces/main/audiences/previews", body)["audiencePreview"]
    assert asked.keys() == {"id"}
    told: dict[str, Any] = {"status": "RUNNING"}
    deadline = time.monotonic() + 60
    while told["status"] == "RUNNING" and time.monotonic() < deadline:
        time.sleep(0.05)
        told = world.data("GET", f"/spaces/main/audiences/previews/{asked['id']}")["audiencePreview"]
    assert (told["status"], told["size"]) == ("COMPLETED", {"count": 3, "type": "USERS"})
    assert sorted(one["id"] for one in told["results"]) == ["user-0", "user-1", "user-2"]
    assert all(one.keys() == {"id"} for one in told["results"])
    headers = {"Authorization": f"Bearer {world.token(Role.READER, members=False)}"}
    blind = world.data("GET", f"/spaces/main/audiences/previews/{asked['id']}", headers=headers)["audiencePreview"]
    assert (blind["results"], blind["size"]["count"]) == ([], 3)
    assert world.ask("GET", f"/spaces/other/audiences/previews/{asked['id']}").status_code == 404
    world.audience("Vips", definition={"query": "trait('vip') = true"})
    explained = world.data("GET", "/x/spaces/main/audiences/vips/explain?member=user-1")["explanation"]
    assert (explained["in"], explained["clause"]["outcome"]) == (True, True)


def test_a_person_is_left_out_and_let_in_and_no_log_names_them(world: World) -> None:
    body = {"kind": "user_id", "id": "user-42"}
    assert world.data("POST", "/x/spaces/main/profiles/suppress", body)["profile"] == {"suppressed": True, "new": True}
    assert world.data("POST", "/x/spaces/main/profiles/unsuppress", body)["profile"] == {"suppressed": False}
    assert world.ask("POST", "/x/spaces/main/profiles/unsuppress", body).status_code == 404
    assert "user-42" not in world.ask("GET", "/audit-events").text
