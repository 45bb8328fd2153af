"""Cases of the language reference, line by line: a definition, what it is asked of, and the answer.

The interpreter and the engine must both give it. Users: one with the traits below and no rows, one with the orders, one with the funnel.
"""

from dataclasses import dataclass

from engage_pipelines.domain.query.instants import instant_us
from engage_pipelines.domain.query.meaning import Row
from engage_pipelines.domain.query.values import Json

AT = instant_us("2024-05-01T00:00:00Z") or 0
DAY = 86_400_000_000
HOUR = DAY // 24
MINUTE = HOUR // 60


@dataclass(frozen=True)
class Case:
    """`why` is what the case shows."""

    text: str
    expected: bool
    why: str


def row(event: str, age_us: int = 0, message_id: str = "m", source: str | None = None, **properties: Json) -> Row:
    """A row of that age at the instant of evaluation."""
    return Row(event, AT - age_us, message_id, properties, {"page": {"url": "/pricing"}}, source)


TRAITS: dict[str, Json] = {
    "plan": "business",
    "seats": 5,
    "text_seats": "5.0",
    "active": True,
    "said": "true",
    "none": None,
    "empty": "",
    "tags": ["red", {"x": 7}, None],
    "address": {"city": "Zürich", "a.b": 1},
    "signup": "2024-04-24T00:00:00Z",
    "later": "2024-05-08",
    "zip": "08001",
    "looks": "[1]",
    "list": [1],
    "zero": "0000-01-01",
    "huge": "1e999",
}
"""Traits of a user who is in the audience `vip` and not in `lost`."""

TRAIT_CASES = (
    Case("trait('gone') = 'x'", False, "a missing value equals nothing"),
    Case("trait('gone') != 'x'", False, "a missing value does not differ"),
    Case("NOT trait('gone') = 'x'", True, "not equal includes the missing"),
    Case("trait('gone').absent()", True, "absent"),
    Case("trait('none').absent()", True, "null is missing"),
    Case("trait('empty').exists()", True, "an empty text is there"),
    Case("trait('gone').omits('x')", True, "omits is the negation of contains"),
    Case("trait('gone').none_of('x')", True, "none_of is the negation of one_of"),
    Case("trait('seats') = 5.0", True, "numbers compare as numbers"),
    Case("trait('text_seats') = 5", True, "a text that reads as a number, against a number"),
    Case("trait('text_seats') = '5'", False, "texts compare as texts"),
    Case("trait('seats') = '5'", True, "a number against a text that reads as one"),
    Case("trait('plan') > 0", False, "any other text is no match"),
    Case("trait('plan') <= 0", False, "and is not 0"),
    Case("trait('active') = 1", False, "true is no number"),
    Case("trait('active') >= 0", False, "true has no order"),
    Case("trait('active') = 'true'", True, "a truth value against a text"),
    Case("trait('said') = true", True, "a text against a truth value"),
    Case("trait('plan') = 'Business'", False, "case matters"),
    Case("trait('plan').contains('x', 'sine')", True, "contains any"),
    Case("trait('plan').starts_with('bus') AND trait('plan').ends_with('ess')", True, "starts and ends"),
    Case("trait('plan').one_of('free', 'business')", True, "one of"),
    Case("trait('seats').contains('5')", False, "a number is no text"),
    Case("trait('address.city') = 'Zürich'", True, "a dot walks objects"),
    Case("trait('address.a\\\\.b') = 1", True, "an escaped dot belongs to the name"),
    Case("trait('plan.x').exists()", False, "a text has no inside"),
    Case("trait('tags.$') = 'red'", True, "each element on its own"),
    Case("trait('tags.$.x') >= 7", True, "each object on its own"),
    Case("trait('tags.$').none_of('red')", False, "none of the elements"),
    Case("trait('tags').contains('red')", True, "a list is looked into as text"),
    Case("trait('signup').within_last(7 days)", True, "within last, the edge included"),
    Case("trait('signup').within_last(6 days)", False, "within last, too old"),
    Case("trait('signup').before_last(7 days)", True, "before last, the edge included"),
    Case("trait('later').within_next(7 days)", True, "within next, the edge included"),
    Case("trait('later').after_next(7 days)", True, "after next, the edge included"),
    Case("trait('signup').before_date(2024-04-24)", False, "before a date excludes it"),
    Case("trait('signup').after_date(2024-04-23)", True, "after a date"),
    Case("trait('signup') = 2024-04-24", True, "the same instant in other words"),
    Case("trait('plan').after_date(2000-01-01)", False, "no date is no match"),
    Case("trait('vip') = true AND NOT trait('lost') = true", True, "membership in another audience"),
    Case("trait('lost').exists()", True, "membership is never missing"),
    Case("literal(5) > 3 AND 5 > 3", True, "a bare literal stands for literal(..)"),
    Case("trait('looks') = '[1]' AND NOT trait('list') = '[1]'", True, "a list is not the text that looks like it"),
    Case("trait('zero').after_date(1900-01-01)", False, "there is no year 0"),
    Case("trait('zero').before_date(1900-01-01)", False, "on either side"),
    Case("trait('huge') > 0", False, "no double holds it, so it is no number"),
)

ORDERS = (
    row("Order", 1 * DAY, "m1", "web", total=10, seats=5, color="red", tag="b"),
    row("Order", 7 * DAY, "m2", total="0.1", seats=10, color="red", tag="a"),
    row("Order", 7 * DAY, "m3", total=0.2, color="blue", tag="a"),
    row("Order", 30 * DAY, "m4", total=True, color="blue", size=None),
    row("Order", -1, "m5", total=1000),
)


EVENT_CASES = (
    Case("event('Order').count() = 4", True, "rows after the instant do not count"),
    Case("event('Order').within(7 days).count() = 3", True, "within, both ends included"),
    Case("event('Order').between(7 days, 30 days).count() = 3", True, "between, both ends included"),
    Case("event('Order').between(8 days, 29 days).count() = 0", True, "between nothing"),
    Case("event('Other').count() = 0", True, "no rows count 0"),
    Case("event('Other').unique(property('total')).count() = 0", True, "nothing unique counts 0"),
    Case("event('Other').sum(property('total')) < 1", False, "no rows have no sum"),
    Case("event('Other').sum(property('total')).absent()", True, "a sum of nothing is missing"),
    Case("event('Order').sum(property('color')).absent()", True, "a sum of no numbers is missing"),
    Case("event('Order').within(7 days).sum(property('total')) = 10.3", True, "money adds up, truth values left out"),
    Case("event('Order').avg(property('total')) = 3.4333333333333336", True, "the average of numbers alone"),
    Case("event('Order').min(property('total')) = 0.1", True, "smallest number"),
    Case("event('Order').max(property('color') as string) = 'red'", True, "largest text"),
    Case("event('Order').mode(property('color')) = 'blue'", True, "ties go to the smallest text"),
    Case("event('Order').mode(property('color'), 3).absent()", True, "the minimum frequency"),
    Case("event('Order').first(property('tag')) = 'a'", True, "first that is there, ties by message id"),
    Case("event('Order').within(7 days).first(property('color')) = 'red'", True, "first of a tie"),
    Case("event('Order').last(property('color')) = 'red'", True, "last by time"),
    Case("event('Order').unique(property('color')).count() = 2", True, "unique"),
    Case("event('Order').where(property('total') >= 0.2 AND property('color') = 'blue').count() = 1", True, "where"),
    Case("event('Order').where(property('none').absent()).count() = 4", True, "where absent"),
    Case("event('Order').sources(exclude: 'web').count() = 3", True, "rows of other sources and of none"),
    Case("event('Order').sources(exclude: 'app').count() = 4", True, "rows of no source are not excluded"),
    Case("event('Order').where(context('page.url') = '/pricing').count() = 4", True, "the context of a row"),
    Case("event('Order').mode(property('seats') as number, 1) = 10", True, "ties of numbers in text order"),
    Case("event('Order').first(property('size')).absent()", True, "null is no first value"),
    Case("event('Order').first(property('total')) = true", True, "first of any type"),
    Case("event('Order').where(property('color') != 'red').count() = 2", True, "differs inside where"),
    Case("event('Order').where(property('total') = property('total')).count() = 4", True, "two properties of a row"),
)

FUNNEL = (
    row("Start", 3 * DAY, "s1", cart="a"),
    row("Done", 2 * DAY, "d1", cart="a"),
    row("Start", 1 * DAY, "s2", cart="b"),
    row("Twin", DAY, "t1"),
    row("Twin", DAY, "t2"),
)

FUNNEL_CASES = (
    Case("event('Start').where(event('Done').within(parent: 1 day).count() >= 1).count() = 1", True, "followed, the edge included"),
    Case("event('Start').where(event('Done').within(parent: 23 hours).count() >= 1).count() = 0", True, "too late"),
    Case("event('Start').where(NOT event('Done').within(parent: 1 day).count() >= 1).count() = 1", True, "not followed"),
    Case(
        "event('Start').where(event('Done').within(parent: 1 day)"
        ".where(property('cart') = property(parent: 'cart')).count() = 1).count() = 1",
        True,
        "the two rows compared",
    ),
    Case("event('Done').where(event('Done').within(parent: 1 day).count() >= 1).count() = 0", True, "a row does not follow itself"),
    Case(
        "event('Twin').where(event('Twin').within(parent: 1 day).count() >= 1).count() = 0",
        True,
        "rows of one instant do not follow each other",
    ),
)

CHECKOUT = (
    row("View", 5 * DAY, "v1", item="a"),
    row("Cart", 4 * DAY, "c1", item="a", labels=["x", "y"]),
    row("Buy", 3 * DAY, "b1", item="a", total=20),
    row("View", 2 * DAY, "v2", item="b", labels=["x"]),
    row("Cart", 1 * DAY, "c2", item="b", labels="y"),
    row("Visit", 3 * HOUR, "h1", page="/old"),
    row("Visit", 90 * MINUTE, "h2", page="/b"),
    row("Visit", HOUR, "h3", page="/a"),
)
"""Rows of a user with the traits `goal` 2, `favourite` "a", `limit` "19.5"; the computed trait `carts` is 2."""

CHECKOUT_TRAITS: dict[str, Json] = {"goal": 2, "favourite": "a", "limit": "19.5"}

CHECKOUT_CASES = (
    Case("event('View').count() = trait('goal')", True, "a number of rows against a trait"),
    Case("event('View').count() > trait('goal')", False, "against a trait, not more"),
    Case("event('Buy').sum(property('total')) > trait('limit')", True, "against a trait that reads as a number"),
    Case("event('View').count() >= trait('gone')", False, "a missing trait is no match"),
    Case("event('View').count() != trait('gone')", False, "nor does anything differ from it"),
    Case("trait('goal') = trait('carts')", True, "a trait against a computed one"),
    Case("event('View').where(property('item') = trait('favourite')).count() = 1", True, "a property against a trait"),
    Case("event('View').where(trait('favourite') = 'a').count() = 2", True, "a trait inside where"),
    Case("event('View').where(trait('gone').absent()).count() = 2", True, "a missing trait inside where"),
    Case(
        "event('View').where(event('Cart').within(parent: 2 days).where(event('Buy').within(parent: 2 days).count() >= 1).count() >= 1)"
        ".count() = 1",
        True,
        "a funnel of three steps",
    ),
    Case(
        "event('View').where(event('Cart').within(parent: 2 days).where(property('item') = trait('favourite')).count() >= 1).count() = 1",
        True,
        "a trait inside a funnel",
    ),
    Case(
        "event('View').where(event('Cart').within(parent: 9 days).mode(property('item'), 1) = 'a').count() = 1",
        True,
        "the most frequent value of what follows",
    ),
    Case("event('View').unique(property('item')).contains('b')", True, "a list is looked into"),
    Case("event('View').unique(property('item')).omits('c')", True, "and what it lacks is omitted"),
    Case("event('Never').unique(property('item')).absent()", True, "no rows make no list"),
    Case("event('Cart').mode(property('labels') as array, 1) = 'x'", True, "elements of arrays; what is none is left out"),
    Case("trait('carts') >= 2", True, "the value of a computed trait"),
)

TRAIT_VALUES: tuple[tuple[str, Json, str], ...] = (
    ("event('View').count()", 2, "a count"),
    ("event('Never').count()", 0, "no rows count 0"),
    ("event('Buy').sum(property('total'))", 20, "a sum"),
    ("event('Never').sum(property('total'))", None, "no rows have no sum"),
    ("event('Buy').avg(property('total'))", 20, "an average"),
    ("event('View').min(property('item') as string)", "a", "smallest text"),
    ("event('View').first(property('item'))", "a", "first"),
    ("event('View').last(property('item'))", "b", "last"),
    ("event('Cart').first(property('labels'))", ["x", "y"], "first of any type"),
    ("event('View').unique(property('item'))", ["a", "b"], "a list, sorted"),
    ("event('Never').unique(property('item'))", None, "no rows make no list"),
    ("event('View').unique(property('item')).count()", 2, "how many different"),
    ("event('View').mode(property('item'), 1)", "a", "ties go to the smallest text"),
    ("event('View').mode(property('item'))", None, "twice at least, unless said"),
    ("event('Visit').expires_after(1 hour).count()", 2, "the session that is going on, both edges included"),
    ("event('Visit').expires_after(1 hour).first(property('page'))", "/b", "its first page"),
    ("event('Visit').expires_after(3599 seconds).count()", 0, "a session that has ended"),
    ("event('Visit').where(property('page') != '/b').expires_after(2 hours).count()", 2, "a session of the rows that pass"),
    ("event('Visit').where(property('page') != '/b').expires_after(1 hour).count()", 1, "whose gap is longer then"),
    ("event('View').where(trait('goal') = trait('carts')).count()", 2, "a trait of traits"),
)
