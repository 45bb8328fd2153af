"""The nearest name, for messages about a name that is not there."""

import difflib
from collections.abc import Iterable


def did_you_mean(wanted: str, names: Iterable[str], *, otherwise: str) -> str:
    """`Did you mean 'x'?` when a name is near enough, else the other remedy."""
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(wanted.lower(), list(by_lower), n=1, cutoff=0.6)
    return f"Did you mean {by_lower[near[0]]!r}?" if near else otherwise
