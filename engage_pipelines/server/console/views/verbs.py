"""What is done to an audience or a trait as a whole: on and off, copied, deleted."""

from collections.abc import Callable, Sequence
from typing import Any

from starlette.responses import Response

from engage_pipelines.domain.computation import check_key
from engage_pipelines.domain.errors import ConflictError, NotFoundError
from engage_pipelines.registry.audiences import clone_audience, delete_audience, update_audience
from engage_pipelines.registry.change import Change
from engage_pipelines.registry.computations import connected_destinations
from engage_pipelines.registry.connections import leave_where_said, remove_all
from engage_pipelines.registry.definitions import users_of
from engage_pipelines.registry.lookup import Row
from engage_pipelines.registry.tokens import Role
from engage_pipelines.registry.traits import delete_trait, update_trait
from engage_pipelines.server.console.forms import Problems, check_bounds
from engage_pipelines.server.console.pages import go, render
from engage_pipelines.server.console.views.audiences import Head, head
from engage_pipelines.server.console.views.connections import exits_first
from engage_pipelines.server.console.visit import Visit
from engage_pipelines.server.console.words import listed

_ROLES = {"enable": Role.OPERATOR, "disable": Role.OPERATOR, "clone": Role.OPERATOR, "delete": Role.ADMIN}
_UPDATE: dict[str, Callable[..., Row]] = {"audience": update_audience, "trait": update_trait}
_DELETE = {"audience": delete_audience, "trait": delete_trait}


def ask(visit: Visit) -> Response:
    """The question before enabling, disabling, copying or deleting."""
    verb = _verb(visit)
    with visit.database.read() as c:
        top = head(c, visit, "settings")
        connected, users = connected_destinations(c, top.row.id), users_of(c, visit.space.id, top.row.key)
        exits = exits_first(c, visit.space.id, top.row)
    return _question(visit, top, verb, connected=connected, exits=exits, users=users)


def _question(
    visit: Visit,
    top: Head,
    verb: str,
    *,
    connected: Sequence[str] = (),
    exits: Sequence[str] = (),
    users: Sequence[str] = (),
    problems: Problems | None = None,
) -> Response:
    """What the verb comes to; problems are those of a copy that was tried."""
    named: dict[str, Any] = {name: visit.form.get(name, "").strip() if problems else "" for name in ("key", "name")}
    return render(
        visit,
        "audience_ask.html",
        status=422 if problems else 200,
        section=visit.section,
        head=top,
        verb=verb,
        connected=connected,
        exits=exits,
        users=users,
        problems=problems or Problems(),
        **named,
    )


def do(visit: Visit) -> Response:
    verb = _verb(visit)
    if verb == "clone":
        return _clone(visit)
    with visit.registry.change() as change:
        row = visit.computation(change.c)
        if verb == "delete":
            return _delete(visit, change, row)
        updated = _UPDATE[row.kind](change, visit.space, row.key, enabled=verb == "enable")
        leaving = leave_where_said(change, visit.space, updated) if verb == "disable" else []
    said = f" Exits are sent to {listed(leaving)}, as was said." if leaving else ""
    return go(visit, visit.at(row, "settings"), f"{row.kind.capitalize()} {row.name} is {verb}d.{said}")


def _delete(visit: Visit, change: Change, row: Row) -> Response:
    connected = connected_destinations(change.c, row.id)
    if visit.form.get("connected", "") != ",".join(connected):
        raise ConflictError("Its connections changed since you were asked.", "Look at them, and decide again.")
    if leaving := remove_all(change, visit.space, row):
        return go(visit, visit.at(row, "settings"), f"Exits are sent to {', '.join(leaving)} first; delete it then.")
    _DELETE[row.kind](change, visit.space, row.key)
    return go(visit, visit.url(visit.section), f"{row.kind.capitalize()} {row.name} is deleted; what destinations hold stays there.")


def _clone(visit: Visit) -> Response:
    problems = check_bounds(visit.form, visit.several, ("key", "name"))
    key, name = visit.form.get("key", "").strip(), visit.form.get("name", "").strip()
    with problems.within("key"):
        check_key(key, "audience key")
    if not problems:
        with problems.within("key"), visit.registry.change() as change:
            clone_audience(change, visit.space, visit.param("key"), key, name=name, options={})
    if problems:
        with visit.database.read() as c:
            top = head(c, visit, "settings")
        return _question(visit, top, "clone", problems=problems)
    return go(visit, visit.url("audiences", key), f"Audience {key} is made; connect it to the destinations it is for.")


def _verb(visit: Visit) -> str:
    """Raises NotFoundError for what cannot be done, ForbiddenError for what takes an administrator."""
    verb, of_trait = visit.param("verb"), visit.section == "traits"
    if verb not in _ROLES or (of_trait and verb == "clone"):
        what, can = ("a trait", "enabled, disabled and deleted") if of_trait else ("an audience", "enabled, disabled, copied and deleted")
        raise NotFoundError(f"{verb[:40]!r} cannot be done to {what}.", f"It can be {can}.")
    visit.need(_ROLES[verb])
    return verb
