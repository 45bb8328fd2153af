"""Glob patterns of match(): `*` any run, `?` one character, `[abc]` and `[a-z]` one of a list, `\\x` the character x.

Case-sensitive, the whole text must fit. A class that begins with ! or ^ is no part of the language and is refused,
since readers expect a negation.
"""

import re
from functools import lru_cache

_NEVER = re.compile(r"(?!)")


def glob_fault(pattern: str) -> str | None:
    """What is wrong with a pattern, in words that continue "the pattern ..."; None when it is sound."""
    try:
        _expression(pattern)
    except ValueError as wrong:
        return str(wrong)
    return None


@lru_cache(maxsize=1024)
def compiled_glob(pattern: str) -> re.Pattern[str]:
    """The pattern as a compiled expression for fullmatch; an unsound one (it came out of the event) fits nothing."""
    try:
        return re.compile(_expression(pattern), re.DOTALL)
    except ValueError:
        return _NEVER


def _expression(pattern: str) -> str:
    first, *rest = _pieces(pattern)
    if not rest:
        return first
    # each inner piece takes its first place and never another, so no pattern makes the match slow
    return first + "".join(f"(?>.*?{piece})" for piece in rest[:-1] if piece) + ".*" + rest[-1]


def _pieces(pattern: str) -> list[str]:
    pieces = [""]
    n = 0
    while n < len(pattern):
        c = pattern[n]
        n += 1
        if c == "*":
            pieces.append("")
        elif c == "?":
            pieces[-1] += "."
        elif c == "[":
            written, n = _class(pattern, n)
            pieces[-1] += written
        elif c == "\\":
            if n == len(pattern):
                raise ValueError("ends with a single \\")
            pieces[-1] += re.escape(pattern[n])
            n += 1
        else:
            pieces[-1] += re.escape(c)
    return pieces


def _class(pattern: str, start: int) -> tuple[str, int]:
    members: list[tuple[str, bool]] = []  # character, and whether it was written plainly
    n = start
    while n < len(pattern) and pattern[n] != "]":
        plain = pattern[n] != "\\"
        n += 0 if plain else 1
        if n < len(pattern):
            members.append((pattern[n], plain))
        n += 1
    if n >= len(pattern):
        raise ValueError("has a [ without its ]")
    if not members:
        raise ValueError("has an empty []")
    if members[0] in (("!", True), ("^", True)):
        raise ValueError(f"begins a class with {members[0][0]}, which FQL does not know")
    return "[" + _ranges(members) + "]", n + 1


def _ranges(members: list[tuple[str, bool]]) -> str:
    out: list[str] = []
    n = 0
    while n < len(members):
        low = members[n][0]
        if n + 2 < len(members) and members[n + 1] == ("-", True):
            high = members[n + 2][0]
            if high < low:
                raise ValueError(f"has the empty range {low}-{high}")
            out.append(f"{re.escape(low)}-{re.escape(high)}")
            n += 3
        else:
            out.append(re.escape(low))
            n += 1
    return "".join(out)
