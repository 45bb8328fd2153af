"""Answers that are kept: given again while nothing changed, never old, and never to somebody else."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from engage_pipelines.registry.connections import find_connection
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.destinations import find_destination
from engage_pipelines.registry.lookup import find_audience
from engage_pipelines.registry.matching import count_matches, matches_of
from engage_pipelines.registry.spaces import NewSpace, create_space
from engage_pipelines.registry.status import list_status
from engage_pipelines.registry.tokens import NewToken, Role, create_token, list_tokens, revoke_token
from engage_pipelines.registry.watch import Watch
from engage_pipelines.server.kept import Kept
from tests.server.world import World


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    database = Database(sqlite_url)
    yield database
    database.close()


@pytest.fixture
def kept(database: Database) -> Iterator[Kept]:
    kept = Kept(Watch(database), most_bytes=10_000)
    yield kept
    kept.close()


def _commit(database: Database) -> None:
    with database.write() as c:
        c.exec_driver_sql("INSERT INTO audit (at, actor, verb, object) VALUES (1, 'test', 'create', 'thing')")


def test_a_thing_is_made_once_while_nothing_is_committed(kept: Kept) -> None:
    assert [kept.look("key", lambda n=n: n) for n in range(3)] == [0, 0, 0]


def test_a_thing_is_made_anew_after_a_commit(kept: Kept, database: Database) -> None:
    kept.look("key", lambda: "before")
    _commit(database)

    assert kept.look("key", lambda: "after") == "after"


def test_what_may_lag_outlives_the_commit_of_another_process_for_its_time_alone(kept: Kept, database: Database) -> None:
    another = Database(f"sqlite:///{database.file}")
    kept.look("key", lambda: "before", lag_s=60)
    _commit(another)
    another.close()

    assert kept.look("key", lambda: "after", lag_s=60) == "before"
    assert kept.look("key", lambda: "after", lag_s=0) == "after"


def test_what_may_lag_does_not_outlive_a_commit_of_this_process(kept: Kept, database: Database) -> None:
    kept.look("key", lambda: "before", lag_s=60)
    _commit(database)

    assert kept.look("key", lambda: "after", lag_s=60) == "after"


def test_a_commit_while_it_is_made_has_it_made_again_by_the_next(kept: Kept, database: Database) -> None:
    def make() -> str:
        _commit(database)
        return "old"

    assert kept.look("key", make) == "old"
    assert kept.look("key", lambda: "new") == "new"


def test_what_failed_is_not_kept(kept: Kept) -> None:
    with pytest.raises(ZeroDivisionError):
        kept.look("key", lambda: 1 // 0)

    assert kept.look("key", lambda: "mended") == "mended"


def test_what_was_not_asked_for_longest_goes_first(kept: Kept) -> None:
    for name in ("a", "b", "a", "c"):
        kept.look(name, lambda name=name: name, size_of=lambda _value: 3_500)

    assert kept.look("a", lambda: "made again", size_of=lambda _value: 3_500) == "a"
    assert kept.look("b", lambda: "made again", size_of=lambda _value: 3_500) == "made again"


def test_several_who_ask_at_once_wait_for_the_one_who_makes_it(kept: Kept) -> None:
    made: list[int] = []
    go_on = Event()

    def make() -> int:
        made.append(1)
        go_on.wait(5)
        return len(made)

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(kept.look, "key", make) for _ in range(4)]
        go_on.set()
        assert [one.result() for one in asked] == [1, 1, 1, 1]


def test_a_changed_audience_is_read_as_it_is_now(world: World) -> None:
    audience = world.audience()
    path = f"/spaces/{world.space.id}/audiences/{audience['id']}"
    assert world.data("GET", path)["audience"]["name"] == "Active users"

    world.data("PATCH", path, {"name": "Other users"})

    assert world.data("GET", path)["audience"]["name"] == "Other users"
    assert [one["name"] for one in world.data("GET", f"/spaces/{world.space.id}/audiences")["audiences"]] == ["Other users"]


def test_an_answer_is_not_given_to_a_token_that_does_not_reach_it(world: World) -> None:
    world.audience()
    path = f"/spaces/{world.space.id}/audiences"
    assert world.data("GET", path)["audiences"]
    elsewhere = {"Authorization": f"Bearer {world.token(Role.READER, space=world.other)}"}

    assert world.ask("GET", path, headers=elsewhere).status_code == 404


def test_a_revoked_token_opens_nothing_from_the_next_request_on(world: World) -> None:
    reader = {"Authorization": f"Bearer {world.token(Role.READER)}"}
    assert world.ask("GET", "/spaces", headers=reader).status_code == 200
    with world.registry.change() as change:
        (row,) = [row for row in list_tokens(change.c) if row.role == Role.READER]
        revoke_token(change, row.id)

    assert world.ask("GET", "/spaces", headers=reader).status_code == 401


def test_a_token_that_ends_while_nothing_changes_opens_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.registry.change() as change:
        secret = create_token(change, NewToken("short", Role.READER, expires_at=change.now + 60_000_000)).secret
    short = {"Authorization": f"Bearer {secret}"}
    assert world.ask("GET", "/spaces", headers=short).status_code == 200

    database = world.registry.database
    now = database.look_at_clock_us()
    monkeypatch.setattr(database, "_clock", lambda: now + 61_000_000)

    assert world.ask("GET", "/spaces", headers=short).status_code == 401


def test_a_page_of_the_console_shows_a_change_at_once(world: World) -> None:
    world.audience()
    assert "Active users" in world.raw("GET", "/s/main/audiences").text
    world.audience("Quiet users")

    assert "Quiet users" in world.raw("GET", "/s/main/audiences").text


def test_a_new_space_is_there_at_once(world: World) -> None:
    assert world.raw("GET", "/s/third/audiences").status_code == 404
    with world.registry.change() as change:
        create_space(change, NewSpace("third"))

    assert world.raw("GET", "/s/third/audiences").status_code == 200


def test_matching_mappings_are_counted_as_they_are_found_one_by_one(world: World) -> None:
    audience, to, _made = world.connected()
    presets = world.data("GET", f"/destinations/{to['id']}/subscriptions")["subscriptions"]
    other = {"name": "Other", "trigger": 'type = "track"', "actionId": presets[0]["actionId"], "enabled": False}
    world.data("POST", f"/destinations/{to['id']}/subscriptions", other)

    with world.registry.database.read() as c:
        of, there = find_audience(c, world.space.id, audience["key"]), find_destination(c, world.space.id, to["key"])
        matches = matches_of(c, find_connection(c, of, there))
        counted = count_matches(c, of, [(status, there) for status in list_status(c, world.space.id, audience=of.key)])

    on = sum(match.mapping.enabled for match in matches)
    assert list(counted.values()) == [(on, len(matches) - on)]
    assert on
