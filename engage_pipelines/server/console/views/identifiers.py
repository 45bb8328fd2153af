"""Which identifiers a connection enters people by: as a form says it, and changed on a connection that is there."""

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from engage_pipelines.registry.connections import set_ids
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.spaces import find_space
from engage_pipelines.server.console.forms import WHOLE, Problems, StaleError, check_bounds, check_stamp, stamp
from engage_pipelines.server.console.pages import go, render
from engage_pipelines.server.console.stale import overtaken
from engage_pipelines.server.console.views.connections import Place, place_of
from engage_pipelines.server.console.visit import Visit


def ask(visit: Visit) -> Response:
    """Which identifiers people are entered by."""
    with visit.database.read() as c:
        place = place_of(c, visit)
    return _form(visit, place, _ids_of(place.row), stamp(_ids_of(place.row)), Problems())


def _form(visit: Visit, place: Place, shown: Mapping[str, str], shown_stamp: str, problems: Problems) -> Response:
    return render(
        visit,
        "ids.html",
        status=422 if problems else 200,
        section=visit.section,
        place=place,
        kinds=visit.registry.types[place.to.type].user_address_kinds,
        kept=shown,
        stamp=shown_stamp,
        problems=problems,
    )


def save(visit: Visit) -> Response:
    problems = check_bounds(visit.form, visit.several, ("ids", "as", "stamp"))
    rules = chosen_ids(visit)
    with visit.database.read() as c:
        place = place_of(c, visit)
    if not problems:
        try:
            with problems.within(WHOLE), visit.registry.change() as change:
                there = place_of(change.c, visit)
                check_stamp(visit.form, _ids_of(there.row), f"The connection to {place.to.name}")
                set_ids(change, find_space(change.c, visit.space.key), there.row, (there.of, there.to), rules)
        except StaleError as stale:
            return _stale(visit, place, rules, stale)
    if problems:
        return _form(visit, place, {rule.partition(":")[0]: rule for rule in rules}, visit.form.get("stamp", ""), problems)
    return go(visit, visit.at(place.of), f"Identifiers of {place.to.name} are changed; nothing is sent for it.")


def _stale(visit: Visit, place: Place, rules: Sequence[str], stale: StaleError) -> Response:
    mine = {rule.partition(":")[0]: rule for rule in rules}
    theirs = {kind: stale.theirs.get(kind, "") for kind in {**stale.theirs, **mine}}
    return overtaken(visit, stale.what, mine=mine, theirs=theirs, back=visit.at(place.of, "destinations", place.to.key, "ids"))


def _ids_of(row: Row) -> dict[str, str]:
    """By kind the rule."""
    return {rule.partition(":")[0]: rule for rule in row.options.get("id_sync", [])}


def chosen_ids(visit: Visit) -> list[str]:
    """The rules that a form says: `ids.email` is first, last or all, and empty for an identifier that is not used."""
    chosen: list[str] = []
    for name, strategy in visit.form.items():
        if name.startswith("ids.") and strategy:
            kind = name.removeprefix("ids.")
            mapped = visit.form.get(f"as.{kind}", "").strip()
            chosen.append(":".join(part for part in (kind, strategy, mapped) if part))
    return chosen
