"""The catalogue of destination types: ours, one file each in this folder, and those that other packages bring.

A type of ours is found by being here: its file holds a concrete subclass of `DestinationType`, and is named after the type's key, or after
the vendor when it holds several. Another package names its class under the entry point group `engage_pipelines.destinations`. Ours win over
theirs, and one that cannot be loaded takes no other with it.

Importing this module imports no type, and loading a type imports no vendor's library.
"""

import difflib
import importlib
import inspect
import logging
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from engage_pipelines.domain.errors import ConfigurationError, NotFoundError

if TYPE_CHECKING:
    from engage_pipelines.destinations.base import DestinationType

ENTRY_POINT_GROUP = "engage_pipelines.destinations"

_PACKAGE = "engage_pipelines.destinations"
_log = logging.getLogger(__name__)


def destination_type(key: str) -> "DestinationType":
    """The type of that key. Raises NotFoundError with the nearest keys, ConfigurationError when another package's type cannot be loaded."""
    if key in _file_names():
        found = _types_in(importlib.import_module(f"{_PACKAGE}.{key}")).get(key)
        if found is not None:
            return found
    known = destination_types()
    if key in known:
        return known[key]
    problem = _loaded_plugins()[1].get(key)
    if problem is not None:
        raise ConfigurationError(problem, "Mend or remove the package that brings it.")
    near = difflib.get_close_matches(key.lower(), known, n=3, cutoff=0.5)
    remedy = f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(known)}."
    raise NotFoundError(f"there is no destination type {key[:80]!r}.", remedy)


def destination_types() -> "dict[str, DestinationType]":
    """Every type that can be loaded, by key, in the order of keys; one that cannot is logged once and left out."""
    return dict(sorted({**_loaded_plugins()[0], **_own_types()}.items()))


@cache
def _file_names() -> frozenset[str]:
    return frozenset(module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]) if not module.ispkg)


@cache
def _own_types() -> "dict[str, DestinationType]":
    found: dict[str, DestinationType] = {}
    for name in sorted(_file_names()):
        found |= _types_in(importlib.import_module(f"{_PACKAGE}.{name}"))
    return found


@cache
def _types_in(module: ModuleType) -> "dict[str, DestinationType]":
    from engage_pipelines.destinations.base import DestinationType  # noqa: PLC0415 (pydantic comes with it)

    classes = (value for _, value in inspect.getmembers(module, inspect.isclass) if value.__module__ == module.__name__)
    types = [value for value in classes if issubclass(value, DestinationType) and not inspect.isabstract(value)]
    return {type_.key: type_() for type_ in types}


@cache
def _loaded_plugins() -> "tuple[dict[str, DestinationType], dict[str, str]]":
    """Types that other packages bring, and for each that cannot be loaded why."""
    types: dict[str, DestinationType] = {}
    problems: dict[str, str] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            type_ = _plugin(entry)
        except Exception as error:  # noqa: BLE001, RUF100 (another package's code may raise anything; it is told, and the others live on)
            problems[entry.name] = f"destination type {entry.name!r} cannot be loaded from {entry.value}: {type(error).__name__}: {error}"
            _log.warning("destination_type_left_out key=%s reason=%r", entry.name, problems[entry.name])
        else:
            types.setdefault(type_.key, type_)
    return types, problems


def _plugin(entry: EntryPoint) -> "DestinationType":
    from engage_pipelines.destinations.base import DestinationType  # noqa: PLC0415 (pydantic comes with it)

    named = entry.load()
    if not (inspect.isclass(named) and issubclass(named, DestinationType)) or inspect.isabstract(named):
        raise TypeError("it is not a complete subclass of engage_pipelines.destinations.base.DestinationType")
    return named()
