"""Configuration files: applied all or nothing, nothing twice, and errors that say where."""

from pathlib import Path
from typing import Any

import pytest

from engage_pipelines.domain.errors import ConfigurationError, ConflictError, EngageError, InputError
from engage_pipelines.registry.apply import apply_configuration
from engage_pipelines.registry.audiences import update_audience
from engage_pipelines.registry.connections import pause, remove
from engage_pipelines.registry.destinations import find_destination
from engage_pipelines.registry.lookup import find_audience
from engage_pipelines.registry.mappings import disable_mapping, find_mapping
from engage_pipelines.registry.reading import read_configuration, read_folder

WHOLE = """
space:
  key: b2b
  name: Business
  evaluate_at: 2008-01-01T00:00:00Z
sources:
  - key: website
    destinations:
      - {key: crm, type: crm, settings: {url: "https://crm.test", api_key: env:CRM_KEY}}
destinations:
  - {key: crm, import_from: website/crm, name: The CRM}
  - {key: people, type: list, settings: {path: lists/people}}
audiences:
  - key: vips
    definition: event('Signed In').count() >= 3 AND trait('big_accounts') = true
  - key: big_accounts
    level: account
    definition: trait('seats') > 100
    options: {empty_accounts: "true"}
connections:
  - {audience: big_accounts, destination: crm, calls: [group, identify]}
  - {audience: vips, destination: people}
mappings:
  - {destination: crm, name: Mine, trigger: "type = 'identify'", action: send, enabled: true}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "config"
    made.mkdir()
    return made


def _apply(world: Any, folder: Path, text: str | None = None) -> list[tuple[str, str, str]]:
    if text is not None:
        (folder / "engage.yaml").write_text(text, encoding="utf-8")
    return [(one.kind, one.name, one.verb) for one in apply_configuration(world.registry, read_configuration(folder))]


def test_everything_is_made_in_an_order_that_works(world: Any, folder: Path) -> None:
    assert _apply(world, folder, WHOLE) == [
        ("space", "b2b", "changed"),
        ("source", "website", "created"),
        ("destination", "website/crm", "created"),
        ("destination", "crm", "imported"),
        ("destination", "people", "created"),
        ("audience", "vips", "created"),
        ("audience", "big_accounts", "created"),
        ("mapping", "crm: Mine", "created"),
        ("connection", "big_accounts -> crm", "created"),
        ("connection", "vips -> people", "created"),
    ]
    assert [row.state for row in world.rows("connection")] == ["active", "active"]
    assert world.rows("space")[0].evaluate_at == 1_199_145_600_000_000


def test_second_time_changes_nothing(world: Any, folder: Path) -> None:
    _apply(world, folder, WHOLE)
    before = {name: world.rows(name) for name in ("audit", "sync_request", "compute_request", "mapping", "connection")}
    assert {verb for _, _, verb in _apply(world, folder)} == {"unchanged"}
    assert {name: world.rows(name) for name in before} == before


def test_one_value_changed_changes_one_thing(world: Any, folder: Path) -> None:
    _apply(world, folder, WHOLE)
    changed = _apply(world, folder, WHOLE.replace("> 100", "> 200"))
    assert [one for one in changed if one[2] != "unchanged"] == [("audience", "big_accounts", "changed")]


def test_several_files_share_the_space_that_one_of_them_names(world: Any, folder: Path) -> None:
    (folder / "a.yml").write_text("audiences: [{key: vips, definition: trait('plan') = 'x'}]")
    (folder / "b.yaml").write_text("space: other\ndestinations: [{key: people, type: list, settings: {path: p}}]")
    (folder / "c.yaml").write_text("connections: [{audience: vips, destination: people}]")
    (folder / "notes.txt").write_text("not: [yaml")
    _apply(world, folder)
    assert {row.key for row in world.rows("space")} == {"b2b", "other"}
    other = world.rows("space", key="other")[0]
    assert [row.key for row in world.rows("computation", space_id=other.id)] == ["vips"]
    assert [row.managed_by for row in world.rows("computation")] == ["config:config/a.yml"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param("> 100", ">", r":18:33: audiences\[1\]\.definition: ", id="a definition that does not parse"),
        pytest.param("level: account", "level: accounts", r":17:? audiences\[1\]\.level: it is no level", id="an unknown level"),
        pytest.param("type: list", "type: lists", r"destinations\[1\]\.type: There is no destination type 'lists'", id="an unknown type"),
        pytest.param("path: lists/people", "pat: x", r"destinations\[1\]", id="a setting that is none"),
        pytest.param("website/crm,", "website/crn,", r"destinations\[0\].*Did you mean 'crm'", id="an import of nothing"),
        pytest.param("calls: [group, identify]", "calls: [grup]", r"connections\[0\]\.calls\[0\].*'grup'", id="an unknown call"),
        pytest.param("audience: vips,", "audience: vip,", r":22: connections\[1\].*Did you mean 'vips'", id="an unknown audience"),
        pytest.param(
            "enabled: true",
            "enabld: true",
            r":24: mappings\[0\]\.enabld: 'enabld' is no field here\. Did you mean 'enabled'",
            id="a misspelt field",
        ),
        pytest.param("name: Business", "key: again", r":4:3: space\.key: 'key' is there twice, first on line 3", id="a key twice"),
        pytest.param("key: big_accounts", "key: vips", r"'vips' is there twice, first at .*:14", id="an audience twice"),
        pytest.param("2008-01-01T", "2008-13-01T", r":5: space\.evaluate_at: it is not an instant", id="a month that is none"),
        pytest.param("connections:", "connections", r"engage\.yaml:2\d", id="no YAML"),
        pytest.param(
            "destinations:\n  - {key: crm, imp",
            "destinations:\n  - {key: no, imp",
            r"destinations\[0\]\.key.*string",
            id="a word that YAML reads as false",
        ),
    ],
)
def test_error_says_where_and_nothing_is_changed(world: Any, folder: Path, old: str, new: str, words: str) -> None:
    assert old in WHOLE
    with pytest.raises(ConfigurationError, match=words) as refused:
        _apply(world, folder, WHOLE.replace(old, new))
    assert "engage.yaml" in str(refused.value)
    assert (world.rows("computation"), world.rows("destination"), world.rows("sync_request")) == ([], [], [])


@pytest.mark.parametrize(
    ("write", "words"),
    [
        pytest.param(lambda folder: None, "holds no", id="an empty folder"),
        pytest.param(lambda folder: (folder / "a.yaml").write_bytes(b"\xff\xfe\x00"), "UTF-8", id="bytes that are no text"),
        pytest.param(lambda folder: folder.rmdir(), "neither a folder nor a file", id="no folder"),
    ],
)
def test_folder_that_cannot_be_read_is_named(folder: Path, write: Any, words: str) -> None:
    write(folder)
    with pytest.raises(InputError, match=words):
        read_folder(folder)


def test_secret_in_a_file_is_not_repeated(world: Any, folder: Path) -> None:
    with pytest.raises(EngageError) as refused:
        _apply(world, folder, WHOLE.replace("env:CRM_KEY", "s3cr3t"))
    assert "api_key is a secret" in str(refused.value)
    assert "s3cr3t" not in str(refused.value)


def test_edit_elsewhere_is_refused_with_the_files_name_but_operating_is_not(world: Any, folder: Path) -> None:
    _apply(world, folder, WHOLE)
    space = world.space
    of, to = world.look(find_audience, space.id, "big_accounts"), world.look(find_destination, space.id, "crm")
    mine, preset = world.look(find_mapping, to, "Mine"), world.look(find_mapping, to, "Identify: big_accounts")
    for edit in (
        lambda: world.do(update_audience, space, "vips", name="Other"),
        lambda: world.do(remove, space, of, to),
        lambda: world.do(disable_mapping, to, mine),
    ):
        with pytest.raises(ConflictError, match=r"engage\.yaml.*engage apply"):
            edit()
    world.do(pause, space, of, to)
    world.do(disable_mapping, to, preset)


def test_what_was_made_by_hand_is_taken_into_configuration(world: Any, folder: Path) -> None:
    world.audience("vips", definition="trait('plan') = 'x'")
    text = "audiences: [{key: vips, definition: trait('plan') = 'x'}]"
    assert _apply(world, folder, text) == [("audience", "vips", "adopted")]
    assert _apply(world, folder, text) == [("audience", "vips", "unchanged")]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param("level: account", "level: user", "its level never changes", id="level"),
        pytest.param("type: list, settings: {path: lists/people}", "type: bare, settings: {path: x}", "its type never changes", id="type"),
        pytest.param("calls: [group, identify]", "calls: [group]", "its calls never change", id="calls"),
    ],
)
def test_what_never_changes_is_refused(world: Any, folder: Path, old: str, new: str, words: str) -> None:
    _apply(world, folder, WHOLE)
    with pytest.raises(ConfigurationError, match=words):
        _apply(world, folder, WHOLE.replace(old, new))


def test_cycle_between_files_is_refused(world: Any, folder: Path) -> None:
    (folder / "a.yaml").write_text("audiences: [{key: one, definition: trait('two') = true}]")
    (folder / "b.yaml").write_text("audiences: [{key: two, definition: trait('one') = true}]")
    with pytest.raises(ConfigurationError, match=r"b\.yaml.*two -> one -> two"):
        _apply(world, folder)
    assert world.rows("computation") == []
