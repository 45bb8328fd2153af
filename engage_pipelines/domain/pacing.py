"""The pace of a destination as pure rules: who may send when, slowing down when asked to, and leaving alone what gives no answer.

One row per destination holds a `Pace`, for all its connections in all processes. Three rules read and write it:

- **Permission** (the generic cell rate algorithm): the row says when the next request may begin; whoever takes permissions moves that
  instant on by as many intervals. What lies unused is kept for `BURST_S` and no longer.
- **Slowing down**: every request to slow down (a 429) halves the rate, once for all requests that were under way then; answers raise it
  again by a twentieth each second, until the usual rate is reached.
- **Leaving alone**: after `FAILURES_THAT_OPEN` requests in a row without a usable answer one connection alone goes on trying, with the
  back-off of the delivery promise; the others wait until it has an answer, or gives up and the next of them may try.

        usable <----------- any answer ----------.
          | the 5th failure in a row             |
          v                                      |
        left alone, one tries --- its run ends without an answer ---> left alone, none tries
                    ^------------ its time has come: the first to ask ------'

Instants are UTC microseconds, rates are requests per second, None is no limit.
"""

from dataclasses import dataclass, replace

from engage_pipelines.domain.instants import to_iso

SECOND_US = 1_000_000

BURST_S = 0.1
"""How long a permission that nobody took may be used later."""
BLOCK_S = 0.1
HIGH_RATE = 50.0
"""From this rate on permissions are taken for `BLOCK_S` at once, so that the row is not written for every request."""
AHEAD_S = 2.0
"""How far ahead permissions are given out; who asks when all of that is taken comes back later."""

SLOWEST_RATE = 0.1
SLOWEST_SHARE = 1 / 32
"""No request to slow down brings a rate below the higher of these two."""
RAISED_EVERY_S = 1.0
RAISED_BY = 1 / 20

FAILURES_THAT_OPEN = 5
IN_A_ROW_WITHIN_S = 600.0
"""Failures further apart than this do not count as a row."""
FIRST_REST_S = 15.0
LONGEST_REST_S = 300.0
TRIES_LAST_S = 120.0
"""How long after a failure the connection that tries is believed to be at it still: longer than its longest back-off and a request."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What the row of a destination says; `usual_rate` is where a slowed rate climbs back to."""

    next_at_us: int = 0
    slowed_to: float | None = None
    usual_rate: float | None = None
    slowed_at_us: int = 0
    raised_at_us: int = 0
    failures: int = 0
    failed_at_us: int = 0
    rests: int = 0
    rest_until_us: int = 0
    tried_by: str | None = None
    tried_until_us: int = 0

    @property
    def is_left_alone(self) -> bool:
        """Whether the destination gave no usable answer so often that one connection alone may try."""
        return self.failures >= FAILURES_THAT_OPEN


def effective_rate(*rates: float | None) -> float | None:
    """The lowest of the limits that there are."""
    return min((rate for rate in rates if rate is not None), default=None)


def interval_us(rate: float) -> int:
    """How far apart requests begin."""
    return max(round(SECOND_US / rate), 1)


def block_size(rate: float) -> int:
    """How many permissions are taken at once."""
    return max(int(rate * BLOCK_S), 1) if rate >= HIGH_RATE else 1


def ahead_us(rate: float) -> int:
    """How far ahead permissions are given out: at a slow pace at least the next one."""
    return max(round(AHEAD_S * SECOND_US), 2 * interval_us(rate))


def grant(next_at_us: int, now_us: int, *, rate: float, count: int) -> tuple[int, int] | None:
    """When the first of `count` permissions holds and what the row says afterwards; None when too many are given out already."""
    begins_us = max(next_at_us, now_us - round(BURST_S * SECOND_US))
    if begins_us > now_us + ahead_us(rate):
        return None
    return begins_us, begins_us + count * interval_us(rate)


def slowed(pace: Pace, *, current: float, usual: float | None, begun_us: int, now_us: int) -> Pace:
    """The pace after a request that began at `begun_us` was asked to slow down, sent at the rate `current`.

    A request that began before the last cut was not sent at the new rate yet: it says nothing about it.
    """
    pace = _usable(pace)
    if begun_us <= pace.slowed_at_us:
        return pace
    climbs_to = pace.usual_rate or usual or current
    floor = max(min(SLOWEST_RATE, climbs_to), climbs_to * SLOWEST_SHARE)
    rate = max(min(current, pace.slowed_to or current) / 2, floor)
    return replace(pace, slowed_to=rate, usual_rate=max(climbs_to, rate), slowed_at_us=now_us, raised_at_us=now_us)


def may_be_raised(pace: Pace, now_us: int) -> bool:
    """Whether an answer now raises the slowed rate."""
    return pace.slowed_to is not None and now_us - pace.raised_at_us >= RAISED_EVERY_S * SECOND_US


def answered(pace: Pace, now_us: int) -> Pace:
    """The pace after a usable answer: nothing is left alone any more, and a slowed rate rises when it is time."""
    pace = _usable(pace)
    if not may_be_raised(pace, now_us):
        return pace
    usual = pace.usual_rate or 0.0
    rate = (pace.slowed_to or 0.0) + usual * RAISED_BY
    if rate >= usual:
        return replace(pace, slowed_to=None, usual_rate=None, raised_at_us=now_us)
    return replace(pace, slowed_to=rate, raised_at_us=now_us)


def _usable(pace: Pace) -> Pace:
    return replace(pace, failures=0, rests=0, rest_until_us=0, tried_by=None, tried_until_us=0)


def failed(pace: Pace, connection: str, now_us: int) -> Pace:
    """The pace after a request of the connection got no usable answer; the one whose failure is the last straw goes on trying."""
    in_a_row = now_us - pace.failed_at_us <= IN_A_ROW_WITHIN_S * SECOND_US or pace.is_left_alone
    pace = replace(pace, failures=pace.failures + 1 if in_a_row else 1, failed_at_us=now_us)
    if not pace.is_left_alone or not may_try(pace, connection, now_us):
        return pace
    return trying(pace, connection, now_us)


def may_try(pace: Pace, connection: str, now_us: int) -> bool:
    """Whether the connection may begin a request now, as far as answers go."""
    if not pace.is_left_alone or pace.tried_by == connection:
        return True
    return pace.rest_until_us <= now_us and (pace.tried_by is None or pace.tried_until_us <= now_us)


def trying(pace: Pace, connection: str, now_us: int) -> Pace:
    """The pace when the connection, which may, is the one that tries."""
    return replace(pace, tried_by=connection, tried_until_us=now_us + round(TRIES_LAST_S * SECOND_US))


def gave_up(pace: Pace, connection: str, now_us: int) -> Pace:
    """The pace after the run of the connection that tried ended without an answer: a rest for all, then the next may try."""
    if pace.tried_by != connection or not pace.is_left_alone:
        return pace
    rest_s = min(FIRST_REST_S * 2**pace.rests, LONGEST_REST_S)
    until_us = now_us + round(rest_s * SECOND_US)
    return replace(pace, tried_by=None, tried_until_us=0, rests=min(pace.rests + 1, 10), rest_until_us=until_us)


def held_until_us(pace: Pace, connection: str, now_us: int) -> int | None:
    """Until when, at the latest, the connection may not try; None when it may."""
    if may_try(pace, connection, now_us):
        return None
    return max(pace.rest_until_us, pace.tried_until_us)


def pace_words(pace: Pace, *, paused_until_us: int | None, now_us: int) -> list[str]:
    """What people are told of a destination that is not sent to as usual; nothing when it is."""
    words: list[str] = []
    if (paused_until_us or 0) > now_us:
        words.append(f"it asked to be left alone until {to_iso(paused_until_us or 0)}")
    if pace.slowed_to is not None:
        words.append(f"slowed to {pace.slowed_to:.3g} requests a second after it asked for a pause, rising to {pace.usual_rate or 0:.3g}")
    if pace.is_left_alone:
        who = "one connection tries, the others wait"
        if pace.tried_by is None and pace.rest_until_us > now_us:
            who = f"the next try is at {to_iso(pace.rest_until_us)}"
        words.append(f"no usable answer to {pace.failures} requests in a row: {who}")
    return words
