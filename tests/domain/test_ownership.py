"""Ownership of a connection: when a lease is over, and what one leaves to the next owner, whatever the shared clock says."""

from engage_pipelines.domain.ownership import SECOND_US, LeaseTimes, Unanswered, inherited, is_given_back, may_take, quiet_in_us

TIMES = LeaseTimes()
HOUR_US = 3_600 * SECOND_US


def test_a_lease_is_free_when_it_is_over_or_was_watched_for_its_whole_life():
    assert may_take(5, 5)
    assert not may_take(6, 5)
    assert not may_take(HOUR_US, 0, watched_us=59 * SECOND_US, times=TIMES), "its owner may live"
    assert may_take(HOUR_US, 0, watched_us=60 * SECOND_US, times=TIMES), "the clock was set back, and nobody renews it"


def test_a_name_is_taken_off_a_lease_when_no_request_can_take_effect_any_more():
    lost = Unanswered().begun(7).lost(7)
    assert not is_given_back(lost, 6)
    assert is_given_back(lost, 7)
    assert is_given_back(Unanswered().begun(7).answered(7), 0)


def test_who_takes_a_marked_lease_waits_the_length_of_a_request_and_a_moment():
    assert inherited(100, TIMES, is_marked=False) == Unanswered()
    assert quiet_in_us(inherited(100, TIMES, is_marked=True), 100) == 31 * SECOND_US
