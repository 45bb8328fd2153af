"""Freezes the oracle's requests for one destination type: inputs of our own making, the oracle's answers beside them.

    python tests/data/freeze_requests.py braze --oracle FOLDER_WITH_ORACLE_JS

`tests/data/destinations/<type>.inputs.json` says what to ask:

    {"destination": "braze", "settings": {...}, "auth": {...},
     "actions": [{"action": "updateUserProfile", "calls": ["identify"], "mapping": {...}, "responses": [...], "computation": {...}}],
     "more": [{"name": "creates the list", "op": "createAudience", ...}]}

`"random": {"count": 40, "seed": 7}` asks about as many random people too, alone and as batches, each of the actions in turn.

Each action is asked about every one of `people()` alone (or those of `"single": [...]`), and about all of them as a batch, with the default
mapping and what `mapping` adds; `"batch": false` leaves the batch out. `more` are whole lines, to which destination and settings are added.
"""

import argparse
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
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


def lines(inputs: dict[str, Any], known: dict[str, dict[str, Any]] | None = None) -> Iterator[dict[str, Any]]:
    """The lines for the oracle, each with a name; about `known`, or the people above."""
    everybody = known or people()
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
        chosen = {who: person for who, person in everybody.items() if who in spec.get("people", everybody)}
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
    if inputs.get("random"):
        yield from random_lines(inputs)


_NAMES = ["Ana", "Zoë", "José María", "李", "O'Brien", '"Q"', "a&b=c", "x+y", "  spaced ", "%41", "a,b;c"]
_VALUES = [1, 0, -5, 0.5, 12345678901, True, False, None, "", "x", "Köln", "true", "12", ["a", "b"], [], {"a": 1}, "2026-01-02"]
_OF_PEOPLE: dict[str, list[Any]] = {
    **dict.fromkeys(("firstName", "lastName", "first_name", "last_name", "name", "username"), _NAMES),
    "phone": ["+14155550105", "+442071838750", "+4915112345678"],
    "company": ["ACME", {"name": "Acme"}],
    "title": ["CEO"],
    "avatar": ["https://x.test/a.png"],
    "website": ["https://x.test"],
    "createdAt": ["2020-02-03T04:05:06.000Z"],
    "address": [{"city": "Oslo", "country": "NO"}, {"street": "Gata 1", "state": "OS", "postalCode": "0150"}],
    **dict.fromkeys(("visits", "score", "vip", "tags", "x y", "é", "A.b"), _VALUES),
}


def random_person(random: Random, number: int) -> dict[str, Any]:
    """Somebody with some identifiers and some traits."""
    made: dict[str, Any] = {}
    if random.random() < 0.8:
        made["userId"] = random.choice([f"u-{number}", f"U {number}", f"Zoë-{number}", f"a/b?c#{number}"])
    if "userId" not in made or random.random() < 0.3:
        made["anonymousId"] = f"anon-{number}"
    if random.random() < 0.5:
        made["groupId"] = random.choice([f"acct-{number}", f"Acct {number}/ß"])
    traits = {name: random.choice(values) for name, values in _OF_PEOPLE.items() if random.random() < 0.3}
    if random.random() < 0.8:
        traits["email"] = (
            f"{random.choice(['ana', 'b.o.b', 'Eve', 'x+tag'])}{number}@{random.choice(['example.test', 'Example.TEST', 'gmail.com'])}"
        )
    return {**made, "traits": traits}


def random_lines(inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Lines about random people, one alone and one batch for each turn; the same seed gives the same lines."""
    random = Random(inputs["random"]["seed"])
    for turn in range(inputs["random"]["count"]):
        spec = {key: value for key, value in random.choice(inputs["actions"]).items() if key != "people"}
        chosen = {f"somebody {turn}.{at}": random_person(random, turn * 10 + at) for at in range(random.randint(2, 5))}
        asked = list(lines({**inputs, "actions": [spec], "more": [], "random": None}, chosen))
        alone, batches = ([one for one in asked if ("events" in one) is is_batch] for is_batch in (False, True))
        for kind in filter(None, (alone, batches)):
            one = random.choice(kind)
            yield {**one, "name": f"random {turn}: {one['name']}"}


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
