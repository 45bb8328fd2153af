"""What an evaluation keeps for the next one: who there was, and the bits of every condition, as of one instant over certain files.

It is derived, and may be taken away at any time: the next evaluation is then a full one. One file, written aside and renamed.
"""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from engage_pipelines.domain.computation import Level
from engage_pipelines.domain.query.tree import Comparison
from engage_pipelines.facts.bits import Bits, Ids
from engage_pipelines.facts.store import Manifest

MEANING = 2
"""Another number whenever evaluation gives other answers than before to the same questions, or this file has another form."""
KEPT_FILES = 4
_KNOWN = 4_000
"""Conditions whose text is remembered, for it is asked for in each evaluation."""
_KINDS = ("<i8", "<u1")
_LENGTH = 8

LeafName = tuple[Level, str]


def name_of(level: Level, leaf: Comparison) -> LeafName:
    """A condition as text: conditions of the same text are equal."""
    return level, _text(leaf)


@lru_cache(maxsize=_KNOWN)
def _text(leaf: Comparison) -> str:
    return repr(leaf)


@dataclass(frozen=True, slots=True)
class Kept:
    """One evaluation. Bits are over `users` or `accounts`, both sorted; `audiences` has the bits of each at its own level.

    Of `manifest` it has the id, the next subject, and the files.

    `hidden_from_us`: until then no row is about people that was not visible yet. `merged` subjects, sorted, belong to the members
    in `merged_to`; `unseen` are numbered subjects that nothing visible was seen of. Links are positions among accounts and users.
    """

    manifest: Manifest
    at_us: int
    hidden_from_us: int
    users: Ids
    accounts: Ids
    link_accounts: Ids
    link_users: Ids
    merged: Ids
    merged_to: Ids
    unseen: Ids
    leaves: Mapping[LeafName, Bits]
    audiences: Mapping[str, Bits]
    admitted: Mapping[tuple[str, ...], Bits]
    seen_events: frozenset[str]
    seen_traits: frozenset[tuple[Level, str]]


def save_kept(path: Path, kept: Kept) -> None:
    """Put it in the place of what was kept there before. Raises OSError."""
    arrays: list[NDArray[np.generic]] = [
        kept.users,
        kept.accounts,
        kept.link_accounts,
        kept.link_users,
        kept.merged,
        kept.merged_to,
        kept.unseen,
        *kept.leaves.values(),
        *kept.audiences.values(),
        *kept.admitted.values(),
    ]
    header = {
        "written_by": _writer(),
        "facts": [kept.manifest.id, kept.manifest.next_subject, {table: list(names) for table, names in kept.manifest.tables.items()}],
        "at_us": kept.at_us,
        "hidden_from_us": kept.hidden_from_us,
        "leaves": [[level.value, text] for level, text in kept.leaves],
        "audiences": list(kept.audiences),
        "admitted": list(kept.admitted),
        "seen_events": sorted(kept.seen_events),
        "seen_traits": sorted([level.value, key] for level, key in kept.seen_traits),
        "arrays": [[len(each), 0 if each.itemsize == _LENGTH else 1] for each in arrays],
    }
    text = _padded(json.dumps(header).encode())
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    with aside.open("wb") as file:
        file.write(len(text).to_bytes(_LENGTH, "little"))
        file.write(text)
        for each in arrays:
            file.write(np.ascontiguousarray(each).data)
            file.write(bytes(-each.nbytes % _LENGTH))
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    _forget_the_oldest(path.parent)


def load_kept(path: Path) -> Kept | None:
    """What was kept; None when there is nothing that this version of the product can go on from."""
    try:
        # a file that is replaced or removed meanwhile stays as it is for whoever mapped it
        content = np.memmap(path, dtype=np.uint8, mode="r")
        length = int.from_bytes(content[:_LENGTH].tobytes(), "little")
        header = json.loads(content[_LENGTH : _LENGTH + length].tobytes())
        if header.get("written_by") != _writer():
            return None
        arrays = _arrays(content, _LENGTH + length, header["arrays"])
    except (OSError, ValueError, KeyError):
        return None
    people, rest = arrays[:7], iter(arrays[7:])
    facts_id, next_subject, files = header["facts"]
    return Kept(
        Manifest(facts_id, next_subject, {table: tuple(names) for table, names in files.items()}),
        header["at_us"],
        header["hidden_from_us"],
        *people,
        leaves={(Level(level), text): next(rest) for level, text in header["leaves"]},
        audiences={key: next(rest) for key in header["audiences"]},
        admitted={tuple(kinds): next(rest) for kinds in header["admitted"]},
        seen_events=frozenset(header["seen_events"]),
        seen_traits=frozenset((Level(level), key) for level, key in header["seen_traits"]),
    )


def _padded(text: bytes) -> bytes:
    """JSON that ends where numbers may begin."""
    return text + b" " * (-len(text) % _LENGTH)


def _writer() -> list[object]:
    return [MEANING, version("engage-pipelines"), duckdb.__version__]


def _arrays(content: NDArray[np.uint8], start: int, sizes: list[list[int]]) -> list[NDArray[Any]]:
    """Raises ValueError when the file ends too early."""
    found: list[NDArray[Any]] = []
    for length, kind in sizes:
        dtype = np.dtype(_KINDS[kind])
        end = start + length * dtype.itemsize
        if end > len(content):
            raise ValueError("cut off")
        found.append(np.frombuffer(content[start:end], dtype=dtype))
        start = end + -(end - start) % _LENGTH
    return found


def _forget_the_oldest(folder: Path) -> None:
    files = sorted(folder.glob("*.kept"), key=lambda each: each.stat().st_mtime_ns, reverse=True)
    for each in files[KEPT_FILES:]:
        each.unlink(missing_ok=True)
