"""One connection to a monitored server through ODBC, every wait bounded."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyodbc

from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, ErrorCode, FieldError
from dbaudit.engine.certificates import check_certificates
from dbaudit.engine.fields import refuse_nul
from dbaudit.engines.sqlserver import freetds
from dbaudit.engines.sqlserver.drivers import Family, OdbcDriver, driver_for
from dbaudit.engines.sqlserver.failures import broken_login, refused_login, statement_failure
from dbaudit.engines.sqlserver.lifeline import Lifeline, NewSocket
from dbaudit.engines.sqlserver.options import Options
from dbaudit.engines.sqlserver.tds import endpoint, examine

_ROWS_AT_ONCE = 200
_EXAMINATION_SECONDS = 5.0
_PATIENCE_SECONDS = 2.5
_SETTINGS = (
    "SET NOCOUNT ON; SET TEXTSIZE 2147483647; SET ANSI_NULLS ON; SET ANSI_WARNINGS ON; SET ANSI_PADDING ON; "
    "SET QUOTED_IDENTIFIER ON; SET CONCAT_NULL_YIELDS_NULL ON; SET LOCK_TIMEOUT {milliseconds}"
)


class ServerConnection:
    """A logged-in session that commits each statement.

    Its statements raise ConfigurationError or TransientError, within ``target.statement_timeout_seconds``
    plus three seconds: drivers wait one or two for a server to confirm that it stopped.
    """

    def __init__(
        self, connection: pyodbc.Connection, lifeline: Lifeline, target: Target, driver: OdbcDriver
    ) -> None:
        self._connection = connection
        self._lifeline = lifeline
        self.target = target
        self.driver = driver

    @property
    def driver_name(self) -> str:
        """The driver with its version, as people would look it up."""
        version = self._connection.getinfo(pyodbc.SQL_DRIVER_VER)
        return f"{self.driver.family.value} {version}"

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement; its parameters stand as ``?``."""
        return [tuple(row) for rows, _said in self.batches(query, parameters) for row in rows]

    def row(self, query: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
        """The only row of a statement that gives exactly one."""
        (row,) = self.rows(query, parameters)
        return row

    def columns(self, query: str, parameters: Sequence[Any] = ()) -> list[str]:
        """The names of the columns of a statement."""
        with self._executing(query, parameters) as cursor:
            return [column[0] for column in cursor.description or ()]

    def batches(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[tuple[list[Any], list[str]]]:
        """The rows of a statement as they arrive, with the server's messages about them.

        Rows that were not fetched are not waited for: the caller stops when it has enough.
        """
        fetched = 0
        try:
            for rows, said in self._fetched(query, parameters):
                fetched += len(rows)
                yield rows, said
        except UnicodeDecodeError:
            # A name or a statement may hold half of a character of UTF-16: any client can write one.
            self._replace_broken_characters()
            for rows, said in self._fetched(query, parameters):
                new, fetched = rows[fetched:], max(0, fetched - len(rows))
                yield new, said

    def _fetched(self, query: str, parameters: Sequence[Any]) -> Iterator[tuple[list[Any], list[str]]]:
        with self._executing(query, parameters) as cursor:
            while True:
                rows = cursor.fetchmany(_ROWS_AT_ONCE)
                said = [f"{kind} {text}" for kind, text in cursor.messages or ()]
                if rows or said:
                    yield rows, said
                if len(rows) < _ROWS_AT_ONCE:
                    return

    def _replace_broken_characters(self) -> None:
        """Replace them from now on; this is slower than the driver's own decoding."""
        for kind in (pyodbc.SQL_WCHAR, pyodbc.SQL_WVARCHAR, pyodbc.SQL_WLONGVARCHAR):
            self._connection.add_output_converter(kind, _with_replacements)

    def close(self) -> None:
        with contextlib.suppress(pyodbc.Error):
            self._connection.close()
        self._lifeline.close()

    @contextlib.contextmanager
    def _executing(self, query: str, parameters: Sequence[Any]) -> Iterator[pyodbc.Cursor]:
        cursor = None
        with self._lifeline.bounded(self.target.statement_timeout_seconds + _PATIENCE_SECONDS):
            try:
                cursor = self._connection.cursor()
                yield cursor.execute(query, *parameters)
            except pyodbc.Error as error:
                raise statement_failure(self.target, error, cut=self._lifeline.was_cut) from error
            finally:
                if cursor is not None:
                    with contextlib.suppress(pyodbc.Error):
                        cursor.close()


def _with_replacements(raw: bytes) -> str:
    return raw.decode("utf-16-le", "replace")


def connect(target: Target, options: Options) -> ServerConnection:
    """Reach the server and log in within ``target.connect_timeout_seconds``.

    Raises ConfigurationError or TransientError; no message holds the password. Where the driver does not say
    why it failed, the server is asked again, for at most five seconds more.
    """
    _check(target, options)
    driver = driver_for(target, options)
    started = time.monotonic()
    new_socket = NewSocket(target.port)
    try:
        with _connection_string(target, driver) as text:
            connection = pyodbc.connect(text, autocommit=True, timeout=_whole(target.connect_timeout_seconds))
    except pyodbc.Error as error:
        raise _why(target, error, started) from None
    try:
        connection.timeout = _whole(target.statement_timeout_seconds)
        milliseconds = max(1, int(target.statement_timeout_seconds * 1000))
        connection.execute(_SETTINGS.format(milliseconds=milliseconds)).close()
    except pyodbc.Error as error:
        with contextlib.suppress(pyodbc.Error):
            connection.close()
        raise statement_failure(target, error) from None
    return ServerConnection(connection, new_socket.found(), target, driver)


def _why(target: Target, error: pyodbc.Error, started: float) -> Exception:
    refused = refused_login(target, error)
    if refused is not None:
        return refused
    left = target.connect_timeout_seconds - (time.monotonic() - started)
    patience = min(_EXAMINATION_SECONDS, max(1.0, left))
    return examine(target, patience) or broken_login(target, error)


@contextlib.contextmanager
def _connection_string(target: Target, driver: OdbcDriver) -> Iterator[str]:
    words = {
        "DRIVER": driver.name,
        "UID": target.username,
        "PWD": target.password.reveal(),
        "APP": target.application_name,
    }
    if target.database:
        words["DATABASE"] = target.database
    if driver.family is Family.FREETDS:
        with freetds.section(target) as name:
            yield _string({**words, "SERVERNAME": name}, _as_freetds_reads)
        return
    encrypt = target.ssl_mode is not SslMode.DISABLE
    yield _string(
        {
            **words,
            "SERVER": f"tcp:{target.host},{target.port}",
            "Encrypt": "yes" if encrypt else "no",
            "TrustServerCertificate": "no" if target.ssl_mode is SslMode.VERIFY_FULL else "yes",
            # A session that the driver silently opens again would have another session id.
            "ConnectRetryCount": "0",
        },
        _in_braces,
    )


def _string(words: dict[str, str], quote: Callable[[str], str]) -> str:
    return ";".join(f"{name}={quote(value)}" for name, value in words.items())


def _in_braces(value: str) -> str:
    """A value in braces, as ODBC defines it: a closing brace inside is written twice."""
    return f"{{{value.replace('}', '}}')}}}"


def _as_freetds_reads(value: str) -> str:
    """FreeTDS takes everything as it stands up to a semicolon, or in braces up to a closing one before it."""
    if ";" not in value and not value.startswith("{") and value == value.strip():
        return value
    if "};" in value:
        raise ConfigurationError(
            ErrorCode.VALIDATION_FAILED,
            "username, password or database holds '};', which cannot be passed to FreeTDS.",
            details=[FieldError("/password", "must not hold a closing brace before a semicolon")],
            remedy="Choose another password, or use Microsoft's driver.",
        )
    return f"{{{value}}}"


def _whole(seconds: float) -> int:
    """Whole seconds for ODBC, at least 1, since 0 means no time limit."""
    return max(1, math.ceil(seconds))


def _check(target: Target, options: Options) -> None:
    check_certificates(target)
    if target.ssl_mode is SslMode.DISABLE and target.password and not options.password_in_clear:
        raise ConfigurationError(
            ErrorCode.TLS_FAILED,
            "With ssl_mode disable the password would be sent readable to whatever answers at "
            f"{endpoint(target)}.",
            details=[FieldError("/ssl_mode", "sends the password readable with SQL Server")],
            remedy="Set ssl_mode to verify-full with ssl_ca, or to require; or accept it with the option "
            "password_in_clear: true.",
        )
    if target.ssl_cert:
        raise ConfigurationError(
            ErrorCode.VALIDATION_FAILED,
            "SQL Server takes no client certificate: it authenticates by password.",
            details=[FieldError("/ssl_cert", "must be left out for SQL Server")],
            remedy="Leave ssl_cert and ssl_key out.",
        )
    refuse_nul(target, "SQL Server")
