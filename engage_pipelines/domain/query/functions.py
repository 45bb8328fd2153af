"""Functions of the language: from a call as written to a node of the tree, or to a message that says what fits there."""

from collections.abc import Callable, Sequence

from engage_pipelines.domain.query.names import EXTRACTORS, did_you_mean
from engage_pipelines.domain.query.pieces import (
    Call,
    Cast,
    Given,
    Part,
    Piece,
    Several,
    fail,
    moment,
    path_of,
    place_of_piece,
    place_of_token,
)
from engage_pipelines.domain.query.tree import (
    DEFAULT_MINIMUM_FREQUENCY,
    Argument,
    As,
    Between,
    Comparator,
    Context,
    Duration,
    Events,
    Filter,
    Moment,
    Number,
    Property,
    Reduce,
    Reducer,
    Scalar,
    Source,
    Sources,
    Text,
    Trait,
    Truth,
    Where,
    Within,
)

# ---- arguments


def _expect(call: Call, fits: bool, shape: str) -> None:
    if not fits:
        fail(call.place, f"{call.name}(...) does not fit.", f"Write {shape}.")


def _text(call: Call, given: Sequence[Given], shape: str) -> Text:
    """The one text in the brackets."""
    value = given[0].value if len(given) == 1 else None
    if isinstance(value, Text) and given[0].name is None and value.value:
        return value
    return fail(call.place, f"{call.name}(...) needs one text in quotes.", f"Write {shape}.")


# ---- extractors


def value_of(piece: Piece) -> Piece:
    """A call looked at as an extractor; everything else as it is."""
    return Scalar(_source(piece)) if isinstance(piece, Call) else piece


def _source(call: Call) -> Source:
    match call.name:
        case "event":
            return Events(_text(call, call.given, "event('Order Completed')").value, (), call.place)
        case "trait":
            return Trait(path_of(_text(call, call.given, "trait('plan')")), call.place)
        case "context":
            return Context(path_of(_text(call, call.given, "context('page.url')")), call.place)
        case "property":
            return _property(call)
        case "literal":
            return _literal(call)
        case "entity":
            return fail(call.place, "entity(...) is not supported yet.", "Related tables come with linked audiences.")
        case _:
            remedy = did_you_mean(call.name, EXTRACTORS, "A value starts with event('Name'), trait('key') or property('name').")
            return fail(call.place, f"found {call.name}(...), which starts no value.", remedy)


def _property(call: Call) -> Property:
    shape = "property('total') or property(parent: 'total')"
    first = call.given[0] if call.given else None
    if first and first.name == "parent":
        return Property(path_of(_text(call, [Given(None, first.value, first.place), *call.given[1:]], shape)), True, call.place)
    return Property(path_of(_text(call, call.given, shape)), False, call.place)


def _literal(call: Call) -> Source:
    value = call.given[0].value if len(call.given) == 1 and not call.given[0].name else None
    if isinstance(value, Number | Text | Truth | Moment):
        return value
    return fail(call.place, "literal(...) needs one number, text, truth value or date.", "Write literal(5) or literal('text').")


# ---- filters


def filter_of(call: Call) -> Filter:
    """A filter on rows."""
    match call.name:
        case "where":
            return _where(call)
        case "within":
            return _within(call)
        case "between":
            windows = [each.value for each in call.given if isinstance(each.value, Duration) and not each.name]
            _expect(call, len(windows) == len(call.given) == 2, "between(7 days, 10 days)")
            if windows[0].us > windows[1].us:
                fail(call.place, "between(...) starts with the longer time.", "Write the nearer end first: between(7 days, 10 days).")
            return Between(windows[0], windows[1], call.place)
        case _:
            return _sources(call)


def session_of(call: Call) -> Duration:
    """How long a session goes on without a row."""
    given = call.given[0] if len(call.given) == 1 else None
    if given and given.name is None and isinstance(given.value, Duration):
        if given.value.us:
            return Duration(given.value.amount, given.value.unit, call.place)
        fail(call.place, "a session that expires after no time holds nothing.", "Write expires_after(1 hour).")
    return fail(call.place, f"{call.name}(...) needs a length of time.", "Write expires_after(1 hour).")


def _where(call: Call) -> Where:
    value = call.given[0].value if len(call.given) == 1 and not call.given[0].name else None
    if isinstance(value, Part):
        return Where(value.condition, call.place, value.depth)
    return fail(call.place, "where(...) needs one condition.", "Write where(property('total') >= 100).")


def _within(call: Call) -> Within:
    given = call.given[0] if len(call.given) == 1 else None
    _expect(call, given is not None and given.name in (None, "parent"), "within(7 days) or within(parent: 1 day)")
    if given and isinstance(given.value, Duration):
        return Within(given.value, given.name == "parent", call.place)
    return fail(call.place, f"{call.name}(...) needs a length of time.", "Write within(7 days).")


def _sources(call: Call) -> Sources:
    values = _spread(call.given)
    texts = tuple(value.value for value in values if isinstance(value, Text))
    named = [each.name for each in call.given]
    fits = bool(texts) and len(texts) == len(values) and named[0] == "exclude" and not any(named[1:])
    _expect(call, fits, "sources(exclude: 'source id')")
    return Sources(texts, call.place)


def _spread(given: Sequence[Given]) -> list[Piece]:
    """The values given, lists taken apart."""
    values: list[Piece] = []
    for each in given:
        values.extend(each.value.values if isinstance(each.value, Several) else (each.value,))
    return values


# ---- reducers

_NUMERIC = {"sum": Reduce.SUM, "avg": Reduce.AVG}


def reducer_of(call: Call) -> Reducer:
    """A reducer of rows."""
    if call.name == "count":
        _expect(call, not call.given, "count() with nothing in its brackets; conditions go into where(...) before it")
        return Reducer(Reduce.COUNT, place=call.place)
    kind = Reduce(call.name)
    allowed = 2 if kind is Reduce.MODE else 1
    shape = f"{call.name}(property('total'))"
    _expect(call, 1 <= len(call.given) <= allowed and call.given[0].name is None, shape)
    argument, read_as = _row_value(call, call.given[0].value, shape)
    if kind is Reduce.MODE:
        return Reducer(kind, argument, read_as or As.STRING, _frequency(call), call.place)
    if read_as and kind not in (Reduce.MIN, Reduce.MAX):
        fail(call.place, f"{call.name}(...) takes no `as`.", f"Write {shape}.")
    if read_as is As.ARRAY:
        fail(call.place, f"{call.name}(...) reads values as number or string.", f"Write {call.name}(property('total') as string).")
    return Reducer(kind, argument, (read_as or As.NUMBER) if kind in (Reduce.MIN, Reduce.MAX) else None, None, call.place)


def _row_value(call: Call, piece: Piece, shape: str) -> tuple[Property | Context, As | None]:
    read_as = None
    if isinstance(piece, Cast):
        known = {each.value: each for each in As}
        read_as = known.get(piece.kind.casefold())
        if not read_as:
            remedy = did_you_mean(str(piece.kind), known, "Use string, number or array.")
            fail(place_of_token(piece.kind), f"found {piece.kind} after `as`, expected string, number or array.", remedy)
        piece = piece.value
    if isinstance(piece, Scalar) and isinstance(piece.source, Property | Context):
        return piece.source, read_as
    return fail(call.place, f"{call.name}(...) needs a property.", f"Write {shape}.")


def _frequency(call: Call) -> int:
    if len(call.given) == 1:
        return DEFAULT_MINIMUM_FREQUENCY
    given = call.given[1]
    if isinstance(given.value, Number) and given.name in (None, "minimum_frequency"):
        value = given.value.value
        if value == value.to_integral_value() and 1 <= value <= 10**9:
            return int(value)
    return fail(given.place, "the minimum frequency of mode(...) is a whole number from 1.", "Write mode(property('color'), 2).")


# ---- comparators

_WINDOWS = (Comparator.WITHIN_LAST, Comparator.WITHIN_NEXT, Comparator.BEFORE_LAST, Comparator.AFTER_NEXT)
_DATES = (Comparator.BEFORE_DATE, Comparator.AFTER_DATE)
_MANY = (Comparator.CONTAINS, Comparator.OMITS, Comparator.ONE_OF, Comparator.NONE_OF)
_TEXTS = (Comparator.CONTAINS, Comparator.OMITS, Comparator.STARTS_WITH, Comparator.ENDS_WITH)
_NOTHING = (Comparator.ABSENT, Comparator.EXISTS)


def arguments_of(comparator: Comparator, given: Sequence[Given], call: Call) -> tuple[Argument, ...]:
    """What a value is compared with. Raises DefinitionError when it does not fit the comparator."""
    values = [value_of(value) for value in _spread(given)]
    for each in given:
        if each.name:
            fail(each.place, f"found {each.name}: in {call.name}(...).", "Leave the name out.")
    _expect_number_of(comparator, values, call)
    convert: Callable[[Piece, Call], Argument] = _plain
    if comparator in _WINDOWS:
        convert = _window
    elif comparator in _DATES:
        convert = _date
    elif comparator in _TEXTS:
        convert = _only_text
    return tuple(convert(value, call) for value in values)


def _expect_number_of(comparator: Comparator, values: Sequence[Piece], call: Call) -> None:
    if comparator in _NOTHING:
        _expect(call, not values, f"{call.name}() with nothing in its brackets")
    elif comparator in _MANY:
        _expect(call, bool(values), f"{call.name}('a', 'b')")
    else:
        example = "7 days" if comparator in _WINDOWS else "2022-10-17" if comparator in _DATES else "'value'"
        _expect(call, len(values) == 1, f"{call.name}({example})")


def _window(piece: Piece, call: Call) -> Argument:
    if isinstance(piece, Duration):
        return piece
    return fail(call.place, f"{call.name}(...) needs a length of time.", f"Write {call.name}(7 days).")


def _date(piece: Piece, call: Call) -> Argument:
    if isinstance(piece, Text):
        return moment(piece.value, piece.place)
    if isinstance(piece, Moment):
        return piece
    return fail(call.place, f"{call.name}(...) needs a date.", f"Write {call.name}(2022-10-17) or {call.name}(2022-10-17T00:00:00Z).")


def _only_text(piece: Piece, call: Call) -> Argument:
    if isinstance(piece, Text):
        return piece
    return fail(call.place, f"{call.name}(...) compares texts.", f"Write {call.name}('text').")


def _plain(piece: Piece, call: Call) -> Argument:
    if isinstance(piece, Number | Text | Truth | Moment):
        return piece
    if isinstance(piece, Scalar) and piece.reducer is None and not isinstance(piece.source, Events):
        return piece.source
    place = place_of_piece(piece)
    if isinstance(piece, Scalar):
        fail(place, "an event cannot be what a value is compared with.", "Write it on the left: event('Name').count() >= 1.")
    return fail(place, f"{call.name}(...) cannot compare with this.", "Compare with a number, a text in quotes, true, false or a date.")
