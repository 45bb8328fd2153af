"""The conformance suite of a destination type: what every type promises, as tests that a type's own test class inherits.

    class TestPostbox(DestinationConformance):
        destination = Postbox()
        secrets = ("postbox-token",)

        def vendor(self) -> FakeVendor:                       # types that speak HTTP
            return FakePostbox()

        def settings(self, url: str, folder: Path) -> Mapping[str, object]:
            return {"url": url, "token": "postbox-token"}

        def held(self, folder: Path) -> Mapping[str, bool]:   # types that do not: what lies in the file or table
            ...

An ability that a type does not have skips its tests aloud, with the reason. A class that overrides a test of the suite says why in the
test's docstring. Records are rendered and mapped as the product does it, through the default fields of the type's first action.
"""

import logging
import re
import socket
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest

from engage_pipelines.destinations.base import (
    Accepted,
    Backoff,
    Bisect,
    DestinationType,
    Effect,
    ListRow,
    MembershipAs,
    Pause,
    Record,
    Stop,
)
from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.domain.mapping import validate_mapping
from engage_pipelines.domain.records import RENDER, Subject
from engage_pipelines.domain.trigger import parse_trigger
from engage_pipelines.testing.bench import KEY, Bench, envelope
from engage_pipelines.testing.local_server import Received, Reply, Wire
from engage_pipelines.testing.vendor import FakeVendor, Switchboard

HARD_VALUES = (
    pytest.param("Zoë-日本-🙂", id="not ASCII"),
    pytest.param("null", id="null as text"),
    pytest.param("None", id="None as text"),
    pytest.param("NaN", id="NaN as text"),
    pytest.param("0", id="zero"),
    pytest.param("false", id="false as text"),
    pytest.param("007", id="leading zeros"),
    pytest.param("  spaced  ", id="spaces around"),
    pytest.param("a,b\"c;'d\\e", id="quotes and commas"),
    pytest.param("two\nlines\r\nand\ttabs", id="line ends"),
    pytest.param("x\u2028y\u0085z", id="line ends of Unicode"),
    pytest.param("Robert'); DROP TABLE members;--", id="SQL"),
    pytest.param("{{traits.email}}${x}%s{0}", id="templates"),
    pytest.param("x" * 400, id="400 characters"),
)
LATER = (
    *(pytest.param(Reply(status, b"{}"), id=str(status)) for status in (408, 423, 500, 502, 503, 504)),
    pytest.param(Reply(wire=Wire.RESET), id="connection reset"),
    pytest.param(Reply(wire=Wire.CUT), id="answer cut off"),
    pytest.param(Reply(wire=Wire.NOISE), id="no HTTP"),
    pytest.param(Reply(wire=Wire.ENDLESS), id="endless body"),
    pytest.param(Reply(207, b'{"rejected": "yes'), id="207 that cannot be read"),
    pytest.param(Reply(200, b"<!DOCTYPE html><title>Log in</title>", {"Content-Type": "text/html"}), id="200 with a login page"),
)


class DestinationConformance:
    """Inherit as `Test...`; say what is tested, with which settings, and where to look."""

    destination: ClassVar[DestinationType]
    secrets: ClassVar[tuple[str, ...]] = ()
    """Every secret that `settings` holds; none may show anywhere."""

    def settings(self, url: str, folder: Path) -> Mapping[str, object]:
        """Settings of a destination at `url` (a fake vendor's) or in `folder` (for files and databases)."""
        raise NotImplementedError

    def vendor(self) -> FakeVendor | None:
        """A fresh fake vendor; None for a type that does not speak HTTP."""
        return None

    def held(self, folder: Path) -> Mapping[str, bool]:
        """Who is held, for a type that does not speak HTTP: see `FakeVendor.held`."""
        raise NotImplementedError

    def takings(self, folder: Path) -> object:
        """Everything that would show a repeat, for a type that does not speak HTTP."""
        return dict(self.held(folder))

    # ------------------------------------------------------------------ the bench

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Generator[Bench]:
        with ExitStack() as stack:
            vendor = self.vendor()
            board = Switchboard(vendor) if vendor is not None else None
            url = stack.enter_context(board.server).url if board else "http://127.0.0.1:9"
            settings = self.destination.configure(dict(self.settings(url, tmp_path)), files_dir=tmp_path)
            yield Bench(self.destination, settings, tmp_path, self.held, self.takings, board)

    @pytest.fixture
    def sender(self, bench: Bench) -> Bench:
        """The bench of a type that takes changes."""
        if bench.destination.writes_whole_list(bench.settings):
            pytest.skip(f"{self.destination.key} with these settings replaces the whole list, it takes no changes")
        return bench

    @pytest.fixture
    def board(self, sender: Bench) -> Switchboard:
        """The switchboard of a type that speaks HTTP."""
        if sender.board is None:
            pytest.skip(f"{self.destination.key} speaks no HTTP, so there are no answers to read")
        return sender.board

    @pytest.fixture
    def lister(self, bench: Bench) -> Bench:
        """The bench of a type that replaces whole lists."""
        if not bench.destination.writes_whole_list(bench.settings):
            pytest.skip(f"{self.destination.key} with these settings takes changes, not whole lists")
        return bench

    # ------------------------------------------------------------------ what it says of itself

    def test_it_introduces_itself(self) -> None:
        kind = self.destination
        assert re.fullmatch(r"[a-z][a-z0-9_]*", kind.key)
        assert kind.name
        assert kind.description.endswith(".")
        assert kind.docs_url
        assert (kind.effect is Effect.DEDUPES) == (kind.dedupe_window_s is not None)
        assert kind.user_address_kinds
        assert kind.actions

    def test_its_presets_fire_on_the_calls_of_their_own_computation_alone(self) -> None:
        actions = {action.key: action for action in self.destination.actions}
        for preset in self.destination.presets:
            assert preset.call in actions[preset.action].calls
            mine, other = (parse_trigger(preset.trigger.replace("{key}", key)) for key in (KEY, "another"))
            subject = Subject(user_id="u-1", group_id="g-1")
            events = [RENDER[preset.call](subject, envelope(), message_id="m", entered=entered) for entered in (True, False)]
            assert any(mine.matches(event) for event in events)
            assert not any(other.matches(event) for event in events)

    def test_its_default_fields_are_a_valid_mapping(self) -> None:
        for action in self.destination.actions:
            assert validate_mapping(action.fields) == []

    def test_its_secrets_are_declared_as_secrets(self, bench: Bench) -> None:
        assert set(self.secrets) <= set(bench.settings.secret_values())

    def test_settings_that_do_not_fit_are_refused_by_name_without_their_values(self, bench: Bench) -> None:
        given = {**self.settings("http://127.0.0.1:9", bench.folder), "no_such_setting": "value-not-to-be-shown"}
        with pytest.raises(ConfigurationError, match="no_such_setting") as refusal:
            self.destination.configure(given, files_dir=bench.folder)
        for hidden in ("value-not-to-be-shown", *self.secrets):
            assert hidden not in str(refusal.value)

    def test_what_it_owns_outside_is_the_same_for_every_generation(self, bench: Bench) -> None:
        owned = bench.destination.external_target(bench.settings, bench.target(1))
        assert owned == bench.destination.external_target(bench.settings, bench.target(2))
        assert not any(secret in (owned or "") for secret in self.secrets)
        if bench.destination.takes_membership_as(bench.settings) is MembershipAs.USER_LIST:
            assert owned, "a user list belongs to one connection, so it has to be named"

    def test_trying_it_sends_nobody(self, bench: Bench) -> None:
        assert bench.destination.test(bench.settings) == Accepted()
        assert bench.held() == {}

    # ------------------------------------------------------------------ batches

    def test_an_empty_batch_sends_nothing(self, sender: Bench) -> None:
        assert sender.send([]) == Accepted()
        assert sender.board is None or sender.board.requests == []
        assert sender.held() == {}

    def test_every_record_is_delivered(self, sender: Bench) -> None:
        people = [f"u-{number}" for number in range(7)]
        assert sender.deliver([sender.record(person, email=f"{person}@example.test") for person in people]) == {}
        assert sender.held() == dict.fromkeys(people, True)

    def test_a_batch_of_too_many_records_is_not_sent(self, sender: Bench) -> None:
        most = sender.destination.limits_with(sender.settings).max_batch_records
        self._is_not_sent(sender, [sender.record("u-1")] * (most + 1))

    def test_a_batch_of_too_many_bytes_is_not_sent(self, sender: Bench) -> None:
        limits = sender.destination.limits_with(sender.settings)
        if limits.max_batch_records == 1:
            pytest.skip(f"{self.destination.key} with these settings sends records one by one")
        half = replace(sender.record("u-1"), body=b" " * (limits.max_batch_bytes // 2))
        self._is_not_sent(sender, [half, half])

    def _is_not_sent(self, sender: Bench, records: list[Record]) -> None:
        assert isinstance(sender.send(records), Bisect)
        assert sender.board is None or sender.board.requests == []
        assert sender.held() == {}

    def test_a_record_above_the_limit_is_refused_with_its_size(self, sender: Bench) -> None:
        limits = sender.destination.limits_with(sender.settings)
        size = min(limits.max_record_bytes or limits.max_batch_bytes, limits.max_batch_bytes) + 1
        verdict = sender.send([replace(sender.record("u-1"), body=b" " * size)])
        assert isinstance(verdict, Accepted)
        assert str(size) in verdict.rejected[0]
        assert sender.board is None or sender.board.requests == []

    def test_a_refused_record_is_rejected_alone_and_the_others_are_delivered(self, sender: Bench) -> None:
        if sender.board is None or not sender.board.vendor.refuse("u-3"):
            pytest.skip(f"nothing of what {self.destination.key} writes to refuses a record for what is in it")
        records = [sender.record(f"u-{number}") for number in range(7)]
        refused = sender.deliver(records)
        assert list(refused) == ["user_id:u-3"]
        assert refused["user_id:u-3"]
        assert sender.held() == {f"u-{number}": True for number in range(7) if number != 3}

    # ------------------------------------------------------------------ entries, exits, repeats

    def test_an_exit_leaves_the_list_or_sets_false_and_the_person_stays(self, sender: Bench) -> None:
        sender.deliver([sender.record("u-1"), sender.record("u-2")])
        sender.deliver([sender.record("u-1", entered=False, generation=2)], generation=2)
        is_list = sender.destination.takes_membership_as(sender.settings) is MembershipAs.USER_LIST
        assert sender.held() == ({"u-2": True} if is_list else {"u-1": False, "u-2": True})
        if sender.board is not None and not is_list:
            assert not any(request.method == "DELETE" for request in sender.board.requests)

    def test_an_exit_of_somebody_unknown_does_no_harm(self, sender: Bench) -> None:
        assert sender.deliver([sender.record("u-9", entered=False)]) == {}
        assert sender.held().get("u-9", False) is False

    def test_who_comes_back_is_a_member_again(self, sender: Bench) -> None:
        for generation, entered in enumerate((True, False, True), start=1):
            sender.deliver([sender.record("u-1", entered=entered, generation=generation)], generation=generation)
        assert sender.held() == {"u-1": True}

    def test_delivering_twice_equals_once(self, sender: Bench) -> None:
        if self.destination.effect is Effect.AT_LEAST_ONCE:
            pytest.skip(f"{self.destination.key} promises at least once: a repeat is seen twice")
        records = [sender.record("u-1"), sender.record("u-2"), sender.record("u-3", entered=False)]
        sender.deliver(records)
        once = sender.takings()
        sender.deliver(records)
        sender.deliver(records[:1])
        assert sender.takings() == once

    @pytest.mark.parametrize("value", HARD_VALUES)
    def test_hard_values_arrive_as_they_are_or_are_refused_alone(self, sender: Bench, value: str) -> None:
        refused = sender.deliver([sender.record("plain"), sender.record(value, email=f"{value}@example.test")])
        assert set(refused) <= {f"user_id:{value}"}
        assert sender.held() == {"plain": True} | ({} if refused else {value: True})

    # ------------------------------------------------------------------ answers

    def test_a_retry_sends_the_same_bytes(self, sender: Bench, board: Switchboard) -> None:
        board.reply_with(Reply(503))
        records = [sender.record("u-1", email="ana@example.test")]
        assert isinstance(sender.send(records), Backoff)
        sender.send(records)
        first, second = board.requests[:2]
        assert (first.method, first.path, first.body) == (second.method, second.path, second.body)

    @pytest.mark.parametrize("count", [pytest.param(1, id="one record"), pytest.param(3, id="a batch")])
    @pytest.mark.parametrize("reply", LATER)
    def test_it_is_tried_again_after(self, sender: Bench, board: Switchboard, reply: Reply, count: int) -> None:
        board.always_reply_with(reply)
        assert isinstance(sender.send(self._as_many(sender, count)), Backoff)

    def _as_many(self, sender: Bench, count: int) -> list[Record]:
        most = sender.destination.limits_with(sender.settings).max_batch_records
        return [sender.record(f"u-{number}") for number in range(min(count, most))]

    def test_it_pauses_for_as_long_as_a_429_says(self, sender: Bench, board: Switchboard) -> None:
        board.always_reply_with(Reply(429, b"{}", {"Retry-After": "17"}))
        assert sender.send([sender.record("u-1")]) == Pause(17)

    def test_it_pauses_until_the_date_that_a_429_names(self, sender: Bench, board: Switchboard) -> None:
        at = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 90))
        board.always_reply_with(Reply(429, b"{}", {"Retry-After": at}))
        verdict = sender.send([sender.record("u-1")])
        assert isinstance(verdict, Pause)
        assert 80 <= verdict.after_s <= 90

    @pytest.mark.parametrize("status", [401, 403])
    def test_it_stops_with_a_remedy_when_the_credentials_are_refused(self, sender: Bench, board: Switchboard, status: int) -> None:
        board.always_reply_with(Reply(status, b"{}"))
        verdict = sender.send([sender.record("u-1")])
        assert isinstance(verdict, Stop)
        assert verdict.remedy
        assert isinstance(sender.destination.test(sender.settings), Stop)

    def test_a_redirect_loop_stops_after_one_hop(self, sender: Bench, board: Switchboard) -> None:
        board.always_reply_with(Reply(307, b"", {"Location": "/round"}))
        assert isinstance(sender.send([sender.record("u-1")]), Stop)
        assert len(board.requests) == 2

    @pytest.mark.parametrize(
        "reply", [pytest.param(Reply(after_s=30), id="no answer"), pytest.param(Reply(wire=Wire.TRICKLE), id="an answer that trickles")]
    )
    def test_it_is_over_by_the_deadline(self, sender: Bench, board: Switchboard, reply: Reply) -> None:
        board.always_reply_with(reply)
        began = time.monotonic()
        assert isinstance(sender.send([sender.record("u-1")], deadline_s=0.3), Backoff)
        assert time.monotonic() - began < 2

    def test_it_is_tried_again_when_nobody_listens(self, sender: Bench, board: Switchboard) -> None:
        board.server.close()
        verdict = sender.send([sender.record("u-1")])
        assert isinstance(verdict, Backoff)
        assert "127.0.0.1" in verdict.reason

    # ------------------------------------------------------------------ what nobody may see, where nothing may go

    @pytest.mark.parametrize("status", [200, 207, 400, 401, 404, 422, 500])
    def test_no_secret_and_nobodys_data_shows_though_the_vendor_repeats_it(
        self, sender: Bench, board: Switchboard, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        record = sender.record("person-4711", email="ana.secret@example.test")
        board.server.respond = _parrot(status, self.secrets)
        shown = repr((sender.send([record]), sender.send(self._as_many(sender, 3)), record, sender.settings)) + str(sender.settings)
        for hidden in (*self.secrets, "ana.secret@example.test"):
            assert hidden not in shown + caplog.text

    def test_no_host_is_asked_but_the_one_in_the_settings(
        self, sender: Bench, board: Switchboard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        look_up: Callable[..., Any] = socket.getaddrinfo
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: asked.append(str(host)) or look_up(host, *rest, **more))
        sender.deliver([sender.record("u-1")])
        assert set(asked) <= {urlsplit(board.server.url).hostname}
        assert board.requests

    # ------------------------------------------------------------------ whole lists

    def test_a_whole_list_takes_the_place_of_the_one_before(self, lister: Bench) -> None:
        for members in (["u-1", "u-2"], ["u-2", "u-3"], []):
            assert self._write_list(lister, members) == Accepted()
            assert lister.held() == dict.fromkeys(members, True)

    def test_the_same_whole_list_twice_equals_once(self, lister: Bench) -> None:
        self._write_list(lister, ["u-1", "u-2"])
        once = lister.takings()
        self._write_list(lister, ["u-1", "u-2"])
        assert lister.takings() == once

    def test_a_whole_list_that_breaks_off_leaves_the_one_before(self, lister: Bench) -> None:
        self._write_list(lister, ["u-1"])
        before = lister.takings()

        def breaking() -> Generator[list[ListRow]]:
            yield [ListRow("user_id:u-2", "u-2", None)]
            raise RuntimeError("the version cannot be read on")

        with pytest.raises(RuntimeError, match="cannot be read on"):
            lister.destination.write_list(breaking(), settings=lister.settings, target=lister.target())
        assert lister.takings() == before

    @pytest.mark.parametrize("value", HARD_VALUES)
    def test_hard_values_are_on_a_whole_list_as_they_are(self, lister: Bench, value: str) -> None:
        assert self._write_list(lister, [value]) == Accepted()
        assert lister.held() == {value: True}

    def _write_list(self, lister: Bench, members: list[str]) -> object:
        chunks = ([ListRow(f"user_id:{member}", member, f"{member}@example.test")] for member in members)
        return lister.destination.write_list(chunks, settings=lister.settings, target=lister.target())


def _parrot(status: int, secrets: tuple[str, ...]) -> Callable[[Received], Reply]:
    """A vendor that repeats all it knows, in the words of an error."""

    def respond(request: Received) -> Reply:
        said = (str(dict(request.headers)) + " ".join(secrets) + request.body.decode(errors="replace")).replace('"', "'").replace("\\", "/")
        body = f'{{"message": "{said}", "rejected": [{{"index": 0, "reason": "{said}"}}]}}'
        return Reply(status, body.encode())

    return respond
