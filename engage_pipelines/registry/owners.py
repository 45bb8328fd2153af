"""Owners: what `managed_by` says of things that are kept in configuration files, the same on every machine that has the folder.

`config:<path>`, the path of the file from the root of its Git repository, or from the parent of its folder where there is none.
"""

from pathlib import Path

PREFIX = "config:"


def owner_of(file: Path) -> str:
    """The owner that a file is; `file` is absolute."""
    return f"{PREFIX}{file.relative_to(_root(file.parent)).as_posix()}"


def is_within(owner: str | None, scope: str) -> bool:
    """Whether something is owned by a file of `scope`: an owner itself, or a folder of owners, which ends with a slash or is the prefix."""
    if owner is None:
        return False
    if scope.endswith("/") or scope == PREFIX:
        return owner.startswith(scope) and "/" not in owner.removeprefix(scope)
    return owner == scope


def scope_of(place: Path) -> str:
    """What an applied folder, or a single file, may take away; `place` is absolute."""
    if place.is_file():
        return owner_of(place)
    return owner_of(place / "x").removesuffix("x")


def _root(folder: Path) -> Path:
    for one in (folder, *folder.parents):
        if (one / ".git").exists():
            return one
    return folder.parent


def default_folder() -> Path:
    """What commands mean when no folder is named: ./engage where there is one, else the current folder."""
    return Path("engage") if Path("engage").is_dir() and any(Path("engage").glob("*.y*ml")) else Path()
