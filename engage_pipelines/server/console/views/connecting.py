"""Add destination: what can be connected and why not, importing a configuration, the options of a connection, and what it would send."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from starlette.responses import Response

from engage_pipelines.delivery.rehearsal import rehearse
from engage_pipelines.destinations.base import DestinationType, Effect, MembershipAs
from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.connection import CALLS
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.registry.computations import connected_destinations
from engage_pipelines.registry.connections import NewConnection, connect
from engage_pipelines.registry.destinations import find_destination, find_on_source, import_configuration, list_destinations
from engage_pipelines.registry.leaving import KEEP
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.sources import list_sources
from engage_pipelines.registry.spaces import ONE_PER_SPACE
from engage_pipelines.registry.tables import mapping
from engage_pipelines.registry.tokens import Role
from engage_pipelines.registry.type_settings import masked_settings
from engage_pipelines.registry.types import find_type, supported_calls
from engage_pipelines.server.console import words
from engage_pipelines.server.console.forms import WHOLE, Problems, check_bounds
from engage_pipelines.server.console.model_fields import place_beside
from engage_pipelines.server.console.pages import go, render
from engage_pipelines.server.console.slow import within
from engage_pipelines.server.console.views.connection_settings import (
    LIST_PREFIX,
    list_fields,
    list_names,
    read_ending,
    read_list,
    read_traits,
)
from engage_pipelines.server.console.views.connections import imported_from
from engage_pipelines.server.console.views.identifiers import chosen_ids
from engage_pipelines.server.console.visit import Visit

INTAKE = {
    MembershipAs.USER_PROPERTY: "User property: a trait on each person or account says whether it is in",
    MembershipAs.USER_LIST: "User list: members are added to a list and taken off it",
}
_INTAKE_OF_VALUES = {
    True: "User property: a trait on each person or account holds the value",
    False: "Membership alone: who is in and who is not, no values of traits",
}
EFFECTS = {
    Effect.IDEMPOTENT: "A record that arrives twice does no more than once.",
    Effect.DEDUPES: "A record that arrives twice is dropped by the destination, within its window.",
    Effect.AT_LEAST_ONCE: "A record that arrives twice counts twice at the destination.",
}
CALL_WORDS = {
    "group": ("Group", "one call per account, with the account's membership"),
    "identify": ("Identify", "one call per user, with the membership as a trait"),
    "track": ("Track", "Audience Entered and Audience Exited, one event per user"),
}

_NO_VALUES = "It takes who is in and who is not, no values."
_FIELDS = ("calls", "ids", "as", "backfill", "confirmed", "on_disconnect", "traits")

_TRAIT_CALL_WORDS = {
    "group": ("Group", "one call per account, with the value"),
    "identify": ("Identify", "one call per user, with the value as a trait"),
    "track": ("Track", "Trait Computed, one event per user"),
}


@dataclass(frozen=True, slots=True)
class Offer:
    """A configuration that could be connected; `why_not` says what stands in the way, None when nothing does."""

    row: Row
    source: str | None
    note: str
    why_not: str | None


@dataclass(frozen=True, slots=True)
class Card:
    """A destination type with what there is of it; `may_make` when a new configuration of it is possible."""

    type: DestinationType
    intake: str
    offers: Sequence[Offer]
    may_make: bool
    why_not: str | None


def choose(visit: Visit) -> Response:
    """The cards, those that can be connected first."""
    search = visit.query("q")
    with visit.database.read() as c:
        of = visit.computation(c)
        cards = _cards(c, visit, of)
    found = [card for card in cards if search.casefold() in f"{card.type.name} {card.type.key} {card.type.description}".casefold()]
    found.sort(key=lambda card: (not any(offer.why_not is None for offer in card.offers), card.why_not is not None, card.type.name))
    return render(visit, "choose.html", section=visit.section, audience=of, cards=found, search=search, can_configure=visit.may(Role.ADMIN))


def _cards(c: sa.Connection, visit: Visit, of: Row) -> list[Card]:
    own = list_destinations(c, visit.space.id)
    connected = set(connected_destinations(c, of.id))
    sources = {row.id: row for row in list_sources(c, visit.space.id)}
    there = [row for source in sources for row in list_destinations(c, visit.space.id, source_id=source)]
    return [
        _card(c, visit, of, type_, own, there, connected, {one.id: one.key for one in sources.values()})
        for type_ in visit.registry.types.values()
    ]


def _card(
    c: sa.Connection,
    visit: Visit,
    of: Row,
    type_: DestinationType,
    own: Sequence[Row],
    there: Sequence[Row],
    connected: set[str],
    sources: dict[str, str],
) -> Card:
    mine = [row for row in own if row.type == type_.key]
    taken = next((row for row in mine if row.key in connected), None)
    per_space = visit.space.one_configuration_per_type == ONE_PER_SPACE
    level_fits = _fits(type_, of)
    offers = [Offer(row, None, _origin(c, row), _why_not(row, of, taken, level_fits) or _no_values(visit, type_, of, row)) for row in mine]
    imported = {row.imported_from for row in mine}
    for row in there:
        if row.type == type_.key and row.id not in imported:
            first = mine[0] if mine and per_space else None
            why = f"The space has {first.name} of this type already; one configuration per type." if first else level_fits
            why = why or _no_values(visit, type_, of, row)
            offers.append(Offer(row, sources[row.source_id], f"from source {sources[row.source_id]}", why))
    of_lists = of.kind == "trait" and not mine and _is_for_membership(type_)
    why_not = f"{taken.name} is connected to this {of.kind}; one configuration per type." if taken is not None else level_fits
    why_not = why_not or ("Use the trait in an audience, and connect that." if of_lists else None)
    return Card(
        type_,
        _intake(type_, of),
        offers,
        may_make=why_not is None and not (mine and per_space),
        why_not=why_not,
    )


def _is_for_membership(type_: DestinationType) -> bool:
    """True for a type that takes no values of traits."""
    return type_.membership_alone or type_.membership_as is MembershipAs.USER_LIST


def _intake(type_: DestinationType, of: Row) -> str:
    """How the type takes what is sent, as its card says it."""
    return INTAKE[type_.membership_as] if of.kind == "audience" else _INTAKE_OF_VALUES[not _is_for_membership(type_)]


def _no_values(visit: Visit, type_: DestinationType, of: Row, row: Row) -> str | None:
    """Why a configuration cannot be sent values; None of an audience, and where it can."""
    if of.kind != "trait" or type_.takes_values(visit.registry.desk.describe(type_, row.settings)):
        return None
    return _NO_VALUES


def _fits(type_: DestinationType, of: Row) -> str | None:
    possible = supported_calls(type_) - (set() if of.level == Level.ACCOUNT else {"group"})
    return None if possible else f"It takes nothing that can be sent of {of.level}s."


def _origin(c: sa.Connection, row: Row) -> str:
    source = imported_from(c, row)
    return f"imported from source {source.partition('/')[0]}" if source else "configured in this space"


def _why_not(row: Row, of: Row, taken: Row | None, level_fits: str | None) -> str | None:
    if taken is not None:
        name = "This" if taken.id == row.id else taken.name
        return f"{name} is connected to this {of.kind} already; one configuration per type."
    if not row.enabled:
        return "It is disabled; enable it among the destinations first."
    return level_fits


# ---- importing


def ask_import(visit: Visit) -> Response:
    """What importing would copy."""
    return _import_form(visit, visit.query("from"), Problems())


def _import_form(visit: Visit, path: str, problems: Problems) -> Response:
    with visit.database.read() as c:
        of = visit.computation(c)
        original = find_on_source(c, visit.space.id, path)
        wanted = sa.and_(mapping.c.destination_id == original.id, mapping.c.removed_at.is_(None))
        mappings = list(c.execute(sa.select(mapping.c.name).where(wanted)).scalars())
    type_ = find_type(visit.registry.types, original.type)
    return render(
        visit,
        "import.html",
        status=422 if problems else 200,
        section=visit.section,
        audience=of,
        original=original,
        path=path,
        type=type_,
        settings=masked_settings(type_, original.settings),
        mappings=mappings,
        key=visit.form.get("key", original.key),
        name=visit.form.get("name", original.name),
        problems=problems,
    )


def do_import(visit: Visit) -> Response:
    """Copy the configuration into the space, then go on to connect it."""
    problems = Problems()
    path = visit.form.get("from", "")
    row: Row | None = None
    with visit.database.read() as c:
        of = visit.computation(c)
    with problems.within(WHOLE), visit.registry.change() as change:
        row = import_configuration(change, visit.space, path, key=visit.form.get("key", ""), name=visit.form.get("name", ""))
    if row is None:
        return _import_form(visit, path, problems)
    return go(visit, visit.at(of, "connect", row.key), f"{row.name} is imported.")


# ---- connecting


def options(visit: Visit) -> Response:
    """Calls and identifiers of a new connection, chosen before anything is sent."""
    return _options_form(visit, Problems(), chosen=None)


def _options_form(visit: Visit, problems: Problems, chosen: NewConnection | None) -> Response:
    """`chosen` is what a form said that cannot be used as it is, None for the first look."""
    with visit.database.read() as c:
        of = visit.computation(c)
        to = find_destination(c, visit.space.id, visit.param("to"))
    type_ = find_type(visit.registry.types, to.type)
    usual = ("group", "identify") if of.level == Level.ACCOUNT else ("identify",)
    possible = [call for call in CALLS if call in supported_calls(type_) and (call != "group" or of.level == Level.ACCOUNT)]
    calls = [call for call in usual if call in possible] or possible if chosen is None else list(chosen.calls)
    history = of.options.get("include_historical_data", True)
    return render(
        visit,
        "connect.html",
        status=422 if problems else 200,
        section=visit.section,
        audience=of,
        to=to,
        type=type_,
        intake=_intake(type_, of),
        effect=EFFECTS[type_.effect],
        possible=possible,
        calls=calls,
        call_words=_TRAIT_CALL_WORDS if of.kind == "trait" else CALL_WORDS,
        kinds=type_.user_address_kinds,
        chosen_ids=dict(rule.split(":", 1) for rule in (chosen.ids or ())) if chosen else {},
        backfill=history if chosen is None else chosen.backfill,
        list_fields=list_fields(type_, {}, None if chosen is None else visit.form),
        on_disconnect=KEEP if chosen is None else chosen.on_disconnect,
        traits="" if chosen is None else visit.form.get("traits", ""),
        problems=problems,
    )


def review(visit: Visit) -> Response:
    """What the connection would make and send, to the call; a second form connects."""
    problems = check_bounds(visit.form, visit.several, (*_FIELDS, *list_names(_type_of(visit))))
    new = _wanted(visit, problems)
    if not new.calls:
        problems.add("calls", "No call is chosen.", "Choose at least one.")
    if problems:
        return _options_form(visit, problems, new)
    try:
        found = within(lambda _watch: rehearse(visit.runtime(), new))
    except EngageError as error:
        problems.found[WHOLE] = error
        return _options_form(visit, _placed(visit, problems), new)
    with visit.database.read() as c:
        of = visit.computation(c)
        to = find_destination(c, visit.space.id, new.destination)
    return render(visit, "connect_review.html", section=visit.section, audience=of, to=to, new=new, found=found, words=words)


def do_connect(visit: Visit) -> Response:
    if visit.form.get("confirmed") != "yes":
        return review(visit)
    problems = check_bounds(visit.form, visit.several, (*_FIELDS, *list_names(_type_of(visit))))
    new = _wanted(visit, problems)
    if problems:
        return _options_form(visit, problems, new)
    made = None
    with problems.within(WHOLE), visit.registry.change() as change:
        made = connect(change, visit.space, new)
    if made is None:
        return _options_form(visit, _placed(visit, problems), new)
    said = "The backfill is under way." if made.request_id else "Only later changes are sent."
    with visit.database.read() as c:
        of, to = visit.computation(c), find_destination(c, visit.space.id, new.destination)
    return go(visit, visit.at(of), f"Connected to {to.name}. {said}")


def _wanted(visit: Visit, problems: Problems) -> NewConnection:
    calls = [call for call in CALLS if call in visit.several.get("calls", ())]
    backfill = visit.form.get("backfill", "yes") != "no"
    type_ = _type_of(visit)
    return NewConnection(
        visit.param("key"),
        visit.param("to"),
        calls,
        backfill,
        chosen_ids(visit) or None,
        read_list(visit, type_, problems),
        read_ending(visit, problems),
        read_traits(visit, problems),
    )


def _type_of(visit: Visit) -> DestinationType:
    with visit.database.read() as c:
        to = find_destination(c, visit.space.id, visit.param("to"))
    return find_type(visit.registry.types, to.type)


def _placed(visit: Visit, problems: Problems) -> Problems:
    if model := _type_of(visit).list_settings_model:
        place_beside(problems, model, prefix=LIST_PREFIX)
    return problems
