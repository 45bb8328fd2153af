"""Reading configuration files: every one of a folder, with all that is wrong in their shape; what is right of them can still be judged."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from engage_pipelines.domain.errors import InputError
from engage_pipelines.domain.warehouse_mapping import fields_at
from engage_pipelines.registry.configuration import LISTS, Document, Entry, PresetEntry, SourceDestinationEntry, SpaceEntry
from engage_pipelines.registry.nearest import did_you_mean
from engage_pipelines.registry.owners import owner_of
from engage_pipelines.registry.problems import Problem, ProblemsError
from engage_pipelines.registry.yaml_marks import Marked, Place, read_yaml

OTHERS = {"dagster.yaml", "workspace.yaml", "defs.yaml", "component.yaml", "dg.yaml", "docker-compose.yml", "docker-compose.yaml"}
"""Files of other programs that may lie in the same folder."""

ALL = "*"
"""In place of a key, which it cannot be."""


@dataclass(frozen=True, slots=True)
class ConfigurationFile:
    """A file that was read; entries that do not fit the model are left out, `places` says where the others stand in their lists."""

    document: Document
    marked: Marked
    places: Mapping[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])
    broken: frozenset[tuple[str, str]] = frozenset()
    """List and key of entries that are there and do not fit; ALL of a list that is none."""

    @property
    def owner(self) -> str:
        """What `managed_by` says of the things in it."""
        return owner_of(self.marked.file)

    def entries(self, kind: str) -> Iterator[tuple[Place, Entry]]:
        """The entries of one list with their places."""
        entries: Sequence[Entry] = getattr(self.document, kind)
        yield from (((kind, index), entry) for index, entry in zip(self.places.get(kind, range(len(entries))), entries, strict=True))


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a folder holds: its files as far as they can be read, and what is wrong with their shape. `place` is absolute."""

    place: Path
    files: tuple[ConfigurationFile, ...]
    problems: tuple[Problem, ...] = ()


def read_configuration(folder: Path) -> Configuration:
    """Every `*.yaml` and `*.yml` of the folder, by name, or the one file. Raises InputError when there is none, or it cannot be read."""
    folder = folder.expanduser().resolve()
    files: list[ConfigurationFile] = []
    problems: list[Problem] = []
    for path in _paths(folder):
        try:
            found, wrong = _read(path)
        except ProblemsError as error:
            problems.extend(error.problems)
        else:
            files.append(found)
            problems.extend(wrong)
    return Configuration(folder, tuple(files), tuple(problems))


def read_folder(folder: Path) -> Configuration:
    """The same, when all of it fits. Raises InputError, or ProblemsError with every file, line and value that does not."""
    found = read_configuration(folder)
    if found.problems:
        raise ProblemsError(found.problems)
    return found


def _paths(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise InputError(f"{folder} is neither a folder nor a file.", "Name the folder that holds the YAML files.")
    files = sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"} and path.is_file() and path.name not in OTHERS)
    if not files:
        raise InputError(f"{folder} holds no *.yaml or *.yml file.", "Name the folder that holds the configuration, or run `engage init`.")
    return files


def _read(file: Path) -> tuple[ConfigurationFile, list[Problem]]:
    marked = read_yaml(file)
    data = {} if marked.data is None else marked.data
    try:
        return ConfigurationFile(Document.model_validate(data), marked), []
    except ValidationError as error:
        problems = list(_problems(error, marked))
        bad = {tuple(problem["loc"][:2]) for problem in error.errors(include_url=False, include_context=False, include_input=False)}
        return _what_fits(marked, cast("dict[str, Any]", data) if isinstance(data, dict) else {}, bad), problems


def _what_fits(marked: Marked, data: Mapping[str, Any], bad: set[tuple[Any, ...]]) -> ConfigurationFile:
    kept: dict[str, Any] = {}
    places: dict[str, Sequence[int]] = {}
    broken: set[tuple[str, str]] = set()
    for name, value in data.items():
        if name in LISTS and (name,) in bad:
            broken.add((name, ALL))
        elif name in LISTS and isinstance(value, list):
            places[name] = [index for index in range(len(value)) if (name, index) not in bad]
            kept[name] = [value[index] for index in places[name]]
            broken |= {(name, str(one.get("key", one.get("name")))) for one in value if isinstance(one, dict)} - {
                (name, str(one.get("key", one.get("name")))) for one in kept[name]
            }
        elif name == "space":
            # a space that does not fit is still the one that the others belong to
            kept[name] = value if not any(loc[0] == "space" for loc in bad) else _key_of(value)
    return ConfigurationFile(Document.model_validate(kept), marked, places, frozenset(broken))


def _key_of(value: Any) -> str | None:
    key = value.get("key") if isinstance(value, dict) else None
    return key if isinstance(key, str) else None


def _problems(error: ValidationError, marked: Marked) -> Iterator[Problem]:
    for problem in error.errors(include_url=False, include_context=False):
        # the branches of `space: key` and `space: {...}` are the model's, not the writer's
        place: Place = tuple(part for part in problem["loc"] if part not in {"SpaceEntry", "str"})
        if problem["loc"][:2] == ("space", "str") and isinstance(problem["input"], dict):
            continue
        if problem["type"] == "extra_forbidden":
            remedy = did_you_mean(str(place[-1]), _fields_at(place[:-1]), otherwise=f"There are: {', '.join(_fields_at(place[:-1]))}.")
            yield marked.problem(place, f"{str(place[-1])[:80]!r} is no field here.", remedy)
        elif problem["type"] == "missing":
            yield marked.problem(place[:-1], f"{place[-1]!r} is missing.")
        else:
            message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
            yield marked.problem(place, f"{message}{_shown(problem['input'], place)}.")


def _fields_at(place: Place) -> list[str]:
    names = [part for part in place if isinstance(part, str)]
    if names[:2] == ["space", "facts"]:
        return fields_at(names[2:])
    model: type[BaseModel] = Document
    if names:
        nested = {"space": SpaceEntry, "presets": PresetEntry, "destinations": SourceDestinationEntry}
        model = nested[names[-1]] if len(names) > 1 or names[0] == "space" else LISTS[names[0]]
    return list(model.model_fields)


def _shown(value: object, place: Place) -> str:
    # settings may hold a secret, and a whole entry is no help
    if "settings" in place or "url" in place or isinstance(value, dict | list):
        return ""
    return f" (it is {value!r})" if len(repr(value)) <= 80 else f" (it begins {repr(value)[:60]}...)"
