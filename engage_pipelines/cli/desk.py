"""The desk of this process's settings, where commands ask the facts and the versions without changing anything."""

from engage_pipelines.cli.opening import meant_space, open_database
from engage_pipelines.computing.questions import Desk
from engage_pipelines.settings import read_settings


def open_desk() -> Desk:
    """For the space that is named, else the only one there is, else the default."""
    settings = read_settings()
    database = open_database(settings)
    return Desk(settings, database, meant_space(database, settings))
