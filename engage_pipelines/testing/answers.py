"""The part of the conformance suite that is about HTTP: what answers mean, what nobody may see, where nothing may go."""

import logging
import socket
import time
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from engage_pipelines.destinations.base import Backoff, Pause, Record, Stop
from engage_pipelines.testing.abilities import Ability, needs
from engage_pipelines.testing.bench import Bench
from engage_pipelines.testing.local_server import Received, Reply, Wire
from engage_pipelines.testing.vendor import Switchboard

LATER = {
    **{str(status): Reply(status, b"{}") for status in (408, 423, 500, 502, 503, 504)},
    "connection reset": Reply(wire=Wire.RESET),
    "answer cut off": Reply(wire=Wire.CUT),
    "headers cut off": Reply(wire=Wire.HALF_HEAD),
    "no HTTP": Reply(wire=Wire.NOISE),
    "endless body": Reply(wire=Wire.ENDLESS),
    "207 that cannot be read": Reply(207, b'{"rejected": "yes'),
    "200 with a login page": Reply(200, b"<!DOCTYPE html><title>Log in</title>", {"Content-Type": "text/html"}),
}
"""One test for all of them: a server for each would be most of what the suite costs."""


class AnswersConformance:
    """Tests of types that speak HTTP and take changes; part of `DestinationConformance`."""

    secrets: ClassVar[tuple[str, ...]] = ()
    """Every secret that `settings` holds; none may show anywhere."""

    @needs(Ability.CHANGES, Ability.HTTP)
    def test_a_retry_sends_the_same_bytes(self, bench: Bench, board: Switchboard) -> None:
        board.reply_with(Reply(503))
        records = [bench.record("u-1", email="ana@example.test")]
        assert isinstance(bench.send(records), Backoff)
        bench.send(records)
        first, second = board.requests[:2]
        assert (first.method, first.path, first.body) == (second.method, second.path, second.body)

    @needs(Ability.CHANGES, Ability.HTTP)
    def test_it_is_tried_again_after_an_answer_that_says_nothing(self, bench: Bench, board: Switchboard) -> None:
        for what, reply in LATER.items():
            board.always_reply_with(reply)
            for count in (1, 3):
                verdict = bench.send(_as_many(bench, count))
                assert isinstance(verdict, Backoff), f"{count} records, {what}: {verdict}"

    @needs(Ability.CHANGES, Ability.HTTP)
    def test_it_pauses_for_as_long_as_a_429_says(self, bench: Bench, board: Switchboard) -> None:
        board.always_reply_with(Reply(429, b"{}", {"Retry-After": "17"}))
        assert bench.send([bench.record("u-1")]) == Pause(17)

    @needs(Ability.CHANGES, Ability.HTTP)
    def test_it_pauses_until_the_date_that_a_429_names(self, bench: Bench, board: Switchboard) -> None:
        at = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 90))
        board.always_reply_with(Reply(429, b"{}", {"Retry-After": at}))
        verdict = bench.send([bench.record("u-1")])
        assert isinstance(verdict, Pause)
        assert 80 <= verdict.after_s <= 90

    @needs(Ability.CHANGES, Ability.HTTP)
    @pytest.mark.parametrize("status", [401, 403])
    def test_it_stops_with_a_remedy_when_the_credentials_are_refused(self, bench: Bench, board: Switchboard, status: int) -> None:
        board.always_reply_with(Reply(status, b"{}"))
        verdict = bench.send([bench.record("u-1")])
        assert isinstance(verdict, Stop)
        assert verdict.remedy
        assert isinstance(bench.destination.test(bench.settings), Stop)

    @needs(Ability.CHANGES, Ability.HTTP)
    def test_a_redirect_loop_stops_after_one_hop(self, bench: Bench, board: Switchboard) -> None:
        board.always_reply_with(Reply(307, b"", {"Location": "/round"}))
        assert isinstance(bench.send([bench.record("u-1")]), Stop)
        assert len(board.requests) == 2

    @needs(Ability.CHANGES, Ability.HTTP)
    @pytest.mark.parametrize(
        "reply", [pytest.param(Reply(after_s=30), id="no answer"), pytest.param(Reply(wire=Wire.TRICKLE), id="an answer that trickles")]
    )
    def test_it_is_over_by_the_deadline(self, bench: Bench, board: Switchboard, reply: Reply) -> None:
        board.always_reply_with(reply)
        began = time.monotonic()
        assert isinstance(bench.send([bench.record("u-1")], deadline_s=0.15), Backoff)
        assert time.monotonic() - began < 2

    @needs(Ability.CHANGES, Ability.HTTP)
    def test_it_is_tried_again_when_nobody_listens(self, bench: Bench, board: Switchboard) -> None:
        board.server.close()
        verdict = bench.send([bench.record("u-1")])
        assert isinstance(verdict, Backoff)
        assert "127.0.0.1" in verdict.reason

    # ------------------------------------------------------------------ what nobody may see, where nothing may go

    @needs(Ability.CHANGES, Ability.HTTP)
    def test_no_secret_and_nobodys_data_shows_though_the_vendor_repeats_it(
        self, bench: Bench, board: Switchboard, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        record = bench.record("person-4711", email="ana.secret@example.test")
        for status in (200, 207, 400, 401, 404, 422, 500):
            board.server.respond = _parrot(status, self.secrets)
            shown = repr((bench.send([record]), bench.send(_as_many(bench, 3)), record, bench.settings)) + str(bench.settings)
            for hidden in (*self.secrets, "ana.secret@example.test"):
                assert hidden not in shown + caplog.text, f"answer {status}"

    @needs(Ability.CHANGES, Ability.HTTP)
    def test_no_host_is_asked_but_the_one_in_the_settings(self, bench: Bench, board: Switchboard, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []
        look_up: Callable[..., Any] = socket.getaddrinfo

        def noted(host: str, *rest: Any, **more: Any) -> Any:
            asked.append(str(host))
            return look_up(host, *rest, **more)

        monkeypatch.setattr(socket, "getaddrinfo", noted)
        bench.deliver([bench.record("u-1")])
        assert set(asked) <= {urlsplit(board.server.url).hostname}
        assert board.requests


def _as_many(bench: Bench, count: int) -> list[Record]:
    most = bench.destination.limits_of(bench.action.key, bench.settings).max_batch_records
    return [bench.record(f"u-{number}") for number in range(min(count, most))]


def _parrot(status: int, secrets: tuple[str, ...]) -> Callable[[Received], Reply]:
    """A vendor that repeats all it knows, in the words of an error."""

    def respond(request: Received) -> Reply:
        said = (str(dict(request.headers)) + " ".join(secrets) + request.body.decode(errors="replace")).replace('"', "'").replace("\\", "/")
        body = f'{{"message": "{said}", "rejected": [{{"index": 0, "reason": "{said}"}}]}}'
        return Reply(status, body.encode())

    return respond
