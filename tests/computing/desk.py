"""A home of one's own, worked on by commands as people type them; computing and syncing run in this process, without Dagster."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from engage_pipelines.cli.app import run
from engage_pipelines.computing.compute import Computed, compute_audiences
from engage_pipelines.delivery.runtime import Runtime
from engage_pipelines.delivery.sync import Sync
from engage_pipelines.destinations.catalog import destination_types
from engage_pipelines.registry import tables as t
from engage_pipelines.registry.attempts import Ended, finish_attempt
from engage_pipelines.registry.change import Registry, open_registry
from engage_pipelines.registry.connections import list_connections
from engage_pipelines.registry.lookup import find_audience, find_space, list_audiences
from engage_pipelines.registry.versions import published_versions
from engage_pipelines.settings import Settings, read_settings
from engage_pipelines.snapshots.rows import Chain, VersionFile


@dataclass(slots=True)
class Desk:
    folder: Path
    calls: int = 0
    log: list[str] = field(default_factory=list[str])

    @property
    def settings(self) -> Settings:
        return read_settings()

    def registry(self) -> Registry:
        return open_registry(self.settings, types=destination_types())

    def say(self, *arguments: str) -> int:
        return run(arguments)

    def ingest(self, *calls: dict[str, Any]) -> None:
        """Take calls in; each gets a message id, and 2026-01-01 unless it has a time."""
        lines: list[str] = []
        for call in calls:
            self.calls += 1
            lines.append(json.dumps({"messageId": f"m{self.calls}", "timestamp": "2026-01-01T00:00:00Z", **call}))
        path = self.folder / f"calls-{self.calls}.jsonl"
        path.write_text("\n".join(lines), encoding="utf-8")
        assert self.say("ingest", str(path)) == 0
        path.unlink()

    def compute(self, *keys: str) -> list[Computed]:
        """Evaluate the audiences, or all, and settle what was asked for."""
        registry = self.registry()
        with registry.database.read() as c:
            space = find_space(c)
            wanted = list(keys) or [row.key for row in list_audiences(c, space.id) if row.enabled]
        results = compute_audiences(self.settings, registry, space.key, wanted, log=self.log.append)
        with registry.database.write() as c:
            for row in c.execute(t.compute_request.select().where(t.compute_request.c.state == "owed")).all():
                finish_attempt(c, row.id, attempt=row.attempt, ended=Ended("done"), now=registry.database.now_us(c))
        registry.database.close()
        return results

    def traces_of(self, secrets: Sequence[str]) -> list[str]:
        """Every file of ours, but for those that destinations wrote, that says one of these words; Parquet is read as rows too."""
        hits: list[str] = []
        for path in sorted(self.settings.home.rglob("*")):
            if path.is_dir() or self.settings.home / "files" in path.parents:
                continue
            text = path.read_bytes()
            if path.suffix == ".parquet":
                text += str(duckdb.sql(f"select * from read_parquet('{path}')").fetchall()).encode()
            hits += [f"{path.name}: {secret}" for secret in secrets if secret.encode() in text]
        return hits

    def sync(self) -> None:
        """Work off what every connection owes."""
        registry = self.registry()
        runtime = Runtime(self.settings, registry)
        with registry.database.read() as c:
            ids = [row.id for row in list_connections(c, find_space(c).id) if row.state == "active"]
        for number, connection_id in enumerate(ids):
            for turn in range(5):
                sync = lambda: Sync(runtime, connection_id, None, run_id=f"run-{number}-{turn}", log=self.log.append)  # noqa: B023, E731
                sync().plan()
                sync().send("account")
                sync().send("user")
                if not sync().settle().more_owed:
                    break
        with registry.database.write() as c:
            c.execute(t.sync_request.update().values(state="done"))
        registry.database.close()

    def addresses(self, key: str, n: int | None = None) -> list[str]:
        """The present user addresses of a version, the current one unless said."""
        registry = self.registry()
        with registry.database.read() as c:
            space = find_space(c)
            audience = find_audience(c, space.id, key)
            versions = published_versions(c, audience.id)
        registry.database.close()
        chain = Chain(self.settings.snapshots_dir / space.key / key, tuple(VersionFile(number, full) for number, full in versions))
        rows = chain.rows(n or audience.current_version or 0)
        return [row[0] for row in duckdb.sql(f"select address from ({rows}) where current and level = 'user' order by 1").fetchall()]

    def rows(self, table: str) -> Sequence[Any]:
        registry = self.registry()
        with registry.database.read() as c:
            found = list(c.execute(t.metadata.tables[table].select()))
        registry.database.close()
        return found
