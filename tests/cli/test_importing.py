"""`engage import segment`: what comes over, what differs, what is not there."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from engage_pipelines.cli.app import run

BRAZE = {
    "id": "d1",
    "name": "Braze (prod)",
    "enabled": True,
    "metadata": {"slug": "actions-braze-cloud"},
    "settings": {"api_key": "m4rked", "app_id": "app", "endpoint": "https://rest.iad-01.braze.com"},
}
ODD = 'type = "track" and event = "A" or event = "B"'
SUBSCRIPTIONS = [
    {
        "id": "s1",
        "name": "Update",
        "actionSlug": "updateUserProfile",
        "destinationId": "d1",
        "enabled": True,
        "trigger": 'type = "identify"',
        "settings": {"external_id": {"@path": "$.userId"}, "enable_batching": True, "made_up": 1},
    },
    {"id": "s2", "name": "Odd", "actionSlug": "updateUserProfile", "destinationId": "d1", "enabled": False, "trigger": ODD},
    {"id": "s3", "name": "Unknown", "actionSlug": "mergeUsers", "destinationId": "d1", "trigger": 'type = "alias"'},
    {"id": "s4", "name": "Broken", "actionSlug": "updateUserProfile", "destinationId": "d1", "trigger": "type = "},
]
OTHER = {"id": "d2", "name": "Nobody knows", "metadata": {"slug": "no-such-thing"}, "settings": {}}


HUBSPOT = {
    "id": "d3",
    "name": "HubSpot",
    "metadata": {"slug": "actions-hubspot-cloud"},
    "settings": {"portalId": "1"},
    "subscriptions": [
        {
            "id": "s5",
            "name": "Objects on a list",
            "actionSlug": "upsertObject",
            "trigger": 'type = "identify"',
            "settings": {
                "object_details": {"object_type": "contact", "id_field_name": "email", "id_field_value": {"@path": "$.traits.email"}},
                "list_details": {"connected_to_engage_audience": True},
            },
        }
    ],
}
BUCKET = {
    "id": "d4",
    "name": "Bucket",
    "metadata": {"slug": "actions-s3"},
    "settings": {
        "s3_aws_bucket_name": "ours",
        "s3_aws_region": "eu-west-1",
        "iam_role_arn": "arn:aws:iam::1:role/x",
        "iam_external_id": "m4rked",
    },
    "subscriptions": [
        {
            "id": "s6",
            "name": "Rows",
            "actionSlug": "syncToS3",
            "trigger": 'type = "identify"',
            "settings": {
                "columns": {"who": {"@path": "$.userId"}, "address": {"@path": "$.traits.address"}},
                "s3_aws_folder_name": "daily/",
                "filename_prefix": "from-segment-",
                "delimiter": "|",
                "file_extension": "txt",
                "audience_action_column_name": "audience_action",
            },
        }
    ],
}
AUDIENCE_BUCKET = {
    "id": "d5",
    "name": "Audience rows",
    "metadata": {"slug": "aws-s3"},
    "settings": {"s3_aws_bucket_name": "ours"},
    "subscriptions": [
        {
            "id": "s7",
            "name": "CSV",
            "actionSlug": "syncAudienceToCSV",
            "trigger": 'type = "identify"',
            "settings": {
                "columns": {
                    "audience_name": "Audience",
                    "email": "E-mail",
                    "message_id": "message_id",
                    "audience_action": "audience_action",
                },
                "audienceName": {"@path": "$.context.personas.computation_key"},
                "email": {"@path": "$.traits.email"},
                "messageId": {"@path": "$.messageId"},
                "additional_identifiers_and_traits_columns": {"plan": "Plan"},
            },
        }
    ],
}
HOOK = {
    "id": "d6",
    "name": "Hook",
    "metadata": {"slug": "actions-webhook"},
    "settings": {"sharedSecret": "m4rked"},
    "subscriptions": [
        {
            "id": "s8",
            "name": "Post it",
            "actionSlug": "send",
            "trigger": 'type = "identify"',
            "settings": {"url": "https://hook.example/in", "method": "PUT", "headers": {"x": "y"}, "data": {"who": {"@path": "$.userId"}}},
        }
    ],
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ENGAGE_DATABASE_URL", "ENGAGE_SPACE", "ENGAGE_FILES_DIR", "ENGAGE_KEYS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(content: Any, capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    Path("export.json").write_text(content if isinstance(content, str) else json.dumps(content))
    assert run(["import", "segment", "export.json", *words]) == code
    said = capsys.readouterr()
    return said.err if code else said.out


def test_report_says_what_came_over_what_differs_and_what_is_not_supported(capsys: pytest.CaptureFixture[str]):
    answers = [{"data": {"destinations": [BRAZE, OTHER]}}, {"data": {"subscriptions": SUBSCRIPTIONS}}]
    found = {one["name"]: one for one in json.loads(_run(answers, capsys, "--output", "json"))}
    assert found["Braze (prod)"]["taken_as"] == "braze_prod"
    assert found["Braze (prod)"]["variables"] == {"BRAZE_PROD_API_KEY": "api_key"}
    assert found["braze_prod: Update"]["differs"] == [
        "fields that the action has not: made_up",
        "it is switched on at Segment, and off here until you enable it",
    ]
    assert "lets the last one decide" in found["braze_prod: Odd"]["differs"][0]
    assert "mergeUsers" in found["braze_prod: Unknown"]["reason"]
    assert "line 1, column" in found["braze_prod: Broken"]["reason"]
    assert found["Nobody knows"]["reason"] == "there is no destination type for Segment's 'no-such-thing'"


def test_mappings_come_switched_off_and_secrets_by_reference(home: Path, capsys: pytest.CaptureFixture[str]):
    said = _run({"destinations": [{**BRAZE, "subscriptions": SUBSCRIPTIONS}]}, capsys)
    assert "BRAZE_PROD_API_KEY  (api_key)" in said
    assert "3 of 5 came over." in said
    assert run(["mapping", "list", "braze_prod", "--output", "json"]) == 0
    assert {(row["name"], row["enabled"]) for row in json.loads(capsys.readouterr().out)} == {("Update", False), ("Odd", False)}
    assert run(["secrets", "list", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["kept"] == "env:BRAZE_PROD_API_KEY"
    assert not any(b"m4rked" in file.read_bytes() for file in (home / "home").rglob("*") if file.is_file())


def test_second_of_a_type_is_not_taken_and_a_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str]):
    twice = {"destinations": [BRAZE, {**BRAZE, "id": "d3", "name": "Second"}]}
    said = _run(twice, capsys, "--dry-run")
    assert "not taken  destination Second: Space 'default' has a destination of type 'braze' already: 'braze_prod'" in said
    assert "1 of 2 would come over, nothing was written." in said
    assert run(["space", "list", "--output", "json"]) == 0
    assert capsys.readouterr().out == "[]\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("{", "is not JSON", id="no JSON"),
        pytest.param("[" * 100_000, "is not JSON", id="nested too deep"),
        pytest.param([], "holds no destinations", id="an empty list"),
        pytest.param({"data": {"destinations": "x"}}, "holds no destinations", id="a text in place of a list"),
    ],
)
def test_file_that_is_no_export_is_refused(content: Any, words: str, capsys: pytest.CaptureFixture[str]):
    assert words in _run(content, capsys, code=1)


def test_settings_of_the_wrong_type_are_told_and_the_others_come_over(capsys: pytest.CaptureFixture[str]):
    wrong = {"destinations": [{**BRAZE, "settings": {"api_key": 5, "endpoint": ["x"]}}, {**BRAZE, "name": "Good"}]}
    found = json.loads(_run(wrong, capsys, "--output", "json"))
    assert [(one["name"], one["supported"]) for one in found] == [("Braze (prod)", False), ("Good", True)]


def _shown(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    assert run([*words, "--output", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_lists_that_are_a_part_of_an_action_become_a_destination_of_their_own(capsys: pytest.CaptureFixture[str]):
    given = {"object_type": "2-1", "id_field_name": "email", "id_field_value": {"@path": "$.traits.email"}}
    objects = {
        "id": "s9",
        "name": "Objects",
        "actionSlug": "upsertObject",
        "trigger": 'type = "identify"',
        "settings": {"object_details": given},
    }
    listed = {
        **cast("list[dict[str, Any]]", HUBSPOT["subscriptions"])[0],
        "settings": {"object_details": given, "list_details": {"connected_to_engage_audience": True}},
    }
    found = {one["name"]: one for one in _imported([{**HUBSPOT, "subscriptions": [objects, listed]}], capsys)}
    assert [name for name, one in found.items() if one["taken_as"]] == [
        "HubSpot",
        "hubspot: Objects",
        "HubSpot (HubSpot lists)",
        "hubspot_hubspot_lists: Objects on a list",
    ]
    assert "connect the audience with --list-setting object_type=2-1" in found["hubspot_hubspot_lists: Objects on a list"]["differs"]
    (mapping,) = _shown(capsys, "mapping", "list", "hubspot_hubspot_lists")
    assert _shown(capsys, "mapping", "show", "hubspot_hubspot_lists", mapping["name"])["fields"] == {
        "id_field_value": given["id_field_value"]
    }


def test_buckets_come_over_with_keys_to_be_given_and_the_columns_as_they_were(capsys: pytest.CaptureFixture[str]):
    found = {one["name"]: one for one in _imported([BUCKET], capsys)}
    assert found["Bucket"]["variables"] == {"BUCKET_ACCESS_KEY_ID": "access_key_id", "BUCKET_SECRET_ACCESS_KEY": "secret_access_key"}
    assert found["Bucket"]["differs"] == ["settings that mean nothing here: iam_external_id, iam_role_arn"]
    assert "cells are told apart by commas" in found["bucket: Rows"]["differs"]
    settings = _shown(capsys, "destination", "show", "bucket")["settings"]
    assert {name: settings[name] for name in ("bucket", "region", "path", "changes")} == {
        "bucket": "ours",
        "region": "eu-west-1",
        "path": "daily/from-segment-{audience}.txt",
        "changes": True,
    }
    assert _shown(capsys, "mapping", "show", "bucket", "Rows")["fields"] == {"who": {"@path": "$.userId"}}


def test_columns_of_an_audience_keep_their_names(capsys: pytest.CaptureFixture[str]):
    _imported([AUDIENCE_BUCKET], capsys)
    assert _shown(capsys, "mapping", "show", "audience_rows", "CSV")["fields"] == {
        "Audience": {"@path": "$.context.personas.computation_key"},
        "E-mail": {"@path": "$.traits.email"},
        "Plan": {"@path": "$.traits['plan']"},
    }


def test_webhooks_come_over_with_the_address_of_their_subscription(capsys: pytest.CaptureFixture[str]):
    found = {one["name"]: one for one in _imported([HOOK], capsys)}
    assert found["Hook"]["variables"] == {"HOOK_SIGNING_SECRET": "signing_secret"}
    assert "requests are sent with POST, not PUT" in found["hook: Post it"]["differs"]
    assert _shown(capsys, "destination", "show", "hook")["settings"]["url"] == "https://hook.example/in"
    assert _shown(capsys, "mapping", "show", "hook", "Post it")["fields"] == {"who": {"@path": "$.userId"}}


def _imported(destinations: list[Any], capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(_run({"destinations": destinations}, capsys, "--output", "json"))
