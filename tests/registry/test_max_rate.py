"""The operator's own limit of a destination: by command, by YAML, copied by an import, and never nonsense."""

from pathlib import Path
from typing import Any

import pytest

from engage_pipelines.domain.errors import ConfigurationError, UsageError
from engage_pipelines.registry.apply import apply_configuration
from engage_pipelines.registry.destinations import NewDestination, create_destination, find_destination, update_destination
from engage_pipelines.registry.reading import read_folder


def apply(world: Any, folder: Path, text: str) -> list[str]:
    (folder / "engage.yaml").write_text(text)
    return [one.verb for one in apply_configuration(world.registry, read_folder(folder))]


def limit(world: Any, key: str) -> float | None:
    return world.look(find_destination, world.space.id, key).max_requests_per_s


YAML = """
space: b2b
destinations:
  - key: crm
    type: crm
    settings: {{url: https://crm.test}}
{more}
"""


def test_yaml_sets_and_takes_back_the_limit(world: Any, tmp_path: Path) -> None:
    assert apply(world, tmp_path, YAML.format(more="    max_requests_per_s: 5")) == ["created"]
    assert limit(world, "crm") == 5.0
    assert apply(world, tmp_path, YAML.format(more="    max_requests_per_s: 5")) == ["unchanged"]
    assert apply(world, tmp_path, YAML.format(more="    max_requests_per_s: 0.5")) == ["changed"]
    assert apply(world, tmp_path, YAML.format(more="")) == ["changed"]
    assert limit(world, "crm") is None


def test_a_pace_of_nothing_is_refused_in_yaml_with_its_line(world: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"engage.yaml:7.*max_requests_per_s.*greater than 0"):
        apply(world, tmp_path, YAML.format(more="    max_requests_per_s: 0"))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_number_that_is_no_pace_is_refused(world: Any, rate: float) -> None:
    with pytest.raises(UsageError, match="is no pace"):
        world.do(create_destination, world.space, NewDestination("crm", "crm", {"url": "https://crm.test"}, max_requests_per_s=rate))
    row = world.do(create_destination, world.space, NewDestination("crm", "crm", {"url": "https://crm.test"}, max_requests_per_s=2))
    with pytest.raises(UsageError, match="is no pace"):
        world.do(update_destination, world.space, row, max_requests_per_s=rate)
