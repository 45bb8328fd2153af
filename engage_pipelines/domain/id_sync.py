"""ID sync: which of a person's identifiers a connection enters, and under which further name they ride in its records.

    email            every address (`all`)          email:last           the one seen last
    email:first      the one seen first             email:last:contact   also as trait or property `contact`
Entries go to the identifiers that the strategy picks. Exits go to every one that left, so that whatever was ever told is taken back.
Source: segment.com/docs/engage/trait-activation/id-sync.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from engage_pipelines.domain.computation import check_key
from engage_pipelines.domain.errors import UsageError

MOST_RULES = 5


class Strategy(StrEnum):
    """Which of several identifiers of one kind: by first sight, by last sight, or every one."""

    FIRST = "first"
    LAST = "last"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class IdRule:
    """What a connection does with one kind of identifier."""

    kind: str
    strategy: Strategy = Strategy.ALL
    map_to: str | None = None

    def as_text(self) -> str:
        return ":".join(part for part in (self.kind, str(self.strategy), self.map_to) if part)


def parse_rule(text: str) -> IdRule:
    """The rule that a text says. Raises UsageError, or ConfigurationError for a name that is no trait's."""
    kind, _, rest = text.partition(":")
    strategy, _, name = rest.partition(":")
    if strategy and strategy not in list(Strategy):
        raise UsageError(f"{strategy!r} in {text!r} is no strategy.", f"Choose {', '.join(Strategy)}, like email:last.")
    return IdRule(kind, Strategy(strategy or "all"), check_key(name, "field") if name else None)


def parse_rules(texts: Sequence[str], *, possible: Collection[str], audience: str, destination: str) -> tuple[IdRule, ...]:
    """The rules of one connection; `possible` are the identifiers that the destination can match a person by. Raises UsageError."""
    rules = tuple(parse_rule(text) for text in texts)
    for rule in rules:
        if rule.kind not in possible:
            raise UsageError(f"Destination {destination!r} cannot match people by {rule.kind!r}.", f"It can by {' and '.join(possible)}.")
        if rule.map_to in (audience, "audience_key", "trait_key", "email"):
            raise UsageError(f"{rule.map_to!r} in {rule.as_text()!r} is taken in the records.", "Choose another name.")
    if len({rule.kind for rule in rules}) < len(rules) or len(rules) > MOST_RULES:
        raise UsageError("An identifier is named twice.", "Name each once.")
    return rules


def stored(rules: Iterable[IdRule]) -> list[str]:
    """As a connection's options keep them."""
    return [rule.as_text() for rule in rules]


def rules_in(options: Any) -> tuple[IdRule, ...]:
    """The rules that the options of a connection hold; none when it has no strategy."""
    return tuple(parse_rule(text) for text in options.get("id_sync", ()))
