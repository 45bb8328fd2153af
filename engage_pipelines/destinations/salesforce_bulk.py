"""Many records of one object in Salesforce at once: which rows go, as collections of 200 or as a job, and what became of each.

Nobody is made only to say that they are not in, so who is not surely to be made is looked up before.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast
from urllib.parse import quote

from engage_pipelines.destinations.api import Batch, Conversation, Talk, json_of, json_request, object_of, placed, query_url
from engage_pipelines.destinations.base import Accepted, Backoff, Verdict
from engage_pipelines.destinations.salesforce_answers import cannot_be_made, failed, read_problems
from engage_pipelines.destinations.salesforce_jobs import Job, Rows, begun, name_of, seen_through
from engage_pipelines.destinations.salesforce_text import queries_among


def in_bulk(batch: Batch) -> Conversation:
    """The conversation about a batch whose records are told apart by an external id."""
    job = batch.settings.jobs_under_way.get(name_of(batch)) if batch.settings.jobs else None
    rows = job.rows if job else (yield from _rows_of(batch))
    if not isinstance(rows, Rows):
        return rows
    if not rows.by_id:
        return Accepted(rows.refused)
    verdict = yield from _sent(batch, rows, job)
    if not isinstance(verdict, Accepted):
        return verdict
    return Accepted({**rows.refused, **cast(Accepted, placed(verdict, rows.positions)).rejected})


def _sent(batch: Batch, rows: Rows, job: Job | None) -> Conversation:
    if not batch.settings.jobs:
        return (yield from _collection(batch, rows))
    begun_or_not = job or (yield from begun(batch, rows))
    return (yield from seen_through(batch, begun_or_not)) if isinstance(begun_or_not, Job) else begun_or_not


def _rows_of(batch: Batch) -> Talk[Rows | Verdict]:
    first = batch.payloads[0]
    refused: dict[int, str] = {}
    unsure = {at for at, item in enumerate(batch.items) if item.payload["new"] or item.payload["mode"] == "update" or not item.entered}
    known = yield from _known(batch, first, [batch.payloads[at]["value"] for at in sorted(unsure)])
    if not isinstance(known, set):
        return known
    by_id: dict[str, dict[str, Any]] = {}
    for at, item in enumerate(batch.items):
        one = item.payload
        row = {**one["sent"], one["field"]: one["value"]}
        if one["field"] != first["field"]:
            refused[at] = "what goes in bulk together is about one external id field"
        elif at not in unsure or one["value"].lower() in known:
            by_id[one["value"]] = row
        elif item.entered:
            reason = cannot_be_made(one)
            if reason is None:
                by_id[one["value"]] = {**row, **one["new"]}
            else:
                refused[at] = reason
    at_of = {item.payload["value"]: at for at, item in enumerate(batch.items) if at not in refused}
    return Rows(first["object"], first["field"], by_id, [at_of[value] for value in by_id], refused)


def _known(batch: Batch, first: Mapping[str, Any], values: Sequence[str]) -> Talk[set[str] | Verdict]:
    """Which external ids there are, in lower case."""
    found: set[str] = set()
    for query in queries_among(first["object"], first["field"], list(dict.fromkeys(values))):
        answer = yield json_request("GET", query_url(batch.settings.api("query/"), {"q": query}))
        wrong = failed(answer, 0)
        if wrong is not None:
            return wrong
        found |= {str(record.get(first["field"])).lower() for record in object_of(answer).get("records") or []}
    return found


def _collection(batch: Batch, rows: Rows) -> Conversation:
    """Up to 200 records of one object in a request, each with its own outcome, in their order."""
    place = f"composite/sobjects/{rows.object}/{quote(rows.id_field, safe='')}"
    sent = [{"attributes": {"type": rows.object}, **record} for record in rows.by_id.values()]
    answer = yield json_request("PATCH", batch.settings.api(place), {"allOrNone": False, "records": sent})
    wrong = failed(answer, len(sent))
    if wrong is not None:
        return wrong
    results = json_of(answer)
    if not isinstance(results, list) or len(cast("list[Any]", results)) != len(sent):
        return Backoff(f"{answer.place} answered {answer.status} without an outcome for each record")
    outcomes = cast("list[dict[str, Any]]", results)
    return read_problems({at: _problem(outcome) for at, outcome in enumerate(outcomes) if not outcome.get("success")})


def _problem(outcome: Mapping[str, Any]) -> str:
    """Why a record of a collection was refused, in Salesforce's words."""
    told = [f"{one.get('statusCode')}: {one.get('message')}" for one in outcome.get("errors") or []]
    return "; ".join(told) or "Salesforce refuses it and does not say why"
