"""The pace of a destination: permissions never exceed it, slow-downs and rises stay in bounds, and one connection at a time tries."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engage_pipelines.domain.pacing import (
    BURST_S,
    FAILURES_THAT_OPEN,
    IN_A_ROW_WITHIN_S,
    LONGEST_REST_S,
    SECOND_US,
    SLOWEST_RATE,
    TRIES_LAST_S,
    Pace,
    ahead_us,
    answered,
    block_size,
    effective_rate,
    failed,
    gave_up,
    grant,
    held_until_us,
    interval_us,
    may_try,
    pace_words,
    slowed,
    trying,
)

NOW = 1_800_000_000_000_000
rates = st.floats(0.01, 2_000)
steps = st.lists(st.integers(0, 3 * SECOND_US), min_size=1, max_size=30)


@given(rates, steps)
def test_no_second_begins_more_requests_than_the_rate_its_burst_and_a_block(rate: float, gaps: list[int]):
    next_at, now, begins = 0, NOW, []
    for gap in gaps:
        now += gap
        granted = grant(next_at, now, rate=rate, count=block_size(rate))
        if granted is not None:
            first, next_at = granted
            begins += [max(first + n * interval_us(rate), now) for n in range(block_size(rate))]
    # the interval is whole microseconds, so that the pace is met to a thousandth
    most = (SECOND_US + BURST_S * SECOND_US) / interval_us(rate) + 1 + block_size(rate)
    begins.sort()
    for index, begin in enumerate(begins):
        assert bisect_left(begins, begin + SECOND_US) - index <= most + 1


@given(rates, steps)
def test_permissions_are_an_interval_apart_and_given_out_a_little_ahead_only(rate: float, gaps: list[int]):
    next_at, now, last = 0, NOW, None
    for gap in gaps:
        now += gap
        granted = grant(next_at, now, rate=rate, count=1)
        if granted is None:
            assert next_at > now + ahead_us(rate)
            continue
        begins, next_at = granted
        assert begins <= now + ahead_us(rate)
        assert last is None or begins - last >= interval_us(rate)
        last = begins


def test_few_requests_a_second_are_permitted_one_by_one_and_many_a_tenth_of_a_second_at_once():
    assert [block_size(rate) for rate in (0.5, 10, 49, 50, 1_000)] == [1, 1, 1, 5, 100]


@pytest.mark.parametrize(
    ("limits", "lowest"),
    [
        pytest.param((None, None, None), None, id="no limit at all"),
        pytest.param((50.0, None, None), 50.0, id="the type's"),
        pytest.param((50.0, 5.0, None), 5.0, id="the operator's is lower"),
        pytest.param((50.0, 80.0, 12.5), 12.5, id="slowed down by the destination"),
    ],
)
def test_the_lowest_limit_counts(limits: tuple[float | None, ...], lowest: float | None):
    assert effective_rate(*limits) == lowest


def test_being_asked_to_slow_down_halves_the_rate_and_answers_raise_it_to_where_it_was():
    pace = slowed(Pace(), current=40.0, usual=50.0, begun_us=NOW, now_us=NOW)
    assert (pace.slowed_to, pace.usual_rate) == (20.0, 50.0)
    now, seconds = NOW, 0
    while pace.slowed_to is not None:
        now += SECOND_US
        seconds += 1
        before, pace = pace.slowed_to, answered(pace, now)
        assert pace.slowed_to is None or pace.slowed_to == pytest.approx(before + 2.5)
    assert seconds == 12
    assert pace.usual_rate is None


def test_requests_of_one_moment_that_are_all_asked_to_slow_down_halve_the_rate_once():
    pace = Pace()
    for _ in range(10):
        pace = slowed(pace, current=40.0, usual=None, begun_us=NOW, now_us=NOW + SECOND_US)
    assert pace.slowed_to == 20.0


events = st.lists(st.tuples(st.sampled_from(["slower", "answer"]), st.integers(1, 20 * SECOND_US), st.floats(0.01, 900)), max_size=50)


@given(events, st.none() | st.floats(0.2, 500))
def test_a_slowed_rate_stays_between_its_floor_and_the_usual_one_and_always_gets_back_there(drawn, usual: float | None):
    pace, now = Pace(), NOW
    for what, gap, current in drawn:
        now += gap
        pace = slowed(pace, current=current, usual=usual, begun_us=now, now_us=now) if what == "slower" else answered(pace, now)
        if pace.slowed_to is not None:
            assert pace.usual_rate is not None
            assert min(SLOWEST_RATE, pace.usual_rate) <= pace.slowed_to <= pace.usual_rate
    for _ in range(21):
        now += SECOND_US
        pace = answered(pace, now)
    assert pace.slowed_to is None


def fail(pace: Pace, times: int, connection: str = "a", now: int = NOW) -> Pace:
    for _ in range(times):
        pace = failed(pace, connection, now)
    return pace


def test_after_five_failures_in_a_row_the_connection_that_failed_last_goes_on_and_the_others_wait():
    pace = failed(fail(Pace(), FAILURES_THAT_OPEN - 1, "a"), "b", NOW)
    assert [may_try(pace, one, NOW) for one in "abc"] == [False, True, False]
    assert held_until_us(pace, "a", NOW) == NOW + TRIES_LAST_S * SECOND_US


def test_an_answer_to_any_of_them_lets_all_go_on():
    pace = answered(fail(Pace(), 20), NOW)
    assert all(may_try(pace, one, NOW) for one in "abc")
    assert not pace_words(pace, paused_until_us=None, now_us=NOW)


def test_failures_that_are_far_apart_are_no_row():
    pace = fail(Pace(), FAILURES_THAT_OPEN - 1)
    assert not failed(pace, "a", NOW + round((IN_A_ROW_WITHIN_S + 1) * SECOND_US)).is_left_alone


def test_when_the_one_that_tried_gives_up_all_rest_and_then_one_may_try():
    pace = gave_up(fail(Pace(), 8), "a", NOW)
    assert not any(may_try(pace, one, NOW) for one in "abc")
    later = NOW + 15 * SECOND_US
    assert may_try(pace, "b", later)
    pace = trying(pace, "b", later)
    assert [may_try(pace, one, later) for one in "abc"] == [False, True, False]


def test_rests_grow_and_have_an_end():
    pace, now, rests = fail(Pace(), 8), NOW, []
    for _ in range(8):
        pace = gave_up(pace, "a", now)
        rests.append((pace.rest_until_us - now) / SECOND_US)
        now = pace.rest_until_us
        pace = failed(trying(pace, "a", now), "a", now)
    assert rests[:3] == [15, 30, 60]
    assert max(rests) == LONGEST_REST_S


moves = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["fails", "fails", "answers", "ends", "dies"]), st.integers(0, 200)))


@given(moves)
def test_of_a_destination_without_answers_one_connection_tries_at_a_time_and_never_none_for_good(drawn):
    pace, now = Pace(), NOW
    for connection, what, seconds in drawn:
        now += seconds * SECOND_US
        if not may_try(pace, connection, now):
            continue
        if pace.is_left_alone:
            pace = trying(pace, connection, now)
            assert sum(may_try(pace, one, now) for one in "abc") == 1
        match what:
            case "fails":
                pace = failed(pace, connection, now)
            case "answers":
                pace = answered(pace, now)
            case "ends":
                pace = gave_up(pace, connection, now)
            case _:
                pass  # without a word: its time runs out
    late = now + round(max(LONGEST_REST_S, TRIES_LAST_S) * SECOND_US)
    assert all(may_try(pace, one, late) for one in "abc")


def test_people_are_told_why_a_destination_is_not_sent_to_as_usual():
    pace = gave_up(fail(slowed(Pace(), current=8, usual=10, begun_us=NOW, now_us=NOW), 8), "a", NOW)
    assert pace_words(pace, paused_until_us=NOW + SECOND_US, now_us=NOW) == [
        "it asked to be left alone until 2027-01-15T08:00:01.000Z",
        "slowed to 4 requests a second after it asked for a pause, rising to 10",
        "no usable answer to 8 requests in a row: the next try is at 2027-01-15T08:00:15.000Z",
    ]
