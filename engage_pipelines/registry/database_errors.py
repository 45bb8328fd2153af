"""What a database says when it cannot go on, put into words with a remedy.

Only faults that an operator can mend are translated; anything else is a bug of ours and passes through as it is.
"""

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy import exc

from engage_pipelines.domain.errors import BusyError, ConflictError, EngageError, StateError


class DatabaseAwayError(StateError):
    """The database does not answer: it is being restarted, has failed over, or the network is gone. Waiting may mend it."""


_BUSY = (BusyError, "{name} is locked by another process.", "Wait for it to finish, or end it, and try again.")
_FULL = (StateError, "{name} lies on a disk that is full; nothing was changed.", "Free some space and try again.")
_NO_DATABASE = (
    StateError,
    "{name} is not a database of ours, or it is damaged.",
    "Restore it from a backup, or point ENGAGE_HOME elsewhere.",
)
_NO_ACCESS = (StateError, "{name} cannot be opened or written: {why}.", "Check the folder, its owner and its permissions.")
_UNREACHABLE = (DatabaseAwayError, "{name} does not answer: {why}.", "Check ENGAGE_DATABASE_URL and that the server runs.")
_REFUSED = (StateError, "{name} refuses the login: {why}.", "Check user and password in ENGAGE_DATABASE_URL.")
_CROWDED = (BusyError, "{name} has no connection left: {why}.", "Try again, or raise max_connections.")
_RACE = (ConflictError, "Someone else changed the same thing at the same moment; nothing was changed here.", "Look at it and try again.")

_SQLITE = {
    "SQLITE_BUSY": _BUSY,
    "SQLITE_LOCKED": _BUSY,
    "SQLITE_FULL": _FULL,
    "SQLITE_CORRUPT": _NO_DATABASE,
    "SQLITE_NOTADB": _NO_DATABASE,
    "SQLITE_CANTOPEN": _NO_ACCESS,
    "SQLITE_READONLY": _NO_ACCESS,
    "SQLITE_PERM": _NO_ACCESS,
    "SQLITE_IOERR": _NO_ACCESS,
    "SQLITE_CONSTRAINT_UNIQUE": _RACE,
    "SQLITE_CONSTRAINT_PRIMARYKEY": _RACE,
}
# Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES = {
    "53100": _FULL,
    "53300": _CROWDED,
    "55P03": _BUSY,
    "40P01": _BUSY,
    "40001": _BUSY,
    "28P01": _REFUSED,
    "28000": _REFUSED,
    "3D000": _REFUSED,
    "25006": _NO_ACCESS,
    "08000": _UNREACHABLE,
    "08001": _UNREACHABLE,
    "08003": _UNREACHABLE,
    "08004": _UNREACHABLE,
    "08006": _UNREACHABLE,
    "57P01": _UNREACHABLE,
    "57P02": _UNREACHABLE,
    "57P03": _UNREACHABLE,
    "23505": _RACE,
}


@contextmanager
def in_words(name: str) -> Generator[None]:
    """Run the body; a fault of the database called `name` becomes a StateError, BusyError or ConflictError."""
    try:
        yield
    except exc.DBAPIError as error:
        translated = _translate(error, name)
        if translated is None:
            raise
        raise translated from error


def _translate(error: exc.DBAPIError, name: str) -> EngageError | None:
    row = _row_for(error)
    if row is None:
        return None
    kind, what, remedy = row
    why = " ".join(str(error.orig).split()) or "no reason given"
    return kind(what.format(name=name, why=why), remedy)


def _row_for(error: exc.DBAPIError) -> tuple[type[EngageError], str, str] | None:
    sqlite_name = getattr(error.orig, "sqlite_errorname", None)
    if sqlite_name is not None:
        # extended names, such as SQLITE_IOERR_WRITE, fall back to their family
        return _SQLITE.get(sqlite_name) or _SQLITE.get("_".join(sqlite_name.split("_")[:2]))
    code = getattr(error.orig, "pgcode", None)
    if code is not None:
        return _POSTGRES.get(code)
    if error.connection_invalidated:
        # cut in the middle of an answer: psycopg2 knows no code then, and no narrower class of error
        return _UNREACHABLE
    if isinstance(error, exc.OperationalError | exc.InterfaceError):
        text = str(error.orig)
        return _REFUSED if "authentication failed" in text or "does not exist" in text else _UNREACHABLE
    return None
