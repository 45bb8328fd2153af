"""Traits in the registry: made, changed, deleted, and read for evaluation. Keys are one space with those of audiences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import sqlalchemy as sa

from engage_pipelines.domain.computation import AccountTraitConflict, Computation, Level, TraitComputation, TraitType, check_key
from engage_pipelines.domain.errors import ConfigurationError, ConflictError, NotFoundError
from engage_pipelines.registry.cadence import DEFAULT_CADENCE, check_cadence
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.computations import as_audience, cancel_computing, check_key_is_free, connected_destinations
from engage_pipelines.registry.definitions import check_definition, type_of_trait, users_of
from engage_pipelines.registry.live import check_live
from engage_pipelines.registry.lookup import Row, computation_or_none
from engage_pipelines.registry.nearest import did_you_mean
from engage_pipelines.registry.tables import computation

CONFLICT = "account_trait_conflict"

SQL_CADENCE = "0 */12 * * *"
"""SELECTs read everything they like, so they run twice a day unless people say otherwise."""


@dataclass(frozen=True, slots=True)
class NewTrait:
    """A trait to be made; `definition` is text in the query language, or a SELECT. No cadence means the usual one of its type."""

    key: str
    level: Level
    definition: str
    type: TraitType = TraitType.COMPUTED
    name: str = ""
    description: str = ""
    cadence: str = ""
    enabled: bool = True
    account_trait_conflict: AccountTraitConflict = AccountTraitConflict.LATEST
    """What a user of several accounts has of it, where it is one of accounts."""


class TraitFields(TypedDict, total=False):
    """What may be changed of a trait; a field that is not given stays. Key, level and type never change."""

    name: str
    description: str
    definition: str
    cadence: str
    enabled: bool
    account_trait_conflict: AccountTraitConflict


def conflict_of(row: Row) -> AccountTraitConflict:
    """What a user of several accounts has of a trait of theirs."""
    return AccountTraitConflict(row.options.get(CONFLICT, AccountTraitConflict.LATEST))


def check_conflict(conflict: str, level: Level, how: TraitType) -> AccountTraitConflict:
    """Raises ConfigurationError where it is no answer, or the trait has no such question."""
    if conflict not in list(AccountTraitConflict):
        raise ConfigurationError(f"{CONFLICT} cannot be {conflict!r}.", f"Write {', '.join(AccountTraitConflict)}.")
    found = AccountTraitConflict(conflict)
    if found is not AccountTraitConflict.LATEST and level is not Level.ACCOUNT:
        raise ConfigurationError(f"{CONFLICT} is {found}, and the trait is one of users.", "Leave it out.")
    if found is AccountTraitConflict.LIST and how is TraitType.SQL:
        raise ConfigurationError(f"{CONFLICT} is list, and each column of a SELECT is one value.", "Write latest or skip.")
    return found


def _options(how: TraitType, conflict: AccountTraitConflict) -> dict[str, str]:
    return {"type": str(how), **({} if conflict is AccountTraitConflict.LATEST else {CONFLICT: str(conflict)})}


def as_trait(row: Row) -> TraitComputation:
    """What it takes to evaluate it."""
    return TraitComputation(row.id, row.key, Level(row.level), row.definition, type_of_trait(row), conflict_of(row))


def as_computation(row: Row) -> Computation:
    return as_audience(row) if row.kind == "audience" else as_trait(row)


def list_computations(c: sa.Connection, space_id: str) -> list[Row]:
    """The audiences and traits that are not deleted, by key."""
    t = computation.c
    return list(c.execute(sa.select(computation).where(t.space_id == space_id, t.deleted_at.is_(None)).order_by(t.key)))


def computations_of(c: sa.Connection, space_id: str) -> tuple[Computation, ...]:
    """Every audience and trait of the space, disabled ones too: definitions may refer to them."""
    return tuple(as_computation(row) for row in list_computations(c, space_id))


def list_traits(c: sa.Connection, space_id: str) -> list[Row]:
    """The traits that are not deleted, by key."""
    return [row for row in list_computations(c, space_id) if row.kind == "trait"]


def trait_or_none(c: sa.Connection, space_id: str, key: str) -> Row | None:
    row = computation_or_none(c, space_id, key)
    return row if row is not None and row.kind == "trait" else None


def find_trait(c: sa.Connection, space_id: str, key: str) -> Row:
    """Raises NotFoundError with the nearest key."""
    row = trait_or_none(c, space_id, key)
    if row is not None:
        return row
    if computation_or_none(c, space_id, key) is not None:
        raise NotFoundError(f"{key!r} is an audience, not a trait.", f"See: engage audience show {key}")
    keys = [one.key for one in list_traits(c, space_id)]
    raise NotFoundError(f"There is no trait {key!r}.", did_you_mean(key, keys, otherwise="See `engage trait list`."))


def usual_cadence(new: NewTrait) -> str:
    """The cadence that it says, or else the one of its type."""
    return new.cadence or (SQL_CADENCE if new.type is TraitType.SQL else DEFAULT_CADENCE)


def create_trait(change: Change, space: Row, new: NewTrait) -> Row:
    """Make a trait and, if it is enabled, ask for its first evaluation.

    Raises ConfigurationError, DefinitionError, or ConflictError when the key was ever used.
    """
    check_key(new.key, "trait key")
    check_key_is_free(change.c, space, new.key)
    check_definition(change.c, space.id, TraitComputation("", new.key, new.level, new.definition, new.type))
    values: dict[str, Any] = {
        "key": new.key,
        "level": str(new.level),
        "definition": new.definition,
        "name": new.name or new.key,
        "description": new.description,
        "cadence": check_cadence(usual_cadence(new)),
        "options": _options(new.type, check_conflict(new.account_trait_conflict, new.level, new.type)),
        "enabled": new.enabled,
    }
    check_live(change.c, space, values["cadence"], TraitComputation("", new.key, new.level, new.definition, new.type))
    row = change.insert(computation, "trt", {**values, "space_id": space.id, "kind": "trait"})
    change.record("create", f"trait {space.key}/{new.key}", after=values)
    if row.enabled:
        change.compute_soon(space.id, [row.id])
    return row


def update_trait(change: Change, space: Row, key: str, **fields: Unpack[TraitFields]) -> Row:
    """Change a trait; another definition or being enabled has it evaluated again. Nothing is written when nothing differs."""
    row = find_trait(change.c, space.id, key)
    change.check_editable(row, f"Trait {key!r}")
    wanted: dict[str, Any] = dict(fields)
    if "cadence" in wanted:
        wanted["cadence"] = check_cadence(wanted["cadence"])
    if CONFLICT in wanted:
        conflict = check_conflict(wanted.pop(CONFLICT), Level(row.level), type_of_trait(row))
        wanted["options"] = _options(type_of_trait(row), conflict)
    new = {name: value for name, value in wanted.items() if getattr(row, name) != value}
    if not new:
        return row
    if "definition" in new:
        check_definition(change.c, space.id, TraitComputation(row.id, key, Level(row.level), new["definition"], type_of_trait(row)))
    if new.keys() & {"definition", "cadence"}:
        meant = TraitComputation(row.id, key, Level(row.level), new.get("definition", row.definition), type_of_trait(row))
        check_live(change.c, space, new.get("cadence", row.cadence), meant)
    change.record("update", f"trait {space.key}/{key}", before={name: getattr(row, name) for name in new}, after=new)
    updated = change.update(computation, row.id, new)
    if new.keys() & {"definition", "enabled", "options"} and updated.enabled:
        change.compute_soon(space.id, [row.id])
    return updated


def delete_trait(change: Change, space: Row, key: str) -> None:
    """Delete a trait; its key stays used. Raises ConflictError while destinations are connected or definitions refer to it."""
    row = find_trait(change.c, space.id, key)
    change.check_editable(row, f"Trait {key!r}")
    connected = connected_destinations(change.c, row.id)
    if connected:
        raise ConflictError(
            f"Trait {key!r} is connected to {', '.join(connected)}.", f"First: engage disconnect {key} {connected[0]} --remove"
        )
    users: Sequence[str] = users_of(change.c, space.id, key)
    if users:
        raise ConflictError(f"Trait {key!r} is used by {', '.join(users)}.", "Change their definitions first.")
    change.update(computation, row.id, {"deleted_at": change.now, "enabled": False})
    cancel_computing(change, row)
    change.record("delete", f"trait {space.key}/{key}", before={"name": row.name, "definition": row.definition})
