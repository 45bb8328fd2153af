"""The mapping kit: what a mapping sends, as Segment's actions framework writes it (13 directives and the root directive)."""

from engage_pipelines.domain.mapping.compiled import compile_mapping
from engage_pipelines.domain.mapping.resolver import MappingError
from engage_pipelines.domain.mapping.validate import validate_mapping

__all__ = ["MappingError", "compile_mapping", "validate_mapping"]
