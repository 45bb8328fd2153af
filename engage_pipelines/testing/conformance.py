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

The tests of an ability that a type does not have (HTTP, changes, whole lists) are left out, and one skipped test says which and why.
A class that overrides a test of the suite says why in the test's docstring. Records are rendered and mapped as the product does it,
through the default fields of the type's first action. Where a type matches people by e-mail address alone (`user_address_kinds`), everybody
has one, `<user id>@example.test`.
"""

import re
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from engage_pipelines.destinations.base import (
    Accepted,
    Bisect,
    DestinationType,
    Effect,
    ListRow,
    MembershipAs,
    Record,
    Settings,
)
from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.domain.mapping import validate_mapping
from engage_pipelines.domain.records import RENDER, Subject
from engage_pipelines.domain.trigger import parse_trigger
from engage_pipelines.testing.abilities import Ability, needs
from engage_pipelines.testing.answers import AnswersConformance
from engage_pipelines.testing.bench import Bench, People, envelope
from engage_pipelines.testing.vendor import KEY, FakeVendor, Switchboard

HARD_VALUES = (
    "Zoë-日本-🙂",
    "null",
    "None",
    "NaN",
    "0",
    "false",
    "007",
    "  spaced  ",
    "a,b\"c;'d\\e",
    "two\nlines\r\nand\ttabs",
    "x\u2028y\u0085z",
    "Robert'); DROP TABLE members;--",
    "{{traits.email}}${x}%s{0}",
    "x" * 400,
)


class DestinationConformance(AnswersConformance):
    """Inherit as `Test...`; say what is tested, with which settings, and where to look."""

    destination: ClassVar[DestinationType]
    whole_list: ClassVar[bool] = False
    """True when a destination with these settings replaces the whole list."""
    list_settings: ClassVar[Mapping[str, object]] = {}
    """Settings of the connection's list, for types that have them."""

    def ready(self, settings: Settings, vendor: FakeVendor | None) -> None:
        """What is to be done before the first request."""

    def identity(self, user_id: str, email: str | None) -> str:
        """What the vendor knows this person as, and the fake vendor names in `held` and `refuse`: a hash of the address, say."""
        return str(email) if self._by_email() else user_id

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

    @classmethod
    def lacks(cls) -> list[Ability]:
        """Abilities that are not there to be tested."""
        no_http = cls.vendor is DestinationConformance.vendor
        return [*([Ability.HTTP] if no_http else []), Ability.CHANGES if cls.whole_list else Ability.WHOLE_LIST]

    def __init_subclass__(cls) -> None:
        lacks = set(cls.lacks())
        suite = {**vars(AnswersConformance), **vars(DestinationConformance)}
        for name, test in suite.items():
            if lacks.intersection(getattr(test, "needs", ())) and name not in vars(cls):
                setattr(cls, name, None)

    def _by_email(self) -> bool:
        return "user_id" not in self.destination.user_address_kinds

    def test_what_it_cannot_do_is_said_aloud(self, bench: Bench) -> None:
        assert bench.destination.writes_whole_list(bench.settings) is self.whole_list
        pytest.skip(f"{self.destination.key}: {'; '.join(self.lacks())}")

    # ------------------------------------------------------------------ the bench

    @pytest.fixture
    def bench(self, tmp_path: Path) -> Generator[Bench]:
        with ExitStack() as stack:
            vendor = self.vendor()
            board = Switchboard(vendor) if vendor is not None else None
            url = stack.enter_context(board.server).url if board else "http://127.0.0.1:9"
            settings = self.destination.configure(dict(self.settings(url, tmp_path)), files_dir=tmp_path)
            self.ready(settings, vendor)
            people = People(self.identity, self._by_email())
            yield Bench(self.destination, settings, tmp_path, self.held, self.takings, board, people, self.list_settings)

    @pytest.fixture
    def board(self, bench: Bench) -> Switchboard:
        """The switchboard of a type that speaks HTTP."""
        assert bench.board is not None
        return bench.board

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

    @needs(Ability.CHANGES)
    def test_an_empty_batch_sends_nothing(self, bench: Bench) -> None:
        assert bench.send([]) == Accepted()
        assert bench.board is None or bench.board.requests == []
        assert bench.held() == {}

    @needs(Ability.CHANGES)
    def test_every_record_is_delivered(self, bench: Bench) -> None:
        people = [f"u-{number}" for number in range(7)]
        assert bench.deliver([bench.record(person, email=f"{person}@example.test") for person in people]) == {}
        assert bench.held() == dict.fromkeys(people, True)

    @needs(Ability.CHANGES)
    def test_a_batch_of_too_many_records_is_not_sent(self, bench: Bench) -> None:
        most = bench.destination.limits_of(bench.action.key, bench.settings).max_batch_records
        self._is_not_sent(bench, [bench.record("u-1")] * (most + 1))

    @needs(Ability.CHANGES)
    def test_a_batch_of_too_many_bytes_is_not_sent(self, bench: Bench) -> None:
        limits = bench.destination.limits_of(bench.action.key, bench.settings)
        if limits.max_batch_records == 1:
            pytest.skip(f"{self.destination.key} with these settings sends records one by one")
        half = replace(bench.record("u-1"), body=b" " * (limits.max_batch_bytes // 2))
        self._is_not_sent(bench, [half, half])

    def _is_not_sent(self, bench: Bench, records: list[Record]) -> None:
        assert isinstance(bench.send(records), Bisect)
        assert bench.board is None or bench.board.requests == []
        assert bench.held() == {}

    @needs(Ability.CHANGES)
    def test_a_record_above_the_limit_is_refused_with_its_size(self, bench: Bench) -> None:
        limits = bench.destination.limits_of(bench.action.key, bench.settings)
        size = min(limits.max_record_bytes or limits.max_batch_bytes, limits.max_batch_bytes) + 1
        verdict = bench.send([replace(bench.record("u-1"), body=b" " * size)])
        assert isinstance(verdict, Accepted)
        assert str(size) in verdict.rejected[0]
        assert bench.board is None or bench.board.requests == []

    @needs(Ability.CHANGES)
    def test_a_refused_record_is_rejected_alone_and_the_others_are_delivered(self, bench: Bench) -> None:
        if bench.board is None or not bench.board.vendor.refuse(bench.identity("u-3")):
            pytest.skip(f"nothing of what {self.destination.key} writes to refuses a record for what is in it")
        records = [bench.record(f"u-{number}") for number in range(7)]
        refused = bench.deliver(records)
        assert list(refused) == ["user_id:u-3"]
        assert refused["user_id:u-3"]
        assert bench.held() == {f"u-{number}": True for number in range(7) if number != 3}

    # ------------------------------------------------------------------ entries, exits, repeats

    @needs(Ability.CHANGES)
    def test_an_exit_leaves_the_list_or_sets_false_and_the_person_stays(self, bench: Bench) -> None:
        bench.deliver([bench.record("u-1"), bench.record("u-2")])
        bench.deliver([bench.record("u-1", entered=False, generation=2)], generation=2)
        is_list = bench.destination.takes_membership_as(bench.settings) is MembershipAs.USER_LIST
        assert bench.held() == ({"u-2": True} if is_list else {"u-1": False, "u-2": True})
        if bench.board is not None and not is_list:
            assert not any(request.method == "DELETE" for request in bench.board.requests)

    @needs(Ability.CHANGES)
    def test_an_exit_of_somebody_unknown_does_no_harm(self, bench: Bench) -> None:
        assert bench.deliver([bench.record("u-9", entered=False)]) == {}
        assert bench.held().get("u-9", False) is False

    @needs(Ability.CHANGES)
    def test_who_comes_back_is_a_member_again(self, bench: Bench) -> None:
        for generation, entered in enumerate((True, False, True), start=1):
            bench.deliver([bench.record("u-1", entered=entered, generation=generation)], generation=generation)
        assert bench.held() == {"u-1": True}

    @needs(Ability.CHANGES)
    def test_delivering_twice_equals_once(self, bench: Bench) -> None:
        if self.destination.effect is Effect.AT_LEAST_ONCE:
            pytest.skip(f"{self.destination.key} promises at least once: a repeat is seen twice")
        records = [bench.record("u-1"), bench.record("u-2"), bench.record("u-3", entered=False)]
        bench.deliver(records)
        once = bench.takings()
        bench.deliver(records)
        bench.deliver(records[:1])
        assert bench.takings() == once

    @needs(Ability.CHANGES)
    def test_hard_values_arrive_as_they_are_or_are_refused_alone(self, bench: Bench) -> None:
        refused = bench.deliver([bench.record("plain"), *(bench.record(value, email=f"{value}@example.test") for value in HARD_VALUES)])
        taken = [value for value in HARD_VALUES if f"user_id:{value}" not in refused]
        assert bench.held() == dict.fromkeys(["plain", *taken], True)

    # ------------------------------------------------------------------ whole lists

    @needs(Ability.WHOLE_LIST)
    def test_a_whole_list_takes_the_place_of_the_one_before(self, bench: Bench) -> None:
        for members in (["u-1", "u-2"], ["u-2", "u-3"], []):
            assert self._write_list(bench, members) == Accepted()
            assert bench.held() == dict.fromkeys(members, True)

    @needs(Ability.WHOLE_LIST)
    def test_the_same_whole_list_twice_equals_once(self, bench: Bench) -> None:
        self._write_list(bench, ["u-1", "u-2"])
        once = bench.takings()
        self._write_list(bench, ["u-1", "u-2"])
        assert bench.takings() == once

    @needs(Ability.WHOLE_LIST)
    def test_a_whole_list_that_breaks_off_leaves_the_one_before(self, bench: Bench) -> None:
        self._write_list(bench, ["u-1"])
        before = bench.takings()

        def breaking() -> Generator[list[ListRow]]:
            yield [ListRow("user_id:u-2", "u-2", None)]
            raise RuntimeError("the version cannot be read on")

        with pytest.raises(RuntimeError, match="cannot be read on"):
            bench.destination.write_list(breaking(), settings=bench.settings, target=bench.target())
        assert bench.takings() == before

    @needs(Ability.WHOLE_LIST)
    def test_hard_values_are_on_a_whole_list_as_they_are(self, bench: Bench) -> None:
        assert self._write_list(bench, sorted(HARD_VALUES)) == Accepted()
        assert bench.held() == dict.fromkeys(HARD_VALUES, True)

    def _write_list(self, bench: Bench, members: list[str]) -> object:
        chunks = ([ListRow(f"user_id:{member}", member, f"{member}@example.test")] for member in members)
        return bench.destination.write_list(chunks, settings=bench.settings, target=bench.target())
