"""Files looked through without a database: every problem at its place, and none that is not there."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.registry.config_schema import config_schema
from engage_pipelines.registry.problems import ProblemsError
from engage_pipelines.registry.reading import read_configuration
from engage_pipelines.registry.validate import Validated, validate
from engage_pipelines.registry.yaml_marks import read_yaml
from engage_pipelines.settings import read_settings

ROOT = Path(__file__).parents[2]
GOOD = """
space: b2b
destinations:
  - {key: hook, type: webhook, settings: {url: "https://hook.test", signing_secret: "•••••••• hook.signing_secret"}}
audiences:
  - key: vips
    level: user
    definition: |
      event('A').count() >= 3
      AND trait('b') = 'c'
connections:
  - {audience: vips, destination: hook}
mappings:
  - {destination: hook, name: Mine, trigger: 'type = "track"', action: send}
"""


def _validate(folder: Path, **files: str) -> Validated:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    settings = read_settings({"ENGAGE_HOME": str(folder / "home")})
    return validate(read_configuration(folder), settings=settings, types=destination_types())


def _lines(found: Validated) -> list[str]:
    return [str(one).replace(f"{one.file.parent}/", "") for one in found.problems]


def test_right_files_have_no_problem_and_nothing_is_made(tmp_path: Path):
    found = _validate(tmp_path, a=GOOD)
    assert _lines(found) == []
    assert [one.kind for one in found.entries] == ["space", "destination", "audience", "mapping", "connection"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.yaml"]


@pytest.mark.parametrize(
    ("old", "new", "problems"),
    [
        pytest.param("'c'", "", [r"a\.yaml:10: audiences\[0\]\.definition: "], id="a definition, in its second line"),
        pytest.param(
            "type: webhook", "type: webhok", [r":4: destinations\[0\]\.type: .*Did you mean 'webhook'\?"], id="a type, nothing else"
        ),
        pytest.param("url:", "ulr:", [r"'url' is missing", r"'ulr' is no setting. Did you mean 'url'"], id="a setting"),
        pytest.param("{url: ", "{batch: 5x, url: ", [r":4: destinations\[0\]\.settings\.batch: "], id="a setting of another type"),
        pytest.param('"•••••••• hook.signing_secret"', "s3cr3t", [r"settings\.signing_secret: .*given in the clear"], id="a secret"),
        pytest.param("audience: vips", "audience: vip", [r":12: connections\[0\]\.audience: .*'vips'"], id="an audience that is not there"),
        pytest.param("action: send", "action: sent", [r":14: mappings\[0\]\.action: .*Did you mean 'send'"], id="an action"),
        pytest.param('type = "track"', "type = ", [r":14:\d+: mappings\[0\]\.trigger: "], id="a trigger"),
        pytest.param("send}", 'send, fields: {a: {"@pth": 1}}}', [r":14: mappings\[0\]\.fields\.a: "], id="fields"),
        pytest.param("name: Mine", "nam: Mine", [r"'name' is missing", r"Did you mean 'name'"], id="a field"),
        pytest.param(
            "level: user", "cadence: hurly", [r":7: audiences\[0\]\.cadence: "], id="a cadence, and what needs it is not told too"
        ),
        pytest.param("{audience", "{calls: [group], audience", [r":12: connections\[0\]"], id="a call that users have not"),
        pytest.param(
            "{audience", "{ids: [phone], audience", [r":12: connections\[0\]\.ids\[0\]: "], id="an identifier that does not match"
        ),
        pytest.param("space: b2b", "space: b2b\nspaces: 1", [r":3: spaces: 'spaces' is no field here. Did you mean 'space'"], id="a part"),
        pytest.param("audiences:", "audiences: 5\nx:", [r"audiences: should be a valid list", r"x: 'x' is no"], id="no list"),
    ],
)
def test_problem_is_said_at_its_place(tmp_path: Path, old: str, new: str, problems: list[str]):
    assert old in GOOD
    found = _lines(_validate(tmp_path, a=GOOD.replace(old, new)))
    assert len(found) == len(problems), found
    for words, line in zip(problems, found, strict=True):
        assert re.search(words, line), line
        assert "s3cr3t" not in line


def test_all_problems_of_all_files_are_found_at_once(tmp_path: Path):
    second = "audiences:\n  - {key: vips, definition: trait('x') = 1}\n  - {key: y, key: z, definition: trait('x') = 1}\n"
    third = "audiences:\n  - {key: vips, definition: trait('x') = 1}\n"
    found = _lines(_validate(tmp_path, a=GOOD.replace("https://", ""), b=second, c=third))
    assert [line.partition(": ")[0] for line in found] == ["a.yaml:4", "b.yaml:3:14", "c.yaml:2"]


def test_connection_that_nothing_would_be_delivered_through_is_warned_of(tmp_path: Path):
    off = GOOD.replace("destination: hook}", 'destination: hook, presets: [{name: "Membership of people: vips", enabled: false}]}', 1)
    found = _validate(tmp_path, a=off)
    assert found.problems == ()
    assert found.warnings == ("vips -> hook: no enabled mapping matches, so that nothing would be delivered.",)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "a: &a [x]\n" + "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 12)}]\n" for n in range(9)), id="a bomb"
        ),
        pytest.param("a: &a [*a]", id="a list in itself"),
        pytest.param("[" * 5_000, id="nested too deep"),
        pytest.param("!!python/object/apply:os.system ['true']", id="a tag that would run"),
    ],
)
def test_hostile_yaml_is_refused(tmp_path: Path, text: str):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ProblemsError):
        read_yaml(tmp_path / "a.yaml")


def test_schema_in_the_docs_is_that_of_the_models():
    assert json.loads((ROOT / "docs" / "schema" / "engage.schema.json").read_text()) == config_schema()


def test_schema_takes_what_is_right_and_refuses_what_is_wrong():
    schema = config_schema(destination_types())
    jsonschema.Draft202012Validator.check_schema(schema)
    starter = ROOT / "engage_pipelines" / "cli" / "starter" / "engage" / "engage.yaml"
    judge = jsonschema.Draft202012Validator(schema)

    def errors(text: str) -> list[str]:
        # as editors read it: an instant is text there too
        data: Any = yaml.load(text, Loader=yaml.BaseLoader)
        return [error.message for error in judge.iter_errors(data)]

    assert errors(starter.read_text(encoding="utf-8")) == []
    assert errors(GOOD) == []
    assert "is not valid under any of the given schemas" in errors(GOOD.replace("webhook", "webhok"))[0]
    assert "'ulr' was unexpected" in errors(GOOD.replace("url:", "ulr:"))[0]
    assert "'group1'" in errors(GOOD.replace("{audience", "{calls: [group1], audience"))[0]
