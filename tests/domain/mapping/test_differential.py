"""The kit against the answers that Segment's own packages gave, frozen and (when they lie beside the project) their test vectors."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engage_pipelines.testing.kit import OPERATIONS, answer

FROZEN = Path(__file__).parents[2] / "data" / "kit-cases.jsonl.gz"
VECTORS = Path(__file__).parents[4] / "shared" / "vectors" / "segment-tests.jsonl"


def frozen_cases() -> Iterator[dict[str, Any]]:
    with gzip.open(FROZEN, "rt", encoding="utf-8", newline="\n") as lines:
        yield from map(json.loads, lines)


def answered(case: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Our answer, with the parts of an error that the expected one states."""
    result = json.loads(json.dumps(answer({key: value for key, value in case.items() if key not in ("expected", "id")}, compat=True)))
    if isinstance(result.get("error"), dict) and isinstance(expected.get("error"), dict):
        result["error"] = {key: result["error"].get(key) for key in expected["error"]}
    return result


def test_every_frozen_case_has_the_answer_of_the_peer() -> None:
    wrong = [case for case in frozen_cases() if answered(case, case["expected"]) != case["expected"]]
    assert wrong == []


def test_the_frozen_cases_cover_every_operation_with_sound_and_broken_input() -> None:
    seen = Counter((case["op"], case["expected"]["ok"]) for case in frozen_cases())
    assert sum(seen.values()) >= 4000
    assert {op for op, _ in seen} >= {
        "transform",
        "validateMapping",
        "get",
        "render",
        "flatten",
        "fql",
        "parseFql",
        "membership",
        "removeEmpty",
    }
    assert min(seen["transform", True], seen["transform", False], seen["validateMapping", False]) >= 100


@pytest.mark.skipif(not VECTORS.exists(), reason="the test vectors do not lie beside the project")
def test_every_vector_of_the_peers_own_test_suites_is_answered_alike() -> None:
    vectors = [case for line in VECTORS.read_text().split("\n") if line for case in [json.loads(line)] if case["op"] in OPERATIONS]
    wrong = [case["id"] for case in vectors if answered(case, case["expected"]) != case["expected"]]
    assert (len(vectors), wrong) == (445, [])
