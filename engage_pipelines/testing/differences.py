"""Requests compared with the oracle's, one by one, where every difference has a name.

Frozen cases are JSON lines `{"name", "in": <a line for the oracle>, "out": <its answer>}`. What is compared is the method, the URL with its
parameters in any order, the body as JSON, form or text, and the headers that a vendor looks at. A difference is a function that makes of
the oracle's requests those that ours are to be, with a name that says why; one that changes no case any more is reported as gone stale.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from engage_pipelines.testing import requests as ours

Seen = dict[str, Any]
"""One request: method, url, query, headers, body."""

COMPARED_HEADERS = frozenset({"authorization"})


@dataclass(frozen=True, slots=True)
class Difference:
    """How our requests differ from the oracle's, on purpose: `expect` makes them of the case's input and the oracle's."""

    why: str
    expect: Callable[[Mapping[str, Any], list[Seen]], list[Seen]]


@dataclass(slots=True)
class Comparison:
    """What came out: mismatches by the name of their case, and the differences that changed something."""

    cases: int = 0
    mismatches: dict[str, str] = field(default_factory=dict[str, str])
    used: set[str] = field(default_factory=set[str])


def compare(path: Path, differences: Sequence[Difference] = (), *, headers: frozenset[str] = COMPARED_HEADERS) -> Comparison:
    """Our answers to the frozen cases of a file against the oracle's."""
    result = Comparison()
    for line in path.read_text().splitlines():
        case = json.loads(line)
        result.cases += 1
        expected = [seen(request, headers) for request in case["out"].get("requests", [])]
        for difference in differences:
            before = json.dumps(expected, sort_keys=True)
            expected = difference.expect(case["in"], expected)
            if json.dumps(expected, sort_keys=True) != before:
                result.used.add(difference.why)
        answer = ours.answer(case["in"])
        got = [seen(request, headers) for request in answer["requests"]]
        if got != expected or ("error" in answer and "error" not in case["out"]):
            told = json.dumps({"expected": expected, "got": got, "answer": {k: v for k, v in answer.items() if k != "requests"}}, indent=1)
            result.mismatches[case["name"]] = told
    return result


def seen(request: Mapping[str, Any], headers: frozenset[str]) -> Seen:
    """A request in the form that is compared."""
    parts = urlsplit(request["url"])
    kept = {name: value for name, value in sorted(request.get("headers", {}).items()) if name in headers}
    return {
        "method": request["method"],
        "url": f"{parts.scheme}://{parts.netloc}{parts.path}",
        "query": sorted(parse_qsl(parts.query, keep_blank_values=True)),
        "headers": kept,
        "body": _body(request),
    }


def _body(request: Mapping[str, Any]) -> Any:
    body = request.get("body")
    if not body:
        return None
    if "x-www-form-urlencoded" in request.get("headers", {}).get("content-type", ""):
        return {"form": sorted([name, _json(value)] for name, value in parse_qsl(body, keep_blank_values=True))}
    return _json(body)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
