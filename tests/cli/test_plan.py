"""The starter project as people type it: init, ingest, validate, plan, apply; and plans that hold no longer."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engage_pipelines.cli.app import run
from engage_pipelines.computing.compute import compute_audiences
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.registry.audiences import update_audience
from engage_pipelines.registry.change import Registry, open_registry
from engage_pipelines.registry.lookup import find_space
from engage_pipelines.registry.traits import update_trait
from engage_pipelines.settings import read_settings

AUDIENCES = ("active_companies", "drifting_away", "regulars")
HOOK = """destinations:
  - key: hook
    type: webhook
    settings:
      url: http://127.0.0.1:9/a
      allow_private_addresses: true

"""
TRAIT = """traits:
  - key: orders
    definition: event('Order Completed').count()

connections:
  - audience: orders
    destination: hook
    calls: [identify]
"""


@pytest.fixture(scope="module")
def computed_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The starter project with its sample taken in, applied, and its audiences computed once."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("starter")
        for name in ("ENGAGE_DATABASE_URL", "ENGAGE_SPACE", "ENGAGE_KEYS", "ENGAGE_FILES_DIR"):
            patch.delenv(name, raising=False)
        assert run(["init", str(home)]) == 0
        patch.chdir(home)
        patch.setenv("ENGAGE_HOME", str(home / ".engage"))
        assert run(["ingest", "calls.jsonl"]) == 0
        assert run(["validate"]) == 0
        assert run(["apply"]) == 0
        compute_audiences(read_settings(), _registry(), "default", AUDIENCES, log=lambda _line: None)
    return home


def _registry() -> Registry:
    return open_registry(read_settings(), types=destination_types())


class Project:
    """A copy of it, and short words for what tests type."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capsys = capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        assert run(words) == code, self._capsys.readouterr()
        said = self._capsys.readouterr()
        return said.err if code == 1 else said.out

    def json(self, *words: str, code: int = 0) -> Any:
        return json.loads(self(*words, "--output", "json", code=code))

    def edit(self, old: str, new: str) -> None:
        file = self.home / "engage" / "engage.yaml"
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def project(computed_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Project:
    for name in ("ENGAGE_DATABASE_URL", "ENGAGE_SPACE", "ENGAGE_KEYS", "ENGAGE_FILES_DIR"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / computed_project.name
    shutil.copytree(computed_project, home)
    monkeypatch.setenv("ENGAGE_HOME", str(home / ".engage"))
    monkeypatch.chdir(home)
    return Project(home, capsys)


def test_nothing_to_do_is_exit_code_0_and_something_is_2(project: Project):
    assert "Nothing would change: 6 unchanged." in project("plan")
    project.edit("within(60 days)", "within(20 days)")
    assert "1 to change" in project("plan", code=2)
    assert project.json("plan", code=2)["pending"] is True


def test_members_that_enter_and_leave_are_exact_and_named_only_when_asked_for(project: Project):
    project.edit("within(60 days).count() >= 2", "within(60 days).count() >= 3")
    [found] = project.json("plan", code=2)["audiences"]
    assert (found["entering"], found["leaving"], found["stay"], found["version"]) == (0, 3, 3, 1)
    assert (found["some_entering"], found["some_leaving"]) == ([], [])
    [named] = project.json("plan", "--members", code=2)["audiences"]
    before = set(project("audience", "preview", "regulars", "--members").split())
    assert set(named["some_leaving"]) == {"u-10", "u-2", "u-6"} <= before
    assert len(project.json("plan", "--members=1", code=2)["audiences"][0]["some_leaving"]) == 1
    # publishing then does just that
    project("apply")
    [done] = compute_audiences(read_settings(), _registry(), "default", ["regulars"], log=lambda _line: None)
    assert (done.entered, done.exited) == (0, 3)


def test_calls_of_every_connection_that_the_change_reaches_are_counted(project: Project):
    project.edit("within(60 days).count() >= 2", "within(60 days).count() >= 3")
    project.edit("connections:\n", "connections:\n  - audience: drifting_away\n    destination: lists\n    calls: [identify]\n")
    calls = {one["audience"]: one["calls"] for one in project.json("plan", code=2)["connections"]}
    # what was never synced owes its entries still, and nobody who left was ever told of
    assert calls == {"drifting_away": {"identify": {"entered": 3, "exited": 0}}, "regulars": {"identify": {"entered": 3, "exited": 0}}}


def test_audience_that_speaks_of_a_changed_one_is_planned_too(project: Project):
    project.edit(
        "connections:\n",
        "  - {key: twice, definition: \"trait('regulars') = true\", options: {compute_without_destinations: true}}\nconnections:\n",
    )
    project("apply")
    project.edit("within(60 days).count() >= 2", "within(60 days).count() >= 3")
    found = {one["key"]: (one["size"], one["version"]) for one in project.json("plan", code=2)["audiences"]}
    assert found == {"regulars": (3, 1), "twice": (3, None)}


def test_nothing_is_written_by_a_plan(project: Project):
    database = project.home / ".engage" / "engage.db"
    project.edit("within(60 days)", "within(20 days)")

    def rows() -> list[Any]:
        with _registry().database.read() as c:
            return [
                c.exec_driver_sql(f"select * from {name}").all()
                for name in ("audit", "computation", "version", "sync_request", "connection")
            ]

    before = rows()
    project("plan", code=2)
    assert rows() == before
    assert database.exists()


def test_plan_is_applied_as_long_as_it_holds(project: Project):
    project.edit("within(60 days)", "within(20 days)")
    project("plan", "--out", "a.plan.json", code=2)
    assert oct((project.home / "a.plan.json").stat().st_mode & 0o777) == "0o600"
    assert "changed   audience regulars" in project("apply", "a.plan.json")
    assert "audience default/regulars was changed in the registry" in project("apply", "a.plan.json", code=1)


def _ingest(project: Project) -> None:
    call = {"type": "track", "messageId": "new", "userId": "u-1", "event": "Signed In", "timestamp": "2026-02-01T00:00:00Z"}
    (project.home / "more.jsonl").write_text(json.dumps(call) + "\n")
    project("ingest", "more.jsonl")


def _edit_by_hand(project: Project) -> None:
    with _registry().change(managed_by="config:other") as change:
        update_audience(change, find_space(change.c), "drifting_away", description="Something else")


@pytest.mark.parametrize(
    ("move", "words"),
    [
        pytest.param(lambda project: project.edit("hourly", "daily"), "engage/engage.yaml was edited", id="a file"),
        pytest.param(lambda project: (project.home / "engage" / "b.yaml").write_text("{}"), "engage/b.yaml is new", id="one more file"),
        pytest.param(_ingest, "the facts of space default have new calls", id="the facts"),
        pytest.param(_edit_by_hand, "audience default/drifting_away was changed in the registry", id="the registry"),
    ],
)
def test_plan_is_refused_with_what_moved(project: Project, move: Callable[[Project], object], words: str):
    project.edit("within(60 days)", "within(20 days)")
    project("plan", "--out", "a.plan.json", code=2)
    move(project)
    said = project("apply", "a.plan.json", code=1)
    assert words in said
    assert "engage plan engage --out a.plan.json" in said
    assert "1 to change" in project("plan", code=2) or "the registry" in words or "edited" in words


def _pause_by_hand(project: Project) -> None:
    project("disconnect", "orders", "hook", "--pause")


def _rename_by_hand(project: Project) -> None:
    with _registry().change(managed_by="config:engage") as change:
        update_trait(change, find_space(change.c), "orders", name="Something else")


@pytest.mark.parametrize(
    ("move", "words"),
    [
        pytest.param(_pause_by_hand, "connection default/orders -> hook was changed in the registry", id="its connection"),
        pytest.param(_rename_by_hand, "trait default/orders was changed in the registry", id="the trait"),
    ],
)
def test_plan_that_sends_a_trait_is_refused_when_that_moved(project: Project, move: Callable[[Project], object], words: str):
    project.edit("destinations:\n", HOOK)
    project.edit("connections:\n", TRAIT)
    project("apply")
    project.edit("url: http://127.0.0.1:9/a", "url: http://127.0.0.1:9/b")
    project("plan", "--out", "a.plan.json", code=2)
    move(project)
    assert words in project("apply", "a.plan.json", code=1)


def test_new_facts_may_be_allowed(project: Project):
    project.edit("within(60 days)", "within(20 days)")
    project("plan", "--out", "a.plan.json", code=2)
    _ingest(project)
    assert "1 changed" in project("apply", "a.plan.json", "--new-facts")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("{}", "is no plan of this version", id="an empty object"),
        pytest.param("[" * 100_000, "is no plan of this version", id="nested too deep"),
        pytest.param('{"engage_plan": 1, "folder": "engage", "hash": "x", "inputs": {}}', "is no plan", id="no inputs"),
        pytest.param(None, "was changed after it was made", id="edited inputs"),
    ],
)
def test_file_that_is_no_plan_is_refused(project: Project, content: str | None, words: str):
    if content is None:
        project("plan", "--out", "a.plan.json")
        content = (project.home / "a.plan.json").read_text().replace('"prune": false', '"prune": true')
    (project.home / "a.plan.json").write_text(content)
    assert words in project("apply", "a.plan.json", code=1)


def test_prune_is_planned_says_what_is_not_sent_and_takes_only_what_the_folder_owns(project: Project):
    project("audience", "create", "by_hand", "--query", "trait('newsletter') = true")
    project.edit("  - audience: regulars\n    destination: lists\n", "")
    project.edit(project_block("drifting_away"), "")
    assert "6 unchanged" not in project("plan")
    plan = project.json("plan", "--prune", code=2)
    assert [(one["kind"], one["name"], one["verb"]) for one in plan["changes"]] == [
        ("connection", "regulars -> lists", "removed"),
        ("audience", "drifting_away", "removed"),
    ]
    assert plan["changes"][0]["note"] == "nothing is sent: the 6 members stay in lists as they were told"
    project("plan", "--prune", "--out", "a.plan.json", code=2)
    project("apply", "a.plan.json")
    assert [row["key"] for row in project.json("audience", "list")] == ["active_companies", "by_hand", "regulars"]


def project_block(key: str) -> str:
    """The lines of one audience in the starter's file."""
    from importlib import resources

    text = (resources.files("engage_pipelines.cli") / "starter" / "engage" / "engage.yaml").read_text(encoding="utf-8")
    start = text.index(f"  - key: {key}\n")
    return text[start : text.index("\n\n", start) + 2]


def test_starter_is_not_written_over_anything(project: Project):
    assert "README.md, .gitignore, calls.jsonl" in project("init", ".", code=1)


def test_starter_has_the_product_s_own_dagster_files():
    from importlib import resources

    starter, root = resources.files("engage_pipelines.cli") / "starter", Path(__file__).parents[2]
    for name in ("dagster.yaml", "workspace.yaml"):
        assert (starter / name).read_text() == (root / name).read_text()
