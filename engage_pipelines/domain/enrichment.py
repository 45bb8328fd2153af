"""Trait enrichment: traits that ride beside the membership or the value in the records of a connection.

    plan                   trait `plan` as trait (Identify, Group) or property (Track) `plan`
    plan:plan_tier         the same under another name
    scores.orders:orders   one column of a SELECT
They are as of planning: another value of one of them alone sends nothing.
Source: segment.com/docs/engage/trait-activation/trait-enrichment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engage_pipelines.domain.computation import check_key
from engage_pipelines.domain.errors import UsageError

OPTION = "enrichment"
MOST_TRAITS = 25
_TAKEN = ("audience_key", "trait_key", "email")


@dataclass(frozen=True, slots=True)
class Enriching:
    """One trait that rides along, and the name that it has in the records."""

    trait: str
    name: str

    def as_text(self) -> str:
        return self.trait if self.trait == self.name else f"{self.trait}:{self.name}"


def parse_enrichment(texts: Sequence[str], *, key: str) -> tuple[Enriching, ...]:
    """What the texts say, on a connection of the computation `key`. Raises UsageError, or ConfigurationError for what is no name."""
    found = tuple(_parsed(text) for text in texts)
    names = [one.name for one in found]
    for one in found:
        if one.name in (key, *_TAKEN):
            raise UsageError(f"{one.name!r} in {one.as_text()!r} is taken in the records.", f"Give it another name: {one.trait}:NAME.")
        if names.count(one.name) > 1:
            raise UsageError(f"Two traits would have the name {one.name!r}.", "Give one of them another: TRAIT:NAME.")
    if len(found) > MOST_TRAITS:
        raise UsageError(f"{len(found)} traits are to ride along, at most {MOST_TRAITS} do.", "Leave some out.")
    return found


def _parsed(text: str) -> Enriching:
    trait, _, name = text.partition(":")
    if not trait:
        raise UsageError(f"{text!r} names no trait.", "Write TRAIT, or TRAIT:NAME.")
    return Enriching(trait, check_key(name or trait.rpartition(".")[2], "the name of a trait that rides along"))


def stored(enrichment: Sequence[Enriching]) -> list[str]:
    """As a connection's options keep them."""
    return [one.as_text() for one in enrichment]


def enrichment_in(options: Mapping[str, Any]) -> tuple[Enriching, ...]:
    """What the options of a connection say."""
    return tuple(_parsed(text) for text in options.get(OPTION, ()))
