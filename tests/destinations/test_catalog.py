import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from engage_pipelines.destinations import catalog
from engage_pipelines.destinations.base import Accepted, DestinationType, Record, Settings, Target, Verdict
from engage_pipelines.destinations.catalog import destination_type, destination_types
from engage_pipelines.destinations.segment import Segment
from engage_pipelines.domain.errors import ConfigurationError, NotFoundError


class Theirs(Segment):
    """A type that another package brings."""

    key = "theirs"


class Incomplete(DestinationType):
    """A type whose author forgot to send."""

    key = "incomplete"


@pytest.fixture
def _fresh() -> Iterator[None]:
    catalog._loaded_plugins.cache_clear()
    yield
    catalog._loaded_plugins.cache_clear()


@pytest.fixture
def _plugins(_fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "theirs": f"{__name__}:Theirs",
        "segment": f"{__name__}:Theirs",
        "broken": "no_such_package.module:Type",
        "incomplete": f"{__name__}:Incomplete",
        "no_type": "builtins:int",
    }
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules["tests.destinations.test_catalog"])
    group = [EntryPoint(name, value, catalog.ENTRY_POINT_GROUP) for name, value in values.items()]
    monkeypatch.setattr(catalog, "entry_points", lambda *, group: [point for point in _group if point.group == group])
    _group[:] = group


_group: list[EntryPoint] = []


def test_our_types_are_found_by_their_files() -> None:
    types = destination_types()
    assert {"csv_file", "parquet_file", "segment", "sql_table", "webhook"} <= set(types)
    assert list(types) == sorted(types)
    assert all(type_.key == key for key, type_ in types.items())


def test_a_type_is_one_object_however_often_it_is_asked_for() -> None:
    assert destination_type("segment") is destination_type("segment") is destination_types()["segment"]


def test_an_unknown_type_is_told_with_the_nearest_names() -> None:
    with pytest.raises(NotFoundError, match=r"no destination type 'Webhok'. Did you mean webhook\?"):
        destination_type("Webhok")


def test_an_unknown_type_near_nothing_is_told_what_there_is() -> None:
    with pytest.raises(NotFoundError, match=r"There are: .*csv_file, "):
        destination_type("zzzzzzzz")


@pytest.mark.parametrize("key", ["", "base", "http", "../segment", "segment.Segment", "__init__"])
def test_what_is_no_type_is_not_found(key: str) -> None:
    with pytest.raises(NotFoundError):
        destination_type(key)


@pytest.mark.usefixtures("_plugins")
def test_types_of_other_packages_are_there_and_broken_ones_take_nobody_along(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        types = destination_types()
    assert type(types["theirs"]).__name__ == "Theirs"
    assert {"broken", "incomplete", "no_type"}.isdisjoint(types)
    assert sorted(record.args[0] for record in caplog.records if isinstance(record.args, tuple)) == ["broken", "incomplete", "no_type"]  # type: ignore[type-var]


@pytest.mark.usefixtures("_plugins")
def test_ours_is_not_replaced_by_theirs() -> None:
    assert type(destination_type("segment")) is Segment


@pytest.mark.usefixtures("_plugins")
def test_a_broken_type_says_what_is_broken() -> None:
    with pytest.raises(ConfigurationError, match="no_such_package"):
        destination_type("broken")


def test_looking_at_types_loads_no_library_of_a_vendor() -> None:
    heavy = {"requests", "urllib3", "sqlalchemy", "pyarrow", "pandas", "duckdb", "dagster", "numpy"}
    code = (
        "import sys; from engage_pipelines.destinations.catalog import destination_types; destination_types(); "
        f"print({heavy!r} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_importing_the_catalogue_loads_no_type() -> None:
    code = "import sys, engage_pipelines.destinations.catalog; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


class Minimal(DestinationType):
    """The least a type can be."""

    key = "minimal"
    settings_model = Settings

    def send(self, records: Sequence[Record], *, action: str, settings: Settings, target: Target, deadline_s: float) -> Verdict:
        return Accepted()


def test_a_type_without_lists_says_so_when_it_is_given_one() -> None:
    settings = Minimal().configure({}, files_dir=Path())
    assert not Minimal().writes_whole_list(settings)
    with pytest.raises(NotImplementedError, match="minimal takes changes"):
        Minimal().write_list(iter([]), settings=settings, target=Target("a", "b", "user", 1))
