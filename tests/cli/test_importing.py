"""`engage import segment`: what comes over, what differs, what is not there."""

import json
from pathlib import Path
from typing import Any

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
BUCKET = {"id": "d4", "name": "Bucket", "metadata": {"slug": "actions-s3"}, "settings": {"s3_aws_bucket_name": "ours"}}


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


def test_what_people_have_to_carry_over_themselves_is_told_with_the_way(capsys: pytest.CaptureFixture[str]):
    found = {one["name"]: one for one in json.loads(_run({"destinations": [HUBSPOT, BUCKET]}, capsys, "--output", "json"))}
    assert any("hubspot_lists" in told for told in found["hubspot: Objects on a list"]["differs"])
    assert found["Bucket"]["taken_as"] is None
    assert "a destination of type s3 with keys of your own" in found["Bucket"]["reason"]
