"""Secrets are kept as references or encrypted, and seen by nobody but the run."""

from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from engage_pipelines.domain.errors import ConfigurationError, StateError
from engage_pipelines.registry.destinations import NewDestination, create_destination, update_destination
from engage_pipelines.registry.secrets import BULLETS, Vault, is_reference, masked
from engage_pipelines.registry.type_settings import SettingsDesk, masked_settings, secret_fields

KEY, OLD_KEY = Fernet.generate_key().decode(), Fernet.generate_key().decode()
SECRET = "s3cr3t-in-the-clear"


@pytest.mark.parametrize("reference", ["env:CRM_KEY", "file:/run/secrets/crm"])
def test_reference_is_kept_as_it_is(reference: str) -> None:
    assert Vault().keep(reference, field="api_key") == reference
    assert masked(reference) == reference


@pytest.mark.parametrize("text", [SECRET, "env:", "env:not a name", "file:relative", "enc:anything"])
def test_what_is_no_reference_is_refused_without_keys_and_not_repeated(text: str) -> None:
    with pytest.raises((ConfigurationError, StateError)) as refused:
        Vault().keep(text, field="api_key")
    assert "api_key" in str(refused.value)
    assert SECRET not in str(refused.value)


@given(st.text(min_size=1).filter(lambda text: not text.startswith(("env:", "file:", "enc:"))))
def test_encrypted_secret_comes_back_under_old_and_new_keys(text: str) -> None:
    stored = Vault((OLD_KEY,)).keep(text, field="api_key")
    assert stored.startswith("enc:")
    assert masked(stored) == BULLETS
    assert Vault((KEY, OLD_KEY)).resolve(stored, field="api_key") == text


def test_wrong_keys_are_told_apart_from_no_keys() -> None:
    stored = Vault((KEY,)).keep(SECRET, field="api_key")
    with pytest.raises(StateError, match="cannot be decrypted"):
        Vault((OLD_KEY,)).resolve(stored, field="api_key")
    with pytest.raises(StateError, match="there is no key"):
        Vault().resolve(stored, field="api_key")
    with pytest.raises(ConfigurationError, match="not a Fernet key"):
        Vault(("short",)).keep(SECRET, field="api_key")


def test_references_are_resolved_late_and_missing_ones_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CRM_KEY", SECRET)
    assert Vault().resolve("env:CRM_KEY", field="api_key") == SECRET
    monkeypatch.delenv("CRM_KEY")
    with pytest.raises(StateError, match="env:CRM_KEY, which is not set"):
        Vault().resolve("env:CRM_KEY", field="api_key")
    (tmp_path / "key").write_text(f"{SECRET}\n")
    assert Vault().resolve(f"file:{tmp_path / 'key'}", field="api_key") == SECRET
    with pytest.raises(StateError, match="cannot be read"):
        Vault().resolve(f"file:{tmp_path / 'none'}", field="api_key")


@given(st.text())
def test_only_the_two_forms_are_references(text: str) -> None:
    assert is_reference(text) == (masked(text) == text != BULLETS)


def _crm(world: Any) -> Any:
    return world.registry.types["crm"]


def test_secrets_are_found_in_options_and_maps(world: Any) -> None:
    assert secret_fields(_crm(world)) == {"api_key", "headers"}
    stored = {"url": "u", "api_key": "enc:x", "headers": {"X-Key": "enc:y", "X-Other": "env:B"}}
    assert masked_settings(_crm(world), stored) == {"url": "u", "api_key": BULLETS, "headers": {"X-Key": BULLETS, "X-Other": "env:B"}}


def test_secret_in_the_clear_is_in_no_table_and_no_audit_row(world: Any) -> None:
    object.__setattr__(world.registry, "desk", SettingsDesk(Vault((KEY,)), Path("/nowhere")))
    new = NewDestination("crm", "crm", {"url": "https://crm.test", "api_key": SECRET, "headers": {"X-Key": SECRET}})
    row = world.do(create_destination, world.space, new)
    world.do(update_destination, world.space, row, settings={"url": "https://new.test", "api_key": SECRET})
    with world.database.read() as c:
        for table in ("destination", "audit"):
            assert SECRET not in str(c.exec_driver_sql(f"SELECT * FROM {table}").all())
    assert BULLETS in str([audit.after for audit in world.rows("audit")])
    assert SECRET not in repr(row)


def test_bullets_keep_the_old_secret_and_the_same_secret_changes_nothing(world: Any) -> None:
    object.__setattr__(world.registry, "desk", SettingsDesk(Vault((KEY,)), Path("/nowhere")))
    row = world.do(create_destination, world.space, NewDestination("crm", "crm", {"url": "https://crm.test", "api_key": SECRET}))
    for again in (BULLETS, SECRET):
        assert world.do(update_destination, world.space, row, settings={"url": "https://crm.test", "api_key": again}) == row
    resolved = world.registry.desk.resolve(_crm(world), row.settings)
    assert resolved.api_key.get_secret_value() == SECRET
    assert SECRET not in repr(resolved)


def test_bullets_without_an_old_secret_are_refused(world: Any) -> None:
    with pytest.raises(ConfigurationError, match="no old value"):
        world.do(create_destination, world.space, NewDestination("crm", "crm", {"url": "https://crm.test", "api_key": BULLETS}))


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(BULLETS, id="masked"),
        pytest.param(None, id="left as it is stored"),
    ],
)
def test_a_secret_that_is_kept_unseen_is_not_sent_to_another_address(world: Any, key: str | None) -> None:
    object.__setattr__(world.registry, "desk", SettingsDesk(Vault((KEY,)), Path("/nowhere")))
    row = world.do(create_destination, world.space, NewDestination("crm", "crm", {"url": "https://crm.test/in", "api_key": SECRET}))
    kept = key or row.settings["api_key"]

    with pytest.raises(ConfigurationError, match="url leads elsewhere now, and api_key would be sent there") as refused:
        world.do(update_destination, world.space, row, settings={"url": "https://thief.test/in", "api_key": kept})

    assert "api_key again" in refused.value.remedy
    assert world.rows("destination")[0].settings == row.settings
    assert world.do(update_destination, world.space, row, settings={"url": "https://crm.test/other", "api_key": kept})
    assert world.do(update_destination, world.space, row, settings={"url": "https://new.test", "api_key": SECRET})


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"api_key": "env:CRM_KEY"}, id="a reference, which whoever edits can write"),
        pytest.param({}, id="no secret is left"),
    ],
)
def test_an_address_moves_freely_where_no_unseen_secret_goes_along(world: Any, settings: dict[str, str]) -> None:
    object.__setattr__(world.registry, "desk", SettingsDesk(Vault((KEY,)), Path("/nowhere")))
    given = {"url": "https://crm.test", **(settings or {"api_key": SECRET})}
    row = world.do(create_destination, world.space, NewDestination("crm", "crm", given))

    moved = world.do(update_destination, world.space, row, settings={"url": "https://new.test", **settings})

    assert moved.settings["url"] == "https://new.test"


def test_nested_secrets_do_not_follow_an_address_either(world: Any) -> None:
    object.__setattr__(world.registry, "desk", SettingsDesk(Vault((KEY,)), Path("/nowhere")))
    given = {"url": "https://crm.test", "headers": {"x-key": SECRET}}
    row = world.do(create_destination, world.space, NewDestination("crm", "crm", given))

    with pytest.raises(ConfigurationError, match=r"headers\.x-key would be sent there"):
        world.do(update_destination, world.space, row, settings={"url": "http://crm.test", "headers": {"x-key": BULLETS}})
