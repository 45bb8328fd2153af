"""The condition builder: rows of common conditions, as fields of a form, as a tree of the query language, and back from a text.

| row | says |
|---|---|
| did, did_not | event, at least / exactly / at most n times, in the last n days, where a property compares |
| trait | a trait of the profile compares |
| audience, not_audience | is or is not in another audience |

Rows are joined by all (AND) or any (OR). A text that says more than that is edited as text; the builder then says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.domain.query import parse
from engage_pipelines.domain.query.printer import condition_text
from engage_pipelines.domain.query.tree import (
    AllUsers,
    And,
    AnyUser,
    Comparator,
    Comparison,
    Condition,
    Duration,
    Events,
    Filter,
    Literal,
    Not,
    Number,
    Or,
    Property,
    Reduce,
    Reducer,
    Scalar,
    Text,
    Trait,
    Truth,
    Unit,
    Where,
    Within,
    both,
)

MOST_ROWS = 20
KINDS = (
    ("did", "did the event"),
    ("did_not", "did not do the event"),
    ("trait", "has the trait"),
    ("audience", "is in the audience"),
    ("not_audience", "is not in the audience"),
)
COUNTS = (("at_least", "at least"), ("equals", "exactly"), ("at_most", "at most"))
COMPARES = (
    ("equals", "is"),
    ("differs", "is not"),
    ("at_least", "at least"),
    ("greater_than", "more than"),
    ("at_most", "at most"),
    ("less_than", "less than"),
    ("contains", "contains"),
    ("starts_with", "starts with"),
    ("ends_with", "ends with"),
    ("exists", "is there"),
    ("absent", "is missing"),
)
_BARE = ("exists", "absent")
_NUMERIC = ("at_least", "greater_than", "at_most", "less_than")


@dataclass(frozen=True, slots=True)
class BuilderRow:
    """One condition as its fields say it, all texts as they were typed."""

    kind: str = "did"
    name: str = ""
    count_is: str = "at_least"
    count: str = "1"
    days: str = ""
    property: str = ""
    compares: str = "equals"
    value: str = ""
    whose: str = ""


@dataclass(frozen=True, slots=True)
class Builder:
    """All rows; `fits` is False when the text says more than rows can."""

    level: Level
    join: str = "all"
    rows: tuple[BuilderRow, ...] = ()
    fits: bool = True
    problems: Mapping[int, str] = field(default_factory=dict[int, str])

    def text(self) -> str:
        """The definition that the rows say; rows with a gap are left out."""
        conditions = [each for each in map(self._condition, self.rows) if each is not None]
        if not conditions:
            return ""
        return condition_text(both(And if self.join == "all" else Or, tuple(conditions)))

    def _condition(self, row: BuilderRow) -> Condition | None:
        found = _condition(row)
        if found is None or self.level is Level.USER:
            return found
        match row.whose:
            case "any":
                return AnyUser(found)
            case "all":
                return AllUsers(found)
            case "none":
                return AllUsers(Not(found))
            case _:
                return found


# ---- rows to conditions


def _condition(row: BuilderRow) -> Condition | None:
    if not row.name:
        return None
    if row.kind in {"did", "did_not"}:
        did = _event(row)
        return Not(did) if did is not None and row.kind == "did_not" else did
    if row.kind == "trait":
        return _comparison(Trait(tuple(row.name.split("."))), row)
    member = Comparison(Scalar(Trait((row.name,))), Comparator.EQUALS, (Truth(True),))
    return Not(member) if row.kind == "not_audience" else member


def _event(row: BuilderRow) -> Condition | None:
    filters: list[Filter] = []
    if row.property:
        compared = _comparison(Property(tuple(row.property.split("."))), row)
        if compared is None:
            return None
        filters.append(Where(compared))
    if row.days:
        days = _whole(row.days)
        if days is None:
            return None
        filters.append(Within(Duration(days, Unit.DAY)))
    count = _whole(row.count)
    if count is None or row.count_is not in dict(COUNTS):
        return None
    counted = Scalar(Events(row.name, tuple(filters)), Reducer(Reduce.COUNT))
    return Comparison(counted, Comparator(row.count_is), (Number(Decimal(count)),))


def _comparison(source: Trait | Property, row: BuilderRow) -> Comparison | None:
    if row.compares not in dict(COMPARES):
        return None
    if row.compares in _BARE:
        return Comparison(Scalar(source), Comparator(row.compares))
    value = _literal(row.value, row.compares)
    return None if value is None else Comparison(Scalar(source), Comparator(row.compares), (value,))


def _literal(text: str, compares: str) -> Literal | None:
    """Quoted text is text; what reads as a number or a truth value is one, where that can be compared so."""
    if compares in _NUMERIC or (compares in {"equals", "differs"} and not text.startswith(("'", '"'))):
        number = _number(text)
        if number is not None:
            return number
        if compares in _NUMERIC:
            return None
        if text in {"true", "false"}:
            return Truth(text == "true")
    bare = text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text
    return Text(bare) if bare else None


def _number(text: str) -> Number | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return Number(number) if number.is_finite() and len(text) < 30 else None


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


# ---- a text to rows


def rows_of(text: str, level: Level) -> Builder:
    """The builder that says the same as the text, `fits` False when there is none."""
    if not text.strip():
        return Builder(level, rows=(BuilderRow(),))
    try:
        condition = parse(text, level=level).condition
    except EngageError:
        return Builder(level, fits=False)
    join = "any" if isinstance(condition, Or) else "all"
    parts = condition.parts if isinstance(condition, And | Or) else (condition,)
    rows = [_row_of(part, level) for part in parts]
    if len(rows) > MOST_ROWS or not all(rows):
        return Builder(level, fits=False)
    builder = Builder(level, join, tuple(row for row in rows if row is not None))
    # the proof that nothing was lost on the way
    return builder if builder.text() == condition_text(condition) else Builder(level, fits=False)


def _row_of(part: Condition, level: Level) -> BuilderRow | None:
    whose = ""
    if level is Level.ACCOUNT and isinstance(part, AnyUser | AllUsers):
        whose = "any" if isinstance(part, AnyUser) else "all"
        part = part.part
        if whose == "all" and isinstance(part, Not):
            whose, part = "none", part.part
    negated = isinstance(part, Not)
    if isinstance(part, Not):
        part = part.part
    if not isinstance(part, Comparison):
        return None
    row = _plain_row(part)
    if row is None or (negated and row.kind == "trait"):
        return None
    kinds = {"did": "did_not", "audience": "not_audience"}
    return replace(row, whose=whose, kind=kinds[row.kind] if negated else row.kind)


def _plain_row(part: Comparison) -> BuilderRow | None:
    source = part.scalar.source
    if isinstance(source, Trait):
        if part.comparator is Comparator.EQUALS and part.arguments == (Truth(True),) and len(source.path) == 1:
            return BuilderRow(kind="audience", name=source.path[0])
        return BuilderRow(kind="trait", name=".".join(source.path), compares=str(part.comparator), value=_value_text(part))
    if not isinstance(source, Events) or part.scalar.reducer != Reducer(Reduce.COUNT):
        return None
    row = BuilderRow(name=source.name, count_is=str(part.comparator), count=_value_text(part))
    for each in source.filters:
        found = _filtered(row, each)
        if found is None:
            return None
        row = found
    return row


def _filtered(row: BuilderRow, each: Filter) -> BuilderRow | None:
    match each:
        case Within(Duration(days, Unit.DAY), False):
            return replace(row, days=str(days))
        case Where(Comparison() as inner) if isinstance(inner.scalar.source, Property) and not row.property:
            path = ".".join(inner.scalar.source.path)
            return replace(row, property=path, compares=str(inner.comparator), value=_value_text(inner))
        case _:
            return None


def _value_text(part: Comparison) -> str:
    if not part.arguments:
        return ""
    match part.arguments[0]:
        case Number(value):
            return format(value, "f")
        case Truth(value):
            return "true" if value else "false"
        case Text(value):
            return f"'{value}'" if _number(value) or value in {"true", "false"} or value[:1] in {"'", '"'} else value
        case _:
            return ""


# ---- a form to rows


def read_builder(form: Mapping[str, str], level: Level) -> Builder:
    """The rows of a form, with the row that it adds or takes away."""
    rows = tuple(_form_rows(form))
    if form.get("b.remove", "").isdigit():
        gone = int(form["b.remove"])
        rows = tuple(row for order, row in enumerate(rows) if order != gone)
    if form.get("b.add") and len(rows) < MOST_ROWS:
        rows = (*rows, BuilderRow())
    join = "any" if form.get("b.join") == "any" else "all"
    return Builder(level, join, rows or (BuilderRow(),))


def _form_rows(form: Mapping[str, str]) -> Iterator[BuilderRow]:
    for order in range(MOST_ROWS):
        if f"b.{order}.kind" not in form:
            return

        def at(name: str, otherwise: str = "", order: int = order) -> str:
            return form.get(f"b.{order}.{name}", otherwise).strip()[:500]

        kind = at("kind") if at("kind") in dict(KINDS) else "did"
        yield BuilderRow(
            kind,
            at("name"),
            at("count_is", "at_least"),
            at("count", "1"),
            at("days"),
            at("property"),
            at("compares", "equals"),
            at("value"),
            at("whose"),
        )
