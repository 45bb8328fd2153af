"""Dates and times as ISO 8601 writes them, as UTC microseconds since 1970.

`2022-10-17` is midnight UTC; a time without a zone is UTC; digits beyond microseconds are dropped. Anything else
(24:00, leap seconds, week dates, a space instead of T) is no instant.
"""

import re
from datetime import date, datetime, timedelta

from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.domain.query.tree import Moment

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: arithmetic on UTC alone
_DAY_US = 86_400_000_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()

DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
TIME = r"T(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]+)?)?"
ZONE = r"(?:Z|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?)"
_ISO = re.compile(f"({DATE})({TIME})?({ZONE})?")


def instant_us(text: str) -> int | None:
    """The instant that `text` names, or None when it is not one."""
    found = _ISO.fullmatch(text)
    if not found or (found[3] and not found[2]):
        return None
    try:
        day = date.fromisoformat(found[1])
    except ValueError:
        return None
    return (day.toordinal() - _EPOCH_DAY) * _DAY_US + _time_us(found[2]) - _zone_us(found[3])


def read_instant(text: str) -> int:
    """UTC microseconds since 1970. Raises ConfigurationError for a text that is no instant."""
    at_us = instant_us(text)
    if at_us is None:
        raise ConfigurationError(f"{text!r} is not an instant.", "Write it like 2008-01-01T00:00:00Z.")
    return at_us


def _time_us(time: str | None) -> int:
    if not time:
        return 0
    hours, minutes, *rest = time[1:].split(":")
    seconds, _, fraction = (rest[0] if rest else "0").partition(".")
    whole = int(hours) * 3_600 + int(minutes) * 60 + int(seconds)
    return whole * 1_000_000 + int(fraction[:6].ljust(6, "0"))


def _zone_us(zone: str | None) -> int:
    if not zone or zone == "Z":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[3:].lstrip(":") or 0)
    return (-minutes if zone[0] == "-" else minutes) * 60_000_000


def read_moment(text: str) -> Moment | None:
    """A literal of that text, or None when it is no instant of the years 1 to 9999."""
    at_us = instant_us(text)
    if at_us is None:
        return None
    try:
        _ = _EPOCH + timedelta(microseconds=at_us)
    except OverflowError:
        return None
    return Moment(at_us, date_only="T" not in text)


def moment_text(moment: Moment) -> str:
    """The literal again, in UTC."""
    at = _EPOCH + timedelta(microseconds=moment.at_us)
    return at.date().isoformat() if moment.date_only else f"{at.isoformat()}Z"
