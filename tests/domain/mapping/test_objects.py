"""Objects of a mapping as written functions: what they build is what a loop over the fields would."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engage_pipelines.domain.mapping.javascript import UNDEFINED
from engage_pipelines.domain.mapping.objects import MOST_FIELDS, Constant, Part, Steps, object_builder, resolver_of

NAMES = st.sampled_from(["a", "b", "first name", "0", 'quote"', "out", "payload"])
PAYLOADS = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
PARTS = (
    st.lists(NAMES, max_size=4).map(lambda keys: Steps(tuple(keys)))
    | st.sampled_from(["x", None, 1, UNDEFINED]).map(Constant)
    | st.just(lambda payload: payload if isinstance(payload, str) else UNDEFINED)
)


@given(fields=st.lists(st.tuples(NAMES, PARTS), max_size=6), payload=PAYLOADS, keep=st.booleans())
def test_the_written_function_builds_what_the_fields_give_one_by_one(fields: list[tuple[str, Part]], payload: Any, *, keep: bool):
    expected: dict[str, Any] = {}
    for key, part in fields:
        value = resolver_of(part)(payload)
        if keep or value is not UNDEFINED:
            expected[key] = value
    built = object_builder(fields, keep=keep)(payload)
    assert built == expected
    assert list(built) == list(expected)


@pytest.mark.parametrize("count", [pytest.param(MOST_FIELDS, id="written"), pytest.param(MOST_FIELDS + 1, id="looped")])
def test_an_object_of_many_fields_is_built_too(count: int):
    fields: list[tuple[str, Part]] = [(f"f{n}", Steps(("a", f"k{n}"))) for n in range(count)]
    built = object_builder(fields, keep=False)({"a": {f"k{n}": n for n in range(0, count, 2)}})
    assert built == {f"f{n}": n for n in range(0, count, 2)}


def test_a_step_that_paths_share_is_taken_once():
    asked: list[str] = []

    class Watched(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            asked.append(key)
            return super().get(key, default)

    payload = {"context": Watched(traits={"email": "a@example.test", "phone": "1"})}
    fields: list[tuple[str, Part]] = [(name, Steps(("context", "traits", name))) for name in ("email", "phone")]
    assert object_builder(fields, keep=False)(payload) == {"email": "a@example.test", "phone": "1"}
    assert asked == ["traits"]


def test_the_text_of_a_mapping_cannot_become_code():
    key = "']; raise SystemExit #"
    assert object_builder([(key, Steps((key,)))], keep=False)({key: 1}) == {key: 1}
