# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
"""Comparisons of `@liquid` between any two values, where python-liquid refuses those of different types.

A record whose trait is a text here and a number there then meets `{% if traits.n > 5 %}` as it does at Segment: compared as
numbers, false when one of them is none.
"""

import operator
from collections.abc import Callable, Iterable
from typing import Any

from liquid.ast import Node
from liquid.builtin.expressions.logical import ContainsExpression, GeExpression, GtExpression, LeExpression, LtExpression
from liquid.context import RenderContext
from liquid.expression import Expression
from liquid.template import BoundTemplate
from liquid.undefined import Undefined

from engage_pipelines.domain.mapping.javascript import number_of, text_of


def _relation(holds: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    if isinstance(left, Undefined) or isinstance(right, Undefined):
        return False
    first, second = (text_of(value) if isinstance(value, list | dict) else value for value in (left, right))
    if isinstance(first, str) and isinstance(second, str):
        return holds(first, second)
    return holds(number_of(first), number_of(second))


class _Less(LtExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        return _relation(operator.lt, self.left.evaluate(context), self.right.evaluate(context))


class _Greater(GtExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        return _relation(operator.gt, self.left.evaluate(context), self.right.evaluate(context))


class _AtMost(LeExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        return _relation(operator.le, self.left.evaluate(context), self.right.evaluate(context))


class _AtLeast(GeExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        return _relation(operator.ge, self.left.evaluate(context), self.right.evaluate(context))


class _Contains(ContainsExpression):
    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        left, right = self.left.evaluate(context), self.right.evaluate(context)
        if isinstance(left, str):
            return ("undefined" if isinstance(right, Undefined) else text_of(right)) in left
        if not isinstance(left, list):
            return False
        wanted = None if isinstance(right, Undefined) else right
        return any(item == wanted and isinstance(item, bool) == isinstance(wanted, bool) for item in left)


_REPLACED: dict[type, type] = {
    LtExpression: _Less,
    GtExpression: _Greater,
    LeExpression: _AtMost,
    GeExpression: _AtLeast,
    ContainsExpression: _Contains,
}


def with_lenient_comparisons(template: BoundTemplate) -> BoundTemplate:
    """The same template, its comparisons exchanged in place: the library has no place to give it others."""
    context = RenderContext(template)
    _exchange_nodes(template.nodes, context)
    return template


def _exchange_nodes(nodes: Iterable[Node], context: RenderContext) -> None:
    for node in nodes:
        _exchange(node.expressions())
        _exchange_nodes(node.children(context, include_partials=False), context)


def _exchange(expressions: Iterable[Expression]) -> None:
    for expression in expressions:
        replaced = _REPLACED.get(type(expression))
        if replaced:
            expression.__class__ = replaced
        _exchange(expression.children())
