"""What people say of a connection's list: checked against the type's model, kept among the connection's options."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engage_pipelines.domain.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from engage_pipelines.destinations.base import DestinationType

OPTION = "list_settings"


def check_list_settings(info: "DestinationType", given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they are kept, those that were said alone. Raises UsageError or ConfigurationError with every problem."""
    model = info.list_settings_model
    if model is None:
        if not given:
            return {}
        raise UsageError(f"A list of type {info.key} has no settings.", "Leave them out.")
    from pydantic import ValidationError  # noqa: PLC0415 - the model has brought it

    try:
        return model.model_validate(dict(given)).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        found = error.errors(include_input=False)
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}" for one in found)
        known = ", ".join(f"{name}{'' if field.is_required() else ' (optional)'}" for name, field in model.model_fields.items())
        raise ConfigurationError(f"settings of the list do not fit: {problems}.", f"The settings are: {known}.") from None


def parse_list_settings(texts: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE as people write them. Raises UsageError."""
    found: dict[str, str] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise UsageError(f"{text!r} is no setting of a list.", "Write NAME=VALUE.")
        found[name.strip()] = value
    return found
