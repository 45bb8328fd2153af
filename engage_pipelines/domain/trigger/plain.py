"""The triggers of nearly every mapping, read without the grammar: fields compared with texts, joined by `and`.

Building the parser takes as long as sending some ten thousand records. What is read here means what the grammar reads; everything else,
and every mistake, is left to it.
"""

import re

from engage_pipelines.domain.trigger.tree import RESERVED, Comparison, Junction, Node, Path, Place, Value

_PATH = r"[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*"
_COMPARISON = rf"""({_PATH})\s*(!?=)\s*("[^"\\]*"|'[^'\\]*')"""
_ONE = re.compile(rf"\s*{_COMPARISON}\s*")
_AND = re.compile(r"and(?![\w\-\\.])", re.IGNORECASE)


def plain_tree(text: str) -> "Node | None":
    """The tree of a trigger of this form; None for every other text."""
    found: list[Comparison] = []
    at = 0
    while True:
        one = _ONE.match(text, at)
        if one is None or one[1].partition(".")[0].lower() in RESERVED:
            return None
        path = Path(tuple(one[1].split(".")), _place(text, one.start(1)))
        value = Value(one[3][1:-1], _place(text, one.start(3)))
        found.append(Comparison("=" if one[2] == "=" else "!=", path, value, _place(text, one.start(2))))
        if one.end() == len(text):
            break
        joined = _AND.match(text, one.end())
        if joined is None:
            return None
        at = joined.end()
    return found[0] if len(found) == 1 else Junction("and", tuple(found), found[0].at)


def _place(text: str, at: int) -> Place:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
