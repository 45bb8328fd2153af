"""`engage deadletter`: what it shows of records that failed, and what it asks before it does something to many."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engage_pipelines.cli.app import run
from engage_pipelines.destinations.base import Accepted
from tests.delivery.world import World, make_world

Engage = Callable[..., tuple[int, str, str]]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world of which u2 and u4 were refused."""
    for name in ("ENGAGE_DATABASE_URL", "ENGAGE_SPACE", "ENGAGE_KEYS", "ENGAGE_FILES_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENGAGE_HOME", str(tmp_path))
    made = make_world(tmp_path)
    made.audience()
    made.destination()
    connected = made.connect().connection.id
    made.publish({n: [f"user_id:u{n}"] for n in range(1, 6)})
    made.recorder.script = lambda batch: Accepted({i: f"no {r['userId']}" for i, r in enumerate(batch) if r["userId"] in ("u2", "u4")})
    made.sync(connected)
    yield made
    made.registry.database.close()


@pytest.fixture
def say(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Engage:
    # the command line knows the types that are installed, and the world's recorder is none of them
    monkeypatch.setattr("engage_pipelines.cli.deadletter.open_registry", lambda: world.registry)

    def say_it(*words: str) -> tuple[int, str, str]:
        code = run(["deadletter", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return say_it


def test_list_and_show(say: Engage):
    _, out, _ = say("list", "--output", "json")
    rows = json.loads(out)
    assert [(row["kind"], row["call"], row["change"], row["reason"]) for row in rows] == [
        ("rejected", "identify", "entered", "no u2"),
        ("rejected", "identify", "entered", "no u4"),
    ]
    code, out, _ = say("show", rows[0]["id"], "--output", "json")
    assert code == 0
    assert json.loads(out)["payload"]["userId"] == "u2"
    assert '"vips": true' in say("show", rows[0]["id"])[1]


def test_replay_by_id_needs_no_question_and_by_filter_asks_first(say: Engage, world: World, monkeypatch: pytest.MonkeyPatch):
    first, *_ = json.loads(say("list", "--output", "json")[1])
    assert say("replay", first["id"])[:2] == (0, "1 record will be sent again by the next sync.\n")
    asked: list[str] = []
    monkeypatch.setattr("click.confirm", lambda text, **_: asked.append(text))
    assert say("replay", "--reason", "U4", "--audience", "vips", "--destination", "crm")[0] == 0
    assert asked == ["Send 1 record of vips -> crm again?"]
    assert {row["kind"] for row in json.loads(say("list", "--output", "json")[1])} == {"retryable"}


def test_discard_says_how_many_and_asks_and_a_no_changes_nothing(say: Engage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, out, err = say("discard", "--all")
    assert (code, out) == (130, "")
    assert "Discard 2 records of vips -> crm?" in err
    assert len(json.loads(say("list", "--output", "json")[1])) == 2
    assert say("discard", "--reason", "no u2", "--yes")[:2] == (0, "1 record discarded, with the payloads.\n")
    assert [row["reason"] for row in json.loads(say("list", "--output", "json")[1])] == ["no u4"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(("replay",), 2, "ids, or filters, or --all", id="nothing named"),
        pytest.param(("discard", "dl_1", "--all"), 2, "ids, or filters, or --all", id="two ways of naming"),
        pytest.param(("show", "dl_1"), 1, "no dead letter dl_1", id="an id that is none"),
        pytest.param(("list", "--audience", "vip"), 1, "Did you mean 'vips'", id="a misspelt audience"),
        pytest.param(("list", "--destination", "cmr"), 1, "Did you mean 'crm'", id="a misspelt destination"),
        pytest.param(("list", "--after", "yesterday"), 1, "not an instant", id="an instant that is none"),
    ],
)
def test_mistakes_are_told_in_words(say: Engage, words: tuple[str, ...], code: int, message: str):
    got, out, err = say(*words)
    assert (got, out) == (code, "")
    assert message in err
