import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import orjson
import pytest

from engage_pipelines.destinations import salesforce_jobs
from engage_pipelines.destinations.base import Accepted, Action, Backoff, Pause, Record, Stop, Verdict
from engage_pipelines.destinations.fields import UnusableError
from engage_pipelines.destinations.salesforce import Salesforce, SalesforceSettings
from engage_pipelines.destinations.salesforce_text import field_name, queries_among, query_for
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.local_server import Reply
from engage_pipelines.testing.vendor import Switchboard, reply_json
from engage_pipelines.testing.vendor_conformance import VendorConformance
from engage_pipelines.testing.vendors.salesforce import Fake

DATA = "https://acme.my.salesforce.com/services/data/v53.0/"
Rows = list[dict[str, str]]


def _entered(case: Mapping[str, Any]) -> bool:
    event = case.get("event") or case["events"][0]
    return event["traits"]["big_spenders"]


def _table(text: str) -> Rows:
    return list(csv.DictReader(io.StringIO(text)))


def _text(rows: Rows) -> str:
    """As ours are written: columns by name, the id last, all that is there in quotes."""
    columns = [*sorted({name for row in rows for name in row} - {"Outside_Id__c"}), "Outside_Id__c"]
    quoted = [",".join('"' + row[name].replace('"', '""') + '"' if row.get(name) else "" for name in columns) for row in rows]
    return "".join(f"{line}\n" for line in (",".join(columns), *quoted))


def _escaped(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for one in requests:
        if one["query"] and "Neil" in one["query"][0][1]:
            one["query"] = [("q", "SELECT Id FROM Contact WHERE LastName = 'O\\'Neil \\\\\\' OR Id != \\''")]
    return requests


def _placeholder(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    mapping = case["mapping"]
    if requests or "last_name" in mapping or mapping.get("operation") != "upsert":
        return requests
    blank = {"headers": {"authorization": "Bearer an-access-token"}, "query": [], "body": None}
    asked = {"method": "GET", "url": f"{DATA}query/", "query": [("q", "SELECT Id FROM Contact WHERE Email = 'Eve@Example.test'")]}
    made = {"Email": "Eve@Example.test", "MailingCity": "Oslo", "MailingCountry": "NO", "LastName": "[not provided]"}
    return [{**blank, **asked}, {**blank, "method": "POST", "url": f"{DATA}sobjects/Contact", "body": made}]


def _nobody_made_for_an_exit(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    if _entered(case):
        return requests
    kept = [one for one in requests if not (one["method"] == "POST" and "/sobjects/" in one["url"])]
    if "events" in case:
        query = "SELECT Outside_Id__c FROM Contact WHERE Outside_Id__c IN ('u-1', 'u-2')"
        kept.insert(0, kept[0] | {"method": "GET", "url": f"{DATA}query/", "query": [("q", query)], "body": None})
        kept[2]["body"] = _text(_table(kept[2]["body"])[:1])
    return kept


def _not_erased(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for one in requests:
        if one["method"] == "PUT":
            one["body"] = _text([{name: value for name, value in row.items() if value != "#N/A"} for row in _table(one["body"])])
    return requests


def _membership(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    for one in requests:
        if "/sobjects/" in one["url"]:
            one["body"]["big_spenders__c"] = _entered(case)
        if one["method"] == "PUT":
            one["body"] = _text([{**row, "big_spenders__c": str(_entered(case)).lower()} for row in _table(one["body"])])
    return requests


def _looked_at(case: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
    if not case["settings"].get("jobs") or not requests:
        return requests
    return [*requests, {**requests[-1], "method": "GET", "body": None}]


class TestSalesforce(VendorConformance):
    destination = Salesforce()
    differences = (
        Difference("backslashes in queries are escaped too, so that no value ends its own quotes", _escaped),
        Difference("who has no last name is updated, and made under a placeholder", _placeholder),
        Difference("nobody is made only to say that they are not in", _nobody_made_for_an_exit),
        Difference("what a row lacks and another has is left as it is, not erased", _not_erased),
        Difference("the membership is sent", _membership),
        Difference("a job is asked what became of it, so that what it refused is known", _looked_at),
    )

    def test_a_name_that_salesforce_has_is_not_put_under_a_placeholder(self, bench: Bench) -> None:
        contacts = _fake(bench).records["Contact"]
        contacts["C1"] = {"LastName": "Muster", "Email": "U-1@example.test"}
        assert bench.deliver([bench.record("u-1")]) == {}
        assert contacts == {"C1": {"LastName": "Muster", "Email": "u-1@example.test", "big_spenders__c": True}}

    def test_an_account_is_found_by_its_number_and_none_is_made_for_one_that_left(self, bench: Bench) -> None:
        for number, entered in (("a-1", True), ("a-1", False), ("a-2", False)):
            told = {"traits": {"AccountNumber": number}, "account_number": number, "name": "Acme", **_tells(entered=entered)}
            assert _send(bench, "upsert_account", [told], entered=entered) == Accepted()
        assert list(_fake(bench).records["Account"].values()) == [{"Name": "Acme", "AccountNumber": "a-1", "big_spenders__c": False}]

    def test_a_field_that_salesforce_lacks_stops_with_a_remedy(self, bench: Bench) -> None:
        told = {"traits": {"Email": "a@example.test"}, "email": "a@example.test", "membership_field": "Other__c", **_tells(entered=True)}
        verdict = _send(bench, "upsert_lead", [told])
        assert isinstance(verdict, Stop)
        assert "membership_field" in verdict.remedy

    def test_several_records_with_one_address_are_left_alone(self, bench: Bench) -> None:
        for number in ("C1", "C2"):
            _fake(bench).records["Contact"][number] = {"Email": "u-1@example.test"}
        assert "more than one Contact" in bench.deliver([bench.record("u-1")])["user_id:u-1"]

    def test_requests_of_a_day_that_are_used_up_are_waited_for(self, bench: Bench) -> None:
        _fake(bench).used_up = True
        assert isinstance(bench.send([bench.record("u-1")]), Pause)

    def test_a_deletion_is_not_to_be_had(self, bench: Bench) -> None:
        verdict = _send(bench, "upsert_contact", [{"traits": {"Email": "a@example.test"}, "operation": "delete"}])
        assert isinstance(verdict, Accepted)
        assert "operation must be one of create, update, upsert" in verdict.rejected[0]

    @pytest.mark.parametrize("jobs", [pytest.param(True, id="as jobs"), pytest.param(False, id="as collections")])
    def test_bulk_makes_updates_and_takes_out_but_makes_nobody_for_an_exit(self, bench: Bench, *, jobs: bool) -> None:
        bulk = _in_bulk(bench, jobs=jobs)
        contacts = _fake(bench).records["Contact"]
        contacts["C1"] = {"LastName": "Muster", "Outside_Id__c": "U-1", "Email": "old@example.test"}
        assert _send(bulk, "upsert_contact", [_row("u-1"), _row("u-2", email="b@example.test")]) == Accepted()
        assert _send(bulk, "upsert_contact", [_row("u-2", entered=False), _row("u-3", entered=False)], entered=False) == Accepted()
        assert contacts == {
            "C1": {"LastName": "Muster", "Outside_Id__c": "u-1", "Email": "old@example.test", "big_spenders__c": True},
            "C2": {"LastName": "[not provided]", "Outside_Id__c": "u-2", "Email": "b@example.test", "big_spenders__c": False},
        }

    def test_rows_without_an_external_id_are_refused_and_the_others_go(self, bench: Bench) -> None:
        verdict = _send(_in_bulk(bench), "upsert_contact", [_tells(entered=True), _row("u-1")])
        assert isinstance(verdict, Accepted)
        assert list(verdict.rejected) == [0]
        assert "bulkUpsertExternalId" in verdict.rejected[0]
        assert [row["Outside_Id__c"] for row in _fake(bench).records["Contact"].values()] == ["u-1"]

    def test_a_job_whose_upload_fails_is_given_up(self, bench: Bench, board: Switchboard) -> None:
        assert _send(_in_bulk(bench, jobs=True), "upsert_contact", [_row("u-0")]) == Accepted()
        known = reply_json({"totalSize": 0, "records": []})
        board.reply_with(known, reply_json({"id": "7500"}), Reply(503))
        _send(_in_bulk(bench, jobs=True), "upsert_contact", [_row("u-1")])
        assert _fake(bench).jobs["7500"]["state"] == "Aborted"

    @pytest.mark.parametrize("jobs", [pytest.param(True, id="as jobs"), pytest.param(False, id="as collections")])
    def test_a_record_that_salesforce_refuses_of_many_is_told_alone(self, bench: Bench, *, jobs: bool) -> None:
        assert _fake(bench).refuse("u-2")
        sent = [_tells(entered=True), _row("u-1"), _row("u-2"), _row("u-3")]
        verdict = _send(_in_bulk(bench, jobs=jobs), "upsert_contact", sent)
        assert isinstance(verdict, Accepted)
        assert sorted(verdict.rejected) == [0, 2]
        assert "FIELD_CUSTOM_VALIDATION_EXCEPTION:" in verdict.rejected[2]
        assert "it is not valid" in verdict.rejected[2]
        assert [row["Outside_Id__c"] for row in _fake(bench).records["Contact"].values()] == ["u-1", "u-3"]

    def test_a_job_that_takes_long_is_waited_for_and_not_handed_over_again(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(salesforce_jobs, "LOOKS_AFTER_S", (0.0, 0.01))
        _fake(bench).looks_before_done = 3
        _fake(bench).refuse("u-2")
        bulk, sent = _in_bulk(bench, jobs=True), [_row("u-1"), _row("u-2", email="b@example.test")]
        assert _send(bulk, "upsert_contact", sent) == Pause(15.0)
        assert _fake(bench).records["Contact"] == {}
        verdict = _send(bulk, "upsert_contact", sent)
        assert isinstance(verdict, Accepted)
        assert list(verdict.rejected) == [1]
        assert list(_fake(bench).jobs) == ["7500"]
        assert _under_way(bulk) == {}

    def test_a_process_that_forgot_its_job_hands_the_rows_over_again_and_it_changes_nothing(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(salesforce_jobs, "LOOKS_AFTER_S", (0.0,))
        _fake(bench).looks_before_done = 1
        assert _send(_in_bulk(bench, jobs=True), "upsert_contact", [_row("u-1")]) == Pause(15.0)
        _fake(bench).looks_before_done = 0
        for _ in range(2):
            fresh = _in_bulk(bench, jobs=True)
            _under_way(fresh).clear()
            assert _send(fresh, "upsert_contact", [_row("u-1")]) == Accepted()
        assert [row["Outside_Id__c"] for row in _fake(bench).records["Contact"].values()] == ["u-1"]

    def test_a_job_about_a_field_that_is_missing_stops_the_sync(self, bench: Bench) -> None:
        verdict = _send(_in_bulk(bench, jobs=True), "upsert_contact", [{**_row("u-1"), "customFields": {"Nowhere__c": "x"}}])
        assert isinstance(verdict, Stop)
        assert "Nowhere__c" in verdict.reason

    @pytest.mark.parametrize(
        ("replies", "words"),
        [
            pytest.param([({"state": "Aborted"}, 200)], "gave the job up", id="somebody aborted it"),
            pytest.param([({"state": "Failed", "errorMessage": "TXN_TOO_LARGE"}, 200)], "TXN_TOO_LARGE", id="it failed"),
            pytest.param([({}, 404)], "no more", id="it is gone"),
            pytest.param([({"state": "JobComplete", "numberRecordsFailed": 2}, 200)], "named 1 of them", id="results that are cut short"),
        ],
    )
    def test_a_job_whose_end_says_nothing_of_each_row_is_tried_again(
        self, bench: Bench, board: Switchboard, replies: list[tuple[dict[str, Any], int]], words: str
    ) -> None:
        bulk, sent = _in_bulk(bench, jobs=True), [_row("u-1")]
        done = [reply_json({"records": []}), reply_json({"id": "7509"}), Reply(201), reply_json({"id": "7509"})]
        cut_short = Reply(200, b"sf__Id,sf__Error,Outside_Id__c\n,SOME_CODE:said,u-1\n")
        board.reply_with(*done, *(reply_json(body, status) for body, status in replies), cut_short)
        verdict = _send(bulk, "upsert_contact", sent)
        assert isinstance(verdict, Backoff)
        assert words in verdict.reason

    @pytest.mark.parametrize(
        ("reply", "expected"),
        [
            pytest.param([{"success": False, "errors": [{"statusCode": "UNABLE_TO_LOCK_ROW", "message": "-"}]}], Backoff, id="a lock"),
            pytest.param([{"success": False, "errors": [{"statusCode": "INVALID_FIELD", "message": "-"}]}], Stop, id="no such field"),
            pytest.param([], Backoff, id="outcomes that are missing"),
            pytest.param([{"success": False}], Accepted, id="no reason"),
        ],
    )
    def test_an_outcome_of_one_of_many_is_read_for_what_it_means(
        self, bench: Bench, board: Switchboard, reply: list[Any], expected: type[Verdict]
    ) -> None:
        board.reply_with(reply_json({"totalSize": 0, "records": []}), reply_json(reply))
        assert isinstance(_send(_in_bulk(bench), "upsert_contact", [_row("u-1")]), expected)

    @pytest.mark.parametrize("name", ["", "a b", "Id FROM Contact", "1a", "a..b", "Name'"])
    def test_what_names_no_field_is_refused(self, name: str) -> None:
        with pytest.raises(UnusableError):
            field_name(name)

    def test_a_list_cannot_be_compared(self) -> None:
        with pytest.raises(UnusableError):
            query_for("Contact", {"Email": ["a"]}, "OR")

    def test_many_values_are_asked_for_in_several_queries_that_stay_short(self) -> None:
        queries = list(queries_among("Contact", "Outside_Id__c", [f"{'x' * 90}{number}" for number in range(250)]))
        assert len(queries) > 2
        assert sum(query.count("'xxx") for query in queries) == 250
        assert max(map(len, queries)) < 5_000


_BY_ID = {"bulkUpsertExternalId": {"externalIdName": "Outside_Id__c", "externalIdValue": {"@path": "$.traits.email"}}}


class ManyAtOnce(Salesforce):
    """With the mapping that many at once need."""

    actions: ClassVar[tuple[Action, ...]] = tuple(replace(one, fields={**one.fields, **_BY_ID}) for one in Salesforce.actions)


class TestSalesforceManyAtOnce(VendorConformance):
    destination = ManyAtOnce()

    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        return {**super().settings(url, folder), "bulk": True}

    def _cases(self) -> None:
        """The peer has no such way of sending."""


def _fake(bench: Bench) -> Fake:
    return cast(Fake, bench.fake)


def _under_way(bench: Bench) -> dict[tuple[str, ...], salesforce_jobs.Job]:
    return cast(SalesforceSettings, bench.settings).jobs_under_way


def _in_bulk(bench: Bench, *, jobs: bool = False) -> Bench:
    settings = bench.settings.model_copy(update={"bulk": True, "jobs": jobs})
    settings.keep_tokens_in(bench.settings.tokens)
    return replace(bench, settings=settings)


def _tells(*, entered: bool) -> dict[str, Any]:
    return {"computation_key": "big_spenders", "traits_or_props": {"big_spenders": entered}}


def _row(user: str, *, entered: bool = True, email: str | None = None) -> dict[str, Any]:
    named = {"externalIdName": "Outside_Id__c", "externalIdValue": user}
    return {"bulkUpsertExternalId": named, **({"email": email} if email else {}), **_tells(entered=entered)}


def _send(bench: Bench, action: str, payloads: list[dict[str, Any]], *, entered: bool = True) -> Verdict:
    records = [Record(f"personas_1:{at}:i0", f"email:{at}", entered, orjson.dumps(one)) for at, one in enumerate(payloads)]
    return bench.destination.send(records, action=action, settings=bench.settings, target=bench.target(), deadline_s=5)
