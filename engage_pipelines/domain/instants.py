"""Instants as the product keeps them, UTC microseconds since 1970, and as people and payloads write them."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_datetime(instant_us: int) -> datetime:
    """The instant as an aware datetime; also before 1970."""
    return _EPOCH + timedelta(microseconds=instant_us)


def from_datetime(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime; one without a zone is taken as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1)


def to_iso(instant_us: int) -> str:
    """ISO 8601 in UTC with milliseconds, as Segment writes it: `2026-03-01T10:00:00.000Z`."""
    moment = to_datetime(instant_us)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z" if moment.year >= 1000 else moment.isoformat()


def instant_text(instant_us: int | None) -> str | None:
    """ISO 8601 with Z, to the second, as people and JSON lists read it; None stays None."""
    if instant_us is None:
        return None
    return to_datetime(instant_us).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
