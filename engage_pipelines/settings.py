"""Settings: every environment variable of the product, read once, here and nowhere else.

| variable | meaning | default |
|---|---|---|
| ENGAGE_HOME | folder of the embedded state: facts, snapshots, generations, database | `.engage` |
| ENGAGE_DATABASE_URL | registry and ledger, and Dagster's storage, as a SQLAlchemy URL | SQLite under ENGAGE_HOME |
| ENGAGE_FILES_DIR | the only folder below which file destinations may write | `ENGAGE_HOME/files` |
| ENGAGE_DAGSTER_URL | where the Dagster webserver listens, for links and for reloading definitions | `http://127.0.0.1:3000` |
| ENGAGE_DAGSTER_KEY_PREFIX | what stands before our asset keys there, such as `marketing` or `a/b`, for links | nothing |
| ENGAGE_CONSOLE_URL | where people reach the console, for links to it | where `engage serve` listens unless told: `http://127.0.0.1:4000` |
| ENGAGE_CONSOLE_LOGIN | `required`: the console asks for a token; `local`: not on a loopback address | `local` |
| ENGAGE_SPACE | the space that commands mean when none is named | the only space there is |
| ENGAGE_KEYS | keys that encrypt stored secrets, newest first, separated by commas | none: secrets must be references |
| ENGAGE_ACTOR | who is recorded as the author of a change | the system's user name |
"""

import atexit
import gc
import getpass
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

VARIABLES = (
    "ENGAGE_HOME",
    "ENGAGE_DATABASE_URL",
    "ENGAGE_FILES_DIR",
    "ENGAGE_DAGSTER_URL",
    "ENGAGE_DAGSTER_KEY_PREFIX",
    "ENGAGE_CONSOLE_URL",
    "ENGAGE_CONSOLE_LOGIN",
    "ENGAGE_SPACE",
    "ENGAGE_KEYS",
    "ENGAGE_ACTOR",
)

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_WAYS_FOR_HTTP = (*_PROXIES, *(name.upper() for name in _PROXIES), "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")

_set_here: set[str] = set()

CONSOLE_PORT = 4000
CONSOLE_URL = f"http://127.0.0.1:{CONSOLE_PORT}"
LOGIN_LOCAL = "local"
LOGIN_REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says; `home` is absolute."""

    home: Path
    database_url: str
    files_dir: Path
    dagster_url: str
    space: str | None
    keys: tuple[str, ...]
    actor: str
    console_url: str = CONSOLE_URL
    console_login: str = LOGIN_LOCAL
    dagster_key_prefix: tuple[str, ...] = ()

    @property
    def facts_dir(self) -> Path:
        return self.home / "facts"

    @property
    def snapshots_dir(self) -> Path:
        return self.home / "snapshots"

    @property
    def generations_dir(self) -> Path:
        return self.home / "generations"

    @property
    def dagster_dir(self) -> Path:
        return self.home / "dagster"


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of this process, or of the environment given."""
    env = os.environ if environment is None else environment
    home = Path(env.get("ENGAGE_HOME") or ".engage").expanduser().resolve()
    return Settings(
        home=home,
        database_url=env.get("ENGAGE_DATABASE_URL") or f"sqlite:///{home / 'engage.db'}",
        files_dir=Path(env.get("ENGAGE_FILES_DIR") or home / "files").expanduser().resolve(),
        dagster_url=(env.get("ENGAGE_DAGSTER_URL") or "http://127.0.0.1:3000").rstrip("/"),
        space=env.get("ENGAGE_SPACE") or None,
        keys=tuple(key.strip() for key in env.get("ENGAGE_KEYS", "").split(",") if key.strip()),
        actor=env.get("ENGAGE_ACTOR") or _user_name(),
        console_url=(env.get("ENGAGE_CONSOLE_URL") or CONSOLE_URL).rstrip("/"),
        console_login=env.get("ENGAGE_CONSOLE_LOGIN") or LOGIN_LOCAL,
        dagster_key_prefix=tuple(part for part in env.get("ENGAGE_DAGSTER_KEY_PREFIX", "").split("/") if part),
    )


def variables_set() -> list[str]:
    """The names of the variables in this process's environment that look like ours, known or not."""
    return sorted(name for name in os.environ if name.startswith("ENGAGE_"))


def secret_from_environment(name: str) -> str | None:
    """The value behind a secret reference `env:NAME`, or None when it is not set."""
    return os.environ.get(name)


def names_a_way_for_http() -> bool:
    """Whether the environment, or the system where that keeps them, may name proxies or authorities for requests over HTTP."""
    return sys.platform in {"darwin", "win32"} or any(os.environ.get(name) for name in _WAYS_FOR_HTTP)


def start_lightly() -> None:
    """Spare a process of our own, which lives for one command, a fifth of its start: to be called before anything large is imported.

    Imports make hundreds of thousands of objects that stay, so that looking for garbage among them finds none; numpy starts a thread for
    each processor, for algebra that nobody here does; and pydantic looks through every package that is installed for plugins of its own.
    """
    gc.set_threshold(50_000, 20, 20)
    _unless_said("OPENBLAS_NUM_THREADS", "1")
    _unless_said("PYDANTIC_DISABLE_PLUGINS", "__all__")
    give_memory_back()


def give_memory_back() -> None:
    """Have Arrow take memory from the system and return it, unless it is loaded: its own allocator keeps most of what ended threads had."""
    _unless_said("ARROW_DEFAULT_MEMORY_POOL", "system")


def _unless_said(name: str, value: str) -> None:
    if name not in os.environ:
        os.environ[name] = value
        _set_here.add(name)


def leave(code: int) -> NoReturn:
    """End a process of our own that has done everything: what is to happen at its end happens, but no object is given back by itself.

    The system takes all of it at once; Python would look at each, for a sixth of the time in which a hundred thousand records are sent.
    """
    # as multiprocessing ends its children: threads are waited for, pools of them told, then comes what was registered
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def child_environment(**values: str) -> dict[str, str]:
    """The environment for a process that we start: the one that we were given, with these values."""
    return {**{name: value for name, value in os.environ.items() if name not in _set_here}, **values}


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
