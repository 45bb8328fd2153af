"""The server in this process, on an SQLite registry with two spaces, and clients that speak to it as tokens of each role."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from anyio.from_thread import BlockingPortal
from starlette.applications import Starlette

from engage_pipelines.registry.change import Registry, open_registry
from engage_pipelines.registry.lookup import Row, list_spaces
from engage_pipelines.registry.sources import create_source, find_source
from engage_pipelines.registry.spaces import NewSpace, create_space
from engage_pipelines.registry.tokens import NewToken, Role, create_token
from engage_pipelines.server.app import create_app
from engage_pipelines.settings import Settings, read_settings

KEY = "kD3b3v4hV1mXh7mQ1M4m5rW7mWJ0cQ1kq2Yb1qf0l2s="
"""A Fernet key of these tests alone."""
SECRET = "sg-0123456789-very-secret"
WEBHOOK = {"url": "https://example.com/hook", "signing_secret": SECRET}
SPEND = "event('Order Completed').sum(property('total'))"
ACTIVE = "event('Signed In').within(14 days).count() >= 3"


@dataclass(frozen=True)
class World:
    """One server with its registry; `space` is where things are, `other` is another."""

    app: Starlette
    portal: BlockingPortal
    space: Row
    other: Row
    source: Row
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def registry(self) -> Registry:
        return self.app.state.registry

    @property
    def settings(self) -> Settings:
        return self.app.state.settings

    def token(self, role: Role = Role.ADMIN, *, members: bool = True, space: Row | None = None) -> str:
        """A token of that kind, made on first use."""
        name = f"{role} {members} {space.key if space else ''}"
        if name not in self.tokens:
            new = NewToken(name, role, members, None if space is None else space.id)
            with self.registry.change() as change:
                self.tokens[name] = create_token(change, new).secret
        return self.tokens[name]

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """One request, to the API as an admin unless headers say otherwise; `body` goes as JSON."""
        headers = {"Authorization": f"Bearer {self.token()}", **options.pop("headers", {})}
        return self.raw(method, f"/api{path}", headers=headers, **({} if body is None else {"json": body}), **options)

    def raw(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost:4000") as client:
                return await client.request(method, path, **options)

        return self.portal.call(send)

    def data(self, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        """The content of an answer that went well."""
        answer = self.ask(method, path, body, **options)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def audience(self, name: str = "Active users", **fields: Any) -> dict[str, Any]:
        body = {"name": name, "audienceType": "USERS", "definition": {"query": ACTIVE}, **fields}
        return self.data("POST", f"/spaces/{self.space.id}/audiences", body)["audience"]

    def trait(self, name: str = "Spend", **fields: Any) -> dict[str, Any]:
        body = {"name": name, "definition": {"query": SPEND, "type": "USERS"}, **fields}
        return self.data("POST", f"/spaces/{self.space.id}/computed-traits", body)["computedTrait"]

    def destination(self, name: str = "Hook", kind: str = "webhook", **fields: Any) -> dict[str, Any]:
        settings = WEBHOOK if kind == "webhook" else {"path": "{audience}.csv"}
        body = {"sourceId": self.space.id, "metadataId": kind, "name": name, "settings": settings, **fields}
        return self.data("POST", "/destinations", body)["destination"]

    def connected(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """An audience, a destination and the connection of the two."""
        audience, to = self.audience(), self.destination()
        made = self.data("POST", self.connections(audience), {"destination": {"id": to["id"], "type": "destination"}})
        return audience, to, made

    def connections(self, audience: dict[str, Any]) -> str:
        return f"/spaces/{self.space.id}/audiences/{audience['id']}/destination-connections"

    def audited(self) -> list[tuple[str, str]]:
        """Verb and object of every change, the oldest first."""
        with self.registry.database.read() as c:
            return [(row.verb, row.object) for row in c.exec_driver_sql("SELECT verb, object FROM audit ORDER BY id")]


def open_world(home: Path, portal: BlockingPortal, made: Path, **environment: str) -> Iterator[World]:
    """A world of its own on a copy of the database `made`."""
    shutil.copy(made, home / "engage.db")
    app = create_app(_settings(home, **environment))
    with app.state.registry.database.read() as c:
        spaces = {row.key: row for row in list_spaces(c)}
        source = find_source(c, spaces["main"].id, "website")
    yield World(app, portal, spaces["main"], spaces["other"], source)
    app.state.previews.close()
    app.state.kept.close()
    app.state.registry.database.close()


def make_database(home: Path) -> Path:
    """A database with two spaces and a source."""
    registry = open_registry(_settings(home), types={})
    with registry.change() as change:
        space = create_space(change, NewSpace("main", "Main"))
        create_space(change, NewSpace("other", "Other"))
        create_source(change, space, "website", name="Website")
    # one file without the log beside it
    with registry.database.write() as c:
        c.exec_driver_sql("DELETE FROM audit")
    registry.database.close()
    return home / "engage.db"


def _settings(home: Path, **environment: str) -> Settings:
    return read_settings({"ENGAGE_HOME": str(home), "ENGAGE_KEYS": KEY, "ENGAGE_ACTOR": "tester", **environment})
