"""Mappings as people write them: what they send, and what is said when they cannot."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.mapping import MappingError, compile_mapping, validate_mapping

EVENT: dict[str, Any] = {
    "type": "identify",
    "userId": "u-1",
    "traits": {"email": "Ann@Example.com", "vip": True, "plan": None, "first name": "Ann", "n": 1.0},
    "properties": {"items": [{"id": 1}, {"id": 2, "name": "b"}]},
}

SENT = [
    pytest.param({"@path": "$.traits.email"}, "Ann@Example.com", id="a path"),
    pytest.param({"@path": "$.traits['first name']"}, "Ann", id="a quoted name in a path"),
    pytest.param({"@path": "$.properties.items[1].name"}, "b", id="an element of a list"),
    pytest.param({"@path": "$.traits.plan"}, None, id="null stays null"),
    pytest.param({"@template": "Hi {{ traits.first name }}{{ missing }}, {{traits.n}}"}, "Hi Ann, 1", id="a template"),
    pytest.param({"@case": {"operator": "lower", "value": {"@path": "$.traits.email"}}}, "ann@example.com", id="lower case"),
    pytest.param({"@if": {"exists": {"@path": "$.traits.plan"}, "then": "has", "else": "none"}}, "none", id="null does not exist"),
    pytest.param({"@if": {"blank": {"@path": "$.traits.n"}, "then": "set", "else": "blank"}}, "set", id="blank is about emptiness"),
    pytest.param(
        {"@replace": {"pattern": ".", "replacement": "_", "value": {"@path": "$.traits.email"}}}, "Ann@Example_com", id="literal replace"
    ),
    pytest.param({"@arrayPath": ["$.properties.items", {"key": {"@path": "$.name"}}]}, [{}, {"key": "b"}], id="a list item by item"),
    pytest.param({"@json": {"mode": "encode", "value": {"@path": "$.traits.n"}}}, "1", id="numbers as JavaScript writes them"),
    pytest.param({"@json": {"mode": "decode", "value": "[1,"}}, "[1,", id="what is no JSON stays a text"),
    pytest.param(
        {"@flatten": {"separator": "_", "value": {"@path": "$.properties"}, "omitArrays": True}},
        {"items": [{"id": 1}, {"id": 2, "name": "b"}]},
        id="flatten",
    ),
    pytest.param(
        {"@merge": {"direction": "right", "objects": [{"a": 1}, {"a": {"@path": "$.missing"}}]}},
        {},
        id="a missing value hides an earlier one",
    ),
    pytest.param(
        {"@transform": {"apply": {"x": {"@path": "$.userId"}}, "mapping": {"y": {"@path": "$.x"}}}},
        {"y": "u-1"},
        id="two mappings in a row",
    ),
    pytest.param({"@excludeWhenNull": {"a": None, "b": {"c": None}}}, {"b": {}}, id="nulls left out"),
    pytest.param({"@literal": {"a": {"@path": "$.userId"}}}, {"a": "u-1"}, id="a literal is resolved all the same"),
    pytest.param([{"@path": "$.missing"}, 1], [None, 1], id="a hole in a list is null"),
    pytest.param({"@liquid": "{% if traits.vip %}{{ traits.email | downcase }}{% endif %}"}, "ann@example.com", id="liquid"),
]


@pytest.mark.parametrize(("field", "sent"), SENT)
def test_a_field_sends(field: Any, sent: Any) -> None:
    assert compile_mapping({"out": field})(EVENT) == {"out": sent}


def test_a_field_whose_value_is_missing_is_left_out() -> None:
    assert compile_mapping({"a": {"@path": "$.nothing"}, "b": {"c": {"@path": "$.nothing"}}})(EVENT) == {"b": {}}


def test_the_root_directive_wraps_all_other_fields() -> None:
    root = {"@arrayPath": ["$.properties.items", {"id": {"@path": "$.id"}}]}
    assert compile_mapping({"__segment_internal_directive": root})(EVENT) == [{"id": 1}, {"id": 2}]


def test_a_mapping_leaves_its_own_text_and_the_payload_as_they_were() -> None:
    fields = {
        "x": {"@replace": {"pattern": "a", "value": {"@path": "$.userId"}}},
        "__segment_internal_directive": {"@transform": {"apply": {"userId": "b"}}},
    }
    before = copy.deepcopy((fields, EVENT))
    assert compile_mapping(fields)(EVENT) == compile_mapping(fields)(EVENT) == {"x": "b"}
    assert (fields, EVENT) == before


BROKEN = [
    pytest.param({"a": {"@pth": "$.x"}}, "/a has an invalid directive: @pth.", id="an unknown directive"),
    pytest.param(
        {"a": {"@path": 5}}, "/a/@path should be a string or a mapping directive but it is a number.", id="a path of the wrong type"
    ),
    pytest.param({"a": {"@path": "x", "b": 1}}, "/a should only have one @-prefixed key but it has 2 keys.", id="a key beside a directive"),
    pytest.param({"a": {"@if": {"then": 1}}}, '/a/@if should have "exists" or "blank" with a value.', id="an @if without a condition"),
    pytest.param(
        {"a": {"@if": {"exists": "x", "then": {"b": {"@nope": 1}}}}}, "/a/@if/then/b has an invalid directive: @nope.", id="deep in a value"
    ),
    pytest.param({"a": [{"@nope": 1}]}, "/a/0 has an invalid directive: @nope.", id="inside of a list"),
    pytest.param(
        {"a": {"@case": {"operator": "title", "value": "x"}}},
        '/a/@case/operator should be "lower" or "upper" but it is "title".',
        id="a case",
    ),
    pytest.param(
        {"a": {"@replace": {"pattern": "12345678901", "value": "x"}}},
        "/a/@replace/pattern should be a string of length 10 or less.",
        id="a pattern",
    ),
    pytest.param(
        {"a": {"@liquid": "{% for x in y %}{% endfor %}"}},
        '/a/@liquid should be a Liquid template: tag "for" is disabled, line:1, col:1.',
        id="a loop",
    ),
    pytest.param({"a": {"@liquid": "x" * 1001}}, "/a/@liquid should have at most 1000 characters but it has 1001.", id="a long template"),
    pytest.param(
        {"a": {"@liquid": "{{ a | sort }}"}}, '/a/@liquid should not use the filter "sort", which is disabled.', id="a disabled filter"
    ),
    pytest.param(
        {"__segment_internal_directive": 5}, "/__segment_internal_directive The root directive must be an object.", id="a root that is none"
    ),
    pytest.param(5, "/ should be an object but it is a number.", id="no object"),
]


@pytest.mark.parametrize(("fields", "problem"), BROKEN)
def test_a_broken_mapping_is_refused_with_the_path(fields: Any, problem: str) -> None:
    assert validate_mapping(fields) == [problem]
    with pytest.raises(DefinitionError, match="the mapping has 1 problems"):
        compile_mapping(fields)


def test_what_the_peer_finds_hides_nothing_of_what_we_find() -> None:
    found = validate_mapping({"a": {"@nope": 1}, "b": {"@if": {}}, "c": {"@case": {"operator": "up", "value": {"@path": "$.x"}}}})
    assert [problem.split(" ")[0] for problem in found] == ["/a", "/b/@if", "/c/@case/operator"]


def test_all_problems_are_named_at_once() -> None:
    assert len(validate_mapping({"a": {"@path": 5}, "b": {"@nope": 1}, "c": {"@json": {}}})) == 4


def test_a_mapping_that_nests_without_end_is_refused() -> None:
    fields: Any = "x"
    for _ in range(5000):
        fields = {"a": fields}
    assert validate_mapping(fields) == ["/ should not nest deeper than 100 levels."]


def test_a_payload_that_nests_too_deep_is_the_fault_of_that_payload() -> None:
    payload: Any = {}
    for _ in range(20_000):
        payload = {"a": payload}
    with pytest.raises(MappingError, match="nests too deep"):
        compile_mapping({"out": {"@flatten": {"separator": ".", "value": {"@path": "$.a"}}}})(payload)


def test_a_value_of_the_wrong_type_is_the_fault_of_that_payload() -> None:
    apply = compile_mapping({"out": {"@path": {"@path": "$.traits.vip"}}})
    with pytest.raises(MappingError, match="@path: expected string, got boolean"):
        apply(EVENT)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.sampled_from(["a", "0", "b c"]), inner, max_size=3)
    ),
    max_leaves=12,
)
PATHS = st.text("ab0.[]'\"$ ", max_size=10)
OPTIONS = st.recursive(
    JSON | st.builds(lambda path: {"@path": path}, PATHS) | st.builds(lambda text: {"@template": text}, st.text("{}ab. ", max_size=12)),
    lambda inner: (
        st.builds(lambda a, b, c: {"@if": {"exists": a, "then": b, "else": c}}, inner, inner, inner)
        | st.builds(lambda a, b: {"@merge": {"direction": "left", "objects": [a, b]}}, inner, inner)
        | st.builds(lambda mode, a: {"@json": {"mode": mode, "value": a}}, st.sampled_from(["encode", "decode"]), inner)
        | st.builds(lambda a: {"@flatten": {"separator": ".", "value": a}}, inner)
        | st.builds(lambda path, a: {"@arrayPath": [path, a]}, PATHS, inner)
        | st.builds(lambda a: {"@excludeWhenNull": a}, inner)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        | st.lists(inner, max_size=3)
    ),
    max_leaves=8,
)


def undefined_inside(value: Any) -> bool:
    if isinstance(value, list | dict):
        return any(map(undefined_inside, value.values() if isinstance(value, dict) else value))
    return not (value is None or isinstance(value, str | int | float))


@settings(max_examples=150, deadline=None)
@given(fields=st.dictionaries(st.text(max_size=4), OPTIONS, max_size=3), payload=st.dictionaries(st.text(max_size=3), JSON, max_size=3))
def test_a_sound_mapping_gives_plain_json_for_any_payload_or_says_why_not(fields: Any, payload: Any) -> None:
    if validate_mapping(fields):
        return
    try:
        first, second = compile_mapping(fields)(payload), compile_mapping(fields)(payload)
    except MappingError:
        return
    assert repr(first) == repr(second)
    assert not undefined_inside(first)


@settings(max_examples=150, deadline=None)
@given(fields=JSON | OPTIONS)
def test_validation_answers_for_any_json(fields: Any) -> None:
    assert all(problem.startswith("/") for problem in validate_mapping(fields))


def _encoded(levels: int) -> Any:
    inner: Any = {"@path": "$.text"}
    for _ in range(levels):
        inner = {"@json": {"mode": "encode", "value": inner}}
    return inner


def _doubled(levels: int) -> Any:
    inner: Any = {"@path": "$.both"}
    for _ in range(levels):
        inner = {"@transform": {"apply": {"both": {"left": {"@path": "$.both"}, "right": {"@path": "$.both"}}}, "mapping": inner}}
    return inner


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"@template": "{{{x}}}" * 1000}, id="a payload that is expanded within a template"),
        pytest.param({"@template": "{{y}}" * 10_000}, id="a template that repeats a long text"),
        pytest.param(
            {"@liquid": "{% assign x = y %}" + "{% assign x = x | append: x %}" * 25 + "{{ x }}"}, id="liquid that doubles a text"
        ),
        pytest.param(
            {"@liquid": "{{ y }}" + "{% capture x %}{{ y }}{{ x }}{{ x }}{{ x }}{% endcapture %}" * 12 + "{{ x }}"}, id="captures"
        ),
        pytest.param(_encoded(30), id="text within text within text"),
        pytest.param(_doubled(28), id="an object that holds itself twice over"),
    ],
)
def test_a_mapping_makes_no_bomb_of_a_record(fields: dict[str, Any]) -> None:
    payload = {"x": "{{y}}" * 1000, "y": "z" * 1000, "text": '"quoted"', "both": {"a": 1}}
    with pytest.raises(MappingError, match=r"1,000,000|limit exceeded"):
        compile_mapping({"a": fields})(payload)
