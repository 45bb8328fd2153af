"""Groups of commands that are imported when they are run: what some bring with them takes longer than most commands.

Neither the list of the commands nor the shell's completion imports one; each is listed with the words that stand here.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import click
from click.shell_completion import CompletionItem


@dataclass(frozen=True, slots=True)
class Lazy:
    """Where a command lives, and the first sentence of what it does."""

    module: str
    name: str
    help: str

    def load(self) -> click.Command:
        return getattr(importlib.import_module(f"engage_pipelines.cli.{self.module}"), self.name)


class LateGroup(click.Group):
    """A group that has commands of its own, and knows others by name."""

    def __init__(self, *words: Any, late: Mapping[str, Lazy], **options: Any) -> None:
        super().__init__(*words, **options)
        self.late = late

    def list_commands(self, ctx: click.Context) -> list[str]:
        own = super().list_commands(ctx)
        return sorted([*own, *self.late]) if own else list(self.late)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        lazy = self.late.get(cmd_name)
        return super().get_command(ctx, cmd_name) if lazy is None else lazy.load()

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._help(ctx, name, limit=1_000)) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [*(CompletionItem(name, help=self._help(ctx, name)) for name in names), *click.Command.shell_complete(self, ctx, incomplete)]

    def _help(self, ctx: click.Context, name: str, *, limit: int = 45) -> str:
        if name in self.late:
            return self.late[name].help
        command = super().get_command(ctx, name)
        return "" if command is None else command.get_short_help_str(limit)
