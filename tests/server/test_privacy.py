"""One story with marked secrets and people, through Dagster, and then everything that it left behind: who may read what.

The table of exceptions holds the addresses of records that were not taken, by design: they are needed to send them again.
"""

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
from anyio.from_thread import BlockingPortal

from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.domain.computation import Level
from engage_pipelines.facts.ingest import ingest
from engage_pipelines.orchestration.build import build_definitions
from engage_pipelines.orchestration.engine import open_engine
from engage_pipelines.registry.audiences import NewAudience, create_audience
from engage_pipelines.registry.change import open_registry
from engage_pipelines.registry.connections import NewConnection, connect
from engage_pipelines.registry.destinations import NewDestination, create_destination
from engage_pipelines.registry.spaces import NewSpace, create_space
from engage_pipelines.registry.tables import metadata
from engage_pipelines.registry.tokens import NewToken, Role, create_token
from engage_pipelines.server.api import operations
from engage_pipelines.server.app import create_app
from engage_pipelines.settings import read_settings
from tests.server.world import KEY

SECRETS = ("marked-signing-secret", "Bearer marked-authorization")
PEOPLE = ("marked-user", "marked-person", "marked-trait")
"""A piece of every user id, e-mail address and trait value of the story."""
NOW_US = 1_700_000_000_000_000
PAGES = ("audiences", "audiences/actives", "audiences/actives/members", "audiences/actives/deliveries", "audiences/actives/definition",
         "audiences/actives/connections", "audiences/actives/destinations/hook", "audiences/actives/settings", "destinations",
         "destinations/hook", "deliveries", "dead-letters", "audit", "profiles", "traits")  # fmt: skip


class _Refusing(BaseHTTPRequestHandler):
    """Refuses every record and says it all back, as careless vendors do."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        said = b'{"error": "refused ' + json.dumps([body.decode(), dict(self.headers)]).encode().replace(b'"', b"'") + b'"}'
        self.send_response(400)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@dataclass
class Story:
    """What the story left behind, as texts."""

    dagster: str
    logs: str
    tables: dict[str, str]
    portal: BlockingPortal
    app: Any
    tokens: dict[str, str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, token: str) -> str:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost:4000") as client:
                headers = {"Authorization": f"Bearer {self.tokens[token]}"}
                if path.startswith("/s/"):
                    await client.get("/login")
                    form = (await client.get("/login")).text.partition('name="csrf" value="')[2].partition('"')[0]
                    entered = await client.post("/login", data={"token": self.tokens[token], "csrf": form})
                    assert entered.status_code == 303, entered.text
                return await client.get(path, headers=headers)

        answer = self.portal.call(send)
        assert answer.status_code != 500, path
        return answer.text


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, portal: BlockingPortal) -> Iterator[Story]:
    home = tmp_path_factory.mktemp("privacy")
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(logging.Formatter().format(record))
    logging.getLogger().addHandler(handler)
    vendor = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=vendor.serve_forever, daemon=True).start()
    settings = read_settings({"ENGAGE_HOME": str(home), "ENGAGE_KEYS": KEY, "ENGAGE_CONSOLE_LOGIN": "required"})
    registry = open_registry(settings, types=destination_types())
    _tell(home, settings.facts_dir)
    tokens: dict[str, str] = {}
    with registry.change() as change:
        space = create_space(change, NewSpace("main", evaluate_at=NOW_US))
        given = {"url": f"http://127.0.0.1:{vendor.server_port}/", "signing_secret": SECRETS[0], "authorization": SECRETS[1]}
        to = create_destination(change, space, NewDestination("hook", "webhook", {**given, "allow_private_addresses": True}))
        definition = "event('Signed In').count() >= 1"
        of = create_audience(change, space, NewAudience("actives", level=Level.USER, definition=definition))
        con = connect(change, space, NewConnection("actives", "hook")).connection
        for name, members in (("without", False), ("with", True)):
            tokens[name] = create_token(change, NewToken(name, Role.ADMIN, members)).secret
    with dg.DagsterInstance.ephemeral() as instance:
        resource = dg.ResourceDefinition.hardcoded_resource(open_engine(settings))
        job = build_definitions(settings, registry.database, resource).resolve_implicit_global_asset_job_def()
        instance.add_dynamic_partitions("main/actives", ["hook"])
        for key, partition in ((("main", "audience", "actives"), None), (("main", "sync", "actives"), "hook")):
            job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(key)], partition_key=partition, raise_on_error=False)
        runs = instance.get_runs()
        dagster = "\n".join([repr(runs), *(str(entry) for run in runs for entry in instance.all_logs(run.run_id))])
    with registry.database.read() as c:
        tables = {table.name: repr(c.execute(table.select()).all()) for table in metadata.sorted_tables}
    registry.database.close()
    vendor.shutdown()
    vendor.server_close()
    app = create_app(settings)
    ids = {"spaceId": "main", "audienceId": of.id, "id": of.id, "destinationId": to.id, "connectionId": con.id, "audienceType": "USERS",
           "destinationMetadataId": "webhook", "sourceMetadataId": "x", "warehouseMetadataId": "x"}  # fmt: skip
    yield Story(dagster, "\n".join(lines), tables, portal, app, tokens, ids)
    logging.getLogger().removeHandler(handler)
    app.state.previews.close()
    app.state.kept.close()
    app.state.registry.database.close()


def _tell(home: Path, facts_dir: Path) -> None:
    calls: list[dict[str, Any]] = []
    for n in range(3):
        user, at = f"marked-user-{n}", "2023-11-14T00:00:00Z"
        traits = {"email": f"marked-person-{n}@example.com", "taste": f"marked-trait-{n}"}
        calls.append({"type": "identify", "userId": user, "traits": traits, "messageId": f"i{n}", "timestamp": at})
        calls.append({"type": "track", "userId": user, "event": "Signed In", "messageId": f"t{n}", "timestamp": at})
    (home / "calls.jsonl").write_text("\n".join(map(json.dumps, calls)))
    ingest([str(home / "calls.jsonl")], facts_dir=facts_dir, space="main", now_us=NOW_US)


def _found(text: str, marks: tuple[str, ...]) -> list[str]:
    return [text[max(text.find(mark) - 120, 0) : text.find(mark) + 60] for mark in marks if mark in text]


def test_the_story_was_one_in_which_people_were_sent_and_refused(story: Story) -> None:
    assert story.tables["exception"].count("rejected") >= 3
    assert "marked-user" in story.get("/api/x/spaces/main/audiences/actives/explain?member=marked-user-1", "with")
    assert "marked-user" in story.get("/s/main/audiences/actives/members", "with")
    assert "refused" in story.get("/s/main/dead-letters", "without")
    assert "refused" in story.get("/api/x/spaces/main/dead-letters", "without")


def test_dagster_holds_no_person_and_no_secret(story: Story) -> None:
    assert "actives" in story.dagster
    assert _found(story.dagster, (*PEOPLE, *SECRETS)) == []


def test_logs_hold_no_person_and_no_secret(story: Story) -> None:
    assert _found(story.logs, (*PEOPLE, *SECRETS)) == []


def test_no_table_holds_a_secret_in_the_clear_and_only_exceptions_hold_addresses(story: Story) -> None:
    for name, rows in story.tables.items():
        assert _found(rows, SECRETS) == [], name
        assert name == "exception" or _found(rows, PEOPLE) == [], name


@pytest.mark.parametrize("operation", [pytest.param(one, id=one.name) for one in operations() if one.method == "GET"])
def test_the_api_shows_people_only_behind_the_permission_and_secrets_never(story: Story, operation: Any) -> None:
    path = "/api" + "/".join(story.ids.get(part.strip("{}"), "x") if "{" in part else part for part in operation.path.split("/"))
    assert _found(story.get(path, "without"), (*PEOPLE, *SECRETS)) == []
    assert _found(story.get(path, "with"), SECRETS) == []


@pytest.mark.parametrize("page", PAGES)
def test_the_console_shows_people_only_behind_the_permission_and_secrets_never(story: Story, page: str) -> None:
    assert _found(story.get(f"/s/main/{page}", "without"), (*PEOPLE, *SECRETS)) == []
    assert _found(story.get(f"/s/main/{page}", "with"), SECRETS) == []
