"""The fake vendors as the demo's destination: which types have one, and that their secrets stay out of the configuration."""

from pathlib import Path
from typing import cast

import pytest
import yaml

from engage_pipelines.demo.stage import Joined
from engage_pipelines.demo.story import Demo
from engage_pipelines.demo.vendor import VendorStage, fake_types, type_with_a_fake, vendor_stage
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.domain.errors import NotFoundError, UsageError
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.secrets import Vault
from engage_pipelines.registry.type_settings import SettingsDesk
from engage_pipelines.settings import read_settings
from engage_pipelines.snapshots.rows import Chain
from engage_pipelines.testing.vendor import fake_vendor

TYPES = destination_types()
NOBODY = Joined("con_1", "big_spenders", "user", 0, "vendor", "vendor", ("identify",), Chain(Path("nowhere")))


@pytest.mark.parametrize(
    ("key", "error", "words"),
    [
        pytest.param("braz", NotFoundError, "Did you mean braze", id="nearly a type"),
        pytest.param("zzz", NotFoundError, "There are: amplitude, ", id="nothing like a type"),
        pytest.param("../braze", NotFoundError, "There is no destination type", id="a path"),
        pytest.param("sql_table", UsageError, "No fake vendor stands in", id="a type without a fake"),
        pytest.param("segment", UsageError, "without --destination", id="the receiver's type"),
        pytest.param("csv_file", UsageError, "without --destination", id="the file's type"),
    ],
)
def test_a_type_that_no_fake_vendor_plays_is_refused_with_what_there_is(key: str, error: type[Exception], words: str):
    with pytest.raises(error, match=words):
        type_with_a_fake(key, TYPES)


@pytest.mark.parametrize("key", fake_types())
def test_the_configuration_fits_the_type_and_holds_no_secret(tmp_path: Path, key: str):
    fake = fake_vendor(key)
    stage = VendorStage(type_with_a_fake(key, TYPES), fake, "http://127.0.0.1:9")
    text = stage.configuration("2026-03-01T00:00:00Z")
    assert not [secret for secret in fake.secrets if secret in text]
    told = yaml.safe_load(text)
    (destination,) = told["destinations"]
    # without keys the desk takes references alone, and refuses a secret in the clear
    assert SettingsDesk(Vault(), tmp_path).keep(TYPES[key], destination["settings"]) == destination["settings"]
    named = {value.removeprefix("env:") for value in _texts(destination["settings"]) if value.startswith("env:")}
    assert named == set(stage.environment)


@pytest.mark.parametrize("key", fake_types())
def test_the_demo_has_the_patience_that_a_type_asks_for_between_two_syncs(tmp_path: Path, key: str):
    stage = VendorStage(TYPES[key], fake_vendor(key), "http://127.0.0.1:9")
    demo = Demo(read_settings({"ENGAGE_HOME": str(tmp_path)}), cast(Registry, None), stage, tmp_path, 0, print)
    assert demo.patience_s >= TYPES[key].min_interval_s + 60


def test_who_is_held_and_is_no_member_is_counted():
    with vendor_stage(TYPES["braze"]) as stage:
        stage.fake.held = lambda: {"u-1": True, "u-2": False}  # type: ignore[method-assign]
        assert stage.members(NOBODY, "user") == set()
        assert stage.held(NOBODY, "user") == {"u-1"}


def _texts(settings: object) -> list[str]:
    if isinstance(settings, dict):
        return [text for value in settings.values() for text in _texts(value)]
    return [settings] if isinstance(settings, str) else []
