import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import orjson
import pytest

from engage_pipelines.destinations.base import Accepted, Backoff, ListId, Pause, Record, Stop, Verdict
from engage_pipelines.destinations.tiktok_audiences import TiktokAudiences
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.differences import Difference, Seen
from engage_pipelines.testing.vendor import Switchboard, reply_json
from engage_pipelines.testing.vendor_conformance import VendorConformance


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _hashed_of(theirs: str, ours: str) -> Callable[[Mapping[str, Any], list[Seen]], list[Seen]]:
    def expect(_: Mapping[str, Any], requests: list[Seen]) -> list[Seen]:
        for one in requests:
            one["body"] = json.loads(json.dumps(one["body"]).replace(_hash(theirs), _hash(ours)))
        return requests

    return expect


def _record(**payload: object) -> Record:
    return Record("personas_1:1:i0", "email:somebody", True, orjson.dumps(payload))


class TestTiktokAudiences(VendorConformance):
    destination = TiktokAudiences()
    differences = (
        Difference("dots, and what follows a plus, belong to an address", _hashed_of("evem@example.test", "eve.m+news@example.test")),
        Difference("phone numbers are hashed as E.164", _hashed_of("+1 (415) 555-0105", "+14155550105")),
    )

    def identity(self, user_id: str, email: str | None) -> str:
        return _hash((email or "").strip().lower())

    def test_who_has_a_phone_number_alone_is_told(self, bench: Bench, board: Switchboard) -> None:
        assert self._send(bench, _record(phone="+49 30 901820")) == Accepted()
        (row,) = orjson.loads(board.requests[0].body)["batch_data"]
        assert row == [{}, {"id": _hash("+4930901820"), "audience_ids": ["77"]}, {}]

    def test_what_a_mapping_keeps_back_is_not_sent(self, bench: Bench, board: Switchboard) -> None:
        verdict = self._send(bench, _record(phone="+49 30 901820", send_phone=False))
        assert isinstance(verdict, Accepted)
        assert "keeps it back" in verdict.rejected[0]
        assert board.requests == []

    @pytest.mark.parametrize(
        "bad", [pytest.param({"email": "ana at example.test"}, id="no address"), pytest.param({"phone": "030 901820"}, id="of no country")]
    )
    def test_what_cannot_be_normalised_is_rejected_alone_and_hashes_are_kept(self, bench: Bench, bad: dict[str, str]) -> None:
        verdict = self._send(bench, _record(**bad), _record(email=_hash("x").upper()))
        assert isinstance(verdict, Accepted)
        assert list(verdict.rejected) == [0]
        assert not any(value in verdict.rejected[0] for value in bad.values())
        assert bench.held() == {_hash("x"): True}

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            pytest.param(40105, Stop, id="the token is no good"),
            pytest.param(40001, Stop, id="a right is missing"),
            pytest.param(40100, Pause, id="too many requests"),
            pytest.param(50000, Backoff, id="TikTok is ill"),
            pytest.param(40002, Accepted, id="the data is refused"),
            pytest.param(None, Backoff, id="no code at all"),
        ],
    )
    def test_the_code_in_the_answer_counts(self, bench: Bench, board: Switchboard, code: int | None, kind: type[Verdict]) -> None:
        board.reply_with(reply_json({"code": code, "message": "no"} if code else {}))
        verdict = self._send(bench, bench.record("u-1"))
        assert isinstance(verdict, kind)
        assert not isinstance(verdict, Accepted) or verdict.rejected

    def test_an_audience_is_found_by_its_name_on_a_later_page(self, bench: Bench) -> None:
        wanted = replace(bench.target(), external_id=None, name="Another one")
        made = bench.destination.create_list(settings=bench.settings, target=wanted, deadline_s=5)
        assert made == ListId("78")
        assert bench.destination.find_list(settings=bench.settings, target=wanted, deadline_s=5) == made

    def test_a_name_that_is_too_long_is_cut_the_same_way_every_time(self, bench: Bench) -> None:
        wanted = replace(bench.target(), external_id=None, name="x" * 71)
        made = bench.destination.create_list(settings=bench.settings, target=wanted, deadline_s=5)
        assert bench.destination.find_list(settings=bench.settings, target=wanted, deadline_s=5) == made

    def test_without_an_advertiser_it_stops_with_a_remedy(self, bench: Bench) -> None:
        settings = bench.settings.model_copy(update={"advertiser_id": None})
        sent = bench.destination.send([bench.record("u-1")], action="sync_audience", settings=settings, target=bench.target(), deadline_s=5)
        found = bench.destination.find_list(settings=settings, target=bench.target(), deadline_s=5)
        assert isinstance(sent, Stop)
        assert "advertiser_id" in sent.remedy
        assert found == sent

    def _send(self, bench: Bench, *records: Record) -> Verdict:
        return bench.send(records)
