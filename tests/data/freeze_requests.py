"""Freezes the oracle's requests for one destination type: inputs of our own making, the oracle's answers beside them.

    python tests/data/freeze_requests.py braze --oracle FOLDER_WITH_ORACLE_JS

`tests/data/destinations/<type>.inputs.json` says what to ask:

    {"destination": "braze", "settings": {...}, "auth": {...},
     "actions": [{"action": "updateUserProfile", "calls": ["identify"], "mapping": {...}, "responses": [...], "computation": {...}}],
     "more": [{"name": "creates the list", "op": "createAudience", ...}]}

Each action is asked about every one of `people()` alone (or those of `"single": [...]`), and about all of them as a batch, with the default
mapping and what `mapping` adds; `"batch": false` leaves the batch out. `more` are whole lines, to which destination and settings are added.
"""

import argparse
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "destinations"
NOW = "2026-03-01T10:00:05.000Z"
KEY = "big_spenders"
KEPT_HEADERS = ("authorization", "content-type")


def event(call: str, person: dict[str, Any], *, entered: bool, personas: dict[str, Any]) -> dict[str, Any]:
    """One call about one membership, as Segment Engage sends it."""
    made: dict[str, Any] = {
        "type": call,
        "messageId": f"personas_1:{person.get('userId', 'x')}:i0",
        "timestamp": "2026-03-01T10:00:00.000Z",
        "originalTimestamp": "2026-03-01T10:00:00.000Z",
        "sentAt": "2026-03-01T10:00:04.000Z",
        "receivedAt": "2026-03-01T10:00:04.000Z",
        "context": {"personas": {"computation_class": "audience", "computation_id": "aud_1", "computation_key": KEY, **personas}},
        **{name: person[name] for name in ("userId", "anonymousId", "groupId") if name in person},
    }
    traits = person.get("traits", {})
    if call == "track":
        made["event"] = "Audience Entered" if entered else "Audience Exited"
        made["properties"] = {"audience_key": KEY, KEY: entered, **traits}
        made["context"]["traits"] = traits
    else:
        made["traits"] = {**traits, KEY: entered}
    return made


def people() -> dict[str, dict[str, Any]]:
    """Who the cases are about, by what is special about them."""
    return {
        "with an e-mail": {"userId": "u-1", "traits": {"email": "ana@example.test"}},
        "without an e-mail": {"userId": "u-2"},
        "anonymous": {"anonymousId": "a-3", "traits": {"email": "cleo@example.test"}},
        "not ASCII": {"userId": "Zoë-日本", "traits": {"email": "zoë@example.test", "city": "Köln"}},
        "with traits": {
            "userId": "u-5",
            "traits": {
                "email": "Eve@Example.test",
                "firstName": "Eve",
                "lastName": "Muñoz",
                "phone": "+14155550105",
                "visits": 12,
                "score": 0.5,
                "vip": True,
                "gone": None,
                "empty": "",
                "tags": ["a", "b"],
                "address": {"city": "Oslo", "country": "NO", "postalCode": "0150"},
            },
        },
        "an account": {"userId": "u-6", "groupId": "acct-6", "traits": {"name": "Sechs GmbH", "email": "six@example.test"}},
    }


def lines(inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The lines for the oracle, each with a name."""
    shared = {key: inputs[key] for key in ("destination", "settings", "auth", "responses") if key in inputs}
    for spec in inputs.get("actions", []):
        name, personas = spec["action"], {**inputs.get("personas", {}), **spec.get("personas", {})}
        given = {
            "action": name,
            "mapping": spec.get("mapping", {}),
            "useDefaultMappings": spec.get("useDefaultMappings", True),
            "now": NOW,
            "seed": 7,
        }
        given |= {key: spec[key] for key in ("responses", "features") if key in spec}
        chosen = {who: person for who, person in people().items() if who in spec.get("people", people())}
        for call in spec.get("calls", ["identify"]):
            for entered in spec.get("entered", (True, False)):
                events = {who: event(call, person, entered=entered, personas=personas) for who, person in chosen.items()}
                word = "entered" if entered else "exited"
                if spec.get("single", True):
                    for who, one in events.items():
                        yield {"name": f"{name}, {call}, {who}, {word}", **shared, **given, "event": one}
                if spec.get("batch", True):
                    yield {"name": f"{name}, {call}, a batch, {word}", **shared, **given, "events": list(events.values())}
    for line in inputs.get("more", []):
        yield {"now": NOW, "seed": 7, **shared, **line}


def frozen(answer: dict[str, Any]) -> dict[str, Any]:
    """What is kept of the oracle's answer."""
    requests = [
        {
            **{key: request[key] for key in ("method", "url", "body") if key in request},
            "headers": {name: value for name, value in request["headers"].items() if name in KEPT_HEADERS},
        }
        for request in answer.get("requests", [])
    ]
    kept: dict[str, Any] = {"requests": requests}
    if "error" in answer:
        kept["error"] = {key: answer["error"].get(key) for key in ("name", "message")}
    return kept | ({"audience": answer["audience"]} if "audience" in answer else {})


def main() -> None:
    """Writes `<type>.jsonl`."""
    parser = argparse.ArgumentParser(description="Freezes the oracle's requests for one destination type.")
    parser.add_argument("type")
    parser.add_argument("--oracle", type=Path, required=True)
    options = parser.parse_args()
    asked = list(lines(json.loads((FOLDER / f"{options.type}.inputs.json").read_text())))
    given = "".join(json.dumps(line) + "\n" for line in asked)
    done = subprocess.run(["node", "oracle.js"], input=given, cwd=options.oracle, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    cases = [
        {"name": line["name"], "in": {key: value for key, value in line.items() if key != "name"}, "out": frozen(answer)}
        for line, answer in zip(asked, answers, strict=True)
    ]
    text = "".join(json.dumps(case, ensure_ascii=False, sort_keys=True) + "\n" for case in cases)
    (FOLDER / f"{options.type}.jsonl").write_text(text)
    failed = sum("error" in case["out"] for case in cases)
    print(f"{len(cases)} cases, {failed} of them errors, {sum(len(case['out']['requests']) for case in cases)} requests")


if __name__ == "__main__":
    main()
