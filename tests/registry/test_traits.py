"""Traits in the registry and in configuration files: one key space with audiences, what never changes, and the way back to a file."""

from pathlib import Path
from typing import Any

import pytest

from engage_pipelines.domain.computation import Level, TraitType
from engage_pipelines.domain.errors import ConfigurationError, ConflictError, DefinitionError, NotFoundError
from engage_pipelines.registry.apply import apply_configuration
from engage_pipelines.registry.audiences import NewAudience, create_audience, delete_audience
from engage_pipelines.registry.definitions import users_of
from engage_pipelines.registry.export import as_yaml, export_documents
from engage_pipelines.registry.lookup import find_audience, find_trait
from engage_pipelines.registry.reading import read_configuration
from engage_pipelines.registry.traits import SQL_CADENCE, NewTrait, create_trait, delete_trait, update_trait

TRAITS = """
space: b2b
traits:
  - {key: spend, definition: "event('Order').sum(property('total'))"}
  - {key: seats_used, level: account, definition: "event('Signed In').count()", enabled: false}
  - {key: scores, type: sql, definition: "SELECT user_id, 1 AS score FROM users"}
audiences:
  - {key: big, definition: "trait('spend') > 100 AND trait('scores.score') = 1"}
"""


def _apply(world: Any, folder: Path, text: str, *, prune: bool = False) -> list[tuple[str, str, str]]:
    folder.mkdir(exist_ok=True)
    (folder / "engage.yaml").write_text(text, encoding="utf-8")
    return [(one.kind, one.name, one.verb) for one in apply_configuration(world.registry, read_configuration(folder), prune=prune)]


def _asked(world: Any) -> list[list[str]]:
    return [row.computation_ids for row in sorted(world.rows("compute_request"), key=lambda row: row.id)]


def _count(key: str = "orders", definition: str = "event('Order').count()", **fields: Any) -> NewTrait:
    return NewTrait(key, fields.pop("level", Level.USER), definition, **fields)


def test_a_file_makes_traits_before_the_audiences_that_read_them(world: Any, tmp_path: Path) -> None:
    made = _apply(world, tmp_path / "c", TRAITS)
    assert made == [
        ("trait", "spend", "created"),
        ("trait", "seats_used", "created"),
        ("trait", "scores", "created"),
        ("audience", "big", "created"),
    ]
    assert [verb for _, _, verb in _apply(world, tmp_path / "c", TRAITS)] == ["unchanged"] * 4
    with world.registry.change() as change:
        space = world.space
        scores, spend = find_trait(change.c, space.id, "scores"), find_trait(change.c, space.id, "spend")
        assert (scores.cadence, spend.cadence, scores.id[:4]) == (SQL_CADENCE, "0 * * * *", "trt_")
        assert users_of(change.c, space.id, "spend") == ["big"]


def test_traits_come_back_out_as_they_went_in(world: Any, tmp_path: Path) -> None:
    _apply(world, tmp_path / "c", TRAITS)
    with world.registry.change() as change:
        documents = export_documents(change.c, world.registry.types)
    texts = [as_yaml(document, schema="") for document in documents.values()]
    assert all(verb == "unchanged" or kind == "space" for kind, _, verb in _apply(world, tmp_path / "c", texts[0]))


def test_a_file_without_them_takes_them_away_with_what_reads_them(world: Any, tmp_path: Path) -> None:
    _apply(world, tmp_path / "c", TRAITS)
    gone = _apply(world, tmp_path / "c", "space: b2b\n", prune=True)
    assert sorted(name for kind, name, verb in gone if verb == "removed") == ["big", "scores", "seats_used", "spend"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param("key: spend,", "key: spend, level: account,", "its level never changes", id="level"),
        pytest.param("key: spend,", "key: spend, type: sql,", "its type never changes", id="type"),
        pytest.param("key: spend,", "key: spend, type: magic,", "write computed or sql", id="no such type"),
        pytest.param("sum(property('total'))", "sum()", r"sum\(...\) does not fit", id="a definition that does not fit"),
        pytest.param("trait('spend') > 100", "trait('seats_used') > 100", "is of accounts", id="a trait of the wrong ones"),
    ],
)
def test_a_file_that_cannot_be_changes_nothing(world: Any, tmp_path: Path, old: str, new: str, told: str) -> None:
    _apply(world, tmp_path / "c", TRAITS)
    with pytest.raises(ConfigurationError, match=told):
        _apply(world, tmp_path / "c", TRAITS.replace(old, new))


def test_keys_are_one_space_with_those_of_audiences_and_never_come_back(world: Any) -> None:
    with world.registry.change() as change:
        space = world.space
        create_trait(change, space, _count())
        with pytest.raises(ConflictError, match="has trait 'orders'"):
            create_audience(change, space, NewAudience("orders", Level.USER, "trait('a') = 1"))
        create_audience(change, space, NewAudience("people", Level.USER, "trait('a') = 1"))
        with pytest.raises(ConflictError, match="has audience 'people'"):
            create_trait(change, space, _count("people"))
        delete_trait(change, space, "orders")
        with pytest.raises(ConflictError, match="belonged to a deleted trait"):
            create_trait(change, space, _count())


def test_each_is_found_under_its_own_kind_alone(world: Any) -> None:
    with world.registry.change() as change:
        space = world.space
        create_trait(change, space, _count())
        create_audience(change, space, NewAudience("people", Level.USER, "trait('a') = 1"))
        with pytest.raises(NotFoundError, match="is a trait, not an audience"):
            find_audience(change.c, space.id, "orders")
        with pytest.raises(NotFoundError, match="is an audience, not a trait"):
            find_trait(change.c, space.id, "people")
        with pytest.raises(NotFoundError, match="Did you mean 'orders'"):
            find_trait(change.c, space.id, "order")


def test_what_is_read_by_others_is_not_deleted(world: Any) -> None:
    with world.registry.change() as change:
        space = world.space
        create_trait(change, space, _count())
        create_audience(change, space, NewAudience("many", Level.USER, "event('A').count() > trait('orders')"))
        create_trait(change, space, _count("both", "event('A').where(trait('many') = true AND trait('orders') > 1).count()"))
        with pytest.raises(ConflictError, match="used by both, many"):
            delete_trait(change, space, "orders")
        with pytest.raises(ConflictError, match="used by both"):
            delete_audience(change, space, "many")


def test_no_definition_leads_back_to_itself(world: Any) -> None:
    with world.registry.change() as change:
        space = world.space
        create_trait(change, space, _count())
        create_audience(change, space, NewAudience("many", Level.USER, "trait('orders') > 1"))
        with pytest.raises(DefinitionError, match="orders -> many -> orders"):
            update_trait(change, space, "orders", definition="event('A').where(trait('many') = true).count()")
        # a nested name is that of a trait with an inside, never of an audience
        update_trait(change, space, "orders", definition="event('A').where(trait('many.x') = true).count()")


def test_a_trait_is_computed_when_it_is_made_or_means_something_else(world: Any) -> None:
    with world.registry.change() as change:
        space = world.space
        row = create_trait(change, space, _count(type=TraitType.SQL, definition="SELECT 1"))
        create_trait(change, space, _count("off", enabled=False))
    assert _asked(world) == [[row.id]]
    with world.registry.change() as change:
        update_trait(change, world.space, "orders", name="Orders")
    assert _asked(world) == [[row.id]]
    with world.registry.change() as change:
        update_trait(change, world.space, "orders", definition="SELECT 2")
    assert _asked(world) == [[row.id], [row.id]]
