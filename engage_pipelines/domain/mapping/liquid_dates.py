# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""The `date` filter of `@liquid`: ISO 8601 texts and seconds since 1970, printed in UTC with strftime marks."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from engage_pipelines.domain.mapping.javascript import text_of

DEFAULT_FORMAT = "%A, %B %-e, %Y at %-l:%M %P %z"
_MARK = re.compile(r"%([-_0^#:]*)(\d{0,3})([a-zA-Z%+])")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def formatted(value: Any, pattern: Any = None, *_: Any) -> Any:
    """The instant in a pattern; a value that is no instant comes back as it is."""
    instant = _instant(value)
    if instant is None:
        return value
    return _MARK.sub(lambda mark: _printed(instant, mark), DEFAULT_FORMAT if pattern is None else text_of(pattern))


def _instant(value: Any) -> datetime | None:
    try:
        if isinstance(value, bool) or value is None:
            return None
        if isinstance(value, int | float):
            return _EPOCH + timedelta(seconds=value)
        if not isinstance(value, str):
            return None
        if value in ("now", "today"):
            return datetime.now(UTC)
        if re.fullmatch(r"[0-9]+", value):
            return _EPOCH + timedelta(seconds=int(value))
        instant = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        return None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def _printed(instant: datetime, mark: re.Match[str]) -> str:
    flags, width, letter = mark.groups()
    known = _LETTERS.get(letter)
    if known is None:
        return mark[0]
    text = known(instant)
    size, filler = _PADDING.get(letter, (0, " "))
    text = text.upper() if "^" in flags else text.swapcase() if "#" in flags else text
    if "-" in flags:
        return text
    return text.rjust(int(width or size), " " if "_" in flags else "0" if "0" in flags else filler)


def _week(instant: datetime, first: int) -> str:
    return str((instant.timetuple().tm_yday + 6 - (instant.weekday() - first) % 7) // 7)


_PADDING: dict[str, tuple[int, str]] = dict.fromkeys("dHIMmSyUWC", (2, "0")) | {
    "e": (2, " "),
    "k": (2, " "),
    "l": (2, " "),
    "j": (3, "0"),
    "L": (3, "0"),
    "N": (9, "0"),
}
_LETTERS: dict[str, Callable[[datetime], str]] = {
    "a": lambda t: t.strftime("%a"),
    "A": lambda t: t.strftime("%A"),
    "b": lambda t: t.strftime("%b"),
    "h": lambda t: t.strftime("%b"),
    "B": lambda t: t.strftime("%B"),
    "C": lambda t: str(t.year // 100),
    "d": lambda t: str(t.day),
    "e": lambda t: str(t.day),
    "F": lambda t: t.strftime("%Y-%m-%d"),
    "D": lambda t: t.strftime("%m/%d/%y"),
    "H": lambda t: str(t.hour),
    "k": lambda t: str(t.hour),
    "I": lambda t: str(t.hour % 12 or 12),
    "l": lambda t: str(t.hour % 12 or 12),
    "j": lambda t: str(t.timetuple().tm_yday),
    "L": lambda t: str(t.microsecond // 1000),
    "N": lambda t: str(t.microsecond * 1000),
    "m": lambda t: str(t.month),
    "M": lambda t: str(t.minute),
    "p": lambda t: "AM" if t.hour < 12 else "PM",
    "P": lambda t: "am" if t.hour < 12 else "pm",
    "R": lambda t: t.strftime("%H:%M"),
    "s": lambda t: str(int(t.timestamp())),
    "S": lambda t: str(t.second),
    "T": lambda t: t.strftime("%H:%M:%S"),
    "u": lambda t: str(t.isoweekday()),
    "U": lambda t: _week(t, 6),
    "w": lambda t: str(t.isoweekday() % 7),
    "W": lambda t: _week(t, 0),
    "y": lambda t: str(t.year % 100),
    "Y": lambda t: str(t.year),
    "z": lambda _: "+0000",
    "Z": lambda _: "UTC",
    "%": lambda _: "%",
}
