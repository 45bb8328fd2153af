"""Values cut into parts that one request can carry, for types whose look-ups go in an address."""

from collections.abc import Iterable, Iterator
from urllib.parse import quote

MAX_ADDRESS = 6_000
"""Bytes of values in one address: servers take some 8 KB for all of it."""


def parts(values: Iterable[str], most: int) -> Iterator[list[str]]:
    """The values without repeats, in their order, at most `most` together and, as an address spells them, at most MAX_ADDRESS bytes."""
    part: list[str] = []
    taken = 0
    for value in dict.fromkeys(values):
        weight = len(quote(f'"{value}",', safe=""))
        if part and (len(part) == most or taken + weight > MAX_ADDRESS):
            yield part
            part, taken = [], 0
        part.append(value)
        taken += weight
    if part:
        yield part
