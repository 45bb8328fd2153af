"""What may be changed of a connection that is there: settings of its list, what is sent when it ends, and the traits that ride along."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from engage_pipelines.destinations.base import DestinationType
from engage_pipelines.domain.enrichment import OPTION as TRAITS
from engage_pipelines.domain.enrichment import parse_enrichment
from engage_pipelines.registry.connections import set_list, set_on_disconnect, set_traits
from engage_pipelines.registry.leaving import EXIT_ALL, KEEP
from engage_pipelines.registry.leaving import OPTION as ENDING
from engage_pipelines.registry.list_settings import OPTION as LIST
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.spaces import find_space
from engage_pipelines.registry.types import find_type
from engage_pipelines.server.console.forms import WHOLE, Problems, StaleError, check_bounds, check_stamp, stamp
from engage_pipelines.server.console.model_fields import SettingField, fields_of, place_beside, read_fields
from engage_pipelines.server.console.pages import go, render
from engage_pipelines.server.console.stale import overtaken
from engage_pipelines.server.console.views.connections import Place, place_of
from engage_pipelines.server.console.visit import Visit

LIST_PREFIX = "l."


@dataclass(frozen=True, slots=True)
class _Said:
    """What the form says; `listed` None for a type whose lists have no settings."""

    listed: Mapping[str, Any] | None
    ending: str
    traits: Sequence[str]


def list_fields(type_: DestinationType, kept: Mapping[str, Any], given: Mapping[str, str] | None) -> list[SettingField]:
    """The settings of a list as fields; none for a type whose lists have none."""
    model = type_.list_settings_model
    return [] if model is None else fields_of(model, kept, given, prefix=LIST_PREFIX)


def list_names(type_: DestinationType) -> list[str]:
    """What these fields are called."""
    return [f"{LIST_PREFIX}{each.name}" for each in list_fields(type_, {}, None)]


def read_list(visit: Visit, type_: DestinationType, problems: Problems) -> dict[str, Any] | None:
    """The settings of the list that a form says, what stands at its default left out; None for a type whose lists have none."""
    if type_.list_settings_model is None:
        return None
    usual = {each.name: each.value for each in list_fields(type_, {}, None)}
    said = read_fields(visit.form, list_fields(type_, {}, visit.form), problems, prefix=LIST_PREFIX)
    return {name: value for name, value in said.items() if str(visit.form.get(f"{LIST_PREFIX}{name}", "")).strip() != usual[name]}


def read_ending(visit: Visit, problems: Problems) -> str:
    how = visit.form.get("on_disconnect", KEEP)
    if how not in {KEEP, EXIT_ALL}:
        problems.add("on_disconnect", f"{how[:40]!r} is nothing that can be done at the end.", "Choose one of the two.")
        return KEEP
    return how


def read_traits(visit: Visit, problems: Problems) -> list[str]:
    """The traits that a form has ride along, one of each line that says something."""
    said = [line for each in visit.form.get("traits", "").splitlines() if (line := each.strip())]
    with problems.within("traits"):
        parse_enrichment(said, key=visit.param("key"))
    return said


def ask(visit: Visit) -> Response:
    with visit.database.read() as c:
        place = place_of(c, visit)
    return _form(visit, place, None, stamp(_content(place.row)), Problems())


def _form(visit: Visit, place: Place, given: Mapping[str, str] | None, shown_stamp: str, problems: Problems) -> Response:
    type_ = find_type(visit.registry.types, place.to.type)
    content = _content(place.row)
    return render(
        visit,
        "connection_settings.html",
        status=422 if problems else 200,
        section=visit.section,
        place=place,
        type=type_,
        list_fields=list_fields(type_, content["list"], given),
        on_disconnect=content["on_disconnect"] if given is None else given.get("on_disconnect", KEEP),
        traits="\n".join(content["traits"]) if given is None else given.get("traits", ""),
        stamp=shown_stamp,
        problems=problems,
    )


def save(visit: Visit) -> Response:
    with visit.database.read() as c:
        place = place_of(c, visit)
    type_ = find_type(visit.registry.types, place.to.type)
    problems = check_bounds(visit.form, visit.several, (*list_names(type_), "on_disconnect", "traits", "stamp"))
    said = _Said(read_list(visit, type_, problems), read_ending(visit, problems), read_traits(visit, problems))
    if not problems:
        try:
            with problems.within(WHOLE):
                _write(visit, said)
        except StaleError as stale:
            return _stale(visit, place, said, stale)
    if type_.list_settings_model is not None:
        place_beside(problems, type_.list_settings_model, prefix=LIST_PREFIX)
    if problems:
        return _form(visit, place, visit.form, visit.form.get("stamp", ""), problems)
    return go(visit, visit.at(place.of, "destinations", place.to.key), f"Settings of {place.to.name} are changed; nothing is sent for it.")


def _write(visit: Visit, said: _Said) -> None:
    with visit.registry.change() as change:
        place, space = place_of(change.c, visit), find_space(change.c, visit.space.key)
        check_stamp(visit.form, _content(place.row), f"The connection to {place.to.name}")
        joined = place.of, place.to
        row = place.row if said.listed is None else set_list(change, space, place.row, joined, said.listed)
        row = set_on_disconnect(change, space, row, joined, said.ending)
        set_traits(change, space, row, joined, said.traits)


def _stale(visit: Visit, place: Place, said: _Said, stale: StaleError) -> Response:
    """Both versions; one keeps theirs, or opens the form anew."""
    mine = _shown(said.listed or {}, said.ending, said.traits)
    theirs = _shown(stale.theirs["list"], stale.theirs["on_disconnect"], stale.theirs["traits"])
    shown = {name: theirs.get(name, "") for name in {**theirs, **mine}}
    return overtaken(visit, stale.what, mine=mine, theirs=shown, back=visit.at(place.of, "destinations", place.to.key))


def _shown(listed: Mapping[str, Any], ending: str, traits: Sequence[str]) -> dict[str, Any]:
    return {"on_disconnect": ending, "traits": "\n".join(traits), **{f"list: {name}": value for name, value in listed.items()}}


def _content(row: Row) -> dict[str, Any]:
    return {"list": row.options.get(LIST, {}), "on_disconnect": row.options.get(ENDING, KEEP), "traits": row.options.get(TRAITS, [])}
