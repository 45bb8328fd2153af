"""Taking calls in: what is read, what is refused and why, and what a failure leaves behind."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from engage_pipelines.domain.errors import BusyError, EngageError, InputError, StateError
from engage_pipelines.facts import ingest as ingesting
from engage_pipelines.facts import settle, store
from engage_pipelines.facts.ingest import IngestSummary, ingest
from engage_pipelines.facts.session import open_session
from engage_pipelines.testing.plain_calls import SPACE, instant, take_in, write_calls

_AT = "2026-03-01T00:00:00Z"
_TRACK: dict[str, Any] = {"type": "track", "event": "Ran", "userId": "u1", "timestamp": _AT}


def _ingest(facts_dir: Path, *paths: Path | str, **options: Any) -> IngestSummary:
    return ingest([str(path) for path in paths], facts_dir=facts_dir, space=SPACE, now_us=1_000_000, **options)


def _rows(facts_dir: Path, query: str, at_us: int = 2**60) -> list[tuple[Any, ...]]:
    with open_session(facts_dir, SPACE, at_us=at_us) as session:
        return session.connection.execute(query).fetchall()


def _rejects(summary: IngestSummary) -> dict[int, str]:
    assert summary.rejects_path is not None
    return {row["line"]: row["reason"] for row in map(json.loads, summary.rejects_path.read_text().splitlines())}


def _state(facts_dir: Path) -> dict[str, bytes]:
    """What is committed: the manifest and every file it names."""
    folder = facts_dir / SPACE
    return {path.name: path.read_bytes() for path in folder.glob("*") if path.is_file() and not path.name.startswith(".")}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        pytest.param('{"type":"track","userId":"u1"}', "event is missing", id="a track without event"),
        pytest.param('{"type":"track","userId":"u1","event":""}', "event expected `str` of length >= 1", id="an event without name"),
        pytest.param('{"type":"track","event":"Ran"}', "userId or anonymousId is missing", id="nobody's track"),
        pytest.param('{"type":"page","userId":"","anonymousId":null}', "userId or anonymousId is missing", id="empty ids only"),
        pytest.param('{"type":"track","event":"Ran","userId":7}', "userId must be a string, not a number", id="a number as id"),
        pytest.param('{"type":"group","userId":"u1"}', "groupId is missing", id="a group without groupId"),
        pytest.param('{"type":"group","groupId":"%s"}' % ("g" * 501), "groupId expected `str` of length <= 500", id="a groupId too long"),
        pytest.param('{"type":"alias","userId":"u1"}', "previousId is missing", id="an alias without previousId"),
        pytest.param('{"type":"alias","previousId":"u0"}', "userId is missing", id="an alias without userId"),
        pytest.param('{"type":"trakc","userId":"u1"}', "unknown call type; known are identify", id="an unknown type"),
        pytest.param('{"userId":"u1"}', "type is missing", id="no type"),
        pytest.param('{"type":"screen","userId":"u1","properties":[1]}', "properties must be an object", id="properties as a list"),
        pytest.param('{"type":"screen","userId":"u1","context":"x"}', "context must be an object", id="context as text"),
        pytest.param('{"type":"identify","userId":"u1","traits":3}', "traits must be an object", id="traits as a number"),
        pytest.param('{"type":"page","userId":"u1","timestamp":"soon"}', "the timestamp is no ISO 8601 instant", id="a timestamp in words"),
        pytest.param('{"type":"page","userId":"u1","timestamp":""}', "the timestamp is no ISO 8601 instant", id="an empty timestamp"),
        pytest.param('{"type":"page","userId":"u1","timestamp":"2026-02-30T00:00:00Z"}', "the timestamp is no", id="the 30th of February"),
        pytest.param('{"type":"page","userId":"u1","timestamp":1767225600}', "timestamp must be a string", id="a number as timestamp"),
        pytest.param(json.dumps(_TRACK | {"messageId": "m" * 101}), "messageId expected `str` of length <= 100", id="a messageId too long"),
        pytest.param('{"type":"track","userId":"u1","event":"Ra', "not valid JSON", id="half a line"),
        pytest.param('{"type":"page","userId":"u1","properties":{"a":NaN}}', "not valid JSON", id="not a number"),
        pytest.param('{"type":"page","userId":"u1","properties":{"a":"\\ud800."}}', "not valid JSON", id="half a surrogate pair"),
        pytest.param('{"type":"page","userId":"u1","properties":{"a":%s}}' % ("[" * 9999), "nested too deeply", id="nested too deeply"),
        pytest.param("[1, 2]", "the line must be an object, not a list", id="a list"),
        pytest.param("hello", "not valid JSON", id="no JSON at all"),
    ],
)
def test_a_line_that_is_no_call_is_refused_with_its_number_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text(f"{json.dumps(_TRACK)}\n\n{line}\n{json.dumps(_TRACK | {'userId': 'u2'})}\n")
    summary = _ingest(tmp_path / "facts", path)
    assert (summary.read, summary.new, summary.rejected) == (2, 2, 1)
    assert _rejects(summary)[3].startswith(reason)
    assert sorted(_rows(tmp_path / "facts", "SELECT ts FROM event_rows")) == [(1772323200000000,)] * 2


def test_rejects_say_nothing_of_what_the_line_says(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text(
        '{"type":"secret@x.test"}\n{"type":"page","userId":"secret@x.test","timestamp":"secret@x.test"}\n{"type":"secret@x.test\n'
    )
    summary = _ingest(tmp_path / "facts", path)
    assert summary.rejects_path is not None
    assert summary.rejected == 3
    assert "secret" not in summary.rejects_path.read_text()


def test_bytes_that_are_no_text_are_refused_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    good = json.dumps(_TRACK).encode()
    bad = [
        b'{"type":"track","event":"Ran","userId":"\xff"}',
        b'{"type":"track","event":"Ran","userId":"u","properties":{"a":"\xff"}}',
        b'{"type":"identify","userId":"u","traits":{"a":"\xff"}}',
        b'{"type":"page","name":"Home","userId":"u","properties":{"a":"\xff"}}',
    ]
    path.write_bytes(b"\n".join([good, *bad, good]) + b"\n")
    summary = _ingest(tmp_path / "facts", path)
    assert _rejects(summary) == dict.fromkeys((2, 3, 4, 5), "not valid UTF-8")
    assert (summary.read, summary.duplicates) == (2, 1)


def test_a_line_above_the_limit_is_refused_and_reading_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    long = json.dumps(_TRACK | {"properties": {"a": "x" * (11 * 1024 * 1024)}})
    under = json.dumps(_TRACK | {"userId": "big", "properties": {"a": "x" * (9 * 1024 * 1024)}})
    path.write_text("\n".join([json.dumps(_TRACK), long, under, json.dumps(_TRACK | {"userId": "u2"}), long]))
    summary = _ingest(tmp_path / "facts", path)
    assert sorted(_rejects(summary)) == [2, 5]
    assert summary.new == 3
    assert _rows(tmp_path / "facts", "SELECT max(length(properties)) FROM event_rows") == [(9 * 1024 * 1024 + len('{"a": ""}'),)]


@pytest.mark.parametrize("limit", [30, 90, 300])
def test_line_numbers_hold_whatever_the_limit_leaves_out(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "calls.jsonl"
    lines = [json.dumps({"type": "page", "userId": "u" * (number % 97), "messageId": f"m{number}"}) for number in range(200)]
    path.write_text("\n".join(lines))
    expected = {number for number, line in enumerate(lines, start=1) if len(line) > limit or number % 97 == 1}
    assert set(_rejects(_ingest(tmp_path / "facts", path, max_line_bytes=limit))) == expected


def test_instants_are_read_in_every_form_and_before_1970(tmp_path: Path) -> None:
    texts = {
        "2026-03-01T00:00:00Z": 1772323200000000,
        "2026-03-01T00:00:00.123456Z": 1772323200123456,
        "2026-03-01T00:00:00.123456789Z": 1772323200123456,
        "2026-03-01T02:30:00+02:30": 1772323200000000,
        "2026-03-01T00:00:00": 1772323200000000,
        "2026-03-01": 1772323200000000,
        "1871-05-04T00:00:00.000Z": -3113510400000000,
        "0001-01-01T00:00:00Z": -62135596800000000,
    }
    take_in(tmp_path, [_TRACK | {"messageId": text, "timestamp": text} for text in texts])
    assert dict(_rows(tmp_path, "SELECT message_id, ts FROM event_rows")) == texts


def test_other_clock_fields_stand_in_for_a_missing_timestamp(tmp_path: Path) -> None:
    plain = {"type": "track", "event": "Ran", "userId": "u1"}
    stamps = {"timestamp": None, "originalTimestamp": instant(2), "sentAt": instant(3), "receivedAt": instant(4)}
    calls = [
        plain | {"messageId": "original"} | stamps,
        plain | {"messageId": "sent", "sentAt": instant(3), "receivedAt": instant(4)},
        plain | {"messageId": "received", "receivedAt": instant(4)},
        plain | {"messageId": "none"},
    ]
    take_in(tmp_path, calls, now_us=77)
    assert dict(_rows(tmp_path, "SELECT message_id, ts FROM event_rows")) == {"original": 2, "sent": 3, "received": 4, "none": 77}


def test_the_same_message_id_counts_once_and_the_first_one_wins(tmp_path: Path) -> None:
    calls = [_TRACK | {"messageId": id_, "event": event} for id_, event in (("m1", "1st"), ("m1", "2nd"), ("m1", "3rd"), ("m2", "4th"))]
    first, second = write_calls(tmp_path / "a.jsonl", calls[:2]), write_calls(tmp_path / "b.jsonl", calls[2:])
    facts = tmp_path / "facts"
    summary = _ingest(facts, first, second)
    assert (summary.read, summary.new, summary.duplicates) == (4, 2, 2)
    assert sorted(_rows(facts, "SELECT message_id, event FROM event_rows")) == [("m1", "1st"), ("m2", "4th")]


def test_taking_a_file_in_twice_changes_nothing(tmp_path: Path) -> None:
    path = write_calls(
        tmp_path / "calls.jsonl", [_TRACK, _TRACK | {"userId": "u2"}, {"type": "identify", "userId": "u1", "traits": {"a": 1}}]
    )
    facts = tmp_path / "facts"
    assert _ingest(facts, path).new == 3
    before = _state(facts)
    again = _ingest(facts, path)
    assert (again.new, again.duplicates) == (0, 3)
    assert _state(facts) == before


def test_page_and_screen_become_events_with_their_name_as_property(tmp_path: Path) -> None:
    calls = [
        {"type": "page", "userId": "u1", "messageId": "1", "name": 'Ho"me', "properties": {"path": "/"}},
        {"type": "screen", "anonymousId": "a1", "messageId": "2", "name": "Start"},
        {"type": "page", "userId": "u1", "messageId": "3", "properties": {"page_name": "kept"}},
        {"type": "page", "userId": "u1", "messageId": "4", "name": "wins", "properties": {"page_name": "lost"}},
    ]
    take_in(tmp_path, calls)
    rows = {
        row[0]: (row[1], row[2], json.loads(row[3]))
        for row in _rows(tmp_path, "SELECT message_id, kind, event, properties FROM event_rows")
    }
    assert rows == {
        "1": ("page", "Page Viewed", {"path": "/", "page_name": 'Ho"me'}),
        "2": ("screen", "Screen Viewed", {"screen_name": "Start"}),
        "3": ("page", "Page Viewed", {"page_name": "kept"}),
        "4": ("page", "Page Viewed", {"page_name": "wins"}),
    }


def test_json_is_kept_as_it_was_sent(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text(
        '{"type":"identify","userId":"u1","traits":{"big":12345678901234567890.10, "deep":{"b":[1,  {"é":null}]},"gone":null}}\n'
    )
    _ingest(tmp_path / "facts", path)
    values = dict(_rows(tmp_path / "facts", "SELECT key, value FROM trait_rows"))
    assert values == {"big": "12345678901234567890.10", "deep": '{"b":[1,  {"é":null}]}', "gone": "null"}


def test_folders_gzip_and_other_names_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    write_calls(folder / "a.jsonl", [_TRACK | {"messageId": "a"}])
    (folder / "deeper" / "b.json.gz").write_bytes(gzip.compress(json.dumps(_TRACK | {"messageId": "b"}).encode()) * 1)
    (folder / "c.ndjson").write_bytes(b"\xef\xbb\xbf" + json.dumps(_TRACK | {"messageId": "c"}).encode() + b"\r\n")
    (folder / "notes.txt").write_text("not calls")
    summary = _ingest(tmp_path / "facts", folder)
    assert (summary.files, summary.new, summary.rejected) == (3, 3, 0)


def test_gzip_of_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "calls.gz"
    path.write_bytes(b"".join(gzip.compress(json.dumps(_TRACK | {"messageId": name}).encode() + b"\n") for name in "ab"))
    assert _ingest(tmp_path / "facts", path).new == 2


def _missing(folder: Path) -> Path:
    return folder / "missing.jsonl"


def _empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def _truncated(folder: Path) -> Path:
    path = folder / "cut.jsonl.gz"
    whole = gzip.compress(b"".join(json.dumps(_TRACK | {"messageId": os.urandom(8).hex()}).encode() + b"\n" for _ in range(5000)))
    path.write_bytes(whole[: len(whole) // 2])
    return path


def _no_gzip(folder: Path) -> Path:
    path = folder / "plain.gz"
    path.write_text(json.dumps(_TRACK))
    return path


def _damaged(folder: Path) -> Path:
    path = folder / "damaged.gz"
    whole = bytearray(gzip.compress(json.dumps(_TRACK).encode() * 50))
    whole[20:40] = b"\x00" * 20
    path.write_bytes(bytes(whole))
    return path


@pytest.mark.parametrize(
    ("make", "says"),
    [
        pytest.param(_missing, "There is no file or folder", id="a missing file"),
        pytest.param(_empty_folder, "holds no file that ends in", id="a folder without files"),
        pytest.param(_truncated, "ends in the middle of its gzip data", id="a truncated gzip"),
        pytest.param(_no_gzip, "is not gzip data", id="a .gz that is none"),
        pytest.param(_damaged, "is not sound gzip data", id="a damaged gzip"),
    ],
)
def test_a_file_that_cannot_be_read_leaves_the_facts_as_they_were(tmp_path: Path, make: Any, says: str) -> None:
    facts = tmp_path / "facts"
    take_in(facts, [_TRACK | {"messageId": "before"}])
    before = _state(facts)
    good = write_calls(tmp_path / "good.jsonl", [_TRACK | {"messageId": "good"}])
    with pytest.raises(InputError, match=says) as caught:
        _ingest(facts, good, make(tmp_path))
    assert caught.value.remedy
    assert _state(facts) == before
    assert not list((facts / SPACE).glob("staging-*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    path = write_calls(tmp_path / "calls.jsonl", [_TRACK])
    path.chmod(0)
    with pytest.raises(InputError, match="cannot be read"):
        _ingest(tmp_path / "facts", path)


def test_a_second_ingest_at_the_same_time_is_told_to_wait(tmp_path: Path) -> None:
    take_in(tmp_path, [_TRACK])
    with FileLock(tmp_path / SPACE / ".lock"), pytest.raises(BusyError, match="Another process"):
        take_in(tmp_path, [_TRACK | {"userId": "u2"}])


def _full_disk(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["os.rename", "os.fsync", "os.replace"])
def test_a_full_disk_leaves_the_facts_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    take_in(tmp_path, [_TRACK | {"messageId": "before"}])
    before = (tmp_path / SPACE / "manifest.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(store.os, step.removeprefix("os."), _full_disk)
        with pytest.raises(StateError, match="full") as caught:
            take_in(tmp_path, [_TRACK | {"messageId": "after"}])
    assert "Free some space" in caught.value.remedy
    assert (tmp_path / SPACE / "manifest.json").read_bytes() == before
    assert take_in(tmp_path, [_TRACK | {"messageId": "after"}]).new == 1


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_ingest_leaves_the_facts_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    take_in(tmp_path, [_TRACK | {"messageId": "before"}])
    before = _state(tmp_path)

    def interrupted(*_: object, **__: object) -> None:
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr(ingesting, "settle", interrupted)
        with pytest.raises(fault):
            take_in(tmp_path, [_TRACK | {"messageId": "after"}])
    assert _state(tmp_path) == before
    assert take_in(tmp_path, [_TRACK | {"messageId": "after"}]).new == 1


def test_what_a_killed_ingest_left_is_swept_by_the_next_one(tmp_path: Path) -> None:
    take_in(tmp_path, [_TRACK])
    left = tmp_path / SPACE / "staging-dead"
    left.mkdir()
    old, young = tmp_path / SPACE / "events-old.parquet", tmp_path / SPACE / "events-young.parquet"
    old.write_bytes(b"")
    young.write_bytes(b"")
    os.utime(old, (0, 0))
    take_in(tmp_path, [_TRACK | {"userId": "u2"}])
    assert not left.exists()
    assert not old.exists()
    assert young.exists()


def test_a_folder_name_with_signs_of_a_pattern_is_taken_as_it_is(tmp_path: Path) -> None:
    facts = tmp_path / "it's [all] *of* it?"
    take_in(facts, [_TRACK])
    assert _rows(facts, "SELECT count(*) FROM event_rows") == [(1,)]


def test_a_manifest_of_another_format_is_refused(tmp_path: Path) -> None:
    take_in(tmp_path, [_TRACK])
    manifest = tmp_path / SPACE / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))
    with pytest.raises(StateError, match="format 99"):
        open_session(tmp_path, SPACE, at_us=0)


def test_nothing_at_all_is_nothing_new(tmp_path: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text("\n\n")
    summary = _ingest(tmp_path / "facts", path)
    assert (summary.read, summary.new, summary.rejected, summary.rejects_path) == (0, 0, 0, None)


def test_every_failure_names_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(EngageError) as caught:
        _ingest(tmp_path / "facts", tmp_path / "nothing")
    assert caught.value.exit_code == 1
    assert caught.value.remedy


def test_the_source_is_kept_with_the_events(tmp_path: Path) -> None:
    path = write_calls(tmp_path / "calls.jsonl", [_TRACK])
    _ingest(tmp_path / "facts", path, source="web's")
    assert _rows(tmp_path / "facts", "SELECT source FROM event_rows") == [("web's",)]


def test_many_calls_become_several_files_of_events_that_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [_TRACK | {"messageId": f"m{n % 7}", "userId": f"u{n % 3}", "event": "AB"[n % 2], "properties": {"n": n}} for n in range(9)]
    path = tmp_path / "calls.jsonl"
    path.write_text("".join(json.dumps(call) + "\n" for call in calls))
    _ingest(tmp_path / "whole", path)
    monkeypatch.setattr(settle, "CALLS_AT_ONCE", 2)
    _ingest(tmp_path / "sliced", path)
    assert len(store.read_manifest(tmp_path / "sliced" / SPACE).files("events")) == 4
    rows = [
        sorted(_rows(tmp_path / name, "SELECT member, event, ts, message_id, properties FROM event_rows")) for name in ("whole", "sliced")
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 7
