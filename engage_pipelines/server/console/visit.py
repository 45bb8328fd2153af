"""One visit to the console: who asks, about which space, with which words; handlers take it and give a response."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

import sqlalchemy as sa
from starlette.requests import Request
from starlette.responses import Response

from engage_pipelines.computing.questions import Desk
from engage_pipelines.delivery.runtime import Runtime
from engage_pipelines.domain.errors import UsageError
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.lookup import Row, find_audience, find_trait
from engage_pipelines.registry.tokens import Role
from engage_pipelines.server.access import Actor, allow, allow_members
from engage_pipelines.settings import Settings

PER_PAGE = 50
MOST_PAGES = 100_000


@dataclass(frozen=True, slots=True)
class Visit:
    """`form` holds the fields that were sent, the last of each name; `several` all of them."""

    request: Request
    settings: Settings
    registry: Registry
    actor: Actor
    space: Row
    csrf: str
    form: Mapping[str, str]
    several: Mapping[str, tuple[str, ...]]

    @property
    def database(self) -> Database:
        return self.registry.database

    @property
    def is_partial(self) -> bool:
        """True when a script asks for a part of a page."""
        return "hx-request" in self.request.headers

    @property
    def sees_members(self) -> bool:
        return self.actor.may_see_members

    @property
    def page(self) -> int:
        """The number of the page of a list, from 1 on. Raises UsageError for what is no such number."""
        text = self.query("page", "1")
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:12]) <= MOST_PAGES:
            raise UsageError(f"There is no page {text[:20]!r}.", f"Pages are numbered from 1 to {MOST_PAGES:,}.")
        return int(text)

    def param(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def query(self, name: str, otherwise: str = "") -> str:
        return self.request.query_params.get(name, otherwise)[:500]

    def url(self, *parts: str, **query: Any) -> str:
        """The address of a page of this space; a query parameter that is None or empty is left out."""
        return path_of("s", self.space.key, *parts, **query)

    def at(self, of: Row, *parts: str, **query: Any) -> str:
        """The address of a page of an audience or a trait."""
        return self.url(f"{of.kind}s", of.key, *parts, **query)

    def dagster(self, kind: str, key: str, **query: Any) -> str:
        """The page of an asset of this space in the Dagster UI: of an audience, a trait or a sync."""
        return self.settings.dagster_url + path_of("assets", *self.settings.dagster_key_prefix, self.space.key, kind, key, **query)

    def same(self, **query: Any) -> str:
        """This very address with other query parameters."""
        words = {**self.request.query_params, **query}
        return f"{self.request.url.path}?{urlencode(words)}"

    def desk(self) -> Desk:
        """Where the facts of the space are asked."""
        return Desk(self.settings, self.database, self.space.key)

    def runtime(self) -> Runtime:
        return Runtime(self.settings, self.registry)

    def audience(self, c: sa.Connection) -> Row:
        """The audience that the path names. Raises NotFoundError."""
        return find_audience(c, self.space.id, self.param("key"))

    @property
    def section(self) -> str:
        """Which part of the console the page belongs to: what stands after the space in its path."""
        return self.request.url.path.split("/")[3]

    def computation(self, c: sa.Connection) -> Row:
        """The audience or the trait that the path names. Raises NotFoundError."""
        return find_trait(c, self.space.id, self.param("key")) if self.section == "traits" else self.audience(c)

    def may(self, role: Role) -> bool:
        return self.actor.role.reaches(role)

    def need_members(self) -> None:
        """Raises ForbiddenError for who may not see members and payloads."""
        allow_members(self.actor)

    def need(self, role: Role) -> None:
        """Raises ForbiddenError for who has not got that far."""
        allow(self.actor, role)


Handler = Callable[[Visit], Response]


def path_of(*parts: str, **query: Any) -> str:
    """A path of the console; each part is one name, whatever characters it holds."""
    path = "/" + "/".join([_quoted(part) for part in parts])
    words = query and {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(words)}" if words else path


@lru_cache(maxsize=4096)
def _quoted(part: str) -> str:
    """A page has hundreds of addresses, made of a few names."""
    return quote(part, safe="")
