"""The `engage` command: each command in its own file, imported when it is asked for."""

from engage_pipelines.cli.app import main

__all__ = ["main"]
