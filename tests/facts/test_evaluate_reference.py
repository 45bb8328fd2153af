"""The cases of the language reference, answered by the engine."""

import json

import pytest

from engage_pipelines.domain.computation import Audience, Level, TraitComputation
from engage_pipelines.domain.query.values import Json
from engage_pipelines.facts.evaluate import Evaluated, evaluate
from engage_pipelines.testing.plain_facts import Facts, Member, TraitRow, session_of
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
)

FACTS = Facts(
    users=[
        Member(1, [TraitRow(key, 0, f"t-{key}", value) for key, value in TRAITS.items()]),
        Member(2, [], ORDERS),
        Member(3, [], FUNNEL),
        Member(4, [TraitRow(key, 0, f"t-{key}", value) for key, value in CHECKOUT_TRAITS.items()], CHECKOUT),
    ]
)
CASES = [(1, case) for case in TRAIT_CASES] + [(2, case) for case in EVENT_CASES] + [(3, case) for case in FUNNEL_CASES]
CASES += [(4, case) for case in CHECKOUT_CASES]
CONTEXT = (
    Audience("vip", "vip", Level.USER, "trait('plan') = 'business'"),
    Audience("lost", "lost", Level.USER, "trait('plan') = 'lost'"),
    TraitComputation("carts", "carts", Level.USER, "event('Cart').count()"),
)


@pytest.fixture(scope="module")
def answers() -> dict[str, Evaluated]:
    """All of them in one evaluation, by position."""
    audiences = [Audience(f"case_{number}", f"case_{number}", Level.USER, case.text) for number, (_, case) in enumerate(CASES)]
    with session_of(FACTS, AT) as session:
        return evaluate(session, audiences, context=CONTEXT)


@pytest.mark.parametrize(("number", "user", "case"), [pytest.param(number, *each, id=each[1].why) for number, each in enumerate(CASES)])
def test_the_engine_agrees(answers: dict[str, Evaluated], number: int, user: int, case: Case) -> None:
    answer = answers[f"case_{number}"]
    assert answer.error is None
    assert answer.members
    assert (user in answer.members.users.tolist()) is case.expected


@pytest.fixture(scope="module")
def values() -> list[dict[int, Json]]:
    """Of each trait, the values by member."""
    traits = [TraitComputation(f"t{number}", f"t{number}", Level.USER, text) for number, (text, _, _) in enumerate(TRAIT_VALUES)]
    with session_of(FACTS, AT) as session:
        results = evaluate(session, traits, context=CONTEXT).values()
        found = [session.connection.execute(each.values.rows).fetchall() for each in results if each.values]
    return [{member: json.loads(text) for member, text in rows} for rows in found]


VALUES = [pytest.param(number, value, id=why) for number, (_, value, why) in enumerate(TRAIT_VALUES)]


@pytest.mark.parametrize(("number", "expected"), VALUES)
def test_the_engine_agrees_on_values(values: list[dict[int, Json]], number: int, expected: Json) -> None:
    assert values[number].get(4) == expected
