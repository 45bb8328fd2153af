"""Which address shows or does what; who may is said beside it."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.access import actor_of, registry_for, spaces_for
from engage_pipelines.server.console.bare import no_space
from engage_pipelines.server.console.pages import FOLDER
from engage_pipelines.server.console.routing import both, does, shows
from engage_pipelines.server.console.views import (
    audiences,
    connecting,
    connection_settings,
    connections,
    definitions,
    deliveries,
    destinations,
    identifiers,
    log,
    mappings,
    profiles,
    settings,
    trait_forms,
    traits,
    verbs,
)
from engage_pipelines.server.console.visit import path_of

_A = "/audiences/{key}"
_T = "/traits/{key}"
_YEAR_S = 31_536_000


def routes() -> list[BaseRoute]:
    """Every page of the console, and the files that they need."""
    return [
        Route("/", _home, methods=["GET"]),
        Mount("/static", _Static(directory=FOLDER / "static")),
        *_of_audiences(),
        *_of_traits(),
        *_of_computations(_A),
        *_of_computations(_T),
        *_of_the_rest(),
    ]


def _of_audiences() -> Sequence[BaseRoute]:
    return [
        shows("", _first_page),
        shows("/audiences", audiences.listing, kept=True),
        *both("/audiences/new", definitions.ask_new, definitions.do_new),
        does("/definitions/preview", definitions.look, role=Role.READER),
        does("/definitions/builder", definitions.build, role=Role.READER),
        does("/definitions/rows", definitions.unbuild, role=Role.READER),
        shows(_A, audiences.overview, kept=True),
        shows(f"{_A}/breakdown", audiences.breakdown),
        shows(f"{_A}/overlap", audiences.overlap),
        shows(f"{_A}/definition", definitions.ask_edit),
        does(f"{_A}/definition", definitions.do_edit),
        shows(f"{_A}/members", audiences.members),
        shows(f"{_A}/members.csv", audiences.download),
        *both(f"{_A}/settings", settings.ask, settings.save),
    ]


def _of_traits() -> Sequence[BaseRoute]:
    return [
        shows("/traits", traits.listing, kept=True),
        *both("/traits/new", trait_forms.ask_new, trait_forms.do_new),
        does("/trait-definitions/preview", trait_forms.look, role=Role.READER),
        shows(_T, traits.overview, kept=True),
        shows(f"{_T}/spread", traits.spread),
        shows(f"{_T}/definition", trait_forms.ask_edit),
        does(f"{_T}/definition", trait_forms.do_edit),
        shows(f"{_T}/values", traits.values),
        shows(f"{_T}/values.csv", traits.download),
        *both(f"{_T}/settings", trait_forms.ask_settings, trait_forms.save_settings),
    ]


def _of_computations(base: str) -> Sequence[BaseRoute]:
    """What an audience and a trait have in common: how it is, what is done to it, what it is sent to, and how."""
    one = f"{base}/destinations/{{to}}"
    return [
        shows(f"{base}/status", audiences.status_part),
        shows(f"{base}/deliveries", deliveries.of_audience),
        *both(f"{base}/do/{{verb}}", verbs.ask, verbs.do),
        *both(f"{base}/held", audiences.ask_held, audiences.decide_held),
        does(f"{base}/compute", audiences.compute),
        shows(f"{base}/connections", connections.table),
        shows(f"{base}/add-destination", connecting.choose, role=Role.OPERATOR),
        *both(f"{base}/import", connecting.ask_import, connecting.do_import),
        *both(f"{base}/connect/{{to}}", connecting.options, connecting.do_connect),
        shows(one, connections.panel),
        shows(f"{one}/progress", connections.progress_part),
        *both(f"{one}/do/{{verb}}", connections.ask, connections.act),
        *both(f"{one}/settings", connection_settings.ask, connection_settings.save),
        *both(f"{one}/ids", identifiers.ask, identifiers.save),
        does(f"{one}/mapping-fields", mappings.fields_part),
        *both(f"{one}/mappings/new", mappings.ask_new, mappings.save),
        *both(f"{one}/mappings/{{mapping}}", mappings.ask_edit, mappings.save),
        shows(f"{one}/mappings/{{mapping}}/enable", mappings.ask_enable, role=Role.OPERATOR),
        does(f"{one}/mappings/{{mapping}}/{{to_state}}", mappings.switch),
    ]


def _of_the_rest() -> Sequence[BaseRoute]:
    return [
        shows("/deliveries", deliveries.of_space),
        shows("/dead-letters", deliveries.dead_letters),
        shows("/dead-letters/{id}", deliveries.dead_letter),
        does("/dead-letters/ask", deliveries.ask_letters),
        does("/dead-letters/do", deliveries.do_letters),
        shows("/profiles", profiles.show),
        shows("/audit", log.show),
        shows("/destinations", destinations.listing),
        shows("/destinations/new", destinations.choose_type, role=Role.ADMIN),
        *both("/destinations/new/{type}", destinations.ask_new, destinations.do_new, role=Role.ADMIN),
        shows("/destinations/{to}", destinations.ask_edit),
        does("/destinations/{to}", destinations.save, role=Role.ADMIN),
        does("/destinations/{to}/test", destinations.try_it),
        *both("/destinations/{to}/remove", destinations.ask_remove, destinations.do_remove, role=Role.ADMIN),
    ]


def _home(request: Request) -> Response:
    """The only space there is, or the choice between several."""
    with registry_for(request).database.read() as c:
        spaces = spaces_for(c, actor_of(request))
    if len(spaces) == 1:
        return RedirectResponse(path_of("s", spaces[0].key, "audiences"), 303)
    return no_space(spaces)


def _first_page(visit: audiences.Visit) -> Response:
    return RedirectResponse(visit.url("audiences"), 303)


class _Static(StaticFiles):
    """Files of ours: their addresses name their content, so that they are kept for long."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = f"public, max-age={_YEAR_S}, immutable"
        return response
