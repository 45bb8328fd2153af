"""Names of functions of the language, and the nearest one to a misspelt name."""

import difflib
from collections.abc import Iterable

from engage_pipelines.domain.query.tree import Comparator, Reduce

KEYWORDS = ("AND", "OR", "NOT", "ANY", "ALL", "true", "false")
EXTRACTORS = ("event", "trait", "property", "context", "literal", "entity")
FILTERS = ("where", "sources", "within", "between", "expires_after")
REDUCERS = tuple(kind.value for kind in Reduce if kind is not Reduce.UNIQUE_COUNT)
COMPARATORS = tuple(comparator.value for comparator in Comparator)

SUGAR = {
    "=": Comparator.EQUALS,
    "==": Comparator.EQUALS,
    "!=": Comparator.DIFFERS,
    ">": Comparator.GREATER_THAN,
    ">=": Comparator.AT_LEAST,
    "<": Comparator.LESS_THAN,
    "<=": Comparator.AT_MOST,
}
SIGNS = {comparator: sign for sign, comparator in SUGAR.items() if sign != "=="}


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, whatever its case; None when none is near."""
    by_fold: dict[str, str] = {}
    for each in known:
        by_fold.setdefault(each.casefold(), each)
    close = difflib.get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.6)
    return by_fold[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """A remedy: the nearest name, or `otherwise`."""
    near = nearest(name, known)
    return f"Did you mean {near}?" if near else otherwise
