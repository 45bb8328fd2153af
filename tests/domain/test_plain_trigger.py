"""What is read without the grammar is what the grammar reads, word by word and place by place."""

from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.trigger.grammar import parse_by_grammar, parse_tree
from engage_pipelines.domain.trigger.plain import plain_tree

WORDS = ("type", "a.b-c.d", "android", "AND.x", "nil", "traits.in", "é", "and", "AND", "or", "in", "1", "null", "lowercase(")
SIGNS = ("=", "!=", "==", "<", "!", "(", ")", "[", "]", ",", " ", "\n", "\t", "\u2003", "")
QUOTED = ('"x"', "'it \"is\"'", '"a\\"b"', '"\n"')
PIECES = st.sampled_from([*WORDS, *SIGNS, *QUOTED])
COMPARISONS = st.tuples(PIECES, st.sampled_from([" ", "", "\n "]), PIECES, st.sampled_from([" ", ""]), PIECES).map("".join)
PLAIN = st.tuples(
    st.sampled_from(["type", "context.personas.computation_key", "a-1"]), st.sampled_from(["=", " != "]), st.sampled_from(['"x"', "'é y'"])
)
TEXTS = st.lists(COMPARISONS | PLAIN.map("".join), min_size=1, max_size=4).flatmap(
    lambda parts: st.sampled_from([" and ", " AND\n", "and", " or ", " "]).map(lambda word: word.join(parts))
)


@given(TEXTS)
@settings(max_examples=400, deadline=None)
def test_plain_reading_is_the_reading_of_the_grammar_or_none(text: str) -> None:
    found = plain_tree(text)
    if found is not None:
        assert asdict(found) == asdict(parse_by_grammar(text))
        assert type(found) is type(parse_by_grammar(text))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('type = "identify" and context.personas.computation_key = "vips"', id="preset"),
        pytest.param("type!='track'", id="one comparison without spaces"),
        pytest.param('type = "track"\n  AND event = "Audience Entered" and x.y != ""', id="several lines"),
    ],
)
def test_triggers_of_presets_are_read_plainly(text: str) -> None:
    found = plain_tree(text)
    assert found is not None
    assert asdict(found) == asdict(parse_by_grammar(text))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('true = "x"', id="word of the language as a field"),
        pytest.param('type = "x" and', id="unfinished"),
        pytest.param('type == "x"', id="doubled sign"),
    ],
)
def test_mistakes_are_left_to_the_grammar(text: str) -> None:
    assert plain_tree(text) is None
    with pytest.raises(DefinitionError):
        parse_tree(text)
