"""Requests and their attempts: what is launched, when, and what each end leads to."""

import threading
from typing import Any

import pytest
import sqlalchemy as sa

from engage_pipelines.domain.connection import RequestKind
from engage_pipelines.registry.attempts import (
    Ended,
    adopt_sync,
    finish_attempt,
    owed_compute_requests,
    owed_sync_requests,
    start_attempt,
    started_attempts,
)
from engage_pipelines.registry.audiences import delete_audience, update_audience
from engage_pipelines.registry.connections import NewConnection, connect, pause, request_sync
from engage_pipelines.registry.destinations import update_destination
from engage_pipelines.registry.requests import Stamp, after_publish
from engage_pipelines.registry.tables import computation, connection, destination

MINUTE = 60_000_000
NOW = 2**51


@pytest.fixture
def owing(world: Any) -> Any:
    """A world whose audience at version 1 is connected and owes its backfill."""
    world.of = world.audience("vips")
    world.publish(world.of, 1)
    world.to = world.destination("crm")
    world.made = world.do(connect, world.space, NewConnection("vips", "crm"))
    return world


def _owed(world: Any, now: int = NOW) -> list[Any]:
    return world.look(owed_sync_requests, now)


def _write(world: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
    with world.database.write() as c:
        return function(c, *args, **kwargs)


def _start(world: Any, attempt: int = 1, run_id: str = "run-1") -> bool:
    return _write(world, start_attempt, world.made.request_id, attempt=attempt, run_id=run_id, now=NOW)


def _finish(world: Any, how: Any, attempt: int = 1, **words: Any) -> bool:
    return _write(world, finish_attempt, world.made.request_id, attempt=attempt, ended=Ended(how, **words), now=NOW)


def _stamp() -> Stamp:
    return Stamp(now=NOW, actor="tester")


def test_owed_request_says_all_that_a_launch_needs(owing: Any) -> None:
    (one,) = _owed(owing)
    assert (one.id, one.attempt, one.kind) == (owing.made.request_id, 1, "backfill")
    assert (one.space, one.audience, one.destination) == ("b2b", "vips", "crm")


def test_request_that_a_run_works_on_is_not_launched_again(owing: Any) -> None:
    assert _start(owing)
    assert _owed(owing) == []
    assert [(one.id, one.run_id) for one in owing.look(started_attempts)] == [(owing.made.request_id, "run-1")]
    assert _start(owing)
    assert not _start(owing, run_id="run-2")


@pytest.mark.parametrize(("failures", "minutes"), [(1, 1), (2, 5), (3, 15), (4, 60), (5, 60)])
def test_failed_attempts_wait_longer_and_longer(owing: Any, failures: int, minutes: int) -> None:
    for attempt in range(1, failures + 1):
        assert _finish(owing, "failed", attempt, error="no route")
    assert _owed(owing, NOW + minutes * MINUTE - 1) == []
    assert [one.attempt for one in _owed(owing, NOW + minutes * MINUTE)] == [failures + 1]


def test_destination_that_asks_for_more_time_gets_it(owing: Any) -> None:
    _finish(owing, "failed", retry_after_s=600)
    assert _owed(owing, NOW + 5 * MINUTE) == []
    assert len(_owed(owing, NOW + 10 * MINUTE)) == 1


def test_word_about_an_attempt_that_is_over_changes_nothing(owing: Any) -> None:
    assert _finish(owing, "failed")
    assert not _finish(owing, "done")
    assert not _start(owing)
    assert owing.rows("sync_request")[0].state == "owed"


def test_done_settles_and_names_the_run(owing: Any) -> None:
    _start(owing)
    assert _finish(owing, "done")
    assert owing.rows("sync_request")[0].state == "done"
    (row,) = owing.rows("connection")
    assert (row.last_run_id, row.last_sync_at, row.error) == ("run-1", NOW, None)


def test_yielding_costs_no_waiting_time(owing: Any) -> None:
    _start(owing)
    _finish(owing, "yielded")
    assert [one.attempt for one in _owed(owing)] == [2]


def test_fatal_answer_stops_the_connection_until_someone_asks_again(owing: Any) -> None:
    _finish(owing, "fatal", error="401", remedy="Set another key.")
    (row,) = owing.rows("connection")
    assert (row.state, row.error, row.remedy) == ("stopped", "401", "Set another key.")
    assert _owed(owing, 2**61) == []
    owing.do(request_sync, owing.space, owing.of, owing.to, kind=RequestKind.SYNC)
    assert owing.rows("connection")[0].state == "active"
    assert [one.attempt for one in _owed(owing, 1)] == [2]


def test_mended_settings_set_a_stopped_connection_going(owing: Any) -> None:
    _finish(owing, "fatal", error="401")
    owing.do(update_destination, owing.space, owing.to, settings={"url": "https://other.test"})
    assert owing.rows("connection")[0].state == "active"
    assert len(_owed(owing, 1)) == 1


def test_asking_by_hand_ends_the_waiting_time(owing: Any) -> None:
    _finish(owing, "failed")
    owing.do(request_sync, owing.space, owing.of, owing.to, kind=RequestKind.SYNC)
    assert len(_owed(owing, NOW)) == 1


def test_oldest_request_goes_first_and_nothing_overtakes_its_waiting_time(owing: Any) -> None:
    _start(owing)
    assert len(_write(owing, after_publish, owing.of.id, 2, _stamp())) == 1
    assert len(owing.rows("sync_request")) == 2
    assert _owed(owing) == []
    _finish(owing, "failed")
    assert _owed(owing) == []
    assert [one.kind for one in _owed(owing, NOW + MINUTE)] == ["backfill"]


def test_publishing_owes_one_sync_however_often(owing: Any) -> None:
    first = _write(owing, after_publish, owing.of.id, 2, _stamp())
    assert first == [owing.made.request_id]
    _start(owing)
    _finish(owing, "done")
    second = _write(owing, after_publish, owing.of.id, 3, _stamp())
    assert second == _write(owing, after_publish, owing.of.id, 4, _stamp())
    assert [one.kind for one in _owed(owing)] == ["sync"]


def test_publishing_owes_nothing_to_a_paused_connection(owing: Any) -> None:
    owing.do(pause, owing.space, owing.of, owing.to)
    assert _write(owing, after_publish, owing.of.id, 2, _stamp()) == []


def test_first_version_is_the_base_of_a_connection_without_backfill(world: Any) -> None:
    of = world.audience("vips")
    world.destination("crm")
    world.do(connect, world.space, NewConnection("vips", "crm", backfill=False))
    assert _write(world, after_publish, of.id, 1, _stamp()) == []
    assert [(row.version, row.exits_version) for row in world.rows("base")] == [(1, 1)]
    assert len(_write(world, after_publish, of.id, 2, _stamp())) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda w: w.do(update_destination, w.space, w.to, enabled=False), id="destination disabled"),
        pytest.param(lambda w: w.do(update_audience, w.space, "vips", enabled=False), id="audience disabled"),
        pytest.param(
            lambda w: _write(w, lambda c: c.execute(sa.update(destination).values(paused_until=NOW + 1))),
            id="destination asked for a pause",
        ),
        pytest.param(
            lambda w: _write(w, lambda c: c.execute(sa.update(connection).values(state="awaiting_mapping"))), id="no enabled mapping"
        ),
    ],
)
def test_what_may_not_send_is_not_launched(owing: Any, change: Any) -> None:
    assert len(_owed(owing)) == 1
    change(owing)
    assert _owed(owing) == []


def test_run_started_by_hand_adopts_the_owed_request(owing: Any) -> None:
    started = _write(owing, adopt_sync, owing.made.connection.id, run_id="by-hand", stamp=_stamp())
    assert started.id == owing.made.request_id
    again = _write(owing, adopt_sync, owing.made.connection.id, run_id="by-hand-2", stamp=_stamp())
    assert again.id != started.id


def test_new_and_edited_audiences_ask_to_be_computed(world: Any) -> None:
    world.audience("vips")
    (first,) = world.look(owed_compute_requests, NOW)
    assert (first.keys, first.space, first.attempt) == (("vips",), "b2b", 1)
    world.do(update_audience, world.space, "vips", name="Very important")
    assert len(world.look(owed_compute_requests, NOW)) == 1
    world.do(update_audience, world.space, "vips", definition="event('Signed In').count() >= 2")
    assert len(world.look(owed_compute_requests, NOW)) == 2


def test_compute_request_fails_for_good_on_what_waiting_cannot_mend(world: Any) -> None:
    world.audience("vips")
    (one,) = world.look(owed_compute_requests, NOW)
    assert _write(world, finish_attempt, one.id, attempt=1, ended=Ended("fatal", "cycle"), now=NOW)
    assert world.look(owed_compute_requests, 2**61) == []
    assert world.rows("compute_request")[0].error == "cycle"


def test_deleted_audience_is_computed_no_more(world: Any) -> None:
    world.audience("vips")
    world.do(delete_audience, world.space, "vips")
    assert world.look(owed_compute_requests, NOW) == []


def test_start_waits_for_a_publisher_so_that_no_version_is_missed(owing: Any) -> None:
    """The publisher leaves the waiting request as it is: a run that started before its commit would read the old version and be done."""
    seen: list[int] = []

    def start_and_look() -> None:
        _start(owing)
        seen.append(owing.rows("computation")[0].current_version)

    thread = threading.Thread(target=start_and_look)
    with owing.database.write() as c:
        c.execute(sa.update(computation).values(current_version=2))
        assert after_publish(c, owing.of.id, 2, _stamp()) == [owing.made.request_id]
        thread.start()
        thread.join(0.3)
        assert seen == []
    thread.join()
    assert seen == [2]


def test_an_attempt_that_only_had_to_wait_is_no_failure(owing: Any) -> None:
    assert _finish(owing, "waits", error="The destination asks everyone to wait.", retry_after_s=30)
    assert _owed(owing, NOW + MINUTE // 2 - 1) == []
    assert [one.attempt for one in _owed(owing, NOW + MINUTE // 2)] == [2]
    assert _finish(owing, "failed", 2)
    assert len(_owed(owing, NOW + MINUTE)) == 1, "the first failure waits a minute"


def test_a_request_whose_destination_failed_lately_is_known_as_doubtful(owing: Any) -> None:
    assert [one.is_doubtful for one in _owed(owing)] == [False]
    _finish(owing, "failed")
    assert [one.is_doubtful for one in _owed(owing, NOW + MINUTE)] == [True]
