"""The registry as YAML and back: the same again, and no secret in the clear."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.registry.apply import apply_configuration
from engage_pipelines.registry.audiences import NewAudience, create_audience
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.connections import NewConnection, connect, pause
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.destinations import NewDestination, create_destination, import_configuration, update_destination
from engage_pipelines.registry.export import as_yaml, export_documents
from engage_pipelines.registry.mappings import NewMapping, add_mapping, disable_mapping, list_mappings, update_mapping
from engage_pipelines.registry.reading import read_configuration
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.registry.sources import create_source
from engage_pipelines.registry.spaces import NewSpace, create_space
from engage_pipelines.registry.type_settings import SettingsDesk
from engage_pipelines.registry.yaml_marks import read_yaml
from tests.registry.conftest import BARE, CRM, LIST

TYPES: dict[str, Any] = {one.key: one for one in (CRM, LIST, BARE)}
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)
WRITTEN = st.characters(codec="utf-8", exclude_categories=["Cc"])
"""What names may hold."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc@$", min_size=1, max_size=4).filter(lambda key: "@" not in key), inner, max_size=3)
    ),
    max_leaves=6,
)
USER_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "include_historical_data": st.booleans(),
        "include_anonymous": st.booleans(),
        "compute_without_destinations": st.booleans(),
        "filter_by_external_ids": st.lists(st.sampled_from(["user_id", "email"]), min_size=1, max_size=2, unique=True),
    },
)
AUDIENCE = st.fixed_dictionaries(
    {
        "definition": st.sampled_from(["event('A').count() >= 1\nAND trait('b') = 'x'", "trait('c') = '•é'", "trait('d') = \"it's\" \n"]),
        "name": st.text(WRITTEN, max_size=12),
        "description": st.text(WRITTEN | st.sampled_from("\n\r\t"), max_size=12),
        "cadence": st.sampled_from(["hourly", "manual", "*/5 * * * *"]),
        "options": USER_OPTIONS,
        "enabled": st.booleans(),
    }
)
WORLD = st.fixed_dictionaries(
    {
        "pinned": st.none() | st.integers(-(10**15), 2 * 10**15),
        "audiences": st.lists(AUDIENCE, max_size=3),
        "header": st.text(WRITTEN, min_size=1, max_size=12),
        "fields": st.none() | st.dictionaries(st.text("xyz", min_size=1, max_size=3), JSON, max_size=3),
        "backfill": st.none() | st.booleans(),
        "paused": st.booleans(),
        "preset_off": st.booleans(),
        "imported": st.booleans(),
        "edited": st.booleans(),
    }
)
ROWS = ("space", "source", "destination", "computation", "connection", "mapping", "sync_request", "compute_request", "audit")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("empty") / "engage.db"
    Database(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def scratch(empty: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(empty, Path(folder) / "empty.db")
        yield Path(folder)


def _registry(folder: Path, name: str, keys: tuple[str, ...] = ()) -> Registry:
    file = Path(tempfile.mkdtemp(dir=folder)) / f"{name}.db"
    shutil.copy(folder / "empty.db", file)
    counter = iter(range(1, 10_000))
    desk = SettingsDesk(Vault(keys), Path("/nowhere"))
    return Registry(Database(f"sqlite:///{file}"), TYPES, desk, "tester", new_id=lambda prefix: f"{prefix}_{next(counter):05d}")


def _rows(registry: Registry) -> dict[str, list[Any]]:
    """Everything there is, but who owns it and when it was touched."""
    with registry.database.read() as c:
        found = {name: c.exec_driver_sql(f"select * from {name} order by id").mappings().all() for name in ROWS}
    volatile = {"managed_by", "updated_at", "created_at"}
    return {name: [{key: value for key, value in row.items() if key not in volatile} for row in rows] for name, rows in found.items()}


def _export(registry: Registry) -> dict[str, str]:
    with registry.database.read() as c:
        return {key: as_yaml(document, schema="./x.json") for key, document in export_documents(c, TYPES).items()}


def _apply(registry: Registry, folder: Path, texts: dict[str, str]) -> set[str]:
    folder.mkdir(exist_ok=True)
    for key, text in texts.items():
        (folder / f"{key}.engage.yaml").write_text(text, encoding="utf-8", newline="")
    return {one.verb for one in apply_configuration(registry, read_configuration(folder))}


def _make(registry: Registry, world: dict[str, Any]) -> None:
    with registry.change() as change:
        space = create_space(change, NewSpace("b2b", "Business", world["pinned"], "audience"))
        create_space(change, NewSpace("other"))
        on = create_source(change, space, "website", name="Site")
        crm = {"url": "https://crm.test", "api_key": "env:CRM", "headers": {"x": "env:X"}}
        create_destination(change, space, NewDestination("crm", "crm", crm), on=on)
        if world["imported"]:
            to = import_configuration(change, space, "website/crm", key="crm", name=world["header"])
            if world["edited"]:
                to = update_destination(change, space, to, settings={"url": "https://crm2.test"}, enabled=False)
        else:
            to = create_destination(change, space, NewDestination("crm", "crm", {**crm, "url": f"https://{len(world['header'])}.test"}))
        add_mapping(change, to, NewMapping("Mine: it", "type = 'identify'", "send", world["fields"], enabled=world["edited"]))
        for index, fields in enumerate(world["audiences"]):
            options = dict(fields["options"])
            create_audience(change, space, NewAudience(f"a{index}", Level.USER, **{**fields, "options": options}))
            connect(change, space, NewConnection(f"a{index}", "crm", ["identify", "track"], world["backfill"]))
        create_audience(change, space, NewAudience("firms", Level.ACCOUNT, "trait('x') = 1", options={"empty_accounts": "true"}))
        connect(change, space, NewConnection("firms", "crm", ["group"]))
        if world["paused"]:
            pause(change, space, _audience(change, "firms"), to)
        preset = next(row for row in list_mappings(change.c, to.id) if row.connection_id is not None)
        if world["preset_off"]:
            disable_mapping(change, to, preset)
        elif world["edited"]:
            update_mapping(change, to, preset, fields={"only": {"@path": "$.userId"}})


def _audience(change: Any, key: str) -> Any:
    from engage_pipelines.registry.lookup import find_audience, find_space

    return find_audience(change.c, find_space(change.c, "b2b").id, key)


@given(world=WORLD)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_export_applied_again_changes_nothing_and_makes_the_same_elsewhere(scratch: Path, world: dict[str, Any]):
    registry = _registry(scratch, "one")
    _make(registry, world)
    before, texts = _rows(registry), _export(registry)
    folder = Path(tempfile.mkdtemp(dir=scratch))
    assert _apply(registry, folder, texts) <= {"adopted", "unchanged"}
    assert _rows(registry) == before
    assert _apply(registry, folder, texts) == {"unchanged"}
    assert _export(registry) == texts
    fresh = _registry(scratch, "two")
    _apply(fresh, folder, texts)
    assert _export(fresh) == texts
    for one in (registry, fresh):
        one.database.close()


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30))
@example(text="\x85  )")
@example(text="a\n \u2028b")
@example(text=" a\n  b\n")
@settings(max_examples=100, deadline=None)
def test_any_text_comes_back_as_it_was(text: str):
    written = as_yaml({"audiences": [{"key": "a", "definition": text}]}, schema="x")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.yaml"
        file.write_text(written, encoding="utf-8", newline="")
        assert read_yaml(file).data["audiences"][0]["definition"] == text


def test_encrypted_secret_is_bullets_that_keep_it_and_ask_for_a_reference_elsewhere(scratch: Path):
    keys = (Fernet.generate_key().decode(),)
    registry = _registry(scratch, "one", keys)
    with registry.change() as change:
        space = create_space(change, NewSpace("b2b"))
        create_destination(change, space, NewDestination("crm", "crm", {"url": "https://crm.test", "api_key": "s3cr3t"}))
    before, texts = _rows(registry), _export(registry)
    assert "•••••••• crm.api_key" in texts["b2b"]
    assert "s3cr3t" not in texts["b2b"]
    assert "enc:" not in texts["b2b"]
    _apply(registry, scratch / "yaml", texts)
    assert _rows(registry) == before
    with pytest.raises(ConfigurationError, match="api_key is masked and there is no old value"):
        _apply(_registry(scratch, "two", keys), scratch / "yaml", texts)
