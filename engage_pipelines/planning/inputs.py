"""The inputs of a plan: the files, the things in the registry that it is about, the facts, the program; and what moved since."""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version

import sqlalchemy as sa

from engage_pipelines.facts.store import read_manifest
from engage_pipelines.registry.lookup import list_audiences, list_spaces
from engage_pipelines.registry.reading import Configuration
from engage_pipelines.registry.revisions import revisions
from engage_pipelines.settings import Settings


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a plan was worked out from, as digests; `versions` are the current ones that members were compared with.

    A warehouse does not say when it moves: of audiences over one `answers` has the instant, and a digest of who would be in.
    """

    program: str = ""
    prune: bool = False
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    objects: Mapping[str, str] = field(default_factory=dict[str, str])
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    versions: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])
    answers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def hash(self) -> str:
        """Equal for equal inputs."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class About:
    """What a plan is about: things by the names of `registry.revisions`, audiences that were evaluated as `space/key`, and the spaces
    whose facts are in a warehouse once it is applied."""

    objects: Iterable[str]
    evaluated: Iterable[str]
    elsewhere: Collection[str] = ()


def read_inputs(c: sa.Connection, settings: Settings, configuration: Configuration, about: About, *, prune: bool) -> Inputs:
    """The inputs as they are now, before anything is applied."""
    known = revisions(c)
    evaluated = sorted(about.evaluated)
    spaces = {key.partition("/")[0] for key in evaluated}
    current = {f"{space.key}/{row.key}": row.current_version for space in list_spaces(c) for row in list_audiences(c, space.id)}
    return Inputs(
        program=version("engage_pipelines"),
        prune=prune,
        files={file.owner.partition(":")[2]: file.marked.digest for file in configuration.files},
        objects={name: known.get(name, "") for name in sorted(about.objects)},
        facts={space: read_manifest(settings.facts_dir / space).id for space in sorted(spaces.difference(about.elsewhere))},
        versions={key: current.get(key) for key in evaluated},
    )


def moved(before: Inputs, now: Inputs, *, facts_may_move: bool = False) -> list[str]:
    """What is other than it was, in words; empty when the plan still holds."""
    return list(_moved(before, now, facts_may_move=facts_may_move))


def _moved(before: Inputs, now: Inputs, *, facts_may_move: bool) -> Iterator[str]:
    if before.program != now.program:
        yield f"the program is {now.program} and was {before.program}"
    for name in sorted({*before.files, *now.files}):
        if name not in now.files:
            yield f"file {name} is gone"
        elif name not in before.files:
            yield f"file {name} is new"
        elif before.files[name] != now.files[name]:
            yield f"file {name} was edited"
    for name, digest in before.objects.items():
        if digest != now.objects.get(name, ""):
            yield f"{name} was {'changed' if digest and now.objects.get(name) else 'made' if not digest else 'removed'} in the registry"
    if not facts_may_move:
        yield from _facts_moved(before, now)


def _facts_moved(before: Inputs, now: Inputs) -> Iterator[str]:
    for space, fingerprint in before.facts.items():
        if fingerprint != now.facts.get(space):
            yield f"the facts of space {space} have new calls"
    for key, answer in before.answers.items():
        if answer != now.answers.get(key):
            yield f"the warehouse of {key.partition('/')[0]} moved: other members than planned would be in audience {key}"
    for key, n in before.versions.items():
        if n != now.versions.get(key):
            yield f"audience {key} has version {now.versions.get(key)}, and was compared with {n or 'none'}"
