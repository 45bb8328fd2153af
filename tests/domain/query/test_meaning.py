"""The reference meaning, line by line of the language reference."""

import pytest

from engage_pipelines.domain.computation import EmptyAccounts, Level
from engage_pipelines.domain.query import parse
from engage_pipelines.domain.query.instants import instant_us
from engage_pipelines.domain.query.meaning import Asked, Profile, Row, account_matches, user_matches
from engage_pipelines.domain.query.values import Json

AT = instant_us("2024-05-01T00:00:00Z") or 0
DAY = 86_400_000_000


def row(event: str, age_us: int = 0, message_id: str = "m", **properties: Json) -> Row:
    return Row(event, AT - age_us, message_id, properties)


def holds(text: str, traits: dict[str, Json] | None = None, *rows: Row) -> bool:
    return user_matches(parse(text, Level.USER).condition, Profile(traits or {}, rows, {"vip": True, "lost": False}), Asked(AT))


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
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("trait('gone') = 'x'", False, id="a missing value equals nothing"),
        pytest.param("trait('gone') != 'x'", False, id="a missing value does not differ"),
        pytest.param("NOT trait('gone') = 'x'", True, id="not equal includes the missing"),
        pytest.param("trait('gone').absent()", True, id="absent"),
        pytest.param("trait('none').absent()", True, id="null is missing"),
        pytest.param("trait('empty').exists()", True, id="an empty text is there"),
        pytest.param("trait('gone').omits('x')", True, id="omits is the negation of contains"),
        pytest.param("trait('gone').none_of('x')", True, id="none_of is the negation of one_of"),
        pytest.param("trait('seats') = 5.0", True, id="numbers compare as numbers"),
        pytest.param("trait('text_seats') = 5", True, id="a text that reads as a number, against a number"),
        pytest.param("trait('text_seats') = '5'", False, id="texts compare as texts"),
        pytest.param("trait('seats') = '5'", True, id="a number against a text that reads as one"),
        pytest.param("trait('plan') > 0", False, id="any other text is no match"),
        pytest.param("trait('plan') <= 0", False, id="and is not 0"),
        pytest.param("trait('active') = 1", False, id="true is no number"),
        pytest.param("trait('active') >= 0", False, id="true has no order"),
        pytest.param("trait('active') = 'true'", True, id="a truth value against a text"),
        pytest.param("trait('said') = true", True, id="a text against a truth value"),
        pytest.param("trait('plan') = 'Business'", False, id="case matters"),
        pytest.param("trait('plan').contains('x', 'sine')", True, id="contains any"),
        pytest.param("trait('plan').starts_with('bus') AND trait('plan').ends_with('ess')", True, id="starts and ends"),
        pytest.param("trait('plan').one_of('free', 'business')", True, id="one of"),
        pytest.param("trait('seats').contains('5')", False, id="a number is no text"),
        pytest.param("trait('address.city') = 'Zürich'", True, id="a dot walks objects"),
        pytest.param("trait('address.a\\\\.b') = 1", True, id="an escaped dot belongs to the name"),
        pytest.param("trait('plan.x').exists()", False, id="a text has no inside"),
        pytest.param("trait('tags.$') = 'red'", True, id="each element on its own"),
        pytest.param("trait('tags.$.x') >= 7", True, id="each object on its own"),
        pytest.param("trait('tags.$').none_of('red')", False, id="none of the elements"),
        pytest.param("trait('tags').contains('red')", True, id="a list is looked into as text"),
        pytest.param("trait('signup').within_last(7 days)", True, id="within last, the edge included"),
        pytest.param("trait('signup').within_last(6 days)", False, id="within last, too old"),
        pytest.param("trait('signup').before_last(7 days)", True, id="before last, the edge included"),
        pytest.param("trait('later').within_next(7 days)", True, id="within next, the edge included"),
        pytest.param("trait('later').after_next(7 days)", True, id="after next, the edge included"),
        pytest.param("trait('signup').before_date(2024-04-24)", False, id="before a date excludes it"),
        pytest.param("trait('signup').after_date(2024-04-23)", True, id="after a date"),
        pytest.param("trait('signup') = 2024-04-24", True, id="the same instant in other words"),
        pytest.param("trait('plan').after_date(2000-01-01)", False, id="no date is no match"),
        pytest.param("trait('vip') = true AND NOT trait('lost') = true", True, id="membership in another audience"),
        pytest.param("trait('lost').exists()", True, id="membership is never missing"),
        pytest.param("literal(5) > 3 AND 5 > 3", True, id="a bare literal stands for literal(..)"),
    ],
)
def test_traits(text: str, expected: bool) -> None:
    assert holds(text, TRAITS) is expected


ORDERS = (
    row("Order", 1 * DAY, "m1", total=10, color="red", tag="b"),
    row("Order", 7 * DAY, "m2", total="0.1", color="red", tag="a"),
    row("Order", 7 * DAY, "m3", total=0.2, color="blue", tag="a"),
    row("Order", 30 * DAY, "m4", total=True, color="blue"),
    row("Order", -1, "m5", total=1000),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("event('Order').count() = 4", True, id="rows after the instant do not count"),
        pytest.param("event('Order').within(7 days).count() = 3", True, id="within, both ends included"),
        pytest.param("event('Order').between(7 days, 30 days).count() = 3", True, id="between, both ends included"),
        pytest.param("event('Order').between(8 days, 29 days).count() = 0", True, id="between nothing"),
        pytest.param("event('Other').count() = 0", True, id="no rows count 0"),
        pytest.param("event('Other').unique(property('total')).count() = 0", True, id="nothing unique counts 0"),
        pytest.param("event('Other').sum(property('total')) < 1", False, id="no rows have no sum"),
        pytest.param("event('Other').sum(property('total')).absent()", True, id="a sum of nothing is missing"),
        pytest.param("event('Order').sum(property('color')).absent()", True, id="a sum of no numbers is missing"),
        pytest.param("event('Order').within(7 days).sum(property('total')) = 10.3", True, id="money adds up, truth values left out"),
        pytest.param("event('Order').avg(property('total')) = 3.4333333333333336", True, id="the average of numbers alone"),
        pytest.param("event('Order').min(property('total')) = 0.1", True, id="smallest number"),
        pytest.param("event('Order').max(property('color') as string) = 'red'", True, id="largest text"),
        pytest.param("event('Order').mode(property('color')) = 'blue'", True, id="ties go to the smallest text"),
        pytest.param("event('Order').mode(property('color'), 3).absent()", True, id="the minimum frequency"),
        pytest.param("event('Order').first(property('tag')) = 'a'", True, id="first that is there, ties by message id"),
        pytest.param("event('Order').within(7 days).first(property('color')) = 'red'", True, id="first of a tie"),
        pytest.param("event('Order').last(property('color')) = 'red'", True, id="last by time"),
        pytest.param("event('Order').unique(property('color')).count() = 2", True, id="unique"),
        pytest.param("event('Order').where(property('total') >= 0.2 AND property('color') = 'blue').count() = 1", True, id="where"),
        pytest.param("event('Order').where(property('none').absent()).count() = 4", True, id="where absent"),
    ],
)
def test_events(text: str, expected: bool) -> None:
    assert holds(text, {}, *ORDERS) is expected


FUNNEL = (row("Start", 3 * DAY, "s1", cart="a"), row("Done", 2 * DAY, "d1", cart="a"), row("Start", 1 * DAY, "s2", cart="b"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "event('Start').where(event('Done').within(parent: 1 day).count() >= 1).count() = 1", True, id="followed, the edge included"
        ),
        pytest.param("event('Start').where(event('Done').within(parent: 23 hours).count() >= 1).count() = 0", True, id="too late"),
        pytest.param("event('Start').where(NOT event('Done').within(parent: 1 day).count() >= 1).count() = 1", True, id="not followed"),
        pytest.param(
            "event('Start').where(event('Done').within(parent: 1 day)"
            ".where(property('cart') = property(parent: 'cart')).count() = 1).count() = 1",
            True,
            id="the two rows compared",
        ),
        pytest.param(
            "event('Done').where(event('Done').within(parent: 1 day).count() >= 1).count() = 0", True, id="a row does not follow itself"
        ),
    ],
)
def test_funnels(text: str, expected: bool) -> None:
    assert holds(text, {}, *FUNNEL) is expected


IN, OUT = row("Signed In"), row("Other")
ACTIVE, IDLE = Profile({"role": "admin"}, (IN,), {"vip": True}), Profile({}, (OUT,), {"vip": False})


@pytest.mark.parametrize(
    ("text", "users", "expected"),
    [
        pytest.param("ANY event('Signed In').count() >= 1", (ACTIVE, IDLE), True, id="any"),
        pytest.param("ALL event('Signed In').count() >= 1", (ACTIVE, IDLE), False, id="not all"),
        pytest.param("ALL event('Signed In').count() >= 1", (ACTIVE, ACTIVE), True, id="all"),
        pytest.param("ALL NOT event('Signed In').count() >= 1", (IDLE,), True, id="none of the users"),
        pytest.param("event('Signed In').count() >= 1", (ACTIVE, IDLE), True, id="an unwrapped condition on users means any"),
        pytest.param("NOT event('Signed In').count() >= 1", (ACTIVE, IDLE), False, id="and its negation none"),
        pytest.param("trait('tier') = 'gold'", (), True, id="an unwrapped trait is the account's"),
        pytest.param("trait('role') = 'admin'", (ACTIVE,), False, id="and not its users'"),
        pytest.param("ANY trait('role') = 'admin'", (ACTIVE,), True, id="a wrapped trait is the user's"),
        pytest.param("trait('vip') = true", (ACTIVE, IDLE), True, id="an unwrapped audience of users means any"),
        pytest.param("ANY event('Signed In').count() >= 0", (), False, id="any of no users"),
        pytest.param("ALL event('Signed In').count() >= 0", (), False, id="all of no users"),
        pytest.param("ALL NOT event('Signed In').count() >= 1", (), True, id="none of no users"),
    ],
)
def test_accounts(text: str, users: tuple[Profile, ...], expected: bool) -> None:
    account = Profile({"tier": "gold"}, users=users)
    assert account_matches(parse(text, Level.ACCOUNT).condition, account, Asked(AT, user_audiences=frozenset({"vip"}))) is expected


@pytest.mark.parametrize("option", [EmptyAccounts.TRUE, EmptyAccounts.FALSE])
@pytest.mark.parametrize("text", ["ANY trait('a') = 1", "ALL trait('a') = 1", "ALL NOT trait('a') = 1"])
def test_empty_accounts_sets_all_three(text: str, option: EmptyAccounts) -> None:
    assert account_matches(parse(text, Level.ACCOUNT).condition, Profile(), Asked(AT, option)) is (option is EmptyAccounts.TRUE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("1970-01-01", 0, id="a date is midnight UTC"),
        pytest.param("1970-01-01T00:00:01Z", 1_000_000, id="seconds"),
        pytest.param("1970-01-01T01:00:00.000001+01:00", 1, id="a zone and microseconds"),
        pytest.param("1969-12-31T23:59:59.9999999", -1, id="before 1970, no zone, finer than microseconds"),
        pytest.param("1970-01-01 00:00:00", None, id="a space"),
        pytest.param("1970-02-30", None, id="no such day"),
        pytest.param("1970-01-01Z", None, id="a date with a zone"),
        pytest.param("24.12.1970", None, id="another order"),
        pytest.param("\uff10970-01-01", None, id="digits of another script"),
    ],
)
def test_instants(text: str, expected: int | None) -> None:
    assert instant_us(text) == expected
