"""The delivery overview: what became of the records of a destination over time, in buckets, as Segment's clients draw it.

Counted are the records of generations that were settled in the time that is asked about, in UTC. What is taken in from sources is not
counted by time here, so the overviews of sources are not served.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa

from engage_pipelines.domain.errors import UsageError
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import connection, generation
from engage_pipelines.server.api.calls import PAGINATION, Answer, AtFieldError, Call, Operation, Query, at_field, instant
from engage_pipelines.server.api.monitoring import instant_in
from engage_pipelines.server.api.pages import page_of_list, read_page
from engage_pipelines.server.api.things import destination_of, source_of

_BUCKET_US = {"MINUTE": 60_000_000, "HOUR": 3_600_000_000, "DAY": 86_400_000_000}
_GRANULARITIES = _BUCKET_US | {name.lower(): size for name, size in _BUCKET_US.items()}
"""Segment's older clients write them in lower case."""
_MOST_BUCKETS = 10_000
_DIMENSIONS = ("eventType", "eventName", "discardReason", "audienceId", "spaceId")
_DELIVERED = frozenset({"entered", "exited"})
_FAILED = frozenset({"rejected"})
_FILTERED = {"left_out": "left before it was sent", "overtaken": "overtaken by a newer one"}
_EVENTS = {"entered": "Audience Entered", "exited": "Audience Exited"}

Counted = tuple[int, str, str, str, int]
"""When it was settled, the call, the fate, the audience or trait, and how many records."""


def _overview(fates: frozenset[str]) -> Callable[[Call], Answer]:
    def ask(call: Call) -> Answer:
        first, last, size = _window(call)
        by = _grouping(call)
        wanted = _filter(call)
        page = read_page(call.query)
        with call.registry.database.read() as c:
            space, to = _destination(c, call)
            rows = list(_counted(c, to, first, last))
        sums: dict[tuple[str, ...], Counter[int]] = {}
        for at, name, fate, of, count in rows:
            told = _described(name, fate, of, space.id)
            if fate in fates and all(told.get(dimension) in values for dimension, values in wanted.items()):
                group = tuple(told.get(dimension, "") for dimension in by)
                sums.setdefault(group, Counter())[at - at % size] += count
        names = sorted(sums)
        found = page_of_list(names, ["\t".join(name) for name in names], page)
        buckets = range(first - first % size, last, size)
        dataset = [_dataset(by, name, sums[name], buckets) for name in cast("Sequence[tuple[str, ...]]", found.rows)]
        return Answer({"dataset": dataset, "pagination": found.pagination})

    return ask


def _dataset(by: Sequence[str], name: tuple[str, ...], counts: Counter[int], buckets: range) -> dict[str, Any]:
    series = [{"time": instant(at), "count": counts[at]} for at in buckets]
    return {**{one: value for one, value in zip(by, name, strict=True) if value}, "total": counts.total(), "series": series}


def _described(call: str, fate: str, of: str, space: str) -> Mapping[str, str]:
    told = {"eventType": call, "audienceId": of, "spaceId": space}
    if call == "track" and fate in _EVENTS:
        told["eventName"] = _EVENTS[fate]
    if fate in _FILTERED or fate in _FAILED:
        told["discardReason"] = _FILTERED.get(fate, "refused by the destination")
    return told


def _counted(c: sa.Connection, to: Row, first: int, last: int) -> Iterator[Counted]:
    g = generation.c
    settled = sa.and_(g.state == "settled", g.settled_at >= first, g.settled_at < last)
    joined = generation.join(connection, connection.c.id == g.connection_id)
    query = sa.select(g.settled_at, g.counts, connection.c.computation_id).select_from(joined)
    for row in c.execute(query.where(settled, connection.c.destination_id == to.id)):
        for call, fates in (row.counts or {}).items():
            for fate, count in fates.items():
                yield row.settled_at, call, fate, row.computation_id, count


def _destination(c: sa.Connection, call: Call) -> tuple[Row, Row]:
    for name in ("sourceId", "destinationConfigId"):
        if not call.query.get(name):
            raise AtFieldError(UsageError(f"{name} is missing.", "Give it."), name)
    with at_field("sourceId"):
        source_of(c, call, call.query["sourceId"])
    with at_field("destinationConfigId"):
        return destination_of(c, call, call.query["destinationConfigId"])


def _window(call: Call) -> tuple[int, int, int]:
    """First and last instant, the last one left out, and how long a bucket is."""
    first, last = instant_in(call, "startTime"), instant_in(call, "endTime")
    if first is None or last is None:
        name = "startTime" if first is None else "endTime"
        raise AtFieldError(UsageError(f"{name} is missing.", "Give an instant as in ISO 8601."), name)
    size = _GRANULARITIES.get(call.query.get("granularity", ""))
    if size is None:
        raise AtFieldError(UsageError("granularity is MINUTE, HOUR or DAY.", "Give one of them."), "granularity")
    if first >= last:
        raise AtFieldError(UsageError("endTime is not after startTime.", "Exchange them."), "endTime")
    if (last - first) // size > _MOST_BUCKETS:
        raise AtFieldError(UsageError(f"That is more than {_MOST_BUCKETS:,} buckets.", "Ask for less, or for larger ones."), "granularity")
    return first, last, size


def _grouping(call: Call) -> list[str]:
    """What the datasets are apart by: repeated as groupBy.0, groupBy[0], or in one text with commas between them."""
    texts = [text for name, text in call.query.items() if name == "groupBy" or name.startswith(("groupBy.", "groupBy["))]
    named = [part.strip().rpartition("=")[2] for text in texts for part in text.split(",") if part.strip()]
    for one in named:
        _check_dimension(one, "groupBy")
    return list(dict.fromkeys(named))


def _filter(call: Call) -> dict[str, set[str]]:
    """By dimension the values that are counted, as a JSON object."""
    text = call.query.get("filter")
    if text is None:
        return {}
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise AtFieldError(UsageError("filter is not a JSON object.", 'Write {"eventType": ["identify"]}.'), "filter")
    found: dict[str, set[str]] = {}
    for name, values in cast("dict[str, Any]", said).items():
        _check_dimension(name, "filter")
        if not isinstance(values, list):
            raise AtFieldError(UsageError(f"filter.{name} is not a list.", "Write a list of texts."), f"filter.{name}")
        found[name] = {str(value) for value in cast("list[Any]", values)}
    return found


def _check_dimension(name: str, field: str) -> None:
    if name not in _DIMENSIONS:
        raise AtFieldError(UsageError(f"Records are not told apart by {name[:40]!r} here.", f"Use {', '.join(_DIMENSIONS)}."), field)


_QUERY = (
    Query("sourceId", "The space's own id, or that of a source."),
    Query("destinationConfigId", "The destination."),
    Query("startTime", "ISO 8601, included."),
    Query("endTime", "ISO 8601, left out."),
    Query("granularity", "How long a bucket is.", {"type": "string", "enum": list(_GRANULARITIES)}),
    Query("groupBy", "What the datasets are apart by, with commas between them."),
    Query("filter", "By dimension the values that are counted, a JSON object of lists."),
    PAGINATION,
)
_KINDS = (
    ("getEgressSuccessMetricsFromDeliveryOverview", "successful-delivery", _DELIVERED, "Records that a destination took"),
    ("getEgressFailedMetricsFromDeliveryOverview", "failed-delivery", _FAILED, "Records that a destination refused"),
    ("getFilteredAtDestinationMetricsFromDeliveryOverview", "filtered-at-destination", frozenset(_FILTERED),
     "Records that were planned and not sent, since they were true no more"),
)  # fmt: skip
OPERATIONS = tuple(
    Operation(name, "GET", f"/delivery-overview/{path}", _overview(fates), text, ("dataset", "pagination"), query=_QUERY, version="v1beta")
    for name, path, fates, text in _KINDS
)
