import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from engage_pipelines.destinations import s3
from engage_pipelines.destinations.base import Accepted, Backoff, ListRow, Record, Stop, Target
from engage_pipelines.destinations.s3 import S3
from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.testing.bench import KEY, Bench
from engage_pipelines.testing.conformance import DestinationConformance
from engage_pipelines.testing.local_server import Received, Reply
from engage_pipelines.testing.vendor import Switchboard
from engage_pipelines.testing.vendors.s3 import BUCKET, KEYS, Fake

TARGET = Target("main", KEY, "user", 1)
LARGE = [[ListRow(f"user_id:u-{number}", f"u-{number}", None) for number in range(50)]]


class TestS3Changes(DestinationConformance):
    destination = S3()
    secrets = Fake.secrets

    def vendor(self) -> Fake:
        return Fake()

    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        return {**Fake().settings(url), "escape_formulas": False}

    def test_a_batch_is_one_object_however_often_it_is_sent(self, bench: Bench) -> None:
        records = [bench.record("u-1"), bench.record("u-2")]
        for _ in range(2):
            bench.deliver(records)
        ((path, content),) = _store(bench).objects.items()
        assert path.startswith(f"main/{KEY}.000000000001.")
        rows = list(csv.DictReader(io.StringIO(content.decode())))
        assert [(row["change"], row["address"], row["user_id"]) for row in rows] == [("add", f"user_id:u-{n}", f"u-{n}") for n in (1, 2)]

    def test_a_batch_that_is_cut_in_another_way_changes_nothing_about_the_members(self, bench: Bench) -> None:
        records = [bench.record(f"u-{number}") for number in range(4)]
        bench.deliver(records[:3])
        bench.deliver(records[2:])
        assert bench.held() == {f"u-{number}": True for number in range(4)}
        rows = [row for content in _store(bench).objects.values() for row in csv.DictReader(io.StringIO(content.decode()))]
        assert len({row["message_id"] for row in rows}) == 4

    def test_a_payload_without_columns_is_rejected_alone(self, bench: Bench) -> None:
        verdict = bench.send([Record("m-1", "user_id:u-1", True, b"[]"), bench.record("u-2")])
        assert isinstance(verdict, Accepted)
        assert list(verdict.rejected) == [0]
        assert bench.held() == {"u-2": True}

    def test_trying_it_leaves_nothing(self, bench: Bench) -> None:
        assert bench.destination.test(bench.settings) == Accepted()
        assert _store(bench).objects == {}
        assert _store(bench).uploads == {}

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            pytest.param({"bucket": "another-one"}, "NoSuchBucket", id="no such bucket"),
            pytest.param({"access_key_id": SecretStr("ANOTHER")}, "SignatureDoesNotMatch", id="another key"),
            pytest.param({"region": "eu-south-2"}, "SignatureDoesNotMatch", id="another region"),
        ],
    )
    def test_it_stops_with_the_code_of_the_store(self, bench: Bench, change: dict[str, Any], words: str) -> None:
        settings = bench.settings.model_copy(update=change)
        records = [bench.record("u-1")]
        verdict = bench.destination.send(records, action="write", settings=settings, target=bench.target(), deadline_s=5)
        assert isinstance(verdict, Stop)
        assert words in verdict.reason
        assert bench.held() == {}

    def test_another_client_signs_alike_and_reads_what_was_written(self, bench: Bench, board: Switchboard) -> None:
        """The fake checks what the AWS SDK signs by the code that signs here."""
        bench.deliver([bench.record("u-1")])
        (path,) = _store(bench).objects
        client = pafs.S3FileSystem(
            access_key=KEYS.access_key_id,
            secret_key=KEYS.secret_access_key,
            region=KEYS.region,
            scheme="http",
            endpoint_override=board.server.url.removeprefix("http://"),
            retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=1),
        )
        with client.open_input_file(f"{BUCKET}/{path}") as file:
            assert b"user_id:u-1" in file.read()
        assert board.requests[-1].headers["user-agent"].startswith("aws-sdk-cpp")


class TestS3Whole(DestinationConformance):
    destination = S3()
    secrets = Fake.secrets
    whole_list = True

    def vendor(self) -> Fake:
        return Fake()

    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        return {**Fake().settings(url), "escape_formulas": False, "changes": False}

    def test_traits_become_columns_and_formulas_harmless(self, bench: Bench) -> None:
        settings = bench.settings.model_copy(update={"traits": ("plan",), "escape_formulas": True})
        rows = iter([[ListRow("user_id:u-1", "u-1", "ana@example.test", {"plan": "=1+1", "other": 1})]])
        assert bench.destination.write_list(rows, settings=settings, target=bench.target()) == Accepted()
        assert _store(bench).objects == {f"main/{KEY}.csv": b"address,user_id,email,plan\nuser_id:u-1,u-1,ana@example.test,'=1+1\n"}

    def test_it_can_be_parquet(self, bench: Bench) -> None:
        settings = bench.settings.model_copy(update={"path": "{audience}.parquet", "format": "parquet"})
        bench.destination.write_list(iter(LARGE), settings=settings, target=bench.target())
        table = pq.read_table(io.BytesIO(_store(bench).objects[f"{KEY}.parquet"]))
        assert table.column("user_id").to_pylist() == [f"u-{number}" for number in range(50)]

    def test_a_large_list_goes_up_in_parts_and_is_the_same(self, bench: Bench, board: Switchboard, monkeypatch: pytest.MonkeyPatch) -> None:
        bench.destination.write_list(iter(LARGE), settings=bench.settings, target=bench.target())
        at_once = bench.takings(), dict(_store(bench).objects)
        monkeypatch.setattr(s3, "PART_BYTES", 100)
        assert bench.destination.write_list(iter(LARGE), settings=bench.settings, target=bench.target()) == Accepted()
        assert (bench.takings(), _store(bench).objects) == at_once
        assert len(board.requests) > 5
        assert _store(bench).uploads == {}

    def test_a_part_that_fails_leaves_the_list_before_and_no_upload(
        self, bench: Bench, board: Switchboard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.destination.write_list(iter([[ListRow("user_id:u-9", "u-9", None)]]), settings=bench.settings, target=bench.target())
        monkeypatch.setattr(s3, "PART_BYTES", 100)
        answers = board.server.respond

        def ill_at_the_third(request: Received) -> Reply:
            return Reply(503) if "partNumber=3&" in request.path else answers(request)

        board.server.respond = ill_at_the_third
        assert isinstance(bench.destination.write_list(iter(LARGE), settings=bench.settings, target=bench.target()), Backoff)
        assert bench.held() == {"u-9": True}
        assert _store(bench).uploads == {}

    def test_a_success_that_says_otherwise_in_its_body_is_none(self, bench: Bench, board: Switchboard) -> None:
        board.reply_with(Reply(200, b"<Error><Code>InternalError</Code></Error>", {"Content-Type": "application/xml"}))
        verdict = bench.destination.write_list(iter(LARGE), settings=bench.settings, target=bench.target())
        assert isinstance(verdict, Backoff)
        assert "InternalError" in verdict.reason

    def test_a_token_of_keys_that_expire_is_sent_and_signed(self, bench: Bench, board: Switchboard) -> None:
        given = {**self.settings(board.server.url, bench.folder), "session_token": "the-session-token"}
        settings = self.destination.configure(given, files_dir=bench.folder)
        assert bench.destination.write_list(iter(LARGE), settings=settings, target=bench.target()) == Accepted()
        assert board.requests[-1].headers["x-amz-security-token"] == "the-session-token"
        assert "x-amz-security-token" in board.requests[-1].headers["authorization"]


@pytest.mark.parametrize(
    ("given", "url"),
    [
        pytest.param({}, "https://lists-of-ours.s3.eu-north-1.amazonaws.com/a/b.csv", id="the bucket's own host at Amazon"),
        pytest.param({"bucket": "a.b.c"}, "https://s3.eu-north-1.amazonaws.com/a.b.c/a/b.csv", id="a bucket with dots by path"),
        pytest.param({"endpoint": "https://s3.example:9000/"}, "https://s3.example:9000/lists-of-ours/a/b.csv", id="elsewhere"),
        pytest.param(
            {"path": "a b/Zoë+1.csv"},
            "https://lists-of-ours.s3.eu-north-1.amazonaws.com/a%20b/Zo%C3%AB%2B1.csv",
            id="a path with more than letters",
        ),
    ],
)
def test_where_an_object_is(given: dict[str, str], url: str) -> None:
    settings = _configured({"path": "a/b.csv", **given})
    assert settings.url(settings.path) == url


def test_two_connections_do_not_share_an_object() -> None:
    mine, other, elsewhere = (_configured(given) for given in ({}, {"bucket": "another"}, {"endpoint": "https://minio.example.com"}))
    owned = {S3().external_target(settings, TARGET) for settings in (mine, mine, other, elsewhere)}
    assert len(owned) == 3
    assert S3().external_target(mine, replace(TARGET, computation="another")) not in owned


@pytest.mark.parametrize(
    "given", [pytest.param({"bucket": "Not/One"}, id="no bucket"), pytest.param({"path": "../up.csv"}, id="a path that leads out")]
)
def test_settings_that_cannot_be_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(given))):
        _configured(given)


def _configured(given: Mapping[str, object]) -> s3.S3Settings:
    settings = {**Fake().settings("https://unused.example"), "endpoint": None, **given}
    return cast(s3.S3Settings, S3().configure(settings, files_dir=Path()))


def _store(bench: Bench) -> Fake:
    return cast(Fake, bench.fake)
