"""The place that the product runs in: Python, settings, and whether the file system of ENGAGE_HOME does what commits rely on.

Several machines may share ENGAGE_HOME only on a file system whose renames are atomic and whose locks hold between processes, so both are
tried with a second process.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from filelock import FileLock

from engage_pipelines.doctor.findings import Finding, fail, ok, warn
from engage_pipelines.registry.nearest import did_you_mean
from engage_pipelines.settings import VARIABLES, Settings, variables_set

OLDEST_PYTHON = (3, 11)
LITTLE_SPACE, TOO_LITTLE_SPACE = 1_000_000_000, 100_000_000

_MAKE_A_KEY = 'Make one with: python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"'

_SECOND_PROCESS = """
import sys
from pathlib import Path
from filelock import FileLock, Timeout
try:
    with FileLock(sys.argv[1], timeout=0):
        held = "free"
except Timeout:
    held = "held"
print(held, Path(sys.argv[2]).read_text())
"""


def look_at_python() -> Finding:
    """The interpreter's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        return fail("python", f"Python {version} is too old.", "Install Python 3.11 or newer.")
    return ok("python", f"Python {version}")


def look_at_settings(settings: Settings, secret_names: Collection[str]) -> Iterator[Finding]:
    """Variables that the product does not know, but for those that settings refer to as secrets; and the keys for secrets."""
    unknown = [name for name in variables_set() if name not in VARIABLES and name not in secret_names]
    for name in unknown:
        remedy = did_you_mean(name, VARIABLES, otherwise=f"There are {', '.join(VARIABLES)}.")
        yield warn("settings", f"{name} is set, and nothing reads it.", remedy)
    if settings.keys and not _are_keys(settings.keys):
        yield fail("settings", "ENGAGE_KEYS holds something that is not a Fernet key.", _MAKE_A_KEY)
    elif not unknown:
        keys = f", {len(settings.keys)} keys for secrets" if settings.keys else ""
        yield ok("settings", f"acting as {settings.actor}{keys}")


def look_at_home(settings: Settings) -> Iterator[Finding]:
    """ENGAGE_HOME: writable, atomic, locked, and with room."""
    home = settings.home
    if not home.exists():
        yield _look_at_no_home(home)
        return
    trial = home / f".doctor-{secrets.token_hex(4)}"
    try:
        trial.mkdir()
        try:
            yield ok("home", f"ENGAGE_HOME is {home}, writable")
            yield _try_commits(trial)
        finally:
            shutil.rmtree(trial, ignore_errors=True)
    except OSError as error:
        yield fail("home", f"ENGAGE_HOME {home} cannot be written: {error.strerror}.", "Check the folder, its owner and its permissions.")
    yield _look_at_space(home)


def _look_at_no_home(home: Path) -> Finding:
    nearest = next(parent for parent in home.parents if parent.exists())
    if os.access(nearest, os.W_OK):
        return ok("home", f"ENGAGE_HOME {home} is not there yet; the first command makes it")
    return fail("home", f"ENGAGE_HOME {home} cannot be made: {nearest} is not writable.", "Set ENGAGE_HOME to another folder.")


def _try_commits(trial: Path) -> Finding:
    """Replace a file by rename and take a lock, as commits do, and let another process look."""
    file, lock = trial / "file", trial / "lock"
    file.write_text("old")
    aside = trial / "aside"
    with aside.open("w") as writing:
        writing.write("new")
        writing.flush()
        os.fsync(writing.fileno())
    aside.replace(file)
    with FileLock(lock):
        words = [sys.executable, "-I", "-c", _SECOND_PROCESS, str(lock), str(file)]
        seen = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stdout.split()  # noqa: S603 - our own words
    match seen:
        case ["held", "new"]:
            return ok("files", "renames are atomic, are synced to disk, and locks hold between processes")
        case ["free", _]:
            return fail("files", "A lock of one process does not hold back another.", "Put ENGAGE_HOME on a file system with file locks.")
        case _:
            return fail("files", "Another process does not see a file that was renamed.", "Put ENGAGE_HOME on another file system.")


def _look_at_space(home: Path) -> Finding:
    free = shutil.disk_usage(home).free
    text = f"{free / 1e9:,.1f} GB are free below {home}"
    if free < TOO_LITTLE_SPACE:
        return fail("disk", f"{text}.", "Free some space: nothing can be written soon.")
    return warn("disk", f"{text}.", "Free some space.") if free < LITTLE_SPACE else ok("disk", text)


def _are_keys(keys: Collection[str]) -> bool:
    from cryptography.fernet import Fernet  # noqa: PLC0415 - most installations have no keys

    try:
        for key in keys:
            Fernet(key)
    except ValueError:
        return False
    return True
