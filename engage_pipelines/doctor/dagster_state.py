"""Dagster as it is seen without importing it: its two files, and whether its daemon lives.

The daemon writes a heartbeat every 30 s into a table of its storage, which is where `orchestration.storage` puts it.
"""

import ast
import importlib.util
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml

from engage_pipelines.doctor.findings import Finding, fail, ok, warn
from engage_pipelines.registry.database import Database
from engage_pipelines.settings import Settings

PACKAGE = "engage_pipelines"
NEEDED = ("SENSOR", "QUEUED_RUN_COORDINATOR")
"""The parts of the daemon without which nothing is launched."""
LIVES_S = 120
_START = "Start it: engage dev, or dagster-daemon run."
_HEARTBEATS = "SELECT daemon_type, timestamp FROM {}daemon_heartbeats"


def look_at_files(root: Path) -> Iterator[Finding]:
    """dagster.yaml and workspace.yaml in the folder that Dagster is started from."""
    missing = [name for name in ("dagster.yaml", "workspace.yaml") if not (root / name).is_file()]
    if missing:
        yield warn("dagster", f"{root} holds no {' and no '.join(missing)}.", "Run it in the project's folder, or set DAGSTER_HOME to it.")
        return
    problems = [*_problems(root / "dagster.yaml", ("module", "class")), *_problems(root / "workspace.yaml", ("module_name", None))]
    for problem in problems:
        yield fail("dagster", problem, "Take the file as it comes with this version.")
    if not problems:
        yield ok("dagster", f"dagster.yaml and workspace.yaml in {root} name classes and modules that are there")


def look_at_daemon(settings: Settings, database: Database | None) -> Finding:
    """Whether the daemon wrote a heartbeat lately."""
    beats = _postgres_beats(database) if settings.database_url.startswith("postgres") else _sqlite_beats(settings)
    if beats is None:
        return warn("daemon", "No Dagster daemon has run on this state yet: nothing is computed or sent.", _START)
    missing = [name for name in NEEDED if name not in beats]
    if missing:
        return warn("daemon", f"The Dagster daemon runs without {', '.join(missing)}: nothing is launched.", _START)
    oldest = min(beats[name] for name in NEEDED)
    age_s = (datetime.now(UTC) - oldest).total_seconds()
    if age_s > LIVES_S:
        return warn("daemon", f"The Dagster daemon wrote its last heartbeat {_ago(age_s)} ago: nothing is computed or sent.", _START)
    return ok("daemon", f"the Dagster daemon lives; its last heartbeat is {_ago(age_s)} old")


def _problems(path: Path, names: tuple[str, str | None]) -> Iterator[str]:
    """What in the file names something of ours that is not there; Dagster's own names would mean importing it."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        yield f"{path} cannot be read: {' '.join(str(error).split())}."
        return
    for module, class_name in _named(content, names):
        if module == PACKAGE or module.startswith(f"{PACKAGE}."):
            problem = _not_there(module, class_name)
            if problem:
                yield f"{path} names {problem}, which is not there."


def _named(content: Any, names: tuple[str, str | None]) -> Iterator[tuple[str, str | None]]:
    """Every module of the file, with the class where it says one."""
    module, class_ = names
    if isinstance(content, dict):
        if isinstance(content.get(module), str):
            yield content[module], content.get(class_) if class_ else None
        for value in content.values():
            yield from _named(value, names)
    elif isinstance(content, list):
        for value in content:
            yield from _named(value, names)


def _not_there(module: str, class_name: str | None) -> str | None:
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None or found.origin is None:
        return f"the module {module}"
    if class_name is None:
        return None
    tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    return None if class_name in classes else f"the class {class_name} of {module}"


def _sqlite_beats(settings: Settings) -> dict[str, datetime] | None:
    file = settings.dagster_dir / "history" / "runs.db"
    if not file.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=1)) as connection:
            return _read(connection.execute(_HEARTBEATS.format("")).fetchall())
    except sqlite3.OperationalError:
        return None


def _postgres_beats(database: Database | None) -> dict[str, datetime] | None:
    if database is None:
        return None
    with database.read() as c:
        # Dagster lives in a schema of its own, see orchestration.storage
        if c.execute(sa.text("SELECT to_regclass('dagster.daemon_heartbeats')")).scalar() is None:
            return None
        return _read([(row[0], row[1]) for row in c.execute(sa.text(_HEARTBEATS.format("dagster.")))])


def _read(rows: list[tuple[str, Any]]) -> dict[str, datetime] | None:
    beats = {name: datetime.fromisoformat(str(at)).replace(tzinfo=UTC) for name, at in rows}
    return beats or None


def _ago(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds < 120 else f"{seconds / 60:,.0f} min" if seconds < 7_200 else f"{seconds / 3600:,.0f} h"
