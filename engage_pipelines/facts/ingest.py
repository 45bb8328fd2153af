"""Taking calls into the facts of a space: lines are decoded and staged as they come, then settled in one commit.

An ingest is all or nothing: stopped before its end, by Ctrl-C, a broken file or a full disk, it leaves the facts as they were, and can
be run again. The first call of a message id counts, in the order of files and lines; what is there already comes before. Memory stays
bounded.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engage_pipelines.facts.columns import decode
from engage_pipelines.facts.compaction import compact
from engage_pipelines.facts.lines import MAX_LINE_BYTES, InputFile, find_files, read_blocks
from engage_pipelines.facts.settle import settle
from engage_pipelines.facts.staging import Staging
from engage_pipelines.facts.store import writing


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingest is; `bytes_read` counts bytes as they lie in the files, `bytes_total` is None when a size is not known."""

    file: str
    bytes_read: int
    bytes_total: int | None
    calls: int
    rejected: int


@dataclass(frozen=True, slots=True)
class IngestSummary:
    """What became of the lines; `by_type` counts valid calls, duplicates included."""

    files: int
    by_type: dict[str, int]
    new: int
    duplicates: int
    rejected: int
    rejects_path: Path | None
    seconds: float

    @property
    def read(self) -> int:
        return sum(self.by_type.values())


def ingest(
    paths: Sequence[str],
    *,
    facts_dir: Path,
    space: str,
    now_us: int,
    source: str | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
    on_progress: Callable[[Progress], None] | None = None,
) -> IngestSummary:
    """Take the calls of files, folders or `-` into the facts; `now_us` is the instant of calls that carry none.

    Raises InputError, BusyError or StateError, with the facts as before.
    """
    started = time.monotonic()
    files = find_files(paths)
    with writing(facts_dir / space) as write:
        with Staging(write.staging) as staging:
            for number, file in enumerate(files):
                report = _reporter(files, number, staging, on_progress)
                for block in read_blocks(file, max_line_bytes=max_line_bytes, on_position=report):
                    staging.add(file, decode(block, now_us=now_us))
        new = settle(write, staging, source=source) if staging.calls else 0
        if new:
            compact(write)
            write.commit()
        rejects_path = staging.keep_rejects(write.folder / "rejects", _stem(files))
    return IngestSummary(
        files=len(files),
        by_type=dict(sorted(staging.by_type.items())),
        new=new,
        duplicates=staging.calls - new,
        rejected=staging.rejected,
        rejects_path=rejects_path,
        seconds=time.monotonic() - started,
    )


def _reporter(
    files: Sequence[InputFile], number: int, staging: Staging, on_progress: Callable[[Progress], None] | None
) -> Callable[[int], None] | None:
    if on_progress is None:
        return None
    sizes = [file.size for file in files]
    before = sum(size or 0 for size in sizes[:number])
    total = None if None in sizes else sum(size or 0 for size in sizes)

    def report(position: int) -> None:
        on_progress(Progress(files[number].name, before + position, total, staging.calls, staging.rejected))

    return report


def _stem(files: Sequence[InputFile]) -> str:
    """What the file of rejects is named after: the first file."""
    path = files[0].path
    return re.sub(r"[^A-Za-z0-9._-]", "_", path.name)[:100] if path is not None else "stdin"
