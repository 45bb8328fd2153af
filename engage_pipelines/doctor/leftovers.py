"""What dead processes and delivered records left on disk: files of generations that nobody needs, and scratch folders."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from engage_pipelines.delivery import payloads
from engage_pipelines.doctor.findings import Finding, ok, warn
from engage_pipelines.registry.database import Database
from engage_pipelines.settings import Settings

OLD_S = 3_600
"""Younger scratch may be what a live process is at."""


def look_at_leftovers(settings: Settings, database: Database) -> Finding:
    """How much there is to sweep."""
    found = [*payloads.unused_files(database, settings.generations_dir), *_scratch(settings.generations_dir)]
    if not found:
        return ok("leftovers", "no file is left over")
    size = sum(_size(path) for path in found)
    return warn(
        "leftovers",
        f"{len(found):,} files of {size / 1e6:,.1f} MB in {settings.generations_dir} are needed by nobody.",
        "engage doctor --sweep",
    )


def sweep(settings: Settings, database: Database) -> int:
    """Remove it; how many files and folders there were."""
    scratch = list(_scratch(settings.generations_dir))
    for path in scratch:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(scratch) + payloads.sweep(database, settings.generations_dir)


def _scratch(folder: Path) -> Iterator[Path]:
    before = time.time() - OLD_S
    for pattern in ("*.writing", ".planning-*"):
        yield from (path for path in folder.glob(pattern) if path.stat().st_mtime < before)


def _size(path: Path) -> int:
    return sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else path.stat().st_size
