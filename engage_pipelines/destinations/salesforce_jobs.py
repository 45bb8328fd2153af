"""Jobs of Salesforce's Bulk API 2.0: rows handed over, the job looked at until it is done, and what it refused read.

A job is worked on after it was taken. It is looked at for some seconds; one that takes longer is remembered, and looked at again when the
engine comes back with the same batch. Only a process that dies forgets it: the batch then goes as another job, which writes the same.
Source: https://developer.salesforce.com/docs/platform/api-asynch/guide/bulk-api-2-job-states.html,
https://developer.salesforce.com/docs/platform/api-asynch/guide/get-job-failed-results.html (November 2026)
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from engage_pipelines.destinations.api import Batch, Conversation, Talk, json_request, object_of
from engage_pipelines.destinations.base import Backoff, Pause, Stop, Verdict
from engage_pipelines.destinations.http import Answer, Request
from engage_pipelines.destinations.salesforce_answers import failed, no_such_field, read_problems
from engage_pipelines.destinations.salesforce_text import csv_of

LOOKS_AFTER_S = (0.0, 1.0, 2.0, 4.0, 8.0)
"""How long the looks at a job wait, one after the other: together less than a conversation may take."""
LOOK_AGAIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Rows:
    """What of a batch goes: rows by their external id, where in the batch each is, and by index why others cannot go."""

    object: str
    id_field: str
    by_id: Mapping[str, Mapping[str, Any]] = field(repr=False)
    positions: Sequence[int]
    refused: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Job:
    """A job that Salesforce took, at its address."""

    url: str
    rows: Rows


def name_of(batch: Batch) -> tuple[str, ...]:
    """What tells a batch from every other: a batch that is sent again has the same."""
    return batch.action.key, *(item.message_id for item in batch.items)


def begun(batch: Batch, rows: Rows) -> Talk[Job | Verdict]:
    """Hand over the rows as a job, which Salesforce takes as a whole; one whose upload fails is given up."""
    jobs = batch.settings.api("jobs/ingest")
    made = {"object": rows.object, "contentType": "CSV", "operation": "upsert", "externalIdFieldName": rows.id_field}
    answer = yield json_request("POST", jobs, made)
    wrong, number = failed(answer, 0), object_of(answer).get("id")
    if wrong is not None or not number:
        return wrong or Backoff(f"{answer.place} answered {answer.status} without the id of the job")
    job = Job(f"{jobs}/{quote(str(number), safe='')}", rows)
    headers = {"Content-Type": "text/csv", "Accept": "application/json"}
    answer = yield Request(f"{job.url}/batches", csv_of(list(rows.by_id.values()), rows.id_field), headers, "PUT")
    wrong = failed(answer, len(rows.by_id))
    if wrong is not None:
        yield json_request("PATCH", job.url, {"state": "Aborted"})
        return wrong
    answer = yield json_request("PATCH", job.url, {"state": "UploadComplete"})
    wrong = failed(answer, 0)
    if wrong is not None:
        return wrong
    batch.settings.jobs_under_way[name_of(batch)] = job
    return job


def seen_through(batch: Batch, job: Job) -> Conversation:
    """What became of the rows, by their order in the job; Pause while Salesforce is still at it."""
    for wait_s in LOOKS_AFTER_S:
        answer = yield replace(json_request("GET", job.url), after_s=wait_s)
        wrong, told = failed(answer, 0), object_of(answer)
        if told.get("state") == "JobComplete":
            return (yield from _outcome(batch, job, told))
        if answer.status == 404 or told.get("state") in {"Failed", "Aborted"}:
            batch.settings.jobs_under_way.pop(name_of(batch), None)
            return _not_done(answer, told)
        if wrong is not None:
            return wrong
    return Pause(LOOK_AGAIN_S)


def _not_done(answer: Answer, told: Mapping[str, Any]) -> Backoff | Stop:
    """The verdict on a job that came to nothing: its rows are handed over again, unless that cannot help."""
    reason = str(told.get("errorMessage") or "it does not say why")
    if "Field name not found" in reason:
        return no_such_field(reason)
    return Backoff("Salesforce knows the job no more" if answer.status == 404 else f"Salesforce gave the job up: {reason}")


def _outcome(batch: Batch, job: Job, told: Mapping[str, Any]) -> Conversation:
    problems: dict[int, str] = {}
    expected = told.get("numberRecordsFailed", 0)
    if expected:
        answer = yield Request(f"{job.url}/failedResults/", b"", {"Accept": "text/csv"}, "GET")
        wrong = failed(answer, 0)
        if wrong is not None:
            return wrong
        problems = dict(_problems(answer, job.rows))
        if len(problems) < expected:
            return Backoff(f"{answer.place} refused {expected} rows and named {len(problems)} of them")
    batch.settings.jobs_under_way.pop(name_of(batch), None)
    return read_problems(problems)


def _problems(answer: Answer, rows: Rows) -> Iterator[tuple[int, str]]:
    """By its order in the job why each refused row was refused, in Salesforce's words."""
    at_of = {value: at for at, value in enumerate(rows.by_id)}
    for row in csv.DictReader(io.StringIO(answer.body.decode(errors="replace"), newline="")):
        at = at_of.get(row.get(rows.id_field) or "")
        if at is not None:
            yield at, row.get("sf__Error") or "Salesforce refuses it and does not say why"
