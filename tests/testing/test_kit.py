"""The adapter that speaks the oracle's lines."""

import json
import subprocess
import sys

from engage_pipelines.testing.kit import answer, answers, decode, encode


def test_a_line_in_is_a_line_out_with_its_id() -> None:
    lines = ['{"op":"get","obj":{"a":[1]},"path":"a[0]","id":"g1"}', "", '{"op":"nope"}']
    assert list(answers(lines, compat=False)) == ['{"ok":true,"out":1,"id":"g1"}', '{"ok":false,"error":{"message":"unknown op"}}']


def test_undefined_and_numbers_out_of_range_survive_both_ways() -> None:
    value = {"a": {"__undefined__": True}, "b": [{"__number__": "NaN"}, {"__number__": "-Infinity"}], "c": {"__function__": True}}
    assert encode(decode(value)) == value


def test_triggers_are_right_by_default_and_the_peers_with_compat() -> None:
    case = {"op": "fql", "fql": '!(type = "track")', "data": {"type": "track"}}
    assert answer(case) == {"ok": True, "result": False}
    assert answer(case, compat=True)["result"] is True


def test_a_trigger_that_does_not_parse_is_an_answer_too() -> None:
    assert answer({"op": "fql", "fql": "event = ", "data": {}})["ok"] is False


def test_a_batch_is_answered_item_by_item() -> None:
    case = {"op": "transformBatch", "mapping": {"id": {"@path": "$.i"}}, "data": [{"i": 1}, {}]}
    assert answer(case) == {"ok": True, "out": [{"id": 1}, {}]}


def test_the_module_runs_as_a_filter() -> None:
    case = json.dumps({"op": "fql", "fql": 'event = "é"', "data": {"event": "é"}, "id": 1}, ensure_ascii=False)
    command = [sys.executable, "-m", "engage_pipelines.testing.kit", "--compat", "segment"]
    done = subprocess.run(command, input=case.encode() + b"\n", capture_output=True, check=True)
    assert json.loads(done.stdout)["result"] is True
