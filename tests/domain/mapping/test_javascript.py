"""JavaScript's text forms, checked against the rules of ECMA-262."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engage_pipelines.domain.mapping.javascript import UNDEFINED, equals_empty_text, json_text, json_value, number_of, number_text, text_of


@pytest.mark.parametrize(
    ("number", "text"),
    [
        pytest.param(1.0, "1", id="a whole float"),
        pytest.param(1e21, "1e+21", id="from 1e21 on with an exponent"),
        pytest.param(123456789012345680000.0, "123456789012345680000", id="below it without"),
        pytest.param(1e-7, "1e-7", id="a small one"),
        pytest.param(0.000001, "0.000001", id="a little larger"),
        pytest.param(-0.0, "0", id="negative zero"),
        pytest.param(12345678901234567890, "12345678901234567890", id="a long id keeps its digits"),
        pytest.param(1.5e300, "1.5e+300", id="a huge one"),
        pytest.param(math.nan, "NaN", id="not a number"),
        pytest.param(-math.inf, "-Infinity", id="infinity"),
    ],
)
def test_a_number_prints_as_in_javascript(number: float, text: str) -> None:
    assert number_text(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_printed_number_is_the_number(number: float) -> None:
    assert float(number_text(number)) == number


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(-1e15, 1e15) | st.text(), st.lists, max_leaves=5))
def test_encoded_json_reads_back(value: Any) -> None:
    assert json.loads(str(json_text(value))) == value


def test_whole_number_keys_come_first_in_encoded_json() -> None:
    assert json_text({"b": 1, "10": 2.0, "9": UNDEFINED, "2": [UNDEFINED]}) == '{"2":[null],"10":2,"b":1}'


def test_half_a_character_is_escaped_in_encoded_json() -> None:
    assert json_text(["\ud83d"]) == '["\\ud83d"]'


@pytest.mark.parametrize("text", ["NaN", "[1", "", "{'a':1}", "1" * 5, "[" * 100_000])
def test_what_is_no_json_stays_the_text_it_was(text: str) -> None:
    assert json_value(text) == (11111 if text == "11111" else text)


def test_lists_and_objects_print_as_in_javascript() -> None:
    assert text_of([1, None, [2, {}], UNDEFINED, True]) == "1,,2,[object Object],,true"


def test_what_equals_the_empty_text_is_what_javascript_says() -> None:
    assert [equals_empty_text(v) for v in ["", 0, False, [], [[]], " ", None, {}, "0"]] == [
        True,
        True,
        True,
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_texts_become_numbers_only_when_all_of_them_is_one() -> None:
    assert [number_of(v) for v in [" 12 ", "", "1e3", [5], True]] == [12, 0, 1000, 5, 1]
    assert math.isnan(number_of("12px"))
