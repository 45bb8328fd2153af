"""The command line's frame: which commands there are, and what becomes of an error.

Exit codes: 0 ok, 1 failed, 2 the words of the command do not fit. Errors go to stderr with their remedy; nobody sees a traceback for a
mistake of their own.
"""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from engage_pipelines.cli.late import LateGroup, Lazy
from engage_pipelines.domain.errors import EngageError
from engage_pipelines.settings import leave, start_lightly

COMMANDS = {
    "ingest": Lazy("ingest", "ingest", "Read Segment-spec calls into the facts."),
    "events": Lazy("events", "events", "Look after the events that were read."),
    "watch": Lazy("watch", "watch", "Compute what is live as soon as facts arrive."),
    "init": Lazy("init", "init", "Write a starter project."),
    "validate": Lazy("validate", "validate", "Look for mistakes in a folder of YAML files, without a database."),
    "plan": Lazy("plan", "plan", "What applying a folder of YAML files would change, and whom it would send."),
    "apply": Lazy("apply", "apply", "Apply a folder of YAML files, or a plan of it."),
    "export": Lazy("export_config", "export", "Write everything that the registry holds as YAML."),
    "import": Lazy("importing", "import_", "Take in what another product has."),
    "config": Lazy("config", "config", "The shape of configuration files."),
    "space": Lazy("space", "space", "Spaces, the partitions of profiles."),
    "source": Lazy("source", "source", "Sources, whose destination configurations a space may import."),
    "destination": Lazy("destination", "destination", "Destinations and their types."),
    "audience": Lazy("audience", "audience", "Audiences and their definitions."),
    "trait": Lazy("trait", "trait", "Traits: values computed for people and accounts."),
    "profile": Lazy("profile", "profile", "People who are to be left out of every audience, or forgotten."),
    "connect": Lazy("connect", "connect", "Connect an audience to a destination, or resume a paused connection."),
    "disconnect": Lazy("connect", "disconnect", "Pause or end a connection, or send everyone's exit first."),
    "mapping": Lazy("mapping", "mapping", "Mappings: when and what a destination is sent."),
    "sync": Lazy("sync", "sync", "Send what is owed now."),
    "backfill": Lazy("sync", "backfill", "Send every member, as on the first day."),
    "resync": Lazy("sync", "resync", "Send every member again, and the exits owed."),
    "deadletter": Lazy("deadletter", "deadletter", "Records that a destination refused or never answered."),
    "status": Lazy("status", "status", "How the connections are."),
    "audit": Lazy("audit", "audit", "Who changed what, and when."),
    "demo": Lazy("demo", "demo", "The main job on sample data, with a local receiver."),
    "serve": Lazy("serve", "serve", "The console and the API."),
    "token": Lazy("token", "token", "Who may reach the console and the API."),
    "dev": Lazy("dev", "dev", "The console, the Dagster UI and the daemon on this state."),
    "secrets": Lazy("secrets", "secrets", "Secrets in settings: where they are kept, and under which key."),
    "completion": Lazy("completion", "completion", "Words for the shell to complete."),
    "doctor": Lazy("doctor", "doctor", "Whether the installation is well, and what to do where it is not."),
    "db": Lazy("db", "db", "The database of the registry."),
}


@click.group(cls=LateGroup, late=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
def engage() -> None:
    """Audiences to destinations, with a delivery promise."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    start_lightly()
    leave(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        code = engage.main(args=None if arguments is None else list(arguments), prog_name="engage", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except EngageError as error:
        say_error(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        return 130
    except BrokenPipeError:
        # whoever read our output has gone; what Python would flush at its end has nowhere to go either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def say_error(error: EngageError) -> None:
    """What happened, then the remedy, on stderr."""
    click.echo(f"Error: {error.what}", err=True)
    if error.remedy:
        click.echo(f"  {error.remedy}", err=True)
