"""Traits in the registry: made, changed, deleted, and read for evaluation."""

from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import sqlalchemy as sa

from engage_pipelines.domain.computation import AccountTraitConflict, Computation, Level, TraitComputation, TraitType
from engage_pipelines.domain.errors import ConfigurationError
from engage_pipelines.registry.audiences import as_audience
from engage_pipelines.registry.cadence import DEFAULT_CADENCE, check_cadence
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.computations import add_computation, change_computation, check_new, end_computation
from engage_pipelines.registry.definitions import type_of_trait
from engage_pipelines.registry.lookup import Row, find_trait, list_computations

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


def computations_of(c: sa.Connection, space_id: str) -> tuple[Computation, ...]:
    """Every audience and trait of the space, disabled ones too: definitions may refer to them."""
    return tuple(as_computation(row) for row in list_computations(c, space_id))


def usual_cadence(new: NewTrait) -> str:
    """The cadence that it says, or else the one of its type."""
    return new.cadence or (SQL_CADENCE if new.type is TraitType.SQL else DEFAULT_CADENCE)


def create_trait(change: Change, space: Row, new: NewTrait) -> Row:
    """Make a trait and, if it is enabled, ask for its first evaluation.

    Raises ConfigurationError, DefinitionError, or ConflictError when the key was ever used.
    """
    meant = TraitComputation("", new.key, new.level, new.definition, new.type)
    check_new(change, space, meant, "trait")
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
    return add_computation(change, space, "trait", values, meant=meant)


def update_trait(change: Change, space: Row, key: str, **fields: Unpack[TraitFields]) -> Row:
    """Change a trait; another definition or being enabled has it evaluated again. Nothing is written when nothing differs."""
    row = find_trait(change.c, space.id, key)
    change.check_editable(row, f"Trait {key!r}")
    level, how = Level(row.level), type_of_trait(row)
    wanted: dict[str, Any] = dict(fields)
    if "cadence" in wanted:
        wanted["cadence"] = check_cadence(wanted["cadence"])
    if CONFLICT in wanted:
        wanted["options"] = _options(how, check_conflict(wanted.pop(CONFLICT), level, how))
    return change_computation(change, space, row, wanted, meant=lambda definition: TraitComputation(row.id, key, level, definition, how))


def delete_trait(change: Change, space: Row, key: str) -> None:
    """Delete a trait; its key stays used. Raises ConflictError while destinations are connected or definitions refer to it."""
    end_computation(change, space, find_trait(change.c, space.id, key))
