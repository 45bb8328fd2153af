"""Every failure that a person can be told about.

    EngageError                      says what, the value, and the remedy; the command line exits with `exit_code`
    |-- UsageError                   the words of a command or a request do not fit (exit code 2)
    |-- DefinitionError              author of a query, trigger or mapping: carries line and column
    |-- SelectError                  author of a SELECT that gives traits
    |-- ConfigurationError           author of YAML or settings
    |-- InputError                   whoever gave us a file or a folder
    |-- LoginError                   whoever asks over HTTP: nobody knows who that is
    |-- ForbiddenError               whoever asks over HTTP: their role or permission does not reach that far
    |-- NotFoundError                the named thing is not there
    |-- ConflictError                the change would break a rule (duplicate key, second configuration, one list twice)
    |-- BusyError                    another process is doing the same
    |-- StateError                   operator: the state on disk or in the database is not usable (full disk, schema, lock)
    |-- HeldVersionError             operator: the version waits for release or discard
    |-- SyncStoppedError             operator: the destination refuses the whole sync (credentials, address, schema)
    `-- LeaseLostError               nobody: another owner took over, this one stops without a trace
The fate of one record is a value (see destinations.base), never an exception.
"""


class EngageError(Exception):
    """A failure with a message for people: what happened, with the value, then the remedy."""

    exit_code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(one_line(what, remedy))
        self.what = what
        self.remedy = remedy


def one_line(what: str, remedy: str) -> str:
    """Both as sentences one after the other: what a vendor or an operating system says ends without a full stop."""
    return f"{what}{'' if what.endswith(('.', '!', '?', ':')) else '.'} {remedy}" if what and remedy else what or remedy


class UsageError(EngageError):
    """The words of a command or request do not fit."""

    exit_code = 2


class DefinitionError(EngageError):
    """A query, trigger or mapping that cannot be used as written; line and column count from 1."""

    def __init__(self, what: str, remedy: str = "", *, line: int = 1, column: int = 1) -> None:
        super().__init__(f"line {line}, column {column}: {what}", remedy)
        self.line = line
        self.column = column


class SelectError(EngageError):
    """A SELECT of people's own that fails, or whose rows cannot be values."""


class ConfigurationError(EngageError):
    """YAML or settings that cannot be used as written."""


class InputError(EngageError):
    """A file, folder or stream that cannot be read."""


class LoginError(EngageError):
    """Nobody knows who asks: no token, an unknown one, or one that ended."""


class ForbiddenError(EngageError):
    """Whoever asks may not do that."""


class NotFoundError(EngageError):
    """The named thing is not there."""


class ConflictError(EngageError):
    """The change would break a rule that holds for the objects there are."""


class BusyError(EngageError):
    """Another process is doing the same."""


class StateError(EngageError):
    """The state on disk or in the database cannot be used."""


class HeldVersionError(EngageError):
    """The version is held back until someone releases or discards it."""


class SyncStoppedError(EngageError):
    """The destination refuses the whole sync; nothing is dead-lettered, someone must mend the connection."""


class LeaseLostError(EngageError):
    """Another owner has the connection now; the work of this one is void from here on."""
