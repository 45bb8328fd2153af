"""Which full snapshots of a long history stay: those that the changes since the one before have outgrown, the first, and the newest two.

So they take room in proportion to the changes, and an old version is read from a full one and at most as many changes as that has rows. A
version that is a full snapshot no longer is read from an earlier one at once; its file goes when the next full snapshot was published, so
that whoever reads it meanwhile comes to the end.
"""

# pyarrow has no types of its own
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false, reportMissingTypeStubs=false

from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from engage_pipelines.snapshots.rows import Chain

_NEWEST = 2


def spare_full(chain: Chain) -> int | None:
    """The version that need not be a full snapshot any longer, to be asked each time one was published."""
    fulls = [version.n for version in chain.versions if version.is_full]
    if len(fulls) < _NEWEST + 2:
        return None
    before, asked = fulls[-_NEWEST - 2 : -_NEWEST]
    try:
        whole = _count(chain.folder / str(before) / "full.parquet")
        changed = sum(_count(path) for path in chain.change_files(before, asked))
    except (OSError, pa.ArrowInvalid):
        # whoever reads these files says so
        return None
    return asked if changed <= whole else None


def drop_spare(chain: Chain) -> None:
    """Remove the files of full snapshots that are no longer."""
    fulls = [version.n for version in chain.versions if version.is_full]
    since = fulls[-_NEWEST - 1] if len(fulls) > _NEWEST else 0
    for version in chain.versions:
        if version.n > since and not version.is_full:
            # one that stays takes room and nothing else
            with suppress(OSError):
                (chain.folder / str(version.n) / "full.parquet").unlink(missing_ok=True)


def _count(path: Path) -> int:
    return pq.read_metadata(path).num_rows
