"""The oracle's mapping-kit operations on JSON lines, answered by this project: for differential tests by anyone.

    python -m engage_pipelines.testing.kit [--compat segment] < cases.jsonl > results.jsonl

One line in, one line out, in the oracle's encoding: undefined is {"__undefined__": true}, NaN and Infinity are
{"__number__": "NaN"}. With `--compat segment` triggers are read as Segment reads them; the other operations do not differ.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.mapping.checks import InvalidMappingError, check_mapping
from engage_pipelines.domain.mapping.compiled import without_undefined
from engage_pipelines.domain.mapping.directives import compile_object_mapping
from engage_pipelines.domain.mapping.empty import remove_empty_values
from engage_pipelines.domain.mapping.flattening import flatten
from engage_pipelines.domain.mapping.javascript import UNDEFINED, is_true, number_text, type_name
from engage_pipelines.domain.mapping.membership import computation_membership, row_membership, stated_membership
from engage_pipelines.domain.mapping.paths import path_keys, step
from engage_pipelines.domain.mapping.resolver import Build, MappingError
from engage_pipelines.domain.mapping.templates import render
from engage_pipelines.domain.trigger import parse_trigger
from engage_pipelines.domain.trigger.segment import SegmentFault, parse_segment, segment_matches

Answer: TypeAlias = dict[str, Any]
_FUNCTION = object()


def encode(value: Any) -> Any:
    """A value as the oracle writes it."""
    if value is UNDEFINED:
        return {"__undefined__": True}
    if value is _FUNCTION:
        return {"__function__": True}
    if isinstance(value, float) and not math.isfinite(value):
        return {"__number__": number_text(value)}
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, list):
        return [encode(item) for item in value]
    return {key: encode(item) for key, item in value.items()} if isinstance(value, dict) else value


def decode(value: Any) -> Any:
    """A value as the oracle reads it."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("__undefined__") is True:
        return UNDEFINED
    if is_true(value.get("__number__", UNDEFINED)):
        return float(str(value["__number__"]).replace("Infinity", "inf"))
    return _FUNCTION if is_true(value.get("__function__", UNDEFINED)) else {key: decode(item) for key, item in value.items()}


def answer(case: Answer, *, compat: bool = False) -> Answer:
    """The answer to one case."""
    given = decode(case)
    try:
        operation = OPERATIONS.get(given.get("op"))
        result = operation(given, compat) if operation else {"ok": False, "error": {"message": "unknown op"}}
    except InvalidMappingError as wrong:
        result = _problems(wrong)
    except EngageError as wrong:
        result = _failure(getattr(wrong, "kind", "Error"), wrong.what)
    except SegmentFault as wrong:
        result = _failure("TypeError", str(wrong))
    except RecursionError:
        result = _failure("RangeError", "Maximum call stack size exceeded")
    return {**result, "id": case["id"]} if "id" in case else result


def _failure(name: str, message: str) -> Answer:
    return {"ok": False, "error": {"name": name, "message": message}}


def _problems(wrong: InvalidMappingError) -> Answer:
    if not wrong.several:
        return _failure("ValidationError", wrong.messages[0])
    text = "".join(f"\n    ValidationError: {message}" for message in wrong.messages)
    return {**_failure("AggregateError", text), "errors": wrong.messages}


def _transform(case: Answer, _: bool) -> Answer:
    mapping, data = case.get("mapping", UNDEFINED), case.get("data", UNDEFINED)
    data = {} if data is UNDEFINED else data
    if not isinstance(data, dict):
        raise MappingError(f"data must be an object, got {type_name(data)}")
    if mapping is None or mapping is UNDEFINED:
        return _failure("TypeError", "Cannot convert undefined or null to object")
    mapping = mapping if isinstance(mapping, dict) else dict(enumerate_properties(mapping))
    return {"ok": True, "out": encode(without_undefined(compile_object_mapping(mapping, Build())(data)))}


def enumerate_properties(value: Any) -> Iterator[tuple[str, Any]]:
    """The own properties of a list or text, as the spread of it in an object."""
    return ((str(n), item) for n, item in enumerate(value)) if isinstance(value, list | str) else iter(())


def _transform_batch(case: Answer, compat: bool) -> Answer:
    data = case.get("data", UNDEFINED)
    data = [] if data is UNDEFINED else data
    if not isinstance(data, list):
        raise MappingError(f"data must be an array, got {type_name(data)}")
    results = [_transform({**case, "data": item}, compat) for item in data]
    wrong = next((result for result in results if not result["ok"]), None)
    return wrong or {"ok": True, "out": [result["out"] for result in results]}


def _validate_mapping(case: Answer, _: bool) -> Answer:
    check_mapping(case.get("mapping", UNDEFINED))
    return {"ok": True}


def _get(case: Answer, _: bool) -> Answer:
    path = case.get("path", UNDEFINED)
    if path is None or path is UNDEFINED:
        return {"ok": True, "out": encode(UNDEFINED)}
    value = case.get("obj", UNDEFINED)
    for key in path if isinstance(path, list) else path_keys(path):
        value = step(value, str(key))
    return {"ok": True, "out": encode(value)}


def _render(case: Answer, _: bool) -> Answer:
    template = case.get("template", UNDEFINED)
    if not isinstance(template, str):
        return _failure("TypeError", f'Invalid template! Template should be a "string" but {type_name(template)} was given.')
    return {"ok": True, "out": render(template, case.get("data", UNDEFINED))}


def _flatten(case: Answer, _: bool) -> Answer:
    prefix, separator = case.get("prefix") or "", case.get("separator", UNDEFINED)
    joint = "." if separator is UNDEFINED else separator
    return {
        "ok": True,
        "out": encode(flatten(case.get("value", UNDEFINED), prefix, joint, omit_arrays=is_true(case.get("omitArrays", False)))),
    }


def _parsed(text: str) -> Answer:
    tree = parse_segment(text)
    return {"error": {"__error__": tree["error"]}} if "error" in tree else _with_undefined(tree)


def _with_undefined(tree: Any) -> Any:
    """The tree with the oracle's mark where a pair of empty parentheses left nothing."""
    if tree is None:
        return {"__undefined__": True}
    if "children" not in tree:
        return encode(tree)
    return {**tree, "children": [_with_undefined(child) for child in tree["children"]]}


def _parse_fql(case: Answer, compat: bool) -> Answer:
    if not compat:
        parse_trigger(case["fql"])
    return {"ok": True, "ast": _parsed(case["fql"])}


def _validate_fql(case: Answer, _: bool) -> Answer:
    return {"ok": True, "result": segment_matches(case["ast"], case.get("data", UNDEFINED))}


def _fql(case: Answer, compat: bool) -> Answer:
    if not compat:
        return {"ok": True, "result": parse_trigger(case["fql"]).matches(case.get("data") or {})}
    return {"ok": True, "ast": _parsed(case["fql"]), "result": segment_matches(parse_segment(case["fql"]), case.get("data", UNDEFINED))}


def _membership(case: Answer, _: bool) -> Answer:
    call, mode = case.get("data"), case.get("syncMode")
    if not isinstance(call, dict):
        return {"ok": True, **dict.fromkeys(("membership", "engage", "retl"), encode(UNDEFINED))}
    verdicts = {"membership": stated_membership(call, mode), "engage": computation_membership(call), "retl": row_membership(call, mode)}
    return {"ok": True, **{name: encode(UNDEFINED) if verdict is None else verdict for name, verdict in verdicts.items()}}


def _remove_empty(case: Answer, _: bool) -> Answer:
    schema = case.get("schema") or {}
    return {
        "ok": True,
        "out": encode(remove_empty_values(case.get("payload", UNDEFINED), schema, is_root=is_true(case.get("isRoot", False)))),
    }


OPERATIONS: dict[str, Callable[[Answer, bool], Answer]] = {
    "transform": _transform,
    "transformBatch": _transform_batch,
    "validateMapping": _validate_mapping,
    "get": _get,
    "render": _render,
    "flatten": _flatten,
    "parseFql": _parse_fql,
    "validateFql": _validate_fql,
    "fql": _fql,
    "membership": _membership,
    "removeEmpty": _remove_empty,
}


def answers(lines: Iterable[str], *, compat: bool) -> Iterator[str]:
    """One answer line for each case line; empty lines are left out."""
    for line in lines:
        if line.strip():
            yield json.dumps(answer(json.loads(line), compat=compat), ensure_ascii=False, separators=(",", ":"))


def main() -> None:
    """Reads standard input, writes standard output."""
    parser = argparse.ArgumentParser(
        prog="python -m engage_pipelines.testing.kit", description="Answers mapping-kit cases, one JSON line each."
    )
    parser.add_argument("--compat", choices=["segment"], help="read triggers as Segment's own parser does")
    compat = parser.parse_args().compat == "segment"
    for stream in (sys.stdin, sys.stdout):
        stream.reconfigure(encoding="utf-8", errors="surrogatepass")  # type: ignore[union-attr]
    for line in answers(sys.stdin, compat=compat):
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
