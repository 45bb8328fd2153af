"""Writing below one folder and nowhere else: where a path leads, and files that are whole or not there."""

import errno
import os
import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO

from engage_pipelines.destinations.base import Backoff, Stop, Target

_PLACEHOLDER = re.compile(r"\{(audience|space)\}")
_DISK_IS_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FOR_PEOPLE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EEXIST}
)


class PlaceError(Exception):
    """The file cannot be where the settings say."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


def check_path(path: str) -> str:
    """The path of a settings model, if it can be one below a folder. Raises ValueError otherwise."""
    parts = PurePosixPath(path).parts
    if path.startswith(("/", "~")) or "\\" in path or ":" in path or not path.isprintable():
        raise ValueError("it must be a relative path with / between folders")
    if not parts or path.endswith("/") or any(part.startswith(".") for part in parts):
        raise ValueError("it must name a file, and no part of it may begin with a dot")
    rest = _PLACEHOLDER.sub("", path)
    if "{" in rest or "}" in rest:
        raise ValueError("only {audience} and {space} can stand in it")
    return path


def filled(path: str, target: Target) -> PurePosixPath:
    """The path with the keys of the computation in it."""
    return PurePosixPath(path.replace("{audience}", target.computation).replace("{space}", target.space))


def place(root: Path | None, relative: PurePosixPath) -> Path:
    """Where a relative path lies below `root`; its folders are made. Raises PlaceError when it leads out of it, OSError from the disk."""
    if root is None:
        raise PlaceError("there is no folder for files.", "Set ENGAGE_FILES_DIR.")
    top = root.resolve()
    folder = (top / relative.parent).resolve()
    if not folder.is_relative_to(top) or relative.is_absolute() or relative.name.startswith("."):
        raise PlaceError(f"the path {str(relative)!r} leads out of the folder for files.", "Name a path below ENGAGE_FILES_DIR.")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / relative.name
    if path.is_dir():
        raise PlaceError(f"{str(relative)!r} is a folder.", "Name a file in the setting path.")
    return path


@contextmanager
def written_aside(path: Path) -> Generator[IO[bytes]]:
    """A file that takes the place of `path` once it is whole and on disk; after an exception there is what was there before."""
    _sweep(path)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.aside")
    try:
        with aside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sweep(path: Path) -> None:
    """Take away what a process that was killed left beside the file; a list has one owner, so nobody else is writing it."""
    left = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.aside")
    for other in path.parent.iterdir():
        if left.fullmatch(other.name):
            other.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def verdict_on(error: OSError, shown: str) -> Backoff | Stop:
    """What a disk's refusal means; `shown` names the file for people."""
    reason = f"{shown} cannot be written: {error.strerror or type(error).__name__}"
    if error.errno in _DISK_IS_FULL:
        return Backoff(f"{reason}; make room on the disk of ENGAGE_FILES_DIR")
    if error.errno in _FOR_PEOPLE:
        return Stop(f"{reason}.", "Check the folder ENGAGE_FILES_DIR and who may write there.")
    return Backoff(reason)
