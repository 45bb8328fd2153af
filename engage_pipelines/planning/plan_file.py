"""Plan files: a plan as JSON, for programs, and for applying it later if it still holds. Members are in it only when asked for."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from engage_pipelines.delivery.runtime import Runtime
from engage_pipelines.domain.errors import ConflictError, InputError
from engage_pipelines.planning.inputs import About, Inputs, moved, read_inputs
from engage_pipelines.planning.plan import AudiencePlan, ConnectionPlan, Plan, make_plan
from engage_pipelines.registry.apply import Applied, apply_in
from engage_pipelines.registry.change import Registry
from engage_pipelines.registry.reading import Configuration, read_configuration
from engage_pipelines.settings import Settings

FORMAT = 1
_MOST_BYTES = 200_000_000


def plan_fields(plan: Plan, place: Path) -> dict[str, Any]:
    """The plan as JSON has it; `place` is the folder, or file, that it is of."""
    return {
        "engage_plan": FORMAT,
        "hash": plan.inputs.hash,
        "pending": plan.pending,
        "folder": _relative(place),
        "changes": [_change(one) for one in plan.changes],
        "unchanged": plan.unchanged,
        "audiences": [_audience(one) for one in plan.audiences],
        "connections": [_connection(one) for one in plan.connections],
        "inputs": asdict(plan.inputs),
    }


def write_plan(plan: Plan, place: Path, file: Path) -> None:
    """For its owner's eyes alone: it may name members. Raises InputError when the file cannot be written."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(plan_fields(plan, place), out, ensure_ascii=False, indent=2)
            out.write("\n")
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}.", "Name another file.") from None


def apply_plan(registry: Registry, settings: Settings, file: Path, *, facts_may_move: bool = False) -> list[Applied]:
    """Apply the files that the plan was made of, in one transaction in which nothing has moved since.

    Raises InputError for what is no plan, ConflictError naming what moved.
    """
    folder, before = _read_plan(file)
    configuration = read_configuration(folder)
    answers = {} if facts_may_move else _answers_again(Runtime(settings, registry), configuration, before)
    with registry.change() as change:
        about = About(before.objects, before.versions, {key.partition("/")[0] for key in before.answers})
        now = replace(read_inputs(change.c, settings, configuration, about, prune=before.prune), answers=answers)
        found = moved(before, now, facts_may_move=facts_may_move)
        if found:
            raise ConflictError(f"The plan does not hold any more: {'; '.join(found)}.", f"Plan again: engage plan {folder} --out {file}")
        return apply_in(change, configuration, prune=before.prune)


def _answers_again(runtime: Runtime, configuration: Configuration, before: Inputs) -> Mapping[str, str]:
    """What the warehouses answer now, as of the instants of the plan."""
    if not before.answers:
        return {}
    at_us = {key.partition("/")[0]: int(answer.partition(" ")[0]) for key, answer in before.answers.items()}
    return make_plan(runtime, configuration, prune=before.prune, at_us=at_us).inputs.answers


def _read_plan(file: Path) -> tuple[Path, Inputs]:
    not_a_plan = InputError(f"{file} is no plan of this version.", "Make one with: engage plan FOLDER --out FILE")
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise not_a_plan
        data = json.loads(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.", "Check the path.") from None
    except (ValueError, RecursionError):
        raise not_a_plan from None
    if not isinstance(data, dict) or data.get("engage_plan") != FORMAT or not isinstance(data.get("folder"), str):
        raise not_a_plan
    given = data.get("inputs")
    if not isinstance(given, dict) or set(given) != {one.name for one in fields(Inputs)}:
        raise not_a_plan
    if not all(isinstance(given[name], dict) for name in ("files", "objects", "facts", "versions", "answers")):
        raise not_a_plan
    inputs = Inputs(**given)
    if inputs.hash != data.get("hash"):
        raise InputError(f"{file} was changed after it was made.", "Plan again.")
    return Path(data["folder"]), inputs


def _relative(place: Path) -> str:
    try:
        return str(place.relative_to(Path.cwd()))
    except ValueError:
        return str(place)


def _change(one: Applied) -> dict[str, Any]:
    edits = [{"verb": edit.verb, "object": edit.object, "before": edit.before, "after": edit.after} for edit in one.edits]
    return {"kind": one.kind, "space": one.space, "name": one.name, "verb": one.verb, "note": one.note or None, "edits": edits}


def _audience(one: AudiencePlan) -> dict[str, Any]:
    shown = asdict(one)
    named = {"some_entering": list(one.some_entering), "some_leaving": list(one.some_leaving)}
    return {**shown, **named, "warnings": list(one.warnings)}


def _connection(one: ConnectionPlan) -> dict[str, Any]:
    found = one.rehearsal
    calls = {call: {"entered": found.entered[call], "exited": found.exited[call]} for call in found.calls}
    return {
        "space": one.space,
        "audience": one.audience,
        "destination": one.destination,
        "status": found.state,
        "calls": calls,
        "requests": found.requests,
        "whole_list": found.whole_list,
        "exact": found.is_exact,
        "left_out": dict(found.skipped),
    }
