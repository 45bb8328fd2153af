"""Definitions whose events count from an instant on, as the reference meaning reads them."""

import pytest

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query import parse
from engage_pipelines.domain.query.history import count_events_since
from engage_pipelines.domain.query.tree import Events, Within, all_comparisons

AT = 1_000_000_000_000_001


@pytest.mark.parametrize(
    "text",
    [
        "event('A').count() >= 1",
        "NOT (event('A').within(3 days).count() >= 1 OR trait('plan') = 'x')",
        "event('A').where(event('B').within(parent: 1 day).count() >= 1 AND property('x') = 1).count() >= 1",
    ],
)
def test_every_event_gets_the_window_and_nothing_else_does(text: str) -> None:
    limited = count_events_since(parse(text, level=Level.USER), AT - 7, at_us=AT)
    sources = [one.scalar.source for one in all_comparisons(limited.condition)]
    windows = [source.filters[-1] for source in sources if isinstance(source, Events)]
    assert windows
    assert all(isinstance(window, Within) and window.window.us == 7 for window in windows)


def test_users_of_accounts_are_asked_with_it_too() -> None:
    definition = parse("ALL NOT event('A').count() >= 1", level=Level.ACCOUNT)
    assert count_events_since(definition, 0, at_us=AT) != definition


def test_without_an_instant_a_definition_stays_as_it_is() -> None:
    definition = parse("event('A').count() >= 1", level=Level.USER)
    assert count_events_since(definition, None, at_us=AT) is definition
