import time

import pytest

from engage_pipelines.destinations.base import Accepted, Backoff, Bisect, Pause, Stop
from engage_pipelines.destinations.http import DEFAULT_PAUSE_S, MAX_PAUSE_S, Answer, default_verdict, place_of, read_success, retry_after
from engage_pipelines.destinations.sending.redaction import redact, vendor_reason

NOW = 1_800_000_000.0


def date(after_s: float) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(NOW + after_s))


# the answer table of the delivery promise, row by row
TABLE = [
    *((status, count, Accepted) for status in (200, 201, 202, 204, 207) for count in (1, 2)),
    *((status, 2, Bisect) for status in (400, 413, 422)),
    *((status, 1, Accepted) for status in (400, 404, 406, 409, 413, 422)),
    *((status, count, Backoff) for status in (408, 423, 500, 502, 503, 504, 505, 507, 511, 599) for count in (1, 2)),
    (409, 2, Backoff),
    *((429, count, Pause) for count in (1, 2)),
    *((status, count, Stop) for status in (401, 403, 405, 410, 415, 501, 301, 302, 303, 304, 307, 308) for count in (1, 2)),
    *((status, count, Stop) for status in (402, 407, 411, 412, 414, 418, 425, 426, 428, 431, 451, 499) for count in (1, 2)),
    (404, 2, Stop),
    (406, 2, Stop),
]


@pytest.mark.parametrize(("status", "records", "expected"), [pytest.param(*row, id=f"{row[0]} on {row[1]}") for row in TABLE])
def test_answers_mean_what_the_table_says(status: int, records: int, expected: type) -> None:
    verdict = default_verdict(status, {}, records, NOW)
    assert isinstance(verdict, expected)
    if isinstance(verdict, Accepted) and status >= 400:
        assert list(verdict.rejected) == [0]
        assert str(status) in verdict.rejected[0]
    if isinstance(verdict, Stop):
        assert str(status) in verdict.reason
        assert verdict.remedy


@pytest.mark.parametrize("status", [0, 99, 100, 199, 600, 999])
def test_a_status_that_is_none_is_tried_again(status: int) -> None:
    assert isinstance(default_verdict(status, {}, 1, NOW), Backoff)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("7", 7, id="seconds"),
        pytest.param(" 7 ", 7, id="spaces"),
        pytest.param("1.5", 1.5, id="a fraction"),
        pytest.param("0", 1, id="zero is a second, not a storm"),
        pytest.param("99999999999", MAX_PAUSE_S, id="longer than a day"),
        pytest.param(date(90), 90, id="a date"),
        pytest.param(date(-90), 1, id="a date that has passed"),
        pytest.param("Thu, 01 Jan 9999 00:00:00 GMT", MAX_PAUSE_S, id="a date far away"),
        pytest.param("", None, id="empty"),
        pytest.param("soon", None, id="a word"),
        pytest.param("-5", None, id="negative"),
        pytest.param("nan", None, id="not a number"),
        pytest.param("1e999", None, id="infinite"),
        pytest.param("Mon, 99 Foo 2026", None, id="a date that is none"),
    ],
)
def test_retry_after_is_read_as_seconds_or_date(text: str, expected: float | None) -> None:
    assert retry_after({"Retry-After": text}, NOW) == expected
    assert default_verdict(429, {"retry-after": text}, 5, NOW) == Pause(DEFAULT_PAUSE_S if expected is None else expected)
    assert default_verdict(503, {"RETRY-AFTER": text}, 5, NOW) == Backoff("the destination answered 503 (Service Unavailable)", expected)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b'{"rejected":[{"index":1,"reason":"no"}]}', Accepted({1: "no"}), id="one refused"),
        pytest.param(b'{"rejected":[{"index":1}]}', Accepted({1: "refused without a reason"}), id="without a reason"),
        pytest.param(b'{"rejected":[]}', Accepted({}), id="none refused"),
    ],
)
def test_a_207_refuses_records_one_by_one(body: bytes, expected: Accepted) -> None:
    assert read_success(Answer(207, {}, body), 3, "p") == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"rejected":[{"index":3}]}',
        b'{"rejected":[{"index":-1}]}',
        b'{"rejected":[{"index":true}]}',
        b'{"rejected":["x"]}',
        b'{"rejected":{}}',
    ],
)
def test_a_207_that_cannot_be_read_confirms_nothing(body: bytes) -> None:
    assert isinstance(read_success(Answer(207, {}, body), 3, "p"), Backoff)


def test_a_200_with_an_error_inside_confirms_nothing_and_says_why() -> None:
    verdict = read_success(Answer(200, {}, b'{"success":false,"error":"no such workspace"}'), 3, "p")
    assert isinstance(verdict, Backoff)
    assert verdict.reason == "p answered 200, but says that it did not succeed: no such workspace"
    assert read_success(Answer(200, {}, b'{"success":true}'), 3, "p") == Accepted()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://user:pass@example.test:8443/path?token=x#y", "https://example.test:8443"),
        ("http://[::1]:80/", "http://[::1]:80"),
        ("http://[bad", "the URL of the destination"),
        ("https://example.test/x", "https://example.test"),
    ],
)
def test_only_scheme_host_and_port_of_a_url_are_shown(url: str, place: str) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"message":"bad email"}', "bad email"),
        (b'{"error":{"message":"bad email","code":3}}', "bad email"),
        (b'{"errors":[{"detail":"bad email"}]}', "bad email"),
        (b'"bad email"', "bad email"),
        (b"bad email", "bad email"),
        (b"<html>bad</html>", ""),
        (b"\xff\xfe\x00", ""),
        (b'{"status":"x","n":1}', ""),
        (b"", ""),
    ],
)
def test_the_sentence_that_says_why_is_found(body: bytes, reason: str) -> None:
    assert vendor_reason(body) == reason


def test_a_reason_holds_no_secret_and_nothing_of_the_record() -> None:
    body = b'{"type":"identify","userId":"u-17","traits":{"email":"ana@x.test","plan":"pro","tags":["gold"]}}'
    said = "u-17 ana@x.test is gold, a problem for identify with key s3cret-key and czNjcmV0LWtleTo="
    assert redact(said, ["s3cret-key"], body) == "[hidden] [hidden] is [hidden], a problem for identify with key [hidden] and [hidden]"


def test_a_reason_is_one_readable_line() -> None:
    assert redact("a\n\tb\x00c" + "d" * 1000, []).startswith("a b c")
    assert len(redact("d" * 1000, [])) == 300
