"""The API: Segment Public API shapes for what Segment has, our own paths under `/x/` for what it lacks."""

from starlette.routing import Router
from starlette.types import ASGIApp


def application() -> ASGIApp:
    """The API as an application of its own, to be mounted."""
    return Router([])
