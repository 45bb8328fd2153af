"""A fake Salesforce: records of three objects by id, queries that are read as SOQL is, bulk jobs, tokens that expire."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import KEY, FakeApi, reply_json, route, sent_json, sent_query

_BASE = "/services/data/v53.0"
_NEEDED = {"Contact": {"LastName"}, "Lead": {"LastName", "Company"}, "Account": {"Name"}}
_FIELDS = {"LastName", "FirstName", "Email", "Company", "Name", "AccountNumber", "Outside_Id__c", f"{KEY}__c"}
_SOQL = re.compile(r"SELECT (\w+) FROM (\w+) WHERE (.*)", re.DOTALL)
_TOKEN = re.compile(r"\s*(?:'((?:[^'\\]|\\['\\nrtbf\"])*)'|(=|\(|\)|,)|([\w.]+))", re.DOTALL)
_MEANS = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class Fake(FakeApi):
    """Records by object and id; `jobs` holds what became of each bulk job, done after `looks_before_done` looks in vain."""

    token_path = "/services/oauth2/token"  # noqa: S105 (a path)
    secrets = ("the-client-secret", "the-refresh-token")

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in _NEEDED}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.used_up = False
        self.looks_before_done = 0

    def settings(self, url: str) -> Mapping[str, object]:
        app = {"client_id": "the-client", "client_secret": "the-client-secret", "refresh_token": "the-refresh-token"}
        return {"instance_url": "https://acme.my.salesforce.com", "endpoint": url, **app}

    def unauthorised(self) -> Reply:
        return _errors("INVALID_SESSION_ID", "Session expired or invalid", 401)

    @route("GET", f"{_BASE}/limits")
    def limits(self, request: Received) -> Reply:
        return reply_json({"DailyApiRequests": {"Max": 100_000, "Remaining": 99_000}})

    @route("GET", f"{_BASE}/query/")
    def query(self, request: Received) -> Reply:
        if self.used_up:
            return _errors("REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.", 403)
        said = _SOQL.fullmatch(sent_query(request)["q"])
        wanted = list(_conditions(said[3])) if said else []
        if said is None or not wanted:
            return _errors("MALFORMED_QUERY", "unexpected token", 400)
        rows = self.records[said[2]].items()
        found = [(number, row) for number, row in rows if any(_equal({**row, "Id": number}.get(name), value) for name, value in wanted)]
        told = [{"Id": number} if said[1] == "Id" else {said[1]: row.get(said[1])} for number, row in found]
        return reply_json({"totalSize": len(told), "done": True, "records": told})

    @route("POST", f"{_BASE}/sobjects/(Contact|Lead|Account)")
    def make(self, request: Received, name: str) -> Reply:
        sent = sent_json(request)
        problem = self._refused(name, sent, new=True)
        if problem:
            return _errors(*problem, 400)
        number = self._new(name)
        self.records[name][number] = sent
        return reply_json({"id": number, "success": True, "errors": []}, 201)

    @route("PATCH", f"{_BASE}/sobjects/(Contact|Lead|Account)/([^/]+)")
    def change(self, request: Received, name: str, number: str) -> Reply:
        if number not in self.records[name]:
            return _errors("NOT_FOUND", "The requested resource does not exist", 404)
        sent = sent_json(request)
        problem = self._refused(name, sent, new=False)
        if problem:
            return _errors(*problem, 400)
        self.records[name][number].update(sent)
        return Reply(204)

    @route("PATCH", f"{_BASE}/composite/sobjects/(Contact|Lead|Account)/([^/]+)")
    def upsert_many(self, request: Received, name: str, field: str) -> Reply:
        """Records by an external id, each with its outcome; what is not well formed is refused as a whole."""
        sent = sent_json(request)["records"]
        if len(sent) > 200 or any(record.get("attributes") != {"type": name} or field not in record for record in sent):
            return _errors("INVALID_INPUT", "The request is not well formed", 400)
        outcomes: list[dict[str, Any]] = []
        for record in sent:
            values = {key: value for key, value in record.items() if key != "attributes"}
            number, problem = self._taken(name, field, values)
            errors = [{"statusCode": problem[0], "message": problem[1], "fields": []}] if problem else []
            outcomes.append({"id": number, "success": not problem, "errors": errors})
        return reply_json(outcomes)

    # ------------------------------------------------------------------ bulk

    @route("POST", f"{_BASE}/jobs/ingest")
    def make_job(self, request: Received) -> Reply:
        number = f"750{len(self.jobs)}"
        self.jobs[number] = {**sent_json(request), "state": "Open", "rows": []}
        return reply_json({"id": number, "state": "Open"})

    @route("PUT", f"{_BASE}/jobs/ingest/([^/]+)/batches")
    def upload(self, request: Received, number: str) -> Reply:
        self.jobs[number]["rows"] = list(csv.DictReader(io.StringIO(request.body.decode(), newline="")))
        return Reply(201)

    @route("PATCH", f"{_BASE}/jobs/ingest/([^/]+)")
    def close(self, request: Received, number: str) -> Reply:
        """What was uploaded stands in line; the job is done when it was looked at often enough."""
        job = self.jobs[number]
        job["state"] = sent_json(request)["state"]
        return reply_json({"id": number, "state": job["state"]})

    @route("GET", f"{_BASE}/jobs/ingest/([^/]+)")
    def look(self, request: Received, number: str) -> Reply:
        job = self.jobs.get(number)
        if job is None:
            return _errors("NOT_FOUND", "The requested resource does not exist", 404)
        if job["state"] in {"UploadComplete", "InProgress"}:
            job["looks"] = job.get("looks", 0) + 1
            job["state"] = "InProgress"
            if job["looks"] > self.looks_before_done:
                self._work(job)
        failed = job.get("failed", [])
        told = {"id": number, "state": job["state"], "numberRecordsProcessed": len(job["rows"]), "numberRecordsFailed": len(failed)}
        return reply_json(told | ({"errorMessage": job["problem"]} if "problem" in job else {}))

    @route("GET", f"{_BASE}/jobs/ingest/([^/]+)/failedResults/")
    def failed_results(self, request: Received, number: str) -> Reply:
        """The refused rows as they were sent, with an id and the reason in front."""
        job = self.jobs[number]
        if job["state"] != "JobComplete":
            return _errors("INVALIDJOBSTATE", "Job is not complete", 400)
        told = io.StringIO(newline="")
        columns = ["sf__Id", "sf__Error", *(job["rows"][0] if job["rows"] else ())]
        writer = csv.DictWriter(told, columns, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writeheader()
        writer.writerows(job.get("failed", []))
        return Reply(200, told.getvalue().encode(), {"Content-Type": "text/csv"})

    def _work(self, job: dict[str, Any]) -> None:
        """Take the rows of a job, or give it up as a whole when it has a column that there is no field for."""
        unknown = sorted({name for row in job["rows"] for name in row} - _FIELDS)
        if unknown:
            job |= {"state": "Failed", "problem": f"InvalidBatch : Field name not found : {unknown[0]}"}
            return
        for row in job["rows"]:
            self._upsert(job, row)
        job["state"] = "JobComplete"

    def _upsert(self, job: dict[str, Any], row: Mapping[str, str]) -> None:
        """A row of a job: an empty cell leaves a field as it is, #N/A empties it."""
        values = {key: {"true": True, "false": False, "#N/A": None}.get(value, value) for key, value in row.items() if value != ""}
        _, problem = self._taken(job["object"], job["externalIdFieldName"], values)
        if problem:
            job.setdefault("failed", []).append({"sf__Id": "", "sf__Error": f"{':'.join(problem)} --", **row})

    def _taken(self, name: str, field: str, values: Mapping[str, Any]) -> tuple[str | None, tuple[str, str] | None]:
        """Update or make the record with that external id; its id, or why it is refused."""
        known = next((number for number, one in self.records[name].items() if _equal(one.get(field), values[field])), None)
        problem = self._refused(name, values, new=known is None)
        if problem:
            return None, problem
        number = known or self._new(name)
        self.records[name].setdefault(number, {}).update(values)
        return number, None

    def _new(self, name: str) -> str:
        return f"{name[0]}{len(self.records[name]) + 1}"

    def _refused(self, name: str, sent: Mapping[str, Any], *, new: bool) -> tuple[str, str] | None:
        unknown = sorted(set(sent) - _FIELDS)
        if unknown:
            return "INVALID_FIELD", f"No such column '{unknown[0]}' on sobject of type {name}"
        lacking = sorted(field for field in _NEEDED[name] if not sent.get(field))
        if new and lacking:
            return "REQUIRED_FIELD_MISSING", f"Required fields are missing: {lacking}"
        if self.unwanted and self.unwanted in {sent.get("Email"), sent.get("Outside_Id__c")}:
            return "FIELD_CUSTOM_VALIDATION_EXCEPTION", "it is not valid"
        return None

    def held(self) -> Mapping[str, bool]:
        rows = self.records["Contact"].values()
        return {row["Email"]: row[f"{KEY}__c"] for row in rows if f"{KEY}__c" in row}


def _conditions(text: str) -> Iterator[tuple[str, Any]]:
    """Fields and values of `a = 'b' OR c IN ('d', 'e')`; none when the text is not of that kind."""
    tokens = list(_TOKEN.finditer(text))
    if "".join(token[0] for token in tokens) != text:
        return
    name = ""
    for token in tokens:
        if token[1] is not None:
            yield name, re.sub(r"\\(.)", lambda found: _MEANS.get(found[1], found[1]), token[1])
        elif token[3] is not None and token[3] not in {"OR", "IN", "AND"}:
            name = token[3]


def _equal(one: Any, other: Any) -> bool:
    return one is not None and str(one).lower() == str(other).lower()


def _errors(code: str, message: str, status: int) -> Reply:
    return reply_json([{"errorCode": code, "message": message}], status)
