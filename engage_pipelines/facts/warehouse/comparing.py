"""Comparators over values of a warehouse: the SQL of what `domain.query.comparing` says in Python. Every predicate is true or false."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engage_pipelines.domain.query.comparing import NEGATIONS, bounds
from engage_pipelines.domain.query.tree import Comparator, Duration, Moment, Number, Text, Truth
from engage_pipelines.domain.query.values import number_of
from engage_pipelines.facts.warehouse.dialects.base import Dialect, parts_before_each
from engage_pipelines.facts.warehouse.values import JsonValue, Value

Given = Number | Text | Truth | Moment | Duration | Value
_SIGNS = {Comparator.GREATER_THAN: ">", Comparator.AT_LEAST: ">=", Comparator.LESS_THAN: "<", Comparator.AT_MOST: "<="}


@dataclass(frozen=True, slots=True)
class Comparing:
    """Predicates in one dialect, as of one instant."""

    dialect: Dialect
    at_us: int

    def holds(self, comparator: Comparator, value: Value, given: Sequence[Given]) -> str:
        """Whether the comparison is true of the value."""
        found = f"coalesce({self._positive(NEGATIONS.get(comparator, comparator), value, given)}, false)"
        return f"(NOT {found})" if comparator in NEGATIONS else found

    def holds_for_each(self, comparator: Comparator, document: str, path: Sequence[str], given: Sequence[Given]) -> str:
        """Whether it is true of one element at least of the JSON value `document`; the negations: of none. `path` begins after a `$`."""
        positive = NEGATIONS.get(comparator, comparator)
        found = f"coalesce({self.dialect.json_any(document, lambda element: self._element(positive, element, path, given))}, false)"
        return f"(NOT {found})" if comparator in NEGATIONS else found

    def _element(self, comparator: Comparator, element: str, path: Sequence[str], given: Sequence[Given]) -> str:
        if "$" not in path:
            return self.holds(comparator, JsonValue(self.dialect, self.dialect.json_at(element, path)), given)
        before, after = parts_before_each(path)
        return self.holds_for_each(comparator, self.dialect.json_at(element, before), after, given)

    def _positive(self, comparator: Comparator, value: Value, given: Sequence[Given]) -> str:
        match comparator:
            case Comparator.EXISTS:
                return f"({value.read('text')} IS NOT NULL)"
            case Comparator.EQUALS | Comparator.ONE_OF:
                return _any(self._equal(value, each) for each in given)
            case Comparator.DIFFERS:
                return self._differs(value, given[0])
            case Comparator.GREATER_THAN | Comparator.AT_LEAST | Comparator.LESS_THAN | Comparator.AT_MOST:
                return f"{value.read('number')} {_SIGNS[comparator]} {self._number(given[0])}"
            case Comparator.CONTAINS:
                return _any(self._contains(value, each.value) for each in given if isinstance(each, Text))
            case Comparator.STARTS_WITH | Comparator.ENDS_WITH:
                return self._at_an_end(comparator, value, [each.value for each in given if isinstance(each, Text)])
            case _:
                return self._dated(comparator, value, given[0])

    def _equal(self, value: Value, given: Given) -> str:
        match given:
            case Number(number):
                return f"{value.read('number')} = {self.dialect.number_literal(float(number))}"
            case Truth(truth):
                return f"({_is(value, 'boolean', 'string')} AND {value.read('text')} = '{'true' if truth else 'false'}')"
            case Moment(at_us):
                return f"{value.read('instant')} = {at_us}"
            case Text(text):
                return self._equal_text(value, text)
            case Duration():
                return "false"
            case _:
                return _equal_values(value, given)

    def _equal_text(self, value: Value, text: str) -> str:
        """A text, a number that the text reads as, or the truth value that it names."""
        equal = f"{value.read('text')} = {self.dialect.text(text)}"
        number = number_of(text)
        if number is not None:
            as_number = f"{value.read('number')} = {self.dialect.number_literal(number)}"
            return f"(({_is(value, 'string')} AND {equal}) OR ({_is(value, 'number')} AND {as_number}))"
        kinds = ("string", "boolean") if text in ("true", "false") else ("string",)
        return f"({_is(value, *kinds)} AND {equal})"

    def _differs(self, value: Value, given: Given) -> str:
        present = f"{value.read('text')} IS NOT NULL"
        if not isinstance(given, Number | Text | Truth | Moment | Duration):
            present += f" AND {given.read('text')} IS NOT NULL"
        return f"({present} AND NOT coalesce({self._equal(value, given)}, false))"

    def _number(self, given: Given) -> str:
        """What a number is compared with. A text got here only because it reads as a number."""
        match given:
            case Number(number):
                return self.dialect.number_literal(float(number))
            case Text(text):
                return self.dialect.number_literal(number_of(text) or 0.0)
            case Truth() | Moment() | Duration():
                raise TypeError(f"{given!r} is no number")
            case _:
                return given.read("number")

    def _contains(self, value: Value, part: str) -> str:
        textual = _is(value, "string", "array", "object")
        return f"({textual} AND {self.dialect.contains(value.read('text'), part)})" if part else textual

    def _at_an_end(self, comparator: Comparator, value: Value, parts: Sequence[str]) -> str:
        end = self.dialect.starts_with if comparator is Comparator.STARTS_WITH else self.dialect.ends_with
        found = _any(end(value.read("text"), part) if part else "true" for part in parts)
        return f"({_is(value, 'string')} AND {found})"

    def _dated(self, comparator: Comparator, value: Value, given: Given) -> str:
        if not isinstance(given, Moment | Duration):
            raise TypeError(f"{given!r} is neither a date nor a length of time")
        first, last = bounds(comparator, given, self.at_us)
        ends = [f"{value.read('instant')} {sign} {end}" for sign, end in ((">=", first), ("<=", last)) if end is not None]
        return f"({' AND '.join(ends)})"


def _any(conditions: Iterable[str]) -> str:
    return "(" + (" OR ".join(conditions) or "false") + ")"


def _is(value: Value, *kinds: str) -> str:
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    return f"{value.read('kind')} IN ({listed})"


def _equal_values(left: Value, right: Value) -> str:
    """Texts as texts, truth values (one of them may be a text) as truth values, else as numbers."""
    texts = f"{_is(left, 'string')} AND {_is(right, 'string')}"
    truths = f"({_is(left, 'boolean')} OR {_is(right, 'boolean')})"
    readable = f"{_is(left, 'boolean', 'string')} AND {_is(right, 'boolean', 'string')}"
    return (
        f"(CASE WHEN {texts} THEN {left.read('text')} = {right.read('text')}"
        f" WHEN {truths} THEN {readable} AND {left.read('text')} = {right.read('text')}"
        f" ELSE {left.read('number')} = {right.read('number')} END)"
    )
