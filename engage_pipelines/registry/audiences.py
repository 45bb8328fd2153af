"""Audiences in the registry: made, changed, copied, deleted, and read for evaluation."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict, Unpack

import sqlalchemy as sa

from engage_pipelines.domain.computation import Audience, EmptyAccounts, Level
from engage_pipelines.registry.audience_options import check_admitted, check_options, check_same_admission, events_since_us, external_ids
from engage_pipelines.registry.cadence import DEFAULT_CADENCE, check_cadence
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.computations import add_computation, change_computation, check_new, end_computation
from engage_pipelines.registry.lookup import Row, find_audience, list_audiences


@dataclass(frozen=True, slots=True)
class NewAudience:
    """An audience to be made; `definition` is text in the query language, `options` are those of `audience_options`."""

    key: str
    level: Level
    definition: str
    name: str = ""
    description: str = ""
    cadence: str = DEFAULT_CADENCE
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    enabled: bool = True


class AudienceFields(TypedDict, total=False):
    """What may be changed of an audience; a field that is not given stays. Key and level never change."""

    name: str
    description: str
    definition: str
    cadence: str
    options: Mapping[str, Any]
    enabled: bool


def as_audience(row: Row) -> Audience:
    """What it takes to evaluate it."""
    empty = EmptyAccounts(row.options.get("empty_accounts", EmptyAccounts.DEFAULT))
    return Audience(
        id=row.id,
        key=row.key,
        level=Level(row.level),
        definition=row.definition,
        empty_accounts=empty,
        external_ids=external_ids(row.options),
        events_since_us=events_since_us(row.options, created_at_us=row.created_at),
    )


def audiences_of(c: sa.Connection, space_id: str) -> tuple[Audience, ...]:
    """Every audience of the space, disabled ones too: definitions may refer to them."""
    return tuple(as_audience(row) for row in list_audiences(c, space_id))


def create_audience(change: Change, space: Row, new: NewAudience) -> Row:
    """Make an audience and, if it is enabled, ask for its first evaluation.

    Raises ConfigurationError, DefinitionError, or ConflictError when the key was ever used.
    """
    meant = Audience("", new.key, new.level, new.definition)
    check_new(change, space, meant, "audience")
    values = {
        **asdict(new),
        "level": str(new.level),
        "name": new.name or new.key,
        "cadence": check_cadence(new.cadence),
        "options": check_options(new.options, new.level),
    }
    check_admitted(space.facts, new.options, new.level)
    return add_computation(change, space, "audience", values, meant=meant)


def update_audience(change: Change, space: Row, key: str, **fields: Unpack[AudienceFields]) -> Row:
    """Change an audience; another definition, options or being enabled has it evaluated again. Nothing is written when nothing differs."""
    row = find_audience(change.c, space.id, key)
    change.check_editable(row, f"Audience {key!r}")
    level = Level(row.level)
    wanted: dict[str, Any] = dict(fields)
    if "cadence" in wanted:
        wanted["cadence"] = check_cadence(wanted["cadence"])
    if "options" in wanted:
        wanted["options"] = check_options(wanted["options"], level)
        check_same_admission(row.options, wanted["options"], key)
        check_admitted(space.facts, wanted["options"], level)
    return change_computation(change, space, row, wanted, meant=lambda definition: Audience(row.id, key, level, definition))


def clone_audience(change: Change, space: Row, key: str, new_key: str, *, name: str = "", options: Mapping[str, Any]) -> Row:
    """Make an audience of the same level, definition, cadence and options, but for those given; connections are not copied."""
    row = find_audience(change.c, space.id, key)
    new = NewAudience(
        key=new_key,
        level=Level(row.level),
        definition=row.definition,
        name=name or f"{row.name} (copy)",
        description=row.description,
        cadence=row.cadence,
        options={**row.options, **options},
    )
    return create_audience(change, space, new)


def delete_audience(change: Change, space: Row, key: str) -> None:
    """Delete an audience; its key stays used. Raises ConflictError while destinations are connected or definitions refer to it."""
    end_computation(change, space, find_audience(change.c, space.id, key))
