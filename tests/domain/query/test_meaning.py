"""The reference meaning, line by line of the language reference."""

import pytest

from engage_pipelines.domain.computation import EmptyAccounts, Level
from engage_pipelines.domain.query import parse, parse_trait
from engage_pipelines.domain.query.instants import instant_us
from engage_pipelines.domain.query.meaning import Asked, Profile, account_matches, trait_value, user_matches
from engage_pipelines.domain.query.values import Json
from engage_pipelines.testing.reference_cases import (
    AT,
    CHECKOUT,
    CHECKOUT_CASES,
    CHECKOUT_TRAITS,
    EVENT_CASES,
    FUNNEL,
    FUNNEL_CASES,
    ORDERS,
    TRAIT_CASES,
    TRAIT_VALUES,
    TRAITS,
    Case,
    row,
)

USERS = (
    (Profile(TRAITS, (), {"vip": True, "lost": False}), TRAIT_CASES),
    (Profile({}, ORDERS), EVENT_CASES),
    (Profile({}, FUNNEL), FUNNEL_CASES),
    (Profile(CHECKOUT_TRAITS, CHECKOUT, computed={"carts": 2}), CHECKOUT_CASES),
)


@pytest.mark.parametrize(("user", "case"), [pytest.param(user, case, id=case.why) for user, cases in USERS for case in cases])
def test_users(user: Profile, case: Case) -> None:
    assert user_matches(parse(case.text, Level.USER).condition, user, Asked(AT)) is case.expected


@pytest.mark.parametrize(("text", "expected"), [pytest.param(text, value, id=why) for text, value, why in TRAIT_VALUES])
def test_values_of_traits(text: str, expected: Json) -> None:
    user = Profile(CHECKOUT_TRAITS, CHECKOUT, computed={"carts": 2})
    assert trait_value(parse_trait(text, Level.USER), user, Asked(AT)) == expected


def test_an_account_has_the_rows_of_all_its_users() -> None:
    account = Profile(users=[Profile(CHECKOUT_TRAITS, CHECKOUT), Profile({}, CHECKOUT)])
    definition = parse_trait("event('View').where(trait('favourite') = property('item')).count()", Level.ACCOUNT)
    assert trait_value(definition, account, Asked(AT)) == 1
    assert trait_value(parse_trait("event('View').count()", Level.ACCOUNT), account, Asked(AT)) == 4


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
