"""Text of the audience language to definitions, and back."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.query import (
    Definition,
    TraitDefinition,
    audience_references,
    events,
    needs_batch,
    parse,
    parse_trait,
    references,
    to_text,
)
from engage_pipelines.domain.query.tree import And, Or
from engage_pipelines.testing.random_definitions import Computed, definitions, trait_definitions

REFERENCE_EXAMPLES = [
    ("event('Order Completed').where(property('total') >= 100).within(30 days).count() >= 1", Level.USER),
    ("NOT ( event('Shoes Bought').count() >= 1 AND trait('total_spend') > 200 )", Level.USER),
    (
        "event('Checkout Started').where( NOT event('Order Completed').within(parent: 1 day).count() >= 1 ).within(7 days).count() >= 1",
        Level.USER,
    ),
    ("trait('plan') = 'business' AND ALL NOT event('Signed In').within(21 days).count() >= 1", Level.ACCOUNT),
    ("trait('vip') = 'true' AND trait('email').ends_with('@example.com') AND trait('at_risk_accounts') = true", Level.USER),
]


@pytest.mark.parametrize(("text", "level"), REFERENCE_EXAMPLES)
def test_the_examples_of_the_reference_are_read(text: str, level: Level) -> None:
    definition = parse(text, level)
    assert parse(to_text(definition), level) == definition


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(definition=st.one_of(definitions(Level.USER), definitions(Level.ACCOUNT)))
def test_printing_and_reading_again_changes_nothing(definition: Definition) -> None:
    text = to_text(definition)
    again = parse(text, definition.level)
    assert again == definition
    assert to_text(again) == text


_COMPUTED = Computed(("ua",), ("one",), ("pooled",))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(definition=st.one_of(definitions(Level.USER, computed=_COMPUTED), trait_definitions(Level.ACCOUNT, _COMPUTED)))
def test_the_whole_language_is_printed_and_read_again(definition: Definition | TraitDefinition) -> None:
    text = to_text(definition)
    read = parse_trait if isinstance(definition, TraitDefinition) else parse
    again = read(text, definition.level)
    assert again == definition
    assert to_text(again) == text


def test_what_a_definition_reads_is_found_on_either_side_and_inside_where() -> None:
    definition = parse("event('A').where(trait('a.x') = property('p')).count() >= trait('b') AND trait('c') = trait('d.e')", Level.USER)
    assert references(definition) == {"a", "b", "c", "d"}
    assert audience_references(definition) == {"b", "c"}
    trait = parse_trait("event('A').where(event('B').within(parent: 1 day).count() > trait('n')).count()", Level.USER)
    assert (references(trait), events(trait)) == ({"n"}, {"A", "B"})


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        pytest.param('trait("plan").equals("x")', "trait('plan') = 'x'", id="signs instead of names, single quotes"),
        pytest.param("trait('a') == 1", "trait('a') = 1", id="one equals sign"),
        pytest.param(
            "not trait('a') = TRUE or trait('b') = False", "NOT trait('a') = true OR trait('b') = false", id="keywords in any case"
        ),
        pytest.param(
            "((trait('a') = 1) and (trait('b') = 2 and trait('c') = 3))",
            "trait('a') = 1 AND trait('b') = 2 AND trait('c') = 3",
            id="no idle brackets",
        ),
        pytest.param(
            "(trait('a') = 1 OR trait('b') = 2) AND trait('c') = 3",
            "(trait('a') = 1 OR trait('b') = 2) AND trait('c') = 3",
            id="brackets that matter",
        ),
        pytest.param("event('E').max(property('p')) > 1", "event('E').max(property('p') as number) > 1", id="numbers unless said"),
        pytest.param("event('E').mode(property('p')) = 'a'", "event('E').mode(property('p') as string, 2) = 'a'", id="twice unless said"),
        pytest.param("trait('a').before_date('2022-10-17')", "trait('a').before_date(2022-10-17)", id="a date in quotes"),
        pytest.param("trait('a') = 2022-10-17T10:00:00+02:00", "trait('a') = 2022-10-17T08:00:00Z", id="times in UTC"),
        pytest.param("trait('a').one_of(['x', 'y'])", "trait('a').one_of('x', 'y')", id="a list in square brackets"),
        pytest.param("trait('it\\'s') = '\\\\'", "trait('it\\'s') = '\\\\'", id="escapes"),
        pytest.param("event('E').within(1 DAY).count()>=1", "event('E').within(1 day).count() >= 1", id="units in any case"),
        pytest.param("literal('a') = 'a'", "literal('a') = 'a'", id="a literal on the left"),
        pytest.param("trait('a\\\\.b.c').exists()", "trait('a\\\\.b.c').exists()", id="a dot that belongs to a name"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    assert to_text(parse(text, Level.USER)) == canonical


def test_and_binds_tighter_than_or() -> None:
    condition = parse("trait('a') = 1 OR trait('b') = 2 AND trait('c') = 3", Level.USER).condition
    assert isinstance(condition, Or)
    assert isinstance(condition.parts[1], And)


def test_definitions_of_the_same_meaning_but_other_spelling_are_equal() -> None:
    assert parse("trait('a')\n  = 1", Level.USER) == parse("(trait('a').equals(1.0))", Level.USER)


def test_true_and_one_are_different_literals() -> None:
    assert parse("trait('a') = true", Level.USER) != parse("trait('a') = 1", Level.USER)


def test_fifty_expressions_are_read_and_fifty_one_are_not() -> None:
    one = "event('E').where(property('p') = 1).count() >= 1"
    parse(" AND ".join([one] * 50), Level.USER)
    with pytest.raises(DefinitionError, match="at most 50"):
        parse(" AND ".join([one] * 51), Level.USER)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("(" * 20_000 + "trait('a') = 1" + ")" * 20_000, "", id="brackets"),
        pytest.param("NOT " * 20_000 + "trait('a') = 1", "nested more than 100 deep", id="negations"),
        pytest.param(
            "event('E').where(" * 3_000 + "property('p') = 1" + ").count() > 1" * 3_000, "nested more than 100 deep", id="events in events"
        ),
        pytest.param("trait('a') = '" + "x" * 60_000 + "'", "", id="a text of 60 KB"),
        pytest.param("trait('a') = 1 OR " * 10_000, "At most 100,000 fit", id="a definition of 180 KB"),
    ],
)
def test_huge_definitions_are_read_or_refused_but_never_break(text: str, words: str) -> None:
    if not words:
        parse(text, Level.USER)
        return
    with pytest.raises(DefinitionError, match=words):
        parse(text, Level.USER)


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="event('A').count()>=1 trAND,:-7days\"\\[]\n", max_size=60))
def test_any_text_is_a_definition_or_a_definition_error(text: str) -> None:
    with contextlib.suppress(DefinitionError):
        parse(text, Level.ACCOUNT)


def test_references_and_events_of_a_definition() -> None:
    funnel = "event('A').where(event('B').within(parent: 1 day).count() > 0).count() > 1"
    definition = parse(f"trait('vip') = true AND trait('address.city') = 'Bern' AND {funnel}", Level.USER)
    assert references(definition) == {"vip", "address"}
    assert audience_references(definition) == {"vip"}
    assert events(definition) == {"A", "B"}


@pytest.mark.parametrize(
    ("text", "level", "expected"),
    [
        pytest.param("event('A').count() > 1 AND trait('a') = 1", Level.USER, False, id="rows alone decide"),
        pytest.param("event('A').within(1 day).count() > 1", Level.USER, True, id="a window"),
        pytest.param("trait('a').within_last(1 day)", Level.USER, True, id="a date that ages"),
        pytest.param("event('A').where(event('B').within(parent: 1 day).count() > 0).count() > 0", Level.USER, True, id="a funnel"),
        pytest.param("trait('a') = 1", Level.ACCOUNT, True, id="accounts"),
    ],
)
def test_what_needs_batch_evaluation(text: str, level: Level, expected: bool) -> None:
    assert needs_batch(parse(text, level)) is expected
