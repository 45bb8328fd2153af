"""A mapping in pieces makes, of any record, the bytes that the mapping itself makes of it; otherwise there are no pieces."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engage_pipelines.domain.mapping import compile_mapping
from engage_pipelines.domain.mapping.pieces import Hole, Pieces, hands_on, pieces_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PATHS = st.sampled_from(
    ["$.", "$.userId", "$.traits", "$.traits.email", "$.traits.vip", "$.traits.none", "$.userId.length", "$.tags", "$.tags[0]"]
)
CONSTANTS = st.sampled_from([None, True, 0, 2.5, "", 'q"\\', "\u2028é", [], {}])


def _over(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    value = st.one_of(inner, st.builds(lambda p: {"@path": p}, PATHS))
    return st.one_of(
        st.lists(value, max_size=3),
        st.dictionaries(st.sampled_from(["a", "b", "10"]), value, max_size=3),
        st.builds(lambda v: {"@literal": v}, value),
        st.builds(
            lambda t: {"@template": t},
            st.sampled_from(["{{userId}}", "a{{traits.email}}b{{userId}}", "{{{userId}}}", "{{traits}} x", "no"]),
        ),
        st.builds(
            lambda k, v, t, e: {"@if": {k: v, "then": t, "else": e}},
            st.sampled_from(["exists", "blank"]),
            st.builds(lambda p: {"@path": p}, PATHS),
            value,
            value,
        ),
        st.builds(lambda a, b, d: {"@merge": {"objects": [a, b], "direction": d}}, value, value, st.sampled_from(["left", "right"])),
        st.builds(lambda v: {"@excludeWhenNull": v}, value),
        st.builds(lambda v, o: {"@flatten": {"separator": ".", "value": v, "omitArrays": o}}, value, st.booleans()),
        st.builds(lambda p, s: {"@arrayPath": [p, s]}, PATHS, value),
        st.builds(lambda p, v: {"@transform": {"apply": {"traits": v, "userId": v}, "mapping": {"to": {"@path": p}}}}, PATHS, value),
        st.builds(lambda v: {"@if": {"blank": v, "then": 1, "else": 2}}, value),
        st.builds(lambda v: {"@path": v}, value),
        st.builds(
            lambda o, v: {"@case": {"operator": o, "value": v}},
            st.sampled_from(["lower", "upper"]),
            st.builds(lambda p: {"@path": p}, PATHS),
        ),
        st.builds(lambda v: {"@json": {"mode": "encode", "value": v}}, value),
    )


FIELDS = st.dictionaries(st.sampled_from(["id", "to", "7"]), st.recursive(CONSTANTS, _over, max_leaves=6), min_size=1, max_size=3)


def _record(user: str, email: str | None) -> dict[str, object]:
    traits: dict[str, object] = {"vip": True, "none": None}
    if email is not None:
        traits["email"] = email
    return {"userId": user, "traits": traits, "tags": ["x", user]}


@given(fields=FIELDS, user=TEXTS, email=st.none() | TEXTS)
def test_pieces_make_the_bytes_that_the_mapping_makes(fields: dict[str, object], user: str, email: str | None) -> None:
    try:
        apply = compile_mapping(fields)
    except Exception:
        return
    sample = _record(Hole("userId"), None if email is None else Hole("email"))
    found = pieces_of(apply, sample) if hands_on(fields) else None
    if found is not None:
        assert found[1].filled({"userId": user, "email": email or ""}) == orjson.dumps(apply(_record(user, email)))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"id": {"@path": "$.userId"}, "on": True}, id="a path and a constant"),
        pytest.param({"id": {"@template": "x-{{userId}}-{{traits.email}}"}}, id="a template"),
        pytest.param(
            {"id": {"@if": {"exists": {"@path": "$.traits.email"}, "then": {"@path": "$.userId"}, "else": "none"}}}, id="what exists"
        ),
        pytest.param(
            {"all": {"@merge": {"objects": [{"@path": "$.traits"}, {"id": {"@path": "$.userId"}}], "direction": "right"}}}, id="a merge"
        ),
        pytest.param({"all": {"@flatten": {"separator": "_", "value": {"@path": "$."}}}}, id="a whole record made flat"),
    ],
)
def test_usual_mappings_have_pieces(fields: dict[str, object]) -> None:
    assert hands_on(fields)
    assert pieces_of(compile_mapping(fields), _record(Hole("userId"), Hole("email"))) is not None


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"id": {"@case": {"operator": "lower", "value": {"@path": "$.userId"}}}}, id="case"),
        pytest.param({"id": {"@template": "{{{userId}}}"}}, id="a template that is read again"),
        pytest.param(
            {"id": {"@merge": {"objects": [{"@template": "{{userId}}"}], "direction": "right"}}},
            id="a text made by a template, taken apart",
        ),
        pytest.param({"id": {"@if": {"blank": {"@template": "{{userId}}"}, "then": 1, "else": 2}}}, id="whether a template is blank"),
        pytest.param(
            {"id": {"@excludeWhenNull": {"@json": {"mode": "encode", "value": {"@path": "$."}}}}}, id="JSON within another directive"
        ),
        pytest.param({"id": {"@path": {"@template": "traits.{{userId}}"}}}, id="a path made by a template"),
        pytest.param(
            {"id": {"@flatten": {"value": {"@path": "$.traits"}, "separator": {"@path": "$.userId"}}}}, id="a separator from a record"
        ),
        pytest.param(
            {"id": {"@transform": {"apply": {"a": {"@template": "{{userId}}"}}, "mapping": {"@path": "$.a.length"}}}},
            id="the length of what a template made",
        ),
        pytest.param({"id": {"@path": "$.userId.length"}}, id="the length of a text"),
        pytest.param({"id": {"@if": {"blank": {"@path": "$.userId"}, "then": 1, "else": 2}}}, id="whether a text is blank"),
        pytest.param({"id": {"@json": {"mode": "encode", "value": {"@path": "$.traits"}}}}, id="JSON within JSON"),
        pytest.param({"id": {"@path": "$.userId"}, "odd": "\ue000"}, id="a constant with the mark in it"),
    ],
)
def test_what_looks_into_texts_has_no_pieces(fields: dict[str, object]) -> None:
    assert not hands_on(fields) or pieces_of(compile_mapping(fields), _record(Hole("userId"), Hole("email"))) is None


def test_pieces_are_filled_with_escaped_texts() -> None:
    assert Pieces(('{"a":"', '"}'), ("x",)).filled({"x": 'q"\n'}) == b'{"a":"q\\"\\n"}'
