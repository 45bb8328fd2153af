"""When a cadence is due next: the first minute after an instant that its cron line names, in UTC."""

from datetime import UTC, datetime, timedelta

from engage_pipelines.registry.cadence import UNSCHEDULED

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEAST = (0, 0, 1, 1, 0)
_MOST = (59, 23, 31, 12, 7)
_DAYS_AHEAD = 366 * 41
"""A 29th of February that is a Sunday comes within forty years, also around a century without one."""


def next_fire(cadence: str, after_us: int) -> int | None:
    """In UTC microseconds; None for a computation that has no cron line, or a date that never comes."""
    if cadence in UNSCHEDULED:
        return None
    minutes, hours, days, months, weekdays = (_values(field, index) for index, field in enumerate(cadence.split(" ")))
    any_day, any_weekday = (cadence.split(" ")[index].startswith("*") for index in (2, 4))
    start = (_EPOCH + timedelta(microseconds=after_us)).replace(second=0, microsecond=0) + timedelta(minutes=1)
    for ahead in range(_DAYS_AHEAD):
        day = start.date() + timedelta(days=ahead)
        by_day, by_weekday = day.day in days, day.isoweekday() % 7 in weekdays
        # where both are restricted, either will do: https://man7.org/linux/man-pages/man5/crontab.5.html
        is_due = by_day and by_weekday if any_day or any_weekday else by_day or by_weekday
        if day.month not in months or not is_due:
            continue
        for hour in sorted(hours):
            for minute in sorted(minutes):
                found = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
                if found >= start:
                    return round((found - _EPOCH) / timedelta(microseconds=1))
    return None


def _values(field: str, index: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        first = _LEAST[index] if low == "*" else int(low)
        last = _MOST[index] if low == "*" or (step and not high) else int(high or low)
        found.update(range(first, last + 1, int(step or 1)))
    return {value % 7 for value in found} if index == 4 else found
