from typing import Any

import pytest

from engage_pipelines.destinations.base import Action
from engage_pipelines.destinations.fields import Field, UnusableError, checked, default_mapping, fields_schema, first_of, path
from engage_pipelines.domain.mapping import compile_mapping


@pytest.mark.parametrize(
    ("field", "given", "kept"),
    [
        pytest.param(Field("f"), 12, "12", id="a number as text"),
        pytest.param(Field("f"), 12.0, "12", id="a whole float as text"),
        pytest.param(Field("f"), 0.5, "0.5", id="a fraction as text"),
        pytest.param(Field("f"), True, "true", id="true as text"),
        pytest.param(Field("f"), ["a"], "a", id="a list of one as text"),
        pytest.param(Field("f", "number"), "1.5", 1.5, id="text as a number"),
        pytest.param(Field("f", "number"), "12", 12, id="text as a whole number"),
        pytest.param(Field("f", "number"), True, 1, id="true as a number"),
        pytest.param(Field("f", "integer"), "12", 12, id="text as an integer"),
        pytest.param(Field("f", "integer"), 12.0, 12, id="a whole float as an integer"),
        pytest.param(Field("f", "boolean"), "false", False, id="text as a truth value"),
        pytest.param(Field("f", "boolean"), 1, True, id="one as true"),
        pytest.param(Field("f", "array"), "a", ["a"], id="one value as a list"),
        pytest.param(Field("f", "array", items="string"), [1, None, "b"], ["1", "b"], id="items converted, null left out"),
        pytest.param(Field("f", "object"), {"a": {"b": None}}, {"a": {"b": None}}, id="an object of any kind stays as it is"),
        pytest.param(Field("f", "object", fields=(Field("a"),)), {"a": 1, "b": 2}, {"a": "1"}, id="an object of known fields"),
        pytest.param(Field("f", "datetime"), "2026-03-01", "2026-03-01", id="a date"),
        pytest.param(Field("f", "datetime"), 1_772_359_200, 1_772_359_200, id="Unix seconds as a date"),
        pytest.param(Field("f", null_allowed=True), None, None, id="null where it is allowed"),
        pytest.param(Field("f", format="email"), "ana@example.test", "ana@example.test", id="an e-mail address"),
        pytest.param(Field("f", choices=("a", "b")), "b", "b", id="one of the choices"),
    ],
)
def test_a_value_becomes_what_the_field_takes(field: Field, given: Any, kept: Any) -> None:
    result = checked({"f": given}, (field,))["f"]
    assert result == kept
    assert type(result) is type(kept)


@pytest.mark.parametrize(
    ("field", "given", "words"),
    [
        pytest.param(Field("f"), {"secret-value": 1}, "f must be text", id="an object as text"),
        pytest.param(Field("f"), ["secret-value", "b"], "f must be text", id="a list of two as text"),
        pytest.param(Field("f", "number"), "secret-value", "f must be a number", id="words as a number"),
        pytest.param(Field("f", "number"), "inf", "f must be a number", id="infinity"),
        pytest.param(Field("f", "integer"), 1.5, "f must be a whole number", id="a fraction as an integer"),
        pytest.param(Field("f", "boolean"), "secret-value", "f must be true or false", id="words as a truth value"),
        pytest.param(Field("f", "object"), "secret-value", "f must be an object", id="text as an object"),
        pytest.param(Field("f", "datetime"), True, "f must be a date", id="true as a date"),
        pytest.param(Field("f", format="email"), "secret-value", "f must be an e-mail address", id="no address"),
        pytest.param(Field("f", format="uri"), "secret-value", "f must be a URL", id="no URL"),
        pytest.param(Field("f", format="date"), "secret-value", "f must be a date", id="no date"),
        pytest.param(Field("f", choices=("a", "b")), "secret-value", "f must be one of a, b", id="none of the choices"),
        pytest.param(Field("f", required=True), None, "f is missing", id="null for what must be there"),
        pytest.param(Field("f", required=True), "", "f is missing", id="nothing for what must be there"),
        pytest.param(Field("f", "array", items="number"), ["1", "secret-value"], "every item of f must be a number", id="a wrong item"),
        pytest.param(
            Field("f", "object", fields=(Field("g", required=True),)), {"h": "secret-value"}, "f.g is missing", id="inside an object"
        ),
    ],
)
def test_what_cannot_be_used_is_told_by_the_name_of_the_field_without_the_value(field: Field, given: Any, words: str) -> None:
    with pytest.raises(UnusableError) as problem:
        checked({"f": given}, (field,))
    assert words in str(problem.value)
    assert "secret-value" not in str(problem.value)


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(UnusableError, match="a is missing; b must be a number"):
        checked({"b": "x"}, (Field("a", required=True), Field("b", "number")))


def test_what_no_field_names_and_what_is_empty_is_left_out() -> None:
    assert checked({"a": "", "b": None, "c": "x", "d": 1}, (Field("a"), Field("b", "object"), Field("c"))) == {"c": "x"}


def test_the_defaults_are_the_mapping_of_an_action() -> None:
    fields = (Field("id", default=first_of("$.userId", "$.anonymousId")), Field("mail", default=path("$.traits.email")), Field("no"))
    action = Action("do", "Do", frozenset({"identify"}), inputs=fields)
    assert action.fields == default_mapping(fields)
    apply = compile_mapping(action.fields)
    assert apply({"userId": "u", "traits": {"email": "e"}}) == {"id": "u", "mail": "e"}
    assert apply({"anonymousId": "a", "traits": {}}) == {"id": "a"}


def test_the_schema_says_what_a_form_needs() -> None:
    fields = (
        Field("id", required=True, description="The id."),
        Field("on", "object", fields=(Field("at", "datetime"),)),
        Field("n", null_allowed=True),
    )
    schema = fields_schema(fields)
    assert schema["required"] == ["id"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["id"] == {"type": "string", "description": "The id."}
    assert schema["properties"]["on"]["properties"]["at"]["format"] == "date-like"
    assert schema["properties"]["n"]["type"] == ["string", "null"]
