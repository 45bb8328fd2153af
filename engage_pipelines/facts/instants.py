"""ISO 8601 instants as UTC microseconds since 1970, one by one and by the column.

Before 1970 too. An instant without zone counts as UTC; digits beyond microseconds are dropped.
"""

# pyarrow has no types of its own
# pyright: reportUnknownParameterType=false

from collections.abc import Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = pa.timestamp("us", "UTC")


def parse_instant(text: str) -> int | None:
    """UTC microseconds since 1970 of an ISO 8601 instant, taken as UTC where it names no zone; None when it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return _parse_with_arrow(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _parse_with_arrow(text: str) -> int | None:
    try:
        return pc.cast(pa.array([text]), _INSTANT).cast(pa.int64())[0].as_py()
    except pa.ArrowInvalid:
        return None


def parse_instants(texts: Sequence[str | None]) -> pa.Array | None:
    """A column of instants, null where there is no text; None when one of them is no instant."""
    try:
        return pc.cast(pa.array(texts, pa.string()), _INSTANT).cast(pa.int64())
    except pa.ArrowInvalid:
        # not all in the one form that can be read at once
        parsed = [None if text is None else parse_instant(text) for text in texts]
        if any(instant is None and text is not None for instant, text in zip(parsed, texts, strict=True)):
            return None
        return pa.array(parsed, pa.int64())
