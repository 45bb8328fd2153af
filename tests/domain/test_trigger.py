"""Triggers: what they mean, and what is said when they mean nothing."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.trigger import differs_from_segment, parse_trigger
from engage_pipelines.domain.trigger.grammar import parse_tree
from engage_pipelines.domain.trigger.tree import Call, Comparison, Inclusion, Items, Junction, Negation, Path, Value, to_text

EVENT: dict[str, Any] = {
    "type": "track",
    "event": "Button Clicked",
    "userId": "u-1",
    "context": {"library": {"name": "analytics.js", "version": "1.0"}, "personas": {"computation_key": "k"}},
    "properties": {
        "features": ["discounts", "dark-mode"],
        "product 1": {"price": "19.99"},
        "n": 12,
        "on": True,
        "none": None,
        "e": "ア",
        "it's": 1,
    },
}

HOLDS = [
    pytest.param("event = 'Button Clicked'", True, id="single quotes"),
    pytest.param('event = "Button Clicked"', True, id="double quotes"),
    pytest.param("context.path.path = '/login'", False, id="a path into nothing is null"),
    pytest.param("type = 'identify' or type = 'track'", True, id="or"),
    pytest.param("type = 'track' or type = 'x' and event = 'y'", True, id="and binds tighter than or"),
    pytest.param("(type = 'track' or type = 'x') and event = 'y'", False, id="parentheses"),
    pytest.param("((type = 'track' and (event = 'y' or userId = 'u-1')) and type = 'track')", True, id="nested parentheses"),
    pytest.param("type = 'track' AND NOT_A_FIELD = null", True, id="words in capitals"),
    pytest.param("!(type in ['track', 'identify'])", False, id="a negated group"),
    pytest.param("!properties.missing and properties.on", True, id="a field as a condition"),
    pytest.param("properties.n", False, id="a number is not true"),
    pytest.param("match( context.library.version, '1.*' )", True, id="a pattern"),
    pytest.param("!contains( context.library.name, 'js' )", False, id="contains"),
    pytest.param("'dark-mode' in properties.features", True, id="a value in a field's list"),
    pytest.param("'blink' in properties.features", False, id="a value not in it"),
    pytest.param("'x' in event", False, id="in without a list"),
    pytest.param(r"properties.product\ 1.price = '19.99'", True, id="an escaped path"),
    pytest.param(r"properties.it\'s = 1", True, id="an escaped quote in a path"),
    pytest.param("properties.n = 12.0 and properties.n != '12'", True, id="equality knows types"),
    pytest.param("properties.n > 11 and properties.n <= 12 and !(event > 1)", True, id="order is for numbers"),
    pytest.param("properties.on = 1 or properties.n = true", False, id="true is not one"),
    pytest.param("properties.none = null and typeof(properties.none) = 'null' and typeof(missing) = 'null'", True, id="null and missing"),
    pytest.param(
        "length(properties.e) = 3 and length(properties.features) = 2 and length(missing) = 0", True, id="length in bytes or elements"
    ),
    pytest.param("contains(missing, 'x') or match(missing, '*') or lowercase(missing) = 'x'", False, id="functions of null"),
    pytest.param("lowercase(event) = 'button clicked' and uppercase(userId) = 'U-1'", True, id="case"),
    pytest.param(
        "snakecase('a b') = 'a_b' and kebabcase('a b') = 'a-b' and titlecase('test string') = 'Test String'", True, id="other cases"
    ),
    pytest.param(
        "number('12') = properties.n and string(properties.n) = '12' and bool('true') and !bool('') and !bool(missing)", True, id="casts"
    ),
    pytest.param("number('twelve') = null and number('1e999') = null", True, id="what is no number"),
    pytest.param("typeof(properties) = 'list' or typeof(properties.features) = 'list'", True, id="typeof"),
    pytest.param("properties.features = ['discounts', 'dark-mode']", True, id="a whole list"),
    pytest.param('event = "say \\"x\\"" or event != \'it\\\'s\'', True, id="escaped quotes"),
    pytest.param(r"\and = null and \true = null", True, id="fields with the names of words"),
    pytest.param("true", True, id="always"),
]


@pytest.mark.parametrize(("text", "holds"), HOLDS)
def test_a_trigger_holds(text: str, holds: bool) -> None:
    assert parse_trigger(text).matches(EVENT) is holds


@pytest.mark.parametrize(
    ("text", "pattern", "fits"),
    [
        ("abcd", "a*d", True),
        ("", "*", True),
        ("abc", "ab", False),
        ("abcd", "a??d", True),
        ("ab*d", r"ab\\*d", True),
        ("abxd", r"ab\\*d", False),
        ("abCd", "ab[cC]d", True),
        ("abcd", "ab[a-z]d", True),
        ("abcd", "ab[A-Z]d", False),
        ("aXbXc", "*X*X*", True),
        ("a\nb", "a?b", True),
        ("a-b", r"a[x\\-z]b", True),
        ("a.b", "a.b", True),
        ("axb", "a.b", False),
    ],
)
def test_a_pattern_fits_the_whole_text(text: str, pattern: str, fits: bool) -> None:
    assert parse_trigger(f'match(event, "{pattern}")').matches({"event": text}) is fits


def test_a_pattern_of_many_stars_takes_no_longer_than_its_text() -> None:
    pattern = "*a" * 200 + "b"
    assert not parse_trigger(f"match(event, '{pattern}')").matches({"event": "a" * 20_000})


REFUSED = [
    pytest.param("", 1, 1, "empty", id="nothing"),
    pytest.param("event = ", 1, 9, "ends too early; expected a field, function or value", id="half a comparison"),
    pytest.param('event = oops"', 1, 13, "Close the text with the same quote", id="a lost quote"),
    pytest.param("type = 'x'\n  and event == 'y'", 2, 14, "Write = once", id="two equal signs on line two"),
    pytest.param("type = 'x' && event = 'y'", 1, 12, "Write and, or", id="ampersands"),
    pytest.param("(type = 'x'", 1, 12, "expected ).", id="an open parenthesis"),
    pytest.param("type = 'x')", 1, 11, "did not expect ')'", id="one too many"),
    pytest.param("!event = 'x'", 1, 8, "!(a = b)", id="a negation that could mean two things"),
    pytest.param("not(event = 'x')", 1, 11, "Negation is written !", id="the word not"),
    pytest.param("lenght(event) > 1", 1, 1, "Did you mean length?", id="a misspelt function"),
    pytest.param("contains(event)", 1, 1, "takes 2 arguments, 1 are given", id="a missing argument"),
    pytest.param("contains(event, 5)", 1, 1, "takes a text, and 5 is a number", id="an argument of the wrong type"),
    pytest.param("event > 'x'", 1, 7, "compares numbers", id="a text in an order"),
    pytest.param("1 = '1'", 1, 3, "never equal", id="values that cannot be equal"),
    pytest.param("typeof(event) = 'text'", 1, 17, "It gives string", id="a type that does not exist"),
    pytest.param("'x'", 1, 1, "is not a condition", id="a text alone"),
    pytest.param("event = True", 1, 9, "Write true in small letters", id="a capital True"),
    pytest.param("event = None", 1, 9, "Write null", id="a foreign null"),
    pytest.param("type in ('a')", 1, 6, "needs a list", id="parentheses for a list"),
    pytest.param("type in []", 1, 6, "never holds", id="an empty list"),
    pytest.param("match(event, '[a')", 1, 14, "has a [ without its ]", id="an open class"),
    pytest.param("match(event, '[!a]')", 1, 14, "begins a class with !", id="a negated class"),
    pytest.param("properties.a[0] = 1", 1, 13, "Elements of lists have no path", id="an element of a list"),
    pytest.param("n = 1e999", 1, 5, "too large", id="a number without end"),
    pytest.param("a and " + "(" * 3000, 1, 3007, "ends too early", id="parentheses without end"),
    pytest.param("!" * 3000 + "a", 1, 1, "nests deeper than 64 levels", id="negations without end"),
    pytest.param("event = '" + "x" * 6000 + "'", 1, 1, "At most 5 KB", id="too long"),
]


@pytest.mark.parametrize(("text", "line", "column", "words"), REFUSED)
def test_a_text_that_means_nothing_is_refused_with_its_place(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        parse_trigger(text)
    assert words in str(refused.value)
    assert (refused.value.line, refused.value.column) == (line, column)


WARNED = [
    pytest.param('type = "track" and (event = "a" or (event = "b" and userId = "c"))', "parser fails", id="nested parentheses"),
    pytest.param('type = "a" or type = "b" and event = "c"', "the last one decide", id="mixed words"),
    pytest.param('!(type = "a") and event = "b"', "drops the negation", id="a negated group"),
    pytest.param('messageId = "x" and type = "a"', "drops conditions on messageId", id="another field"),
    pytest.param('match(event, "abc")', 'knows the patterns "x*"', id="a pattern without a star"),
    pytest.param('match(event, "*b*")', 'knows the patterns "x*"', id="a pattern with two stars"),
    pytest.param('type in ["a", "b"]', "does not know `in`", id="in"),
    pytest.param('type = "a" and length(event) > 3', "parser fails", id="a function"),
    pytest.param("event = 'x'", "keeps single quotes", id="single quotes"),
    pytest.param('event = "a\\"b" and type = "x"', "Segment", id="an escaped quote"),
    pytest.param('!contains(event, "x")', "of a missing field is true here", id="not contains"),
    pytest.param("properties.n != 12", "of a missing field is true here", id="unequal numbers"),
    pytest.param("userId = 12", "with the text 12", id="a number in a text field"),
    pytest.param("event = null", "with the text null", id="an event that is null"),
    pytest.param('event = "x" and', "here it is refused", id="what Segment repairs"),
]


@pytest.mark.parametrize(("text", "words"), WARNED)
def test_a_trigger_that_means_something_else_at_segment_is_warned_of(text: str, words: str) -> None:
    assert words in str(differs_from_segment(text))


@pytest.mark.parametrize(
    "text",
    [
        'type = "identify" and context.personas.computation_key = "k"',
        'event = "Audience Entered" or event = "Audience Exited"',
        '(type = "track" or type = "page") and properties.n >= 5',
        'traits.k = true and userId != null and match(event, "Order*")',
        "oops(",
    ],
)
def test_an_ordinary_trigger_means_the_same_in_both(text: str) -> None:
    assert differs_from_segment(text) is None


def test_compat_reads_as_segment_reads() -> None:
    text = '!(type = "track")'
    assert parse_trigger(text).matches({"type": "track"}) is False
    assert parse_trigger(text, compat="segment").matches({"type": "track"}) is True
    assert parse_trigger('event = "a" or ()', compat="segment").matches({"event": "b"}) is False


def test_compat_refuses_what_segment_would_never_fire() -> None:
    with pytest.raises(DefinitionError, match="Segment's parser fails"):
        parse_trigger('(a and (b or c)) and d = "x"', compat="segment")


def test_triggers_of_one_text_are_equal() -> None:
    assert parse_trigger("type = 'a'") == parse_trigger("type = 'a'") != parse_trigger("type = 'b'")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
PATHS = st.lists(TEXTS.filter(bool), min_size=1, max_size=3).map(lambda names: Path(tuple(names)))
FIELDS = st.sampled_from(
    [Path((name,)) for name in ("type", "event", "userId", "messageId")] + [Path((p, n)) for p in ("properties", "traits") for n in "ab"]
)
NUMBERS = st.integers(-100, 100) | st.floats(-1e9, 1e9)
CONSTANTS = st.one_of(TEXTS, NUMBERS, st.booleans(), st.none())


def conditions(paths: Any, constants: Any) -> Any:
    comparisons = st.builds(Comparison, st.sampled_from(["=", "!="]), paths, st.builds(Value, constants))
    orders = st.builds(Comparison, st.sampled_from(["<", "<=", ">", ">="]), paths, st.builds(Value, NUMBERS))
    tests = st.builds(lambda name, path, text: Call(name, (path, Value(text))), st.just("contains"), paths, st.sampled_from(["a", "x y"]))
    patterns = st.builds(lambda path, text: Call("match", (path, Value(text))), paths, st.sampled_from(["a*", "*a", "*", "a"]))
    lists = st.lists(st.builds(Value, constants), min_size=1, max_size=3).map(lambda items: Items(tuple(items)))
    leaves = comparisons | orders | tests | patterns | st.builds(Inclusion, paths, lists) | paths
    return st.recursive(leaves, lambda inner: st.builds(Negation, inner) | junctions(inner), max_leaves=5)


def junctions(inner: Any) -> Any:
    def flat(operator: Any, parts: list[Any]) -> Junction:
        spread = [p for part in parts for p in (part.conditions if isinstance(part, Junction) and part.operator == operator else (part,))]
        return Junction(operator, tuple(spread))

    return st.builds(flat, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3))


@settings(max_examples=150, deadline=None)
@given(conditions(PATHS, CONSTANTS))
def test_a_written_tree_reads_back_as_the_same_tree(tree: Any) -> None:
    assert parse_tree(to_text(tree)) == tree


SIMPLE = st.sampled_from(["a", "track", "x y", "12", "true", "null", 12, 0, True, False, None])
EVENTS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("type", "event", "userId"), SIMPLE)
    | {name: st.dictionaries(st.sampled_from("ab"), SIMPLE) for name in ("properties", "traits")},
)


@settings(max_examples=300, deadline=None)
@given(conditions(FIELDS, SIMPLE), EVENTS)
def test_no_warning_means_the_same_verdict_in_both(tree: Any, event: Any) -> None:
    text = to_text(tree)
    if differs_from_segment(text) is None:
        assert parse_trigger(text).matches(event) is parse_trigger(text, compat="segment").matches(event)


@settings(max_examples=200, deadline=None)
@given(st.text("ab.=!<>()[]\"'\\ ,and or in12", max_size=30))
def test_any_text_is_a_trigger_or_is_refused(text: str) -> None:
    differs_from_segment(text)
    with contextlib.suppress(DefinitionError):
        assert parse_trigger(text).matches(EVENT) in (True, False)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["type", "event", "properties", "traits", "context"]), st.none() | st.text(max_size=3) | st.lists(st.integers())
    )
)
def test_no_event_makes_a_trigger_fail(event: Any) -> None:
    for text, _ in (row.values for row in HOLDS):
        assert parse_trigger(str(text)).matches(event) in (True, False)
