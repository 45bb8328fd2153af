"""What happened: deliveries of a destination, and the audit log."""

from collections import Counter
from typing import Any

import sqlalchemy as sa

from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.query.instants import read_instant
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tables import audit, connection, exception, generation
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.access import spaces_for
from engage_pipelines.server.api.calls import PAGINATION, Answer, Call, Operation, Query, at_field, instant
from engage_pipelines.server.api.pages import page_of, read_page
from engage_pipelines.server.api.things import destination_of, source_of

_WINDOW = (Query("startTime", "ISO 8601, included."), Query("endTime", "ISO 8601, left out."))
_FATES = {"entered": "successes", "exited": "successes", "left_out": "discarded", "overtaken": "discarded", "rejected": "failed"}
_METRICS = ("successes", "discarded", "failed", "retried")


def _metrics(call: Call) -> Answer:
    first, last = instant_in(call, "startTime"), instant_in(call, "endTime")
    with call.registry.database.read() as c:
        _space, to = destination_of(c, call, call.part("destinationId"))
        if "sourceId" in call.query:
            with at_field("sourceId"):
                source_of(c, call, call.query["sourceId"])
        totals, calls = _totals(c, to, first, last)
    metrics = [
        {
            "metricName": name,
            "total": totals[name],
            "breakdown": [{"metricName": one, "value": count} for (metric, one), count in sorted(calls.items()) if metric == name],
        }
        for name in _METRICS
    ]
    told = {"sourceId": to.source_id or to.space_id, "destinationMetadataId": to.type, "metrics": metrics}
    return Answer({"deliveryMetricsSummary": told})


def _totals(c: sa.Connection, to: Row, first: int | None, last: int | None) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Records by metric, and by metric and call, of the generations that were settled then; what waits to be tried again is of now."""
    mine = sa.select(connection.c.id).where(connection.c.destination_id == to.id)
    g = generation.c
    wanted = [g.connection_id.in_(mine), g.state == "settled"]
    wanted += [] if first is None else [g.settled_at >= first]
    wanted += [] if last is None else [g.settled_at < last]
    totals: Counter[str] = Counter()
    calls: Counter[tuple[str, str]] = Counter()
    for counts in c.execute(sa.select(g.counts).where(*wanted)).scalars():
        for name, fates in (counts or {}).items():
            for fate, count in fates.items():
                metric = _FATES.get(fate, "retried")
                totals[metric] += count
                calls[metric, name] += count
    waiting = sa.and_(exception.c.connection_id.in_(mine), exception.c.kind == "retryable")
    totals["retried"] += c.execute(sa.select(sa.func.count()).select_from(exception).where(waiting)).scalar_one()
    return totals, calls


def instant_in(call: Call, name: str) -> int | None:
    """The instant that the query names, None when it names none. Raises AtFieldError."""
    text = call.query.get(name)
    if text is None:
        return None
    with at_field(name, EngageError):
        return read_instant(text)


def _events(call: Call) -> Answer:
    """Newest first. A token of one space is shown what names that space alone, which mappings do not."""
    first, last = instant_in(call, "startTime"), instant_in(call, "endTime")
    a = audit.c
    query = sa.select(audit)
    query = query if first is None else query.where(a.at >= first)
    query = query if last is None else query.where(a.at < last)
    for name, column in (("resourceId", a.object), ("resourceType", a.object)):
        if name in call.query:
            wanted = call.query[name]
            query = query.where(
                column.endswith(wanted, autoescape=True) if name == "resourceId" else column.startswith(f"{wanted} ", autoescape=True)
            )
    with call.registry.database.read() as c:
        for row in spaces_for(c, call.actor) if call.actor.space is not None else ():
            query = query.where(a.object.contains(f" {row.key}/", autoescape=True))
        found = page_of(c, query, a.id, read_page(call.query), newest_first=True)
    return Answer({"events": [_event(row) for row in found.rows], "pagination": found.pagination})


def _event(row: Row) -> dict[str, Any]:
    kind, _, name = row.object.partition(" ")
    return {
        "id": str(row.id),
        "timestamp": instant(row.at),
        "type": f"{kind.capitalize()} {row.verb}",
        "actor": row.actor,
        "resourceId": name,
        "resourceType": kind,
        "resourceName": name,
        "before": row.before,
        "after": row.after,
    }


OPERATIONS = (
    Operation("listDeliveryMetricsSummaryFromDestination", "GET", "/destinations/{destinationId}/delivery-metrics", _metrics,
              "What became of the records for a destination", ("deliveryMetricsSummary",), version="v1beta",
              query=(Query("sourceId", "A source there is."), *_WINDOW, Query("granularity", "Taken, and of no effect."))),
    Operation("listAuditEvents", "GET", "/audit-events", _events, "Who changed what, the newest first", ("events", "pagination"),
              role=Role.ADMIN,
              query=(*_WINDOW, Query("resourceId", "How the name of the thing ends."), Query("resourceType", "Its kind."), PAGINATION)),
)  # fmt: skip
