"""The audience definition language: text, tree, checks and meaning."""

from engage_pipelines.domain.query.checks import check
from engage_pipelines.domain.query.inspection import audience_references, events, needs_batch, references
from engage_pipelines.domain.query.parsing import parse
from engage_pipelines.domain.query.printer import to_text
from engage_pipelines.domain.query.tree import Definition

__all__ = ["Definition", "audience_references", "check", "events", "needs_batch", "parse", "references", "to_text"]
