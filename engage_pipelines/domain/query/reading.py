"""Text to tree: the parser, and what it says about text that is no definition."""

# lark ships partial types; what it hands out is narrowed here
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import re
from functools import lru_cache
from typing import cast

from lark import Lark, Token
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.query.builder import Builder
from engage_pipelines.domain.query.grammar import CONDITION_STARTS, GRAMMAR, VALUE_STARTS, WORDS
from engage_pipelines.domain.query.names import EXTRACTORS, KEYWORDS, did_you_mean

MAX_LENGTH = 100_000


def read(text: str, start: str) -> object:
    """What the grammar's rule `start` makes of the text. Raises DefinitionError with line and column."""
    _check_characters(text)
    try:
        return _parser().parse(text, start=start)
    except UnexpectedCharacters as error:
        raise _unreadable(error, text) from None
    except UnexpectedInput as error:
        raise _unexpected(error, text) from None
    except VisitError as error:
        if isinstance(error.orig_exc, DefinitionError):
            raise error.orig_exc from None
        raise


@lru_cache(maxsize=1)
def _parser() -> Lark:
    return Lark(GRAMMAR, start=["start", "trait"], parser="lalr", lexer="contextual", transformer=Builder(), maybe_placeholders=False)


def _check_characters(text: str) -> None:
    if not text.strip():
        raise DefinitionError("the definition is empty.", "Write a condition such as event('Order Completed').count() >= 1.")
    if len(text) > MAX_LENGTH:
        raise DefinitionError(
            f"the definition has {len(text):,} characters.", f"At most {MAX_LENGTH:,} fit; split it into several audiences."
        )
    for position, character in enumerate(text):
        if character == "\0" or "\ud800" <= character <= "\udfff":
            line, column = place_of(text, position)
            raise DefinitionError(f"character {character!r} cannot stand in a definition.", "Remove it.", line=line, column=column)


def place_of(text: str, position: int) -> tuple[int, int]:
    """Line and column of a position in the text, both from 1."""
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


def _unreadable(error: UnexpectedCharacters, text: str) -> DefinitionError:
    found = text[error.pos_in_stream or 0]
    if found in "'\"":
        what, remedy = f"the text that starts with {found} here has no end.", f"Close it with {found}; a {found} inside it is \\{found}."
    elif found in _TYPED_QUOTES:
        what, remedy = f"found the quote {found}.", "Use ' or \" around texts."
    elif found in "&|":
        what, remedy = f"found {found!r}.", "Write AND or OR."
    else:
        what, remedy = f"found {found!r}, expected {_words(error.allowed or set())}.", ""
    return DefinitionError(what, remedy, line=error.line, column=error.column)


_TYPED_QUOTES = "\u2018\u2019\u201c\u201d\u201e\u00ab\u00bb`"
_LAST_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*\Z")


def _unexpected(error: UnexpectedInput, text: str) -> DefinitionError:
    if not isinstance(error, UnexpectedToken):
        return DefinitionError("this is no definition.", "Write a condition such as event('Order Completed').count() >= 1.")
    token = cast(Token, error.token)
    accepted = set(error.accepts or error.expected)
    position = len(text.rstrip()) if token.type == "$END" else token.start_pos or 0
    name = _LAST_NAME.search(text, 0, position)
    if name and accepted == {"LPAR"}:
        return _bare_name(name[1], *place_of(text, name.start()))
    line, column = place_of(text, position)
    if token.type == "RPAR" and "$END" in accepted:
        return DefinitionError("found ) without its (.", "Remove it, or write ( before.", line=line, column=column)
    found = "the end of the definition" if token.type == "$END" else _shown(token)
    remedy = did_you_mean(token, ("AND", "OR"), "Join conditions with AND or OR; texts stand in quotes.") if token.type == "NAME" else ""
    return DefinitionError(f"found {found}, expected {_words(accepted)}.", remedy, line=line, column=column)


def _shown(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:40]}..."


def _bare_name(name: str, line: int, column: int) -> DefinitionError:
    """A name that is followed by nothing: most often a text without its quotes."""
    remedy = did_you_mean(name, (*EXTRACTORS, *KEYWORDS), f"Put a text in quotes: '{_shown(name)}'.")
    return DefinitionError(
        f"found {_shown(name)}, expected a function such as event('Name') or a text in quotes.", remedy, line=line, column=column
    )


def _words(expected: set[str]) -> str:
    """The expected terminals as people would say them, the usual ones first."""
    names = set(expected)
    phrases: list[str] = []
    if names >= CONDITION_STARTS:
        phrases.append("a condition such as event('Name').count() >= 1")
        names -= CONDITION_STARTS | {"LSQB", "COLON"}
    elif names >= VALUE_STARTS:
        phrases.append("a value such as 'text', 5 or trait('key')")
        names -= VALUE_STARTS | {"LPAR", "LSQB"}
    phrases.extend(word for name, word in WORDS.items() if name in names)
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " or " + phrases[-1] if phrases else "something else"
