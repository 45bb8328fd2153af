import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engage_pipelines.destinations.http import Reach, Request
from engage_pipelines.destinations.sending import direct
from engage_pipelines.destinations.sending.exchange import MAX_ANSWER_BYTES, Raw, UnreadableAnswerError, exchange, read_any, read_plain
from engage_pipelines.destinations.sending.transport import perform
from engage_pipelines.testing.local_server import LocalServer, Received, Reply

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def answer_to(pieces: Sequence[bytes], method: str = "POST") -> Raw:
    """What is read when these pieces come and the connection ends."""
    here, there = socket.socketpair()
    with here, there:

        def say() -> None:
            with suppress(OSError):  # who has read enough closes the connection
                for piece in pieces:
                    there.sendall(piece)
                there.shutdown(socket.SHUT_WR)

        speaker = threading.Thread(target=say)
        speaker.start()
        try:
            return exchange(here, b"POST / HTTP/1.1\r\n\r\n", b"", method=method)
        finally:
            here.close()
            speaker.join()


@pytest.mark.parametrize(
    ("wire", "status", "body", "whole", "keeps"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", 200, b"fine", True, True, id="a length"),
        pytest.param(b"HTTP/1.1 200 OK\nContent-Length: 4\n\nfine", 200, b"fine", True, True, id="bare line ends"),
        pytest.param(b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, b"", True, True, id="no phrase"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfine", 200, b"fine", False, False, id="less than its length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine!", 200, b"fine", True, False, id="more than its length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 4, 4\r\n\r\nfine", 200, b"fine", False, False, id="its length twice"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 4, 5\r\n\r\nfine", 200, b"fine", False, False, id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nfine", 200, b"fine", False, False, id="no length at all"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine", 200, b"fine", True, False, id="closing after it"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfine", 200, b"fine", True, False, id="until the connection ends"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nfine", 200, b"fine", True, False, id="HTTP/1.0"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nfine", 200, b"fine", False, False, id="an end that may be a break"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", 200, b"", False, False, id="broken off within the headers"),
        pytest.param(CHUNKED + b"2\r\nfi\r\n2;x=y\r\nne\r\n0\r\nTrailer: x\r\n\r\n", 200, b"fine", True, True, id="in parts"),
        pytest.param(CHUNKED + b"2\r\nfi\r\n4\r\nne", 200, b"fine", False, False, id="broken off within a part"),
        pytest.param(CHUNKED + b"2\r\nfi\r\n", 200, b"fi", False, False, id="broken off between parts"),
        pytest.param(CHUNKED + b"2\r\nfi\r\nzz\r\nne\r\n", 200, b"fi", False, False, id="a part of no length"),
        pytest.param(CHUNKED + b"2\r\nfine\r\n0\r\n\r\n", 200, b"fi", False, False, id="a part longer than it says"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True, True, id="no content"),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n", 201, b"", True, True, id="continue"),
        pytest.param(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 None\r\n\r\n", 204, b"", True, True, id="early hints"),
    ],
)
def test_an_answer_is_read_as_http_says_however_it_is_cut_into_pieces(
    wire: bytes, status: int, body: bytes, whole: bool, keeps: bool
) -> None:
    for pieces in ([wire], [wire[at : at + 1] for at in range(len(wire))], [wire[: len(wire) // 2], wire[len(wire) // 2 :]]):
        answer = answer_to(pieces)
        assert (answer.status, answer.body, answer.whole) == (status, body, whole)
    assert answer_to([wire]).keeps is keeps


@pytest.mark.parametrize(
    "wire",
    [
        b"HTT",
        b"HTTP/1.1 2",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/2 two hundred\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
    ],
)
def test_what_is_no_http_cannot_be_read(wire: bytes) -> None:
    with pytest.raises(UnreadableAnswerError):
        answer_to([wire])


def test_a_connection_that_ends_without_a_word_gave_no_answer() -> None:
    with pytest.raises(ConnectionResetError):
        answer_to([b""])


def test_headers_of_one_name_are_joined_and_names_are_in_lower_case() -> None:
    wire = b"HTTP/1.1 200 OK\r\nX-Two: a\r\nx-two: b\r\nRetry-After:7 \r\nLong: a\r\n  b\r\nContent-Length: 0\r\n\r\n"
    assert dict(answer_to([wire]).headers) == {"x-two": "a, b", "retry-after": "7", "long": "a b", "content-length": "0"}


def test_an_answer_to_head_has_no_body_whatever_its_length_says() -> None:
    answer = answer_to([b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"], "HEAD")
    assert (answer.body, answer.whole, answer.keeps) == (b"", True, True)


@pytest.mark.parametrize("head", [b"Content-Length: 2000000", b"Transfer-Encoding: chunked", b"Connection: close"])
def test_no_more_than_the_cap_is_read(head: bytes) -> None:
    body = (b"1e8480\r\n" if b"chunked" in head else b"") + b"x" * 2_000_000
    here, there = socket.socketpair()
    with here, there:
        pending = memoryview(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body)

        def say() -> None:
            try:
                there.sendall(pending)
            except OSError:
                return

        speaker = threading.Thread(target=say)
        speaker.start()
        answer = exchange(here, b"GET / HTTP/1.1\r\n\r\n", b"", method="GET")
        here.close()
        speaker.join()
    assert (len(answer.body), answer.whole, answer.keeps) == (MAX_ANSWER_BYTES, False, False)


@settings(deadline=None)  # each example is a thread and a connection, which a busy machine may let wait
@given(st.lists(st.binary(max_size=40), max_size=5), st.booleans(), st.data())
def test_bodies_come_back_as_they_were_sent(parts: list[bytes], in_parts: bool, data: st.DataObject) -> None:
    body = b"".join(parts)
    if in_parts:
        wire = CHUNKED + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n"
    else:
        wire = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    cut = data.draw(st.integers(0, len(wire)))
    answer = answer_to([wire[:cut], wire[cut:]])
    assert (answer.body, answer.whole, answer.keeps) == (body, True, True)


LINES = st.sampled_from(
    [
        *("Content-Length: 4", "content-length: 4", "Content-Length: 5", "Content-Length: 04", "Content-Length:4", "Content-Length: 4 "),
        *("Transfer-Encoding: chunked", "Connection: close", "Connection: keep-alive", "Retry-After: 3", "X: a\tb", "X: ", "X: \xe9"),
        *(" folded", "X : y", "no colon", "X: y: z", "Date: Tue, 24 Nov 2026 01:00:00 GMT"),
    ]
)


@settings(deadline=None)
@given(
    st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTP/1.1"]),
    st.sampled_from(
        ["200 OK", "200 ", "200", "204 None", "304 Same", "101 Other", "100 Go on", "503 Later", "099 x", "2000 x", "200 \xe9"]
    ),
    st.lists(LINES, max_size=4),
    st.sampled_from(["fine", "fin", "fine!", "", "4\r\nfine\r\n0\r\n\r\n"]),
)
def test_a_plain_answer_means_what_it_means_to_the_standard_library(version: str, status: str, lines: list[str], body: str) -> None:
    wire = "\r\n".join([f"{version} {status}", *lines, "", body]).encode("latin-1")
    plain = read_plain(wire)
    if plain is None:
        return
    here, there = socket.socketpair()
    with here, there:
        there.shutdown(socket.SHUT_WR)
        assert read_any(wire, here, "POST") == plain


def test_the_answers_of_usual_servers_are_plain() -> None:
    assert read_plain(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"success":true}') is not None
    assert read_plain(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n") is not None


def test_a_large_body_arrives_whole_through_a_narrow_connection() -> None:
    came: list[Received] = []
    with LocalServer(lambda request: came.append(request) or Reply()) as server:
        for size in (0, 1, 70_000, 5_000_000):
            perform(Request(server.url, b"x" * size), deadline_s=5.0, reach=Reach.ANYWHERE)
    assert [len(request.body) for request in came] == [0, 1, 70_000, 5_000_000]


def test_an_answer_before_the_body_was_taken_is_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1_000)
                connection.sendall(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 20):
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        answer = perform(Request(f"http://127.0.0.1:{server.getsockname()[1]}/", b"x" * 3_000_000), deadline_s=5.0, reach=Reach.ANYWHERE)
        thread.join()
    assert getattr(answer, "status", None) == 413


def test_a_connection_that_does_not_take_the_body_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        verdict = perform(Request(url, b"x" * 20_000_000), deadline_s=0.3, reach=Reach.ANYWHERE)
    assert "within 0.3 s" in getattr(verdict, "reason", "")


@pytest.mark.parametrize(
    ("url", "authority", "target"),
    [
        pytest.param("http://a.test", "a.test", "/", id="no path"),
        pytest.param("http://a.test?x=1", "a.test", "/?x=1", id="a query alone"),
        pytest.param("https://a.test:443/b/c?d=%2F", "a.test", "/b/c?d=%2F", id="its usual port"),
        pytest.param("http://a.test:8080/b", "a.test:8080", "/b", id="another port"),
        pytest.param("http://[::1]:80/", "[::1]", "/", id="an IPv6 address"),
    ],
)
def test_usual_urls_go_straight(url: str, authority: str, target: str) -> None:
    place = direct.place_of(url)
    assert place is not None
    assert (place.authority, place.target) == (authority, target)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://user:secret@a.test/", id="a login"),
        pytest.param("http://ä.test/", id="letters of another script"),
        pytest.param("http://a.test/ä", id="letters of another script in the path"),
        pytest.param("http://a.test/b/../c", id="dots for folders"),
        pytest.param("http://a.test/#part", id="a part of a page"),
        pytest.param("http://a.test/b c", id="a blank"),
        pytest.param("http://a.test:0/", id="port 0"),
        pytest.param("http://a.test:70000/", id="no port"),
        pytest.param("http://a.test/\r\nX: y", id="lines"),
        pytest.param("ftp://a.test/", id="another protocol"),
        pytest.param("http://" + "a" * 64 + ".test/", id="a name too long"),
    ],
)
def test_unusual_urls_are_put_right_first(url: str) -> None:
    assert direct.place_of(url) is None


@pytest.mark.parametrize("headers", [{"X: y\r\nZ": "1"}, {"X": "y\r\nZ: 1"}, {"X": " y"}, {"X": "\u20ac"}, {"": "x"}])
def test_headers_that_http_does_not_allow_stop_the_sync(headers: dict[str, str]) -> None:
    came: list[Received] = []
    with LocalServer(lambda request: came.append(request) or Reply()) as server:
        verdict = perform(Request(server.url, b"x", headers), deadline_s=5.0, reach=Reach.ANYWHERE)
    assert "cannot be made of these settings" in getattr(verdict, "reason", "")
    assert not came


def test_headers_of_a_request_take_the_place_of_the_usual_ones() -> None:
    came: list[Received] = []
    with LocalServer(lambda request: came.append(request) or Reply()) as server:
        perform(Request(server.url, b"x", {"accept": "text/csv", "HOST": "a.test"}, "PUT"), deadline_s=5.0, reach=Reach.ANYWHERE)
    (request,) = came
    assert (request.method, request.headers["accept"], request.headers["host"]) == ("PUT", "text/csv", "a.test")
    assert request.headers["user-agent"] == direct.USER_AGENT


def test_requests_go_by_the_proxy_that_the_environment_names_but_never_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[Received] = []
    with LocalServer(lambda request: came.append(request) or Reply()) as server:
        monkeypatch.setenv("http_proxy", server.url)
        perform(Request("http://far.test/by-proxy", b"x"), deadline_s=5.0, reach=Reach.ANYWHERE)
        perform(Request(f"{server.url}/straight", b"x"), deadline_s=5.0, reach=Reach.ANYWHERE)
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        verdict = perform(Request("http://far.test/", b"x"), deadline_s=5.0, reach=Reach.ANYWHERE)
    assert [request.path for request in came] == ["http://far.test/by-proxy", "/straight"]
    assert "proxy" in getattr(verdict, "reason", "")
