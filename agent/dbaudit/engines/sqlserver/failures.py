"""What an error of the server or of an ODBC driver means, in one clear line with its remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import pyodbc

from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError
from dbaudit.engine.words import one_line
from dbaudit.engines.sqlserver.names import quoted
from dbaudit.engines.sqlserver.tds import endpoint

_NUMBER = re.compile(r"\((-?\d+)\)")
_ORIGIN = re.compile(r"\[[^\]:]*\]\s*")
_FUNCTION = re.compile(r"\s*\(SQL\w+\)\s*;?\s*")


def numbers_of(error: pyodbc.Error) -> list[int]:
    """The server's own error numbers, in the order in which it gave them."""
    return [int(number) for number in _NUMBER.findall(_words(error)) if int(number) > 0]


class _Meaning(NamedTuple):
    numbers: frozenset[int]
    code: ErrorCode
    message: Callable[[Target], str]
    remedy: Callable[[Target], str | None]
    transient: bool = False


def _meaning(
    numbers: set[int],
    code: ErrorCode,
    message: Callable[[Target], str],
    remedy: Callable[[Target], str | None] = lambda target: None,
    *,
    transient: bool = False,
) -> _Meaning:
    return _Meaning(frozenset(numbers), code, message, remedy, transient)


# Numbers of sys.messages. The first that matches wins: a server that refuses a database (4060) says
# afterwards that the log-in failed (18456).
_LOGIN_FAILURES = (
    _meaning(
        {4060, 4064, 4063, 911, 916},
        ErrorCode.DATABASE_NOT_FOUND,
        lambda t: f"{endpoint(t)} has no database {t.database!r}, or {t.username!r} may not use it.",
        lambda t: (
            f"Correct the field database (master always works), or: USE {quoted(t.database)}; "
            f"CREATE USER {quoted(t.username)} FOR LOGIN {quoted(t.username)};"
        ),
    ),
    _meaning(
        {18486},
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: f"{endpoint(t)} has locked the login {t.username!r}.",
        lambda t: f"ALTER LOGIN {quoted(t.username)} WITH PASSWORD = N'...' UNLOCK;",
    ),
    _meaning(
        {18487, 18488},
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: f"The password of {t.username!r} on {endpoint(t)} has expired or must be changed.",
        lambda t: f"ALTER LOGIN {quoted(t.username)} WITH PASSWORD = N'...', CHECK_EXPIRATION = OFF;",
    ),
    _meaning(
        {18470},
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: f"The login {t.username!r} of {endpoint(t)} is disabled.",
        lambda t: f"ALTER LOGIN {quoted(t.username)} ENABLE;",
    ),
    _meaning(
        {18452, 18450, 18459},
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: f"{endpoint(t)} takes no SQL Server authentication for {t.username!r}.",
        lambda t: "Allow SQL Server and Windows authentication mode, and restart the server.",
    ),
    _meaning(
        {17809, 17810, 10928, 10929, 10930},
        ErrorCode.TOO_MANY_CONNECTIONS,
        lambda t: f"{endpoint(t)} has no connection left for {t.username!r}.",
        lambda t: "Raise the option 'user connections', or close sessions that are not needed.",
        transient=True,
    ),
    _meaning(
        {18401, 18451, 18461, 17187, 17188, 17189, 6005, 922, 927, 40613},
        ErrorCode.SERVER_STARTING,
        lambda t: f"{endpoint(t)} is starting up, shutting down, being upgraded or for one user alone.",
        transient=True,
    ),
    _meaning(
        {18456},
        ErrorCode.AUTHENTICATION_FAILED,
        lambda t: f"{endpoint(t)} refused the user name or the password of {t.username!r}.",
        lambda t: (
            "Check username and password, and that the server allows SQL Server authentication; or: "
            f"ALTER LOGIN {quoted(t.username)} WITH PASSWORD = N'...';"
        ),
    ),
)


def refused_login(target: Target, error: pyodbc.Error) -> DbauditError | None:
    """The error for a log-in that the server itself refused; None where it was not the server that spoke."""
    numbers = numbers_of(error)
    for meaning in _LOGIN_FAILURES:
        if not meaning.numbers.isdisjoint(numbers):
            kind = TransientError if meaning.transient else ConfigurationError
            return kind(meaning.code, meaning.message(target), remedy=meaning.remedy(target))
    return None


def broken_login(target: Target, error: pyodbc.Error) -> DbauditError:
    """The error for a failed connection whose cause the server could not be asked for."""
    state, said, words = str(error.args[0]), _words(error), _shown(target, error)
    if state in ("IM002", "IM003", "01000") or "file not found" in said:
        return ConfigurationError(
            ErrorCode.DRIVER_MISSING,
            f"The ODBC driver cannot be loaded: {words}",
            remedy="apt-get install unixodbc tdsodbc -- or msodbcsql18; odbcinst -q -d lists the drivers",
        )
    if state == "HYT00":
        return TransientError(
            ErrorCode.CONNECTION_TIMEOUT,
            f"{endpoint(target)} took the connection and then did not answer within "
            f"{target.connect_timeout_seconds:g} seconds.",
            remedy="Check that the port is that of SQL Server and that the server is not overloaded.",
        )
    if "certificate" in said.lower() or "SSL Provider" in said:
        return ConfigurationError(
            ErrorCode.CERTIFICATE_INVALID,
            f"The driver refused the certificate of {endpoint(target)}: {words}",
            remedy="Set host to a name, not an address, that is in the server's certificate, or give ssl_ca.",
        )
    return TransientError(
        ErrorCode.CONNECTION_LOST,
        f"{endpoint(target)} closed the connection during the log-in.",
        remedy="Check that host and port are those of a SQL Server, and read the server's error log.",
    )


class ServerError(ConfigurationError):
    """An error that the server itself answered a statement with; ``numbers`` are those of sys.messages."""

    def __init__(self, code: ErrorCode, message: str, numbers: Iterable[int]) -> None:
        super().__init__(code, message)
        self.numbers = frozenset(numbers)


_PERMISSION_NUMBERS = frozenset({229, 230, 262, 297, 300, 371, 378, 5011, 15151, 15247, 15562, 33202, 33276})
_PASSING_NUMBERS = frozenset({601, 701, 802, 1204, 1205, 1222, 3960, 8645, 8651, 9001, 17803, 40197, 40501})


def statement_failure(target: Target, error: pyodbc.Error, *, cut: bool = False) -> DbauditError:
    """The error for a statement that failed after the log-in; ``cut``: the agent shut the connection down."""
    state, numbers = str(error.args[0]), set(numbers_of(error))
    if cut or state in ("HYT00", "HYT01", "HY008"):
        return TransientError(
            ErrorCode.STATEMENT_TIMEOUT,
            f"{endpoint(target)} did not finish a statement within "
            f"{target.statement_timeout_seconds:g} seconds.",
        )
    words = _shown(target, error)
    if not numbers or state.startswith("08") or numbers & {596, 6005, 10053, 10054, 20004, 20006}:
        return TransientError(ErrorCode.CONNECTION_LOST, f"The connection to {endpoint(target)} was lost.")
    if numbers & _PERMISSION_NUMBERS:
        message = f"{target.username!r} lacks a right on {endpoint(target)}: {words}"
        return ServerError(ErrorCode.PERMISSION_MISSING, message, numbers)
    message = f"{endpoint(target)} answered with the error {min(numbers)}: {words}"
    if numbers & _PASSING_NUMBERS:
        return TransientError(ErrorCode.CONNECTION_LOST, message)
    return ServerError(ErrorCode.SERVER_NOT_SUPPORTED, message, numbers)


def _words(error: pyodbc.Error) -> str:
    return str(error.args[1]) if len(error.args) > 1 else ""


def _shown(target: Target, error: pyodbc.Error) -> str:
    return one_line(_FUNCTION.sub(" ", _ORIGIN.sub("", _words(error))), target)
