"""The console on sample data: one project is computed for all tests, each test has a copy of it and a visitor of every kind."""

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal
from starlette.applications import Starlette

from engage_pipelines.delivery.runtime import Runtime
from engage_pipelines.delivery.sync import Sync, SyncReport
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.connections import NewConnection, connect
from engage_pipelines.registry.database import Database
from engage_pipelines.registry.destinations import NewDestination, create_destination
from engage_pipelines.registry.lookup import find_space
from engage_pipelines.registry.sources import create_source
from engage_pipelines.registry.tokens import NewToken, Role, create_token
from engage_pipelines.server.app import create_app
from engage_pipelines.server.console import slow
from engage_pipelines.settings import Settings, read_settings
from tests.computing.sample_project import make_project

SECRET = "sg-marked-write-key-of-the-test"
FERNET = "kD3b3v4hV1mXh7mQ1M4m5rW7mWJ0cQ1kq2Yb1qf0l2s="
S = "/s/default"


@dataclass
class Visitor:
    """Somebody with a browser: cookies, and the token of the forms that they are shown."""

    app: Starlette
    portal: BlockingPortal
    cookies: httpx.Cookies = field(default_factory=httpx.Cookies)
    csrf: str = ""

    def get(self, path: str, **headers: str) -> httpx.Response:
        answer = self._ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        found = re.search(r'name="csrf" value="([0-9a-f]+)"|X-CSRF-Token": "([0-9a-f]+)"', answer.text)
        if found:
            self.csrf = found[1] or found[2]
        return answer

    def post(self, path: str, fields: Mapping[str, Any] | None = None, **headers: str) -> httpx.Response:
        """Send a form as the pages do."""
        sent = {"csrf": self.csrf, **(fields or {})}
        return self._ask("POST", path, data=sent, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def text(self, path: str) -> str:
        """The words of a page that is there."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost:4000", cookies=self.cookies) as client:
                answer = await client.request(method, path, **options)
                self.cookies = client.cookies
                return answer

        return self.portal.call(send)


@dataclass(frozen=True)
class Project:
    """The sample project with a source, a destination, and the server on it."""

    app: Starlette
    portal: BlockingPortal
    settings: Settings
    admin: Visitor

    @property
    def registry(self) -> Registry:
        return self.app.state.registry

    def connect(self, audience: str = "buyers", destination: str = "list", **options: Any) -> str:
        with self.registry.change() as change:
            return connect(change, find_space(change.c, "default"), NewConnection(audience, destination, **options)).connection.id

    def sync(self, connection_id: str) -> SyncReport:
        """A run, as the sensor would launch it."""
        work = Sync(Runtime(self.settings, self.registry), connection_id, None, run_id="run-of-the-test", log=lambda _line: None)
        work.plan()
        work.send("account")
        work.send("user")
        return work.settle()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.registry.database.read() as c:
            return [tuple(row) for row in c.exec_driver_sql(query)]

    def token(self, role: Role, *, members: bool = False) -> Visitor:
        """Somebody who logged in with a token of that kind."""
        with self.registry.change() as change:
            secret = create_token(change, NewToken(f"{role}", role, members)).secret
        visitor = Visitor(self.app, self.portal)
        visitor.get("/login")
        assert visitor.post("/login", {"token": secret}).status_code == 303
        visitor.get(f"{S}/audiences")
        return visitor


@pytest.fixture(scope="session", autouse=True)
def _threads_end() -> Iterator[None]:
    yield
    slow.close()


@pytest.fixture(scope="session")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("console") / "home"
    database = Database(make_project(home).database_url)
    with database.write() as c:
        # what the project asked for was computed without a run
        c.exec_driver_sql("delete from compute_request")
    database.close()
    return home


@pytest.fixture
def project(computed: Path, tmp_path: Path, portal: BlockingPortal, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.setenv("CRM_KEY", SECRET)
    yield from _open(computed, tmp_path / "home", portal)


@pytest.fixture(scope="session")
def still(computed: Path, tmp_path_factory: pytest.TempPathFactory, portal: BlockingPortal) -> Iterator[Project]:
    """A project that many tests share: they look, and ask for what is refused."""
    yield from _open(computed, tmp_path_factory.mktemp("still") / "home", portal, connected=True)


def _open(computed: Path, home: Path, portal: BlockingPortal, *, connected: bool = False) -> Iterator[Project]:
    shutil.copytree(computed, home)
    settings = read_settings({"ENGAGE_HOME": str(home), "ENGAGE_ACTOR": "tests", "ENGAGE_KEYS": FERNET})
    app = create_app(settings)
    with app.state.registry.change() as change:
        space = find_space(change.c, "default")
        source = create_source(change, space, "website", name="Website")
        crm = NewDestination("crm", "segment", {"write_key": "env:CRM_KEY", "endpoint": "http://127.0.0.1:9"}, name="CRM")
        create_destination(change, space, crm, on=source)
        create_destination(change, space, NewDestination("list", "csv_file", {"path": "lists/{audience}.csv"}, name="Newsletter list"))
    admin = Visitor(app, portal)
    admin.get(f"{S}/audiences")
    project = Project(app, portal, settings, admin)
    if connected:
        project.connect("business", "list")
    yield project
    app.state.previews.close()
    app.state.kept.close()
    app.state.registry.database.close()


@pytest.fixture
def admin(project: Project) -> Visitor:
    return project.admin
