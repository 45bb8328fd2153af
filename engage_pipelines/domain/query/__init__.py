"""The audience definition language: text, tree, checks and meaning."""

from engage_pipelines.domain.query.checks import check
from engage_pipelines.domain.query.inspection import audience_references, computation_references, events, needs_batch, references
from engage_pipelines.domain.query.parsing import parse, parse_trait
from engage_pipelines.domain.query.printer import to_text
from engage_pipelines.domain.query.tree import Definition, TraitDefinition

__all__ = [
    "Definition",
    "TraitDefinition",
    "audience_references",
    "check",
    "computation_references",
    "events",
    "needs_batch",
    "parse",
    "parse_trait",
    "references",
    "to_text",
]
