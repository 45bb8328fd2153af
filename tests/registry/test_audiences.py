"""Audiences: keys, definitions, cycles, deletion."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import ConfigurationError, ConflictError, DefinitionError
from engage_pipelines.registry.audiences import audiences_of, clone_audience, delete_audience, update_audience
from engage_pipelines.registry.cadence import check_cadence
from engage_pipelines.registry.connections import NewConnection, connect, remove_all
from engage_pipelines.registry.definitions import users_of


def test_key_is_refused_while_used_and_ever_after(world: Any) -> None:
    world.audience("vips")
    with pytest.raises(ConflictError, match="has audience 'vips'"):
        world.audience("vips")
    world.do(delete_audience, world.space, "vips")
    with pytest.raises(ConflictError, match="never used again"):
        world.audience("vips")


@pytest.mark.parametrize("key", ["", "1st", "with space", "naïve", "a.b", "x" * 256])
def test_key_that_is_no_trait_name_is_refused(world: Any, key: str) -> None:
    with pytest.raises(ConfigurationError, match="not a legal key"):
        world.audience(key)


def test_definition_that_does_not_parse_says_where(world: Any) -> None:
    with pytest.raises(DefinitionError, match="line 1, column"):
        world.audience("vips", definition="event('X').count() >=")
    assert world.rows("computation") == []


def test_definitions_that_lead_back_name_the_loop(world: Any) -> None:
    world.audience("first", definition="trait('second') = true")
    world.audience("second", definition="trait('third') = true")
    with pytest.raises(DefinitionError, match="third -> first -> second -> third"):
        world.audience("third", definition="trait('first') = true AND trait('plan') = 'x'")
    with pytest.raises(DefinitionError, match="second -> second"):
        world.do(update_audience, world.space, "second", definition="trait('second') = true")
    assert world.look(users_of, world.space.id, "second") == ["first"]


def test_audience_that_is_used_or_connected_is_not_deleted(world: Any) -> None:
    world.audience("vips")
    world.audience("others", definition="trait('vips') = true")
    with pytest.raises(ConflictError, match="used by others"):
        world.do(delete_audience, world.space, "vips")
    world.destination("crm")
    world.do(connect, world.space, NewConnection("others", "crm"))
    with pytest.raises(ConflictError, match="engage disconnect others crm --remove"):
        world.do(delete_audience, world.space, "others")


def test_same_values_again_change_nothing(world: Any) -> None:
    before = world.audience("vips")
    assert world.do(update_audience, world.space, "vips", name=before.name, definition=before.definition) == before
    assert [row.verb for row in world.rows("audit") if row.object == "audience b2b/vips"] == ["create"]


def test_evaluation_gets_level_and_options(world: Any) -> None:
    world.audience("accounts", level=Level.ACCOUNT, options={"empty_accounts": "true"})
    (one,) = world.look(audiences_of, world.space.id)
    assert (one.key, one.level, str(one.empty_accounts)) == ("accounts", Level.ACCOUNT, "true")


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"empty_acounts": "true"}, id="a misspelt name"),
        pytest.param({"empty_accounts": "maybe"}, id="a word that is none"),
        pytest.param({"include_historical_data": "yes"}, id="a word for a switch"),
        pytest.param({"backfill_event_data_days": 0}, id="no day"),
        pytest.param({"backfill_event_data_days": True}, id="a switch for a number"),
        pytest.param({"backfill_event_data_days": 7, "include_historical_data": False}, id="days of a history that does not count"),
        pytest.param({"filter_by_external_ids": []}, id="no identifier"),
        pytest.param({"filter_by_external_ids": "user_id"}, id="a text for a list"),
        pytest.param({"filter_by_external_ids": ["user-id"]}, id="an identifier that is none"),
    ],
)
def test_options_that_are_none_are_refused(world: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        world.audience("vips", options=options)


@pytest.mark.parametrize(
    ("text", "kept"),
    [("hourly", "0 * * * *"), (" */15  * * * 1-5 ", "*/15 * * * 1-5"), ("manual", "manual"), ("0 4,16 1 1 0", "0 4,16 1 1 0")],
)
def test_cadence_is_a_word_or_a_cron_line(text: str, kept: str) -> None:
    assert check_cadence(text) == kept


NEARLY = ["60 * * * *", "* * * *", "* * * * * *", "5-1 * * * *", "*/0 * * * *", "a * * * *", "- * * * *"]


@given(st.one_of(st.text(), st.sampled_from(NEARLY)))
def test_other_words_are_no_cadence(text: str) -> None:
    try:
        kept = check_cadence(text)
    except ConfigurationError:
        return
    assert text not in NEARLY
    assert kept == "manual" or len(kept.split(" ")) == 5


def test_people_of_an_account_audience_are_not_filtered(world: Any) -> None:
    with pytest.raises(ConfigurationError, match="is an option of user audiences"):
        world.audience("accounts", level=Level.ACCOUNT, options={"include_anonymous": True})


def test_options_say_who_is_admitted_and_since_when_events_count(world: Any) -> None:
    row = world.audience("all")
    world.audience("some", options={"filter_by_external_ids": ["email"], "include_anonymous": True, "backfill_event_data_days": 1})
    world.audience("new", options={"include_historical_data": False})
    everything, recent, some = sorted(world.look(audiences_of, world.space.id), key=lambda one: one.key)
    assert (everything.external_ids, everything.events_since_us) == (("android.idfa", "email", "ios.idfa", "user_id"), None)
    assert some.external_ids == ("anonymous_id", "email")
    assert recent.events_since_us >= row.created_at
    assert some.events_since_us < row.created_at


def test_clone_is_like_the_other_but_for_what_is_said(world: Any) -> None:
    world.audience("vips", name="VIPs", options={"include_anonymous": True})
    copied = world.do(clone_audience, world.space, "vips", "others", options={"include_anonymous": False})
    assert (copied.name, copied.options, copied.current_version) == ("VIPs (copy)", {"include_anonymous": False}, None)
    assert copied.definition == world.look(audiences_of, world.space.id)[1].definition


def test_all_connections_end_before_an_audience_is_deleted_with_them(world: Any) -> None:
    of = world.audience("vips")
    world.destination("crm")
    world.do(connect, world.space, NewConnection("vips", "crm"))
    world.do(remove_all, world.space, of)
    world.do(delete_audience, world.space, "vips")
    assert [row.verb for row in world.rows("audit")][-2:] == ["disconnect", "delete"]
