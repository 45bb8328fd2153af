"""The grammar of triggers (FQL) and the checks that need no event.

Promises: `or` binds weaker than `and`, `and` weaker than `!`; parentheses nest; `!` stands before a path, a function or
parentheses. What the text says is either a tree that means exactly that or a DefinitionError with line, column, what
was expected and the remedy.
Source: https://segment.com/docs/api/public-api/fql/
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from engage_pipelines.domain.errors import DefinitionError
from engage_pipelines.domain.trigger.building import Builder
from engage_pipelines.domain.trigger.plain import plain_tree
from engage_pipelines.domain.trigger.tree import Node, Place, children

if TYPE_CHECKING:
    from lark import Lark
    from lark.exceptions import UnexpectedInput

MAX_BYTES = 5 * 1024
MAX_DEPTH = 64

_GRAMMAR = r"""
    start: disjunction
    disjunction: conjunction (_OR conjunction)*
    conjunction: _negatable (_AND _negatable)*
    _negatable: negation | condition
    negation: BANG (negation | call | path | "(" disjunction ")")
    condition: value | value OPERATOR value | value IN value
    value: "(" disjunction ")" | call | path | items | constant
    call: NAME "(" [value ("," value)*] ")"
    path: PATH
    items: LIST [value ("," value)*] "]"
    constant: TEXT -> text | NUMBER -> number | TRUE -> true | FALSE -> false | NULL -> null

    _OR.3: /or(?![\w\-\\.])/i
    _AND.3: /and(?![\w\-\\.])/i
    IN.3: /in(?![\w\-\\.])/i
    TRUE.3: /true(?![\w\-\\.])/
    FALSE.3: /false(?![\w\-\\.])/
    NULL.3: /null(?![\w\-\\.])/
    NAME.2: /[A-Za-z_]\w*(?=\s*\()/
    PATH.1: /([A-Za-z_]|\\.)([A-Za-z0-9_-]|\\.)*(\.([A-Za-z0-9_-]|\\.)+)*/s
    NUMBER: /[+-]?\d+(\.\d+)?([eE][+-]?\d+)?(?![\w\-\\.])/
    TEXT: /"([^"\\]|\\.)*"|'([^'\\]|\\.)*'/s
    OPERATOR: /<=|>=|!=|=|<|>/
    BANG: "!"
    LIST: "["
    %ignore /\s+/
"""

_WORDS = {
    "_OR": "or",
    "_AND": "and",
    "IN": "in",
    "OPERATOR": "a comparison (= != < <= > >=)",
    "BANG": "!",
    "LPAR": "(",
    "RPAR": ")",
    "RSQB": "]",
    "COMMA": "a comma",
    "$END": "the end",
}


def parse_tree(text: str) -> Node:
    """The tree of a trigger.

    Raises: DefinitionError, for the author of the trigger.
    """
    if not text.strip():
        raise DefinitionError("the trigger is empty.", 'Write a condition, for example type = "identify".')
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise DefinitionError(f"the trigger has {len(text)} characters.", "At most 5 KB are allowed; use `in [...]` for long alternatives.")
    return plain_tree(text) or parse_by_grammar(text)


def parse_by_grammar(text: str) -> Node:
    """The same for any text that is neither empty nor too long."""
    from lark.exceptions import UnexpectedInput  # noqa: PLC0415 - most processes parse plain triggers alone, and do without lark

    try:
        tree = cast(Node, cast(Any, _parser()).parse(text))
    except UnexpectedInput as wrong:
        raise _unexpected(text, wrong) from None
    _check_depth(tree)
    return tree


@cache
def _parser() -> "Lark":
    from lark import Lark  # noqa: PLC0415 - see parse_tree

    return Lark(_GRAMMAR, parser="lalr", transformer=cast(Any, Builder()), maybe_placeholders=False)


def _unexpected(text: str, wrong: "UnexpectedInput") -> DefinitionError:
    found = getattr(wrong, "token", None)
    expected = _expected(text[: wrong.pos_in_stream or 0], getattr(wrong, "accepts", None) or getattr(wrong, "allowed", None) or ())
    at_end = found is not None and getattr(found, "type", "") == "$END"
    line, column = _end_of(text) if at_end else (wrong.line, wrong.column)
    what = "the trigger ends too early" if at_end else f"did not expect {_shown(text, wrong)}"
    return DefinitionError(f"{what}; expected {_either(expected)}.", _remedy(text, wrong), line=max(line, 1), column=max(column, 1))


def _expected(before: str, names: Iterable[str]) -> list[str]:
    """The names in words; the many ways in which a value can begin are one word, and what nothing opened cannot be closed."""
    found = set(names)
    if "PATH" in found:
        found = (found - {"PATH", "NAME", "TEXT", "NUMBER", "TRUE", "FALSE", "NULL", "LIST", "LPAR"}) | {"a field, function or value"}
    if "(" not in before:
        found -= {"RPAR", "COMMA"} if "[" not in before else {"RPAR"}
    if "[" not in before:
        found -= {"RSQB"}
    return sorted(_WORDS.get(name, name) for name in found)


def _end_of(text: str) -> Place:
    lines = text.split("\n")
    return len(lines), len(lines[-1]) + 1


def _shown(text: str, wrong: "UnexpectedInput") -> str:
    found = getattr(wrong, "token", None)
    return repr(str(found)) if found is not None else repr(text[wrong.pos_in_stream] if wrong.pos_in_stream is not None else "")


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]])) if words else "something else"


def _remedy(text: str, wrong: "UnexpectedInput") -> str:
    if getattr(getattr(wrong, "token", None), "type", "") == "$END":
        return "Finish the condition, or take out what is left over."
    here = text[wrong.pos_in_stream or 0 :]
    before = text[: wrong.pos_in_stream or 0]
    if here[:1] in ("'", '"'):
        return "Close the text with the same quote; write a quote inside of it as \\\" or \\'."
    if here[:2] in ("&&", "||"):
        return "Write and, or."
    if here.startswith("=") and before.endswith(("=", "= ")):
        return "Write = once."
    if before.rstrip().endswith("]") or here[:1] == "[":
        return 'Elements of lists have no path; test the whole list with `in`, as in "x" in properties.list.'
    if "not(" in before.replace(" ", "").lower():
        return "Negation is written !: !(a = b)."
    if here[:1] in ("=", "<", ">") and "!" in before:
        return "Put the comparison that ! negates in parentheses: !(a = b)."
    return "Texts stand in quotes; other characters than A-Z a-z 0-9 _ - in a field's name are escaped with \\."


def _check_depth(tree: Node) -> None:
    level: list[Node] = [tree]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in children(node)]
        if not level:
            return
    raise DefinitionError(f"the trigger nests deeper than {MAX_DEPTH} levels.", "Take out parentheses that are not needed.")
