"""What a definition that cannot be used is answered: line, column, what was found, what to do."""

import pytest

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.query import parse, parse_trait

U, A = Level.USER, Level.ACCOUNT

GOLDEN = [
    ("evnt('x').count() >= 1", U, "line 1, column 1: found evnt(...), which starts no value. Did you mean event?"),
    ("event('x').cout() >= 1", U, "line 1, column 12: found the function cout(...), which does not exist. Did you mean count?"),
    ("event('x').Count() >= 1", U, "line 1, column 12: found the function Count(...), which does not exist. Did you mean count?"),
    (
        "trait('a') =\n  b",
        U,
        "line 2, column 3: found b, expected a function such as event('Name') or a text in quotes. Put a text in quotes: 'b'.",
    ),
    ("event('x').count() >=", U, "line 1, column 22: found the end of the definition, expected a value such as 'text', 5 or trait('key')."),
    (
        "trait('a') = 1 AND",
        U,
        "line 1, column 19: found the end of the definition, expected a condition such as event('Name').count() >= 1.",
    ),
    ("(trait('a') = 1", U, "line 1, column 16: found the end of the definition, expected ')'."),
    ("trait('a') = 1)", U, "line 1, column 15: found ) without its (. Remove it, or write ( before."),
    ("trait('a') = 'x", U, "line 1, column 14: the text that starts with ' here has no end. Close it with '; a ' inside it is \\'."),
    ("trait(\u201ca\u201d) = 1", U, "line 1, column 7: found the quote \u201c. Use ' or \" around texts."),
    ("trait('a') = 1 && trait('b') = 2", U, "line 1, column 16: found '&'. Write AND or OR."),
    ("trait('a') = 1 adn trait('b') = 2", U, "Did you mean AND?"),
    ("", U, "line 1, column 1: the definition is empty. Write a condition such as event('Order Completed').count() >= 1."),
    ("event('x')", U, "line 1, column 1: an event alone is no condition. Write .count() >= 1 after it."),
    ("event('x') >= 1", U, "line 1, column 1: an event is compared without a reducer. Write .count() before the comparison."),
    ("event('x').count()", U, "line 1, column 1: an event alone is no condition. Write >= 1 or another comparison after it."),
    ("trait('vip')", U, "line 1, column 1: a value alone is no condition. Compare it: write = true, >= 1 or .exists() after it."),
    ("trait('a').count() > 1", U, "line 1, column 12: count(...) works on events alone. Write event('Name') before it."),
    ("trait('a').within(7 days) = 1", U, "line 1, column 12: within(...) works on events alone. Write event('Name') before it."),
    ("trait('a') > 'x'", U, "line 1, column 14: greater_than compares numbers, and 'x' is none. Write a number, or compare texts with =."),
    ("trait('a') > true", U, "line 1, column 14: greater_than compares numbers, and true and false are none. Write = true or = false."),
    ("trait('a') > 2022-10-17", U, "line 1, column 14: greater_than compares numbers, and this is a date. Write .after_date(...) instead."),
    ("event('x').count() = 'many'", U, "line 1, column 22: count(...) gives a number, and this is none. Compare it with a number."),
    (
        "event('x').count().contains('1')",
        U,
        "line 1, column 12: count(...) gives a number, and contains(...) needs a text. Compare it with >= or =.",
    ),
    ("trait('a').contains(5)", U, "line 1, column 12: contains(...) compares texts. Write contains('text')."),
    ("trait('a').before_date('soon')", U, "line 1, column 24: 'soon' is no date. Write 2022-10-17 or 2022-10-17T00:00:00Z."),
    ("trait('a') = 2022-02-30", U, "line 1, column 14: '2022-02-30' is no date. Write 2022-10-17 or 2022-10-17T00:00:00Z."),
    (
        "property('p') = 1",
        U,
        "line 1, column 1: property(...) needs rows of an event. Write event('Name').where(property('...') = 'value').count() >= 1.",
    ),
    ("event('x').within(7 dys).count() > 1", U, "line 1, column 21: found the unit dys, expected hours or days. Did you mean days?"),
    (
        "event('x').within(1.5 days).count() > 1",
        U,
        "line 1, column 19: found 1.5 days, expected a whole number of days. Use a smaller unit.",
    ),
    (
        "event('x').within(-1 days).count() > 1",
        U,
        "line 1, column 19: found -1 days, expected a whole number of days. Windows reach back already: leave the minus out.",
    ),
    ("event('x').within(7).count() > 1", U, "line 1, column 12: within(...) needs a length of time. Write within(7 days)."),
    (
        "event('x').between(10 days, 7 days).count() > 1",
        U,
        "line 1, column 12: between(...) starts with the longer time. Write the nearer end first: between(7 days, 10 days).",
    ),
    (
        "event('x').expires_after(1 hour).count() > 1",
        U,
        "line 1, column 12: expires_after(...) is for computed traits alone. Use within(7 days) here.",
    ),
    (
        "event('x').within(parent: 1 day).count() > 1",
        U,
        "line 1, column 12: within(parent: ...) needs a parent event. Write it inside where(...) of another event.",
    ),
    (
        "event('x').where(event('y').count() > 1).count() > 1",
        U,
        "line 1, column 18: an event inside where(...) needs a window after the parent row. Write .within(parent: 1 day).",
    ),
    (
        "event('x').where(property(parent: 'p') = 1).count() > 1",
        U,
        "line 1, column 18: property(parent: ...) needs an event that follows another. Use it where .within(parent: 1 day) stands.",
    ),
    ("ANY trait('a') = 1", U, "line 1, column 1: ANY is for account audiences alone. Leave it out, or make the audience one of accounts."),
    ("ANY (ALL trait('a') = 1)", A, "line 1, column 6: ALL cannot stand inside ANY or ALL. Write it outside."),
    ("entity('orders').exists()", U, "line 1, column 1: entity(...) is not supported yet. Related tables come with linked audiences."),
    (
        "event('x').unique(property('p')) = 'a'",
        U,
        "unique(...) gives a list, which equals(...) does not compare."
        " Compare it with contains('text'), omits('text'), exists() or absent(), or write .count() after unique(...).",
    ),
    ("event('x').sum() > 1", U, "line 1, column 12: sum(...) does not fit. Write sum(property('total'))."),
    (
        "5 < event('x').count()",
        U,
        "line 1, column 5: an event cannot be what a value is compared with. Write it on the left: event('Name').count() >= 1.",
    ),
    ("trait('a..b') = 1", U, "line 1, column 7: 'a..b' is no name. A dot needs a name before and after it; write a dot of a name as \\\\."),
    (
        "trait('a') = trait('b.$')",
        U,
        "line 1, column 14: $ on the right of a comparison is not supported yet. Write the value with $ on the left.",
    ),
    ("5 = trait('a')", U, "line 1, column 1: a fixed value stands on the left of a trait. Write the trait first."),
    (
        "event('x').min(property('a') as array) > 1",
        U,
        "line 1, column 12: min(...) reads values as number or string. Write min(property('total') as string).",
    ),
    (
        "trait('a') = '\\u0000'",
        U,
        "line 1, column 14: the escape \\u0000 stands for no character that can be stored. Write the character itself.",
    ),
]


@pytest.mark.parametrize(("text", "level", "message"), [pytest.param(*row, id=row[0] or "empty") for row in GOLDEN])
def test_errors_say_where_what_and_what_to_do(text: str, level: Level, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse(text, level)
    assert str(caught.value).endswith(message)


TRAITS_GOLDEN = [
    (
        "event('x').count() > 1",
        "line 1, column 1: a trait is a value, and this is a condition. Leave the comparison out: event('Name').count().",
    ),
    ("event('x')", "line 1, column 1: an event alone is no value. Write .count(), .sum(property('total')) or another reducer after it."),
    ("trait('a')", "line 1, column 1: a computed trait is made of an event. Start with event('Name'), such as event('Name').count()."),
    ("5", "line 1, column 1: a computed trait is made of an event. Start with event('Name'), such as event('Name').count()."),
    (
        "event('x').expires_after(0 hours).count()",
        "line 1, column 12: a session that expires after no time holds nothing. Write expires_after(1 hour).",
    ),
    ("event('x').expires_after('a').count()", "line 1, column 12: expires_after(...) needs a length of time. Write expires_after(1 hour)."),
    (
        "event('x').expires_after(1 hour).expires_after(1 hour).count()",
        "line 1, column 34: expires_after(...) is there twice. Keep one of them.",
    ),
    (
        "event('x').where(event('y').within(parent: 1 day).expires_after(1 hour).count() > 1).count()",
        "line 1, column 51: expires_after(...) is for computed traits alone. Use within(7 days) here.",
    ),
    (
        "event('x').count().exists()",
        "line 1, column 1: a trait is a value, and this is a condition. Leave the comparison out: event('Name').count().",
    ),
    (
        "event('x').within(parent: 1 day).count()",
        "line 1, column 12: within(parent: ...) needs a parent event. Write it inside where(...) of another event.",
    ),
]


@pytest.mark.parametrize(("text", "message"), [pytest.param(*row, id=row[0]) for row in TRAITS_GOLDEN])
def test_errors_of_traits_say_where_what_and_what_to_do(text: str, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_trait(text, U)
    assert str(caught.value) == message


def test_an_error_knows_its_line_and_column() -> None:
    with pytest.raises(DefinitionError) as caught:
        parse("trait('a') = 1\n  AND event('x').cuont() > 1", U)
    assert (caught.value.line, caught.value.column) == (2, 18)


def test_the_expression_over_the_limit_is_pointed_at() -> None:
    with pytest.raises(DefinitionError, match="line 51, column 1: this is expression 51 of 52"):
        parse(" OR\n".join(["trait('a') = 1"] * 52), U)
