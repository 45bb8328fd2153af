"""Columns of S3 objects for those that a subscription of Segment's names."""

from collections.abc import Mapping
from typing import Any, cast

from engage_pipelines.destinations.files import CHANGE_COLUMNS

_FIELD_OF = {
    "audience_name": "audienceName",
    "audience_id": "audienceId",
    "email": "email",
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "timestamp": "timestamp",
    "space_id": "spaceId",
    "integrations_object": "integrationsObject",
    "properties_or_traits": "propertiesOrTraits",
}
"""For objects of audiences, whose columns have a name each: which field is in which."""
_OTHER = "rows begin with message_id, change (add or remove) and address; there are no columns for the action and the size of the batch"


def columns_from_segment(fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What is in each column, and in words what is other."""
    said = fields.get("columns")
    columns = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
    notes = [_OTHER]
    if fields.get("delimiter") not in {None, ","}:
        notes.append("cells are told apart by commas")
    if "audienceName" not in fields:
        return {name: value for name, value in columns.items() if name not in CHANGE_COLUMNS}, notes
    more = fields.get("additional_identifiers_and_traits_columns")
    traits = cast("dict[str, Any]", more) if isinstance(more, dict) else {}
    ours = {str(name): fields[_FIELD_OF[of]] for of, name in columns.items() if _FIELD_OF.get(of) in fields}
    ours |= {str(name): {"@path": f"$.traits['{trait}']"} for trait, name in traits.items()}
    return {name: value for name, value in ours.items() if name not in CHANGE_COLUMNS}, notes
