"""Cadence: how often a computation is evaluated, a cron line in UTC, `manual`, or `live`: whenever facts arrive."""

import re

from engage_pipelines.domain.errors import ConfigurationError

MANUAL = "manual"
LIVE = "live"
UNSCHEDULED = (MANUAL, LIVE)
"""Cadences that are no cron lines: nothing falls due by the clock alone."""
NAMED = {"hourly": "0 * * * *", "daily": "0 4 * * *", "manual": MANUAL, "live": LIVE}
"""Words that people may write instead of a cron line."""

DEFAULT_CADENCE = NAMED["hourly"]

_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_PART = re.compile(r"(?:\*|(\d{1,2})(?:-(\d{1,2}))?)(?:/(\d{1,2}))?\Z")


def check_cadence(text: str) -> str:
    """The cadence as it is stored. Raises ConfigurationError when it is neither a known word nor a cron line of five numeric fields."""
    words = " ".join(text.split())
    if words in NAMED:
        return NAMED[words]
    fields = words.split(" ")
    if len(fields) == 5 and all(_fits(field, low, high) for field, (low, high) in zip(fields, _RANGES, strict=True)):
        return words
    raise ConfigurationError(
        f"cadence {text!r} is not a cron line.", f"Write five fields like `*/15 * * * *` (UTC), or one of {', '.join(NAMED)}."
    )


def _fits(field: str, low: int, high: int) -> bool:
    return all(_part_fits(part, low, high) for part in field.split(","))


def _part_fits(part: str, low: int, high: int) -> bool:
    match = _PART.match(part)
    if match is None:
        return False
    start, end, step = (None if group is None else int(group) for group in match.groups())
    if step == 0 or (start is None and end is not None):
        return False
    bounds = [bound for bound in (start, end) if bound is not None]
    return all(low <= bound <= high for bound in bounds) and bounds == sorted(bounds)
