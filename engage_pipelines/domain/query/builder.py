"""From the shapes of the grammar to the tree, while the parser reads, so that nothing here recurses over the text."""

# lark ships partial types; the methods below say what they take and give
# pyright: reportUnknownVariableType=false, reportUntypedClassDecorator=false, reportUnknownMemberType=false

from dataclasses import replace

from lark import Token, Transformer, v_args

from engage_pipelines.domain.query.functions import arguments_of, filter_of, reducer_of, session_of, value_of
from engage_pipelines.domain.query.names import COMPARATORS, FILTERS, REDUCERS, SUGAR, did_you_mean
from engage_pipelines.domain.query.pieces import (
    Call,
    Cast,
    Given,
    Part,
    Piece,
    Several,
    fail,
    place_of_piece,
    place_of_token,
    read_duration,
    read_literal,
)
from engage_pipelines.domain.query.tree import (
    AllUsers,
    And,
    AnyUser,
    Comparator,
    Comparison,
    Condition,
    Duration,
    Events,
    Literal,
    Moment,
    Not,
    Number,
    Or,
    Place,
    Reduce,
    Scalar,
    Text,
    Truth,
    Where,
    both,
)
from engage_pipelines.domain.query.tree import Reducer as ReducerNode

MAX_DEPTH = 100
_FOLLOWERS = (*FILTERS, *REDUCERS, *COMPARATORS)


@v_args(inline=True)
class Builder(Transformer[Token, Condition | Scalar]):
    """One method per rule of the grammar."""

    def start(self, piece: Piece) -> Condition:
        return _condition(piece).condition

    def trait(self, piece: Piece) -> Scalar:
        return _computed(piece)

    def disjunction(self, *pieces: Piece) -> Part:
        return _joined(Or, pieces)

    def conjunction(self, *pieces: Piece) -> Part:
        return _joined(And, pieces)

    def negation(self, token: Token, piece: Piece) -> Part:
        part = _condition(piece)
        return _deeper(Not(part.condition), part.depth, place_of_token(token))

    def any_user(self, token: Token, piece: Piece) -> Part:
        part, place = _condition(piece), place_of_token(token)
        return _deeper(AnyUser(part.condition, place), part.depth, place)

    def all_users(self, token: Token, piece: Piece) -> Part:
        part, place = _condition(piece), place_of_token(token)
        return _deeper(AllUsers(part.condition, place), part.depth, place)

    def brackets(self, bracket: Token, piece: Piece) -> Piece:
        value = value_of(piece)
        return value if not isinstance(value, Part) else Part(value.condition, value.depth, place_of_token(bracket))

    def sugar(self, left: Piece, operator: Token, right: Piece) -> Part:
        comparator = SUGAR[str(operator)]
        call = Call(str(operator), (Given(None, right, place_of_piece(right)),), place_of_token(operator))
        return _compare(value_of(left), comparator, call)

    def chain(self, first: Piece, *calls: Call) -> Piece:
        value = value_of(first)
        for call in calls:
            value = _followed(value, call)
        return value

    def call(self, name: Token, *given: Given) -> Call:
        return Call(str(name), given, place_of_token(name))

    def named(self, name: Token, value: Piece) -> Given:
        return Given(str(name), value_of(value), place_of_token(name))

    def unnamed(self, value: Piece) -> Given:
        return Given(None, value_of(value), place_of_piece(value))

    def cast(self, value: Piece, kind: Token) -> Cast:
        return Cast(value_of(value), kind)

    def duration(self, amount: Token, unit: Token) -> Duration:
        return read_duration(amount, unit)

    def several(self, *values: Piece) -> Several:
        return Several(tuple(value_of(value) for value in values))

    def literal(self, token: Token) -> Literal:
        return read_literal(token)


def _joined(kind: type[And] | type[Or], pieces: tuple[Piece, ...]) -> Part:
    parts = [_condition(piece) for piece in pieces]
    return _deeper(both(kind, tuple(part.condition for part in parts)), max(part.depth for part in parts), parts[0].place)


def _deeper(condition: Condition, depth: int, place: Place) -> Part:
    if depth >= MAX_DEPTH:
        fail(
            place,
            f"conditions are nested more than {MAX_DEPTH} deep.",
            "Split the definition, or use another audience by trait('audience_key').",
        )
    return Part(condition, depth + 1, place)


def _condition(piece: Piece) -> Part:
    """A piece that must be a condition."""
    value = value_of(piece)
    if isinstance(value, Part):
        return value
    place = place_of_piece(value)
    if isinstance(value, Scalar) and isinstance(value.source, Events):
        remedy = "Write .count() >= 1 after it." if not value.reducer else "Write >= 1 or another comparison after it."
        return fail(place, "an event alone is no condition.", remedy)
    return fail(place, "a value alone is no condition.", "Compare it: write = true, >= 1 or .exists() after it.")


def _computed(piece: Piece) -> Scalar:
    """A piece that must be a value made of rows."""
    value = value_of(piece)
    place = place_of_piece(value)
    if isinstance(value, Part):
        return fail(place, "a trait is a value, and this is a condition.", "Leave the comparison out: event('Name').count().")
    if not isinstance(value, Scalar) or not isinstance(value.source, Events):
        return fail(place, "a computed trait is made of an event.", "Start with event('Name'), such as event('Name').count().")
    if not value.reducer:
        return fail(place, "an event alone is no value.", "Write .count(), .sum(property('total')) or another reducer after it.")
    return value


def _followed(value: Piece, call: Call) -> Piece:
    """A value with one more function after it."""
    if isinstance(value, Part):
        return fail(call.place, f"found .{call.name}(...) after a finished condition.", "Join conditions with AND or OR.")
    if call.name in COMPARATORS:
        return _compare(value, Comparator(call.name), call)
    if call.name not in _FOLLOWERS:
        return fail(call.place, f"found the function {call.name}(...), which does not exist.", did_you_mean(call.name, _FOLLOWERS))
    if not isinstance(value, Scalar) or not isinstance(value.source, Events):
        return fail(call.place, f"{call.name}(...) works on events alone.", "Write event('Name') before it.")
    if call.name in FILTERS:
        return _expiring(value, call) if call.name == "expires_after" else _filtered(value, value.source, call)
    if not value.reducer:
        return Scalar(value.source, reducer_of(call))
    if value.reducer.kind is Reduce.UNIQUE and call.name == "count" and not call.given:
        return Scalar(value.source, ReducerNode(Reduce.UNIQUE_COUNT, value.reducer.argument, place=value.reducer.place))
    return fail(
        call.place, f"found .{call.name}(...) after {value.reducer.kind}(...).", "Only one of them can stand there; compare its value."
    )


def _filtered(value: Scalar, events: Events, call: Call) -> Scalar:
    _check_before_reducer(value, call)
    return Scalar(replace(events, filters=(*events.filters, filter_of(call))))


def _expiring(value: Scalar, call: Call) -> Scalar:
    _check_before_reducer(value, call)
    assert isinstance(value.source, Events)
    if value.source.expires_after:
        fail(call.place, "expires_after(...) is there twice.", "Keep one of them.")
    return Scalar(replace(value.source, expires_after=session_of(call)))


def _check_before_reducer(value: Scalar, call: Call) -> None:
    if value.reducer:
        fail(
            call.place,
            f"{call.name}(...) stands after {value.reducer.kind}(...).",
            f"Write it before: event('Name').{call.name}(...).count().",
        )


def _compare(value: Piece, comparator: Comparator, call: Call) -> Part:
    if isinstance(value, Number | Text | Truth | Moment):
        value = Scalar(value)
    if not isinstance(value, Scalar):
        return fail(call.place, f"{call.name} compares values, and this is a condition.", "Join conditions with AND or OR.")
    comparison = Comparison(value, comparator, arguments_of(comparator, call.given, call), value.place)
    return _deeper(comparison, _where_depth(value), value.place)


def _where_depth(value: Scalar) -> int:
    if not isinstance(value.source, Events):
        return 0
    return max((each.depth for each in value.source.filters if isinstance(each, Where)), default=0)
