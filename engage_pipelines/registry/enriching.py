"""Which traits ride along in the records of a connection, as people say it."""

from collections.abc import Sequence

from engage_pipelines.domain.enrichment import OPTION, Enriching, parse_enrichment, stored
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.lookup import Row, list_traits
from engage_pipelines.registry.tables import connection


def enrichment_options(change: Change, space: Row, of: Row, traits: Sequence[str] | None) -> dict[str, list[str]]:
    """The options of a connection of `of` that sends these too. Raises UsageError for those that cannot ride along."""
    if not traits:
        return {}
    found = parse_enrichment(traits, key=of.key)
    if space.facts is not None:
        _check_computed(change, space, found)
    return {OPTION: stored(found)}


def set_enrichment(change: Change, space: Row, row: Row, of: Row, traits: Sequence[str], *, named: str) -> Row:
    """Have other traits ride along from now on; nothing is sent for it."""
    given = enrichment_options(change, space, of, traits)
    before = row.options.get(OPTION, [])
    if before == given.get(OPTION, []):
        return row
    change.check_editable(row, f"The {named}")
    others = {name: value for name, value in row.options.items() if name != OPTION}
    change.record("update", named, before={OPTION: before}, after={OPTION: given.get(OPTION, [])})
    return change.update(connection, row.id, {"options": {**others, **given}})


def _check_computed(change: Change, space: Row, found: Sequence[Enriching]) -> None:
    """Rows of a warehouse are asked when something is computed, and not when it is sent."""
    computed = {row.key for row in list_traits(change.c, space.id)}
    for one in found:
        if one.trait.partition(".")[0] not in computed:
            raise UsageError(
                f"{one.trait!r} is no computed trait, and others do not ride along where the facts are in a warehouse.",
                "Name a trait of `engage trait list`, or leave it out.",
            )
