import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from engage_pipelines.testing.differences import Difference, Seen, compare
from engage_pipelines.testing.requests import answer

PERSONAS = {"computation_class": "audience", "computation_id": "aud_1", "computation_key": "big", "external_audience_id": "c1"}
SETTINGS = {"api_key": "k", "secret_key": "s", "app_id": "1", "default_owner_email": "o@x.test", "endpoint": "north_america"}


def identify(user: str, *, entered: bool = True) -> dict[str, Any]:
    return {"type": "identify", "userId": user, "traits": {"big": entered}, "context": {"personas": PERSONAS}}


def line(**more: Any) -> dict[str, Any]:
    shared = {"id": 1, "destination": "amplitude-cohorts", "action": "syncAudience", "settings": SETTINGS, "useDefaultMappings": True}
    return {**shared, **more}


def test_a_line_is_answered_with_the_requests_on_the_wire() -> None:
    got = answer(line(event=identify("u")))
    assert got == {
        "id": 1,
        "requests": [
            {
                "method": "POST",
                "url": "https://amplitude.com/api/3/cohorts/membership",
                "headers": {"content-type": "application/json", "authorization": "Basic azpz"},
                "body": '{"cohort_id":"c1","skip_invalid_ids":true,"memberships":[{"ids":["u"],"id_type":"BY_NAME","operation":"ADD"}]}',
            }
        ],
    }


def test_entries_and_exits_of_a_batch_are_told_apart_by_what_they_state() -> None:
    got = answer(line(events=[identify("in"), identify("out", entered=False)]))
    changes = [json.loads(request["body"])["memberships"][0] for request in got["requests"]]
    assert [(change["operation"], change["ids"]) for change in changes] == [("ADD", ["in"]), ("REMOVE", ["out"])]


def test_canned_replies_are_used_up_in_order_and_refusals_told_by_index() -> None:
    skipped = {"match": "membership", "body": {"memberships_result": [{"skipped_ids": ["u"]}]}, "times": 1}
    got = answer(line(events=[{"type": "identify", "traits": {}}, identify("u")], responses=[skipped]))
    assert got["refused"] == {"0": "a cohort needs a user_id or an amplitude_id", "1": "Amplitude does not know this person"}


def test_a_list_is_made_by_the_same_conversation() -> None:
    audience = {"audienceName": "Big", "personas": PERSONAS, "audienceSettings": {"user_id": "seed"}}
    responses = [{"match": "upload", "body": {"cohortId": "c9"}}]
    got = answer(line(op="createAudience", audience=audience, responses=responses))
    assert got["audience"] == {"externalId": "c9"}
    assert len(got["requests"]) == 2


def test_credentials_are_tried() -> None:
    assert answer(line(op="testAuthentication", responses=[{"match": "", "status": 401}]))["verdict"] == "Stop"


def test_what_cannot_be_answered_is_said() -> None:
    assert "no type of ours" in answer(line(destination="nobody"))["error"]["message"]
    assert "'event'" in answer(line())["error"]["message"]
    assert "no type of ours" in answer(line(op="getAudience", destination="nobody"))["error"]["message"]


def test_lines_come_and_go_as_text() -> None:
    given = json.dumps(line(event=identify("Zoë-日本"))) + "\n\n"
    command = [sys.executable, "-m", "engage_pipelines.testing.requests"]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True)
    assert "Zoë-日本" in json.loads(done.stdout)["requests"][0]["body"]


def test_a_comparison_tells_what_differs_and_which_differences_were_of_use(tmp_path: Path) -> None:
    asked = line(event=identify("u"))
    requests = answer(asked)["requests"]
    other = [{**requests[0], "url": requests[0]["url"] + "?x=1"}]
    cases = [{"name": "same", "in": asked, "out": {"requests": requests}}, {"name": "other", "in": asked, "out": {"requests": other}}]
    path = tmp_path / "cases.jsonl"
    path.write_text("".join(json.dumps(case) + "\n" for case in cases))

    def without_query(_: Any, seen: list[Seen]) -> list[Seen]:
        return [{**one, "query": []} for one in seen]

    plain = compare(path)
    assert list(plain.mismatches) == ["other"]
    mended = compare(path, (Difference("we send no x", without_query), Difference("stale", lambda _, seen: seen)))
    assert mended.mismatches == {}
    assert mended.used == {"we send no x"}
