"""The replacing of `@replace`: a literal pattern, with JavaScript's marks in the replacement and its idea of equal case."""

from collections.abc import Callable
from functools import lru_cache

from engage_pipelines.domain.mapping.resolver import failing

MAX_REPLACE = 10


def replace(text: str, pattern: str, replacement: str, *, every: bool, ignore_case: bool) -> str:
    """The text with the pattern replaced at its first or at every place; `$&`, `$$`, `` $` `` and `$'` keep their meaning.

    pattern is not empty.
    """
    searched, sought = (_one_case(text), _one_case(pattern)) if ignore_case else (text, pattern)
    out: list[str] = []
    end = 0
    found = searched.find(sought)
    while found >= 0:
        out += [text[end:found], _expanded(replacement, text, found, found + len(pattern))]
        end = found + len(pattern)
        found = searched.find(sought, end) if every else -1
    return "".join(out) + text[end:]


def _expanded(replacement: str, text: str, start: int, end: int) -> str:
    if "$" not in replacement:
        return replacement
    marks = {"$": "$", "&": text[start:end], "`": text[:start], "'": text[end:]}
    out: list[str] = []
    n = 0
    while n < len(replacement):
        mark = marks.get(replacement[n + 1 : n + 2]) if replacement[n] == "$" else None
        out.append(replacement[n] if mark is None else mark)
        n += 1 if mark is None else 2
    return "".join(out)


def _one_case(text: str) -> str:
    return "".join(map(_upper, text))


@lru_cache(maxsize=4096)
def _upper(character: str) -> str:
    """ECMA-262 Canonicalize without the u flag: upper case, unless that is several characters or leaves the others for ASCII."""
    upper = character.upper()
    if len(upper) != 1 or ord(character) > 0xFFFF or (ord(character) >= 128 > ord(upper)):
        return character
    return upper


def replacer(pattern: str, replacement: str, *, every: bool, ignore_case: bool) -> Callable[[str], str]:
    """The replacing as a function of the text; it fails when one of the two is too long."""
    for name, text in (("pattern", pattern), ("replacement", replacement)):
        if utf16_length(text) > MAX_REPLACE:
            return failing(f'@replace requires a "{name}" less than {MAX_REPLACE} characters')
    if not ignore_case and "$" not in replacement:
        count = -1 if every else 1
        return lambda text: text.replace(pattern, replacement, count)
    return lambda text: replace(text, pattern, replacement, every=every, ignore_case=ignore_case)


def utf16_length(text: str) -> int:
    """The length as JavaScript counts it."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
